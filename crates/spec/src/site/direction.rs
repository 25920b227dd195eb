//! A direction of an interface: `ingress/eth0`.

use std::fmt;
use std::str::FromStr;

/// Where packets come or go: `ingress/eth0`, `egress/eth0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direction {
    /// Egress instead of ingress.
    pub egress: bool,
    /// The interface.
    pub interface: String,
}

impl FromStr for Direction {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (direction, interface) = text.split_once('/').unwrap_or((text, ""));
        let egress = match direction {
            "ingress" => false,
            "egress" => true,
            _ => return Err("an action of tc is at ingress/INTERFACE or egress/INTERFACE"),
        };
        match interface.is_empty() || interface.contains('/') {
            true => Err("behind ingress/ or egress/ comes an interface"),
            false => Ok(Self { egress, interface: interface.to_owned() }),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", if self.egress { "egress" } else { "ingress" }, self.interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_is_read_and_written() {
        for text in ["ingress/eth0", "egress/lo"] {
            assert_eq!(text.parse::<Direction>().unwrap().to_string(), text);
        }
        for text in ["", "eth0", "ingress", "ingress/", "egress/a/b", "both/eth0"] {
            assert!(text.parse::<Direction>().is_err(), "{text}");
        }
    }
}
