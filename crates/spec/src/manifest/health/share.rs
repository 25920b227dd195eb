//! Shares: `2%`, `0.01`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// From nothing to all, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// All there is.
const WHOLE: u32 = 1_000_000_000;

impl Share {
    /// Billionths: from 0 to 1,000,000,000.
    #[must_use]
    pub const fn billionths(self) -> u32 {
        self.0
    }

    /// `2%`, `0.5 %`: at most 100%, with two digits before the point if it is not all, and at most seven behind it.
    #[must_use]
    pub fn percent(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end_matches(' ');
        Self::of(number, if number.starts_with("100") { 3 } else { 2 }, 7)
    }

    /// `0.02`: at most 1, with at most nine digits behind the point.
    #[must_use]
    pub fn fraction(text: &str) -> Option<Self> {
        Self::of(text, 1, 9)
    }

    /// A number with at most so many digits before its point and so many behind it, of which the last one counts a billionth.
    fn of(text: &str, before: usize, behind: usize) -> Option<Self> {
        let number = decimal(text, before, behind)?;
        u32::try_from(number).ok().filter(|share| *share <= WHOLE).map(Self)
    }
}

/// Digits with at most one point among them, as so many times 10 to the power of `-behind`.
pub(super) fn decimal(text: &str, before: usize, behind: usize) -> Option<u128> {
    let (whole, part) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, part)) => (whole, part),
        None => (text, ""),
    };
    let fine =
        |digits: &str, most| digits.len() <= most && digits.bytes().all(|d| d.is_ascii_digit());
    let fits = !whole.is_empty() && fine(whole, before) && fine(part, behind);
    let digits = format!("{whole}{part:0<behind$}");
    if fits { digits.parse().ok() } else { None }
}

/// How a share of the CPUs is written, for schemas.
pub const CPU_PATTERN: &str = r"^(?=[^%]*[1-9])([0-9]{1,2}(\.[0-9]{1,7})?|100(\.0{1,7})?) *%$";

/// A share of the time of all CPUs that are online: above 0%, at most 100%.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuShare {
    text: String,
    share: Share,
}

crate::text_schema!(CpuShare, "pattern": CPU_PATTERN);

impl CpuShare {
    /// How much that is.
    #[must_use]
    pub const fn share(&self) -> Share {
        self.share
    }
}

/// Why a text is no share of the CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no share of the CPUs: it should be above 0% and at most 100%, such as 2% or 0.5%"
)]
pub struct CpuShareError(String);

impl FromStr for CpuShare {
    type Err = CpuShareError;

    fn from_str(text: &str) -> Result<Self, CpuShareError> {
        let text = text.to_owned();
        match Share::percent(&text) {
            Some(share) if share.0 > 0 => Ok(Self { text, share }),
            _ => Err(CpuShareError(text)),
        }
    }
}

impl TryFrom<String> for CpuShare {
    type Error = CpuShareError;

    fn try_from(text: String) -> Result<Self, CpuShareError> {
        text.parse()
    }
}

impl From<CpuShare> for String {
    fn from(share: CpuShare) -> Self {
        share.text
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_above_nothing_and_at_most_all() {
        let read = |text: &str| text.parse::<CpuShare>().ok().map(|one| one.share.0);
        for (text, share) in [
            ("2%", 20_000_000),
            ("0.5 %", 5_000_000),
            ("100%", WHOLE),
            ("100.0000000  %", WHOLE),
            ("00.0000001%", 1),
        ] {
            assert_eq!(read(text), Some(share), "{text}");
        }
        for text in [
            "",
            "%",
            "2",
            "0%",
            "0.0%",
            "100.0000001%",
            "101%",
            "300 %%",
            "-1%",
            "+1%",
            "1.%",
            ".5%",
            "1%%",
            " 1%",
            "1% ",
            "1\t%",
            "1e1%",
            "0.00000001%",
            "000.1%",
            "²%",
            "1_0%",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
