//! Programs of which another one replaces a function: `/sys/fs/bpf/other`, `id=7`.

use std::fmt;
use std::str::FromStr;

/// A program that is loaded already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// By its pin, an absolute path.
    Pinned(String),
    /// By the number that the kernel has of it.
    Numbered(u32),
}

impl FromStr for Extended {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text.starts_with('/') {
            return Ok(Self::Pinned(text.to_owned()));
        }
        let number = text.strip_prefix("id=").and_then(|number| number.parse().ok());
        let number = number.filter(|number| *number > 0).map(Self::Numbered);
        number.ok_or("a program is named by the path of its pin, or as id=NUMBER")
    }
}

impl fmt::Display for Extended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned(path) => f.write_str(path),
            Self::Numbered(id) => write!(f, "id={id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_by_its_pin_or_its_number() {
        for text in ["/sys/fs/bpf/other", "id=7"] {
            assert_eq!(text.parse::<Extended>().unwrap().to_string(), text);
        }
        for text in ["", "other", "id=", "id=0", "id=-1", "7"] {
            assert!(text.parse::<Extended>().is_err(), "{text}");
        }
    }
}
