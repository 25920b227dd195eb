//! A range of versions, such as `^1.2` or `>=1.4, <3`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Version;

/// Most comparators of a range.
const MOST: usize = 8;

/// `*`, or one to eight comparators that all hold: `^`, `~`, `=`, `>`, `>=`, `<`, `<=` or nothing (`^`) before a version of
/// which the end may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    /// As its author wrote it.
    text: String,
    parsed: semver::VersionReq,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a range of versions: write ^1.2, ~1.2.3, =1.2.3, or up to {MOST} comparators such as >=1.4, <3"
)]
pub struct RangeError(String);

impl RangeError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "name.range"
    }
}

/// The grammar, with numbers that 64 bits hold.
pub(crate) const RANGE_PATTERN: &str = concat!(
    r"^(\*|(\^|~|=|>=?|<=?)?(0|[1-9][0-9]{0,18})(\.(0|[1-9][0-9]{0,18})(\.(0|[1-9][0-9]{0,18})",
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?)?)?",
    r"(, ?(\^|~|=|>=?|<=?)?(0|[1-9][0-9]{0,18})(\.(0|[1-9][0-9]{0,18})(\.(0|[1-9][0-9]{0,18})",
    r"(-(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?)?)?){0,7})$"
);

impl Range {
    /// Whether a version is in it: every comparator holds; a pre-release only where one of them names a pre-release of the
    /// same three numbers.
    #[must_use]
    pub fn holds(&self, version: &Version) -> bool {
        self.parsed.matches(version.semver())
    }

    /// As its author wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let refuse = || RangeError(text.to_owned());
        let fine = text == "*" || (1..=MOST).contains(&text.split(',').count());
        let spaced = text.split(',').enumerate().all(|(at, one)| {
            let one = if at == 0 { one } else { one.strip_prefix(' ').unwrap_or(one) };
            is_comparator(one)
        });
        if !fine || text != "*" && !spaced {
            return Err(refuse());
        }
        let parsed = semver::VersionReq::parse(text).map_err(|_| refuse())?;
        Ok(Self { text: text.to_owned(), parsed })
    }
}

/// Of what the library takes, what the grammar does not: spaces, wildcards, build metadata and twenty digits.
fn is_comparator(text: &str) -> bool {
    let version = text.trim_start_matches(['^', '~', '=', '<', '>']);
    let (numbers, pre) = version.split_once('-').map_or((version, None), |(n, p)| (n, Some(p)));
    let number = |n: &str| !n.is_empty() && n.len() <= 19 && n.bytes().all(|b| b.is_ascii_digit());
    numbers.split('.').all(number)
        && pre
            .is_none_or(|pre| pre.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)))
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Range {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.text
    }
}

crate::text_schema!(Range, "pattern": RANGE_PATTERN);

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(range: &str, version: &str) -> bool {
        range.parse::<Range>().unwrap().holds(&version.parse().unwrap())
    }

    #[test]
    fn a_range_is_what_it_looks_like() {
        for (range, inside, outside) in [
            ("^1.2", "1.9.0", "2.0.0"),
            ("1.2", "1.2.0", "1.1.9"),
            ("^0.2.3", "0.2.9", "0.3.0"),
            ("~1.2.3", "1.2.9", "1.3.0"),
            ("=1.2", "1.2.7", "1.3.0"),
            (">1.2", "1.3.0", "1.2.9"),
            ("<=1.2", "1.2.9", "1.3.0"),
            (">=1.4, <3", "2.9.9", "3.0.0"),
            (">=1.4,<3", "1.4.0", "1.3.0"),
            ("*", "7.0.0", "7.0.0-rc.1"),
            ("^1.0.0-rc.2", "1.0.0-rc.3", "1.0.1-rc.1"),
            ("=1.2.3", "1.2.3+b5", "1.2.4"),
        ] {
            assert!(holds(range, inside), "{range} {inside}");
            assert!(!holds(range, outside), "{range} {outside}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        let nine = ["^1"; 9].join(",");
        for text in [
            "",
            " ^1",
            "^1 ",
            "^",
            "^ 1",
            "1.*",
            "*,^1",
            "x",
            "^1,",
            "^1,  <2",
            "01",
            "^1.2.3+b",
            "==1",
            "=>1",
            "1.2.3.4",
            "^1.2-rc",
            "^12345678901234567890",
            "^1 <2",
            &nine,
        ] {
            let error = text.parse::<Range>().unwrap_err();
            assert_eq!(error.code(), "name.range", "{text}");
        }
    }
}
