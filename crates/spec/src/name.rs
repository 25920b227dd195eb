//! Names of packages, versions, channels and services.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: {why}")]
pub struct NameError {
    /// What was expected, such as `package name`.
    pub what: &'static str,
    /// The text.
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

impl NameError {
    /// The standard's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.what {
            "package name" => "name.package",
            "service name" => "name.service",
            "channel" => "name.channel",
            _ => "name.version",
        }
    }
}

macro_rules! string_type {
    ($type:ident) => {
        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

/// `publisher/name`: each part `[a-z0-9]+(-[a-z0-9]+)*`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);
string_type!(PackageName);

impl PackageName {
    /// The part before the slash.
    #[must_use]
    pub fn publisher(&self) -> &str {
        self.0.split_once('/').map_or("", |(publisher, _)| publisher)
    }

    /// The part after the slash: the default name of a service.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

crate::text_schema!(
    PackageName,
    "pattern": "^(?=[^/]{1,64}/[^/]{1,64}$)[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*$"
);
crate::text_schema!(Channel, "pattern": "^[a-z][a-z0-9-]{0,31}$");

impl FromStr for PackageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refuse = |why| NameError { what: "package name", text: text.to_owned(), why };
        let (publisher, name) =
            text.split_once('/').ok_or_else(|| refuse("it should be publisher/name"))?;
        if !is_label(publisher) || !is_label(name) {
            return Err(refuse(
                "each part is a-z, 0-9 and single hyphens between them, at most 64 characters",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name of a service on a node: `[a-z0-9]+(-[a-z0-9]+)*`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);
string_type!(ServiceName);

crate::text_schema!(ServiceName, "pattern": "^(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*$");
crate::text_schema!(Version, "pattern": VERSION_PATTERN);

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_label(text) {
            return Ok(Self(text.to_owned()));
        }
        let why = "it is a-z, 0-9 and single hyphens between them, at most 64 characters";
        Err(NameError { what: "service name", text: text.to_owned(), why })
    }
}

/// What a channel's tag begins with.
const CHANNEL_TAG: &str = "skep-channel-";

/// A channel, such as `stable`: `[a-z][a-z0-9-]{0,31}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Channel(String);
string_type!(Channel);

impl Channel {
    /// `stable`: the one that a reference without version, digest and channel means.
    #[must_use]
    pub fn stable() -> Self {
        Self("stable".to_owned())
    }

    /// The OCI tag under which registries have it (part 9 of the standard).
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{CHANNEL_TAG}{self}")
    }

    /// The channel whose tag this is.
    ///
    /// # Errors
    /// When the tag is no channel's.
    pub fn from_tag(tag: &str) -> Result<Self, NameError> {
        let why = "a channel's begins with skep-channel-";
        let refuse = || NameError { what: "channel", text: tag.to_owned(), why };
        tag.strip_prefix(CHANNEL_TAG).ok_or_else(refuse)?.parse()
    }
}

impl FromStr for Channel {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rest_is_fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.len() <= 32
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(rest_is_fine)
        {
            return Ok(Self(text.to_owned()));
        }
        let why = "it starts with a-z, then a-z, 0-9 and hyphens, at most 32 characters";
        Err(NameError { what: "channel", text: text.to_owned(), why })
    }
}

/// SemVer 2.0, with numbers that 64 bits hold.
pub(crate) const VERSION_PATTERN: &str = concat!(
    r"^(0|[1-9][0-9]{0,18})(\.(0|[1-9][0-9]{0,18})){2}",
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?",
    r"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
);

/// A SemVer 2.0 version whose numbers have at most 19 digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

impl Version {
    /// The version as an OCI tag: `+`, which tags may not hold, becomes `_`.
    #[must_use]
    pub fn tag(&self) -> String {
        self.0.to_string().replace('+', "_")
    }

    /// Whether it is one before a release, such as `1.0.0-rc.1`.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// Whether it comes before another by SemVer's precedence, for which what follows `+` does not count.
    #[must_use]
    pub fn is_lower(&self, other: &Self) -> bool {
        self.0.cmp_precedence(&other.0).is_lt()
    }

    /// The higher comes first; of two that differ behind `+` alone, the one that is later in the order of its bytes.
    pub(crate) fn cmp_highest(&self, other: &Self) -> Ordering {
        other
            .0
            .cmp_precedence(&self.0)
            .then_with(|| other.0.build.as_str().cmp(self.0.build.as_str()))
    }

    pub(crate) const fn semver(&self) -> &semver::Version {
        &self.0
    }

    /// The version that an OCI tag spells.
    ///
    /// # Errors
    /// When the tag is not a version.
    pub fn from_tag(tag: &str) -> Result<Self, NameError> {
        tag.replacen('_', "+", 1).parse()
    }
}

impl FromStr for Version {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const MAX: u64 = 10_u64.pow(19);
        let why = "it should be MAJOR.MINOR.PATCH, as SemVer 2.0 has it";
        let refuse = |_| NameError { what: "version", text: text.to_owned(), why };
        let version = semver::Version::parse(text).map_err(refuse)?;
        if [version.major, version.minor, version.patch].into_iter().all(|number| number < MAX) {
            return Ok(Self(version));
        }
        let why = "MAJOR, MINOR and PATCH have at most 19 digits";
        Err(NameError { what: "version", text: text.to_owned(), why })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TryFrom<String> for Version {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// `[a-z0-9]+(-[a-z0-9]+)*`, at most 64 characters.
fn is_label(text: &str) -> bool {
    text.len() <= 64
        && text.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_tag_is_no_versions() {
        let channel: Channel = "stable-2".parse().unwrap();
        assert_eq!(channel.tag(), "skep-channel-stable-2");
        assert_eq!(Channel::from_tag(&channel.tag()), Ok(channel.clone()));
        assert!(Version::from_tag(&channel.tag()).is_err());
        for tag in ["1.0.0", "stable", "skep-channel-", "skep-channel-Stable"] {
            assert!(Channel::from_tag(tag).is_err(), "{tag}");
        }
    }
}
