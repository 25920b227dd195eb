//! Repository names and tags, as the OCI distribution-spec has them, checked.

use std::fmt;
use std::str::FromStr;

use skep_spec::PackageName;

use crate::digest::Digest;

/// A repository: two or more path components, the first of which is the publisher.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repository(String);

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A tag.
    Tag(Tag),
    /// A digest.
    Digest(Digest),
}

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository.
    #[error(
        "'{0}' is not a repository: it should be publisher/name, of a-z, 0-9 and single . _ - between them"
    )]
    Repository(String),
    /// Not a tag.
    #[error("'{0}' is not a tag: it should be up to 128 of a-z, A-Z, 0-9, '_', '.' and '-'")]
    Tag(String),
}

impl Repository {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component.
    #[must_use]
    pub fn publisher(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The package that may live here, if a package may.
    #[must_use]
    pub fn package(&self) -> Option<PackageName> {
        self.0.parse().ok()
    }
}

impl From<&PackageName> for Repository {
    fn from(name: &PackageName) -> Self {
        Self(name.to_string())
    }
}

impl FromStr for Repository {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fine = text.len() <= 255 && text.contains('/') && text.split('/').all(is_component);
        if fine { Ok(Self(text.to_owned())) } else { Err(NameError::Repository(shown(text))) }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Tag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version that the tag spells, if it spells one: such a tag never moves.
    #[must_use]
    pub fn version(&self) -> Option<skep_spec::Version> {
        skep_spec::Version::from_tag(&self.0).ok()
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let fine = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if fine { Ok(Self(text.to_owned())) } else { Err(NameError::Tag(shown(text))) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse() {
            Ok(digest) => Ok(Self::Digest(digest)),
            Err(_) => text.parse().map(Self::Tag),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_fine =
        text.bytes().next().is_some_and(word) && text.bytes().next_back().is_some_and(word);
    ends_fine
        && text
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

/// What came, short enough to send back.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_oci_grammar_and_have_a_publisher() {
        for good in ["acme/exec", "acme/team/exec", "a/b", "a1/b.c_d__e-f---g"] {
            assert!(good.parse::<Repository>().is_ok(), "{good}");
        }
        let long = format!("a/{}", "b".repeat(254));
        for bad in [
            "",
            "acme",
            "/",
            "acme/",
            "/exec",
            "acme//exec",
            "Acme/exec",
            "acme/../exec",
            "acme/.",
            "a./b",
            "a/b_",
            "a/b___c",
            "a/b..c",
            "a/b._c",
            "acme/ex ec",
            "acme/exec\0",
            "é/x",
            &long,
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_that_spell_versions_are_told_from_others() {
        let version = |text: &str| text.parse::<Tag>().unwrap().version().map(|v| v.to_string());
        assert_eq!(version("1.2.0"), Some("1.2.0".into()));
        assert_eq!(version("1.2.0-rc.1_b7"), Some("1.2.0-rc.1+b7".into()));
        assert_eq!(version("latest"), None);
        assert_eq!(version("v1.2.0"), None);
        for bad in ["", ".x", "-x", "a/b", "a b", "a:b", &"x".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }
}
