//! From a value to what it stands for: checked, as a number, as a variable's bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::spelling::{
    parse_device, parse_duration, parse_integer, parse_mac, parse_size, unit_ns,
};
use super::{ParamError, ParamType, Value};
use crate::manifest::Param;

impl Param {
    /// Checks what `--set` gave, or a default: type and range.
    ///
    /// # Errors
    /// Not of the type, or outside the range.
    pub fn check(&self, value: &Value) -> Result<(), ParamError> {
        if let Some(number) = self.number(value)? {
            if let Some([low, high]) = &self.range {
                let (from, to) = (self.number(low)?, self.number(high)?);
                if from.is_some_and(|from| number < from) || to.is_some_and(|to| number > to) {
                    return Err(ParamError::Range {
                        text: value.text(),
                        low: low.text(),
                        high: high.text(),
                    });
                }
            }
            return Ok(());
        }
        self.bytes(value).map(drop).or_else(|error| match error {
            ParamError::Unwritable => Ok(()),
            error => Err(error),
        })
    }

    /// The bytes of a variable of `size` bytes, in this machine's byte order.
    ///
    /// # Errors
    /// Not of the type, outside the range, or too large for the variable.
    pub fn encode(&self, value: &Value, size: usize) -> Result<Vec<u8>, ParamError> {
        self.encode_as(value, size, cfg!(target_endian = "big"))
    }

    /// The bytes of a variable of `size` bytes of an object of either byte order.
    ///
    /// # Errors
    /// As [`Param::encode`].
    pub fn encode_as(
        &self,
        value: &Value,
        size: usize,
        big_endian: bool,
    ) -> Result<Vec<u8>, ParamError> {
        self.check(value)?;
        let too_large = || ParamError::Size { text: value.text(), size };
        let Some(number) = self.number(value)? else {
            if self.r#type.is_unwritable() {
                return Err(ParamError::Unwritable);
            }
            let mut bytes = self.bytes(value)?;
            let end = usize::from(self.r#type.is_text());
            if bytes.len() + end > size {
                return Err(too_large());
            }
            bytes.resize(size, 0);
            return Ok(bytes);
        };
        integer(number, size, big_endian).ok_or_else(too_large)
    }

    /// A parameter of a type, bound to nothing and with nothing else said.
    #[must_use]
    pub fn of(r#type: ParamType, unit: Option<&str>) -> Self {
        Self {
            r#type,
            unit: unit.map(str::to_owned),
            rodata: None,
            data: None,
            set: BTreeMap::new(),
            default: None,
            range: None,
            many: None,
            doc: None,
        }
    }

    /// The number that a text stands for, from 0 on.
    ///
    /// # Errors
    /// Not of the type, or no number.
    pub fn number_of(&self, text: &str) -> Result<u64, ParamError> {
        let number = self.number(&Value::Text(text.to_owned()))?;
        let number = number.and_then(|number| u64::try_from(number).ok());
        number
            .ok_or_else(|| ParamError::Type { text: text.to_owned(), wanted: "a number from 0 on" })
    }

    /// The number that a value of a counting type stands for; `None` for the other types.
    pub(crate) fn number(&self, value: &Value) -> Result<Option<i128>, ParamError> {
        let text = value.text();
        let wrong = |wanted| ParamError::Type { text: text.clone(), wanted };
        let digits =
            !text.is_empty() && text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
        let integer = |wanted| {
            let wanted = if digits { "a number of at most 64 bits" } else { wanted };
            parse_integer(&text).ok_or_else(|| wrong(wanted))
        };
        let number = match self.r#type {
            ParamType::Bool => match text.as_str() {
                "true" | "1" => Some(1),
                "false" | "0" => Some(0),
                _ => None,
            }
            .ok_or_else(|| wrong("true or false"))?,
            ParamType::Int => integer("an integer, such as -5 or 0x10")?,
            ParamType::Uint | ParamType::Pid => {
                let wanted = "an integer from 0 on, such as 5 or 0x10";
                Some(integer(wanted)?).filter(|number| *number >= 0).ok_or_else(|| wrong(wanted))?
            }
            ParamType::Enum => integer("the number of an enumerator, such as 1")?,
            ParamType::Size => {
                parse_size(&text).ok_or_else(|| wrong("a size, such as 512, 64KiB or 1MiB"))?
            }
            ParamType::Duration => {
                let wanted = "a duration, such as 250ms, 1.5s or 2m";
                let nanoseconds = parse_duration(&text).ok_or_else(|| wrong(wanted))?;
                nanoseconds / unit_ns(self.unit.as_deref()).ok_or_else(|| wrong(wanted))?
            }
            ParamType::Device => {
                parse_device(&text).ok_or_else(|| wrong("a device, such as 8:0"))?
            }
            _ => return Ok(None),
        };
        Ok(Some(number))
    }

    /// The bytes that a value of another type stands for.
    fn bytes(&self, value: &Value) -> Result<Vec<u8>, ParamError> {
        let text = value.text();
        let wrong = |wanted| ParamError::Type { text: text.clone(), wanted };
        match self.r#type {
            ParamType::Ip => {
                match text.parse().map_err(|_| wrong("an IP address, such as 10.0.0.1 or ::1"))? {
                    IpAddr::V4(address) => Ok(address.octets().to_vec()),
                    IpAddr::V6(address) => Ok(address.octets().to_vec()),
                }
            }
            ParamType::Mac => {
                parse_mac(&text).ok_or_else(|| wrong("a MAC address, such as 02:00:00:00:00:01"))
            }
            ParamType::Cidr | ParamType::Cpus => Err(ParamError::Unwritable),
            _ if text.contains('\0') => Err(wrong("text without a NUL")),
            _ => Ok(text.into_bytes()),
        }
    }
}

fn integer(number: i128, size: usize, big_endian: bool) -> Option<Vec<u8>> {
    let bits = u32::try_from(size).ok()?.checked_mul(8).filter(|bits| (8..=64).contains(bits))?;
    if number < -(1 << (bits - 1)) || number >= 1 << bits {
        return None;
    }
    let bytes = if big_endian {
        number.to_be_bytes()[16 - size..].to_vec()
    } else {
        number.to_le_bytes()[..size].to_vec()
    };
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(r#type: ParamType) -> Param {
        let text = format!(r#"{{"type":{}}}"#, serde_json::to_string(&r#type).unwrap());
        serde_json::from_str(&text).unwrap()
    }

    fn encode(r#type: ParamType, text: &str, size: usize) -> Result<Vec<u8>, String> {
        param(r#type).encode(&Value::Text(text.into()), size).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_of_every_spelling_become_bytes() {
        assert_eq!(encode(ParamType::Uint, "0xffff_ffff_ffff_ffff", 8).unwrap(), [0xff; 8]);
        assert_eq!(encode(ParamType::Int, "-2", 4).unwrap(), (-2_i32).to_ne_bytes());
        assert_eq!(encode(ParamType::Bool, "true", 1).unwrap(), [1]);
        assert_eq!(
            encode(ParamType::Duration, "1.5s", 8).unwrap(),
            1_500_000_000_u64.to_ne_bytes()
        );
        assert_eq!(encode(ParamType::Size, "64KiB", 4).unwrap(), 65536_u32.to_ne_bytes());
        assert_eq!(encode(ParamType::Device, "8:1", 4).unwrap(), (8_u32 << 20 | 1).to_ne_bytes());
        assert_eq!(encode(ParamType::Mac, "02:00:00:00:00:01", 6).unwrap(), [2, 0, 0, 0, 0, 1]);
        assert_eq!(encode(ParamType::Ip, "10.0.0.1", 4).unwrap(), [10, 0, 0, 1]);
        assert_eq!(encode(ParamType::String, "ab", 4).unwrap(), *b"ab\0\0");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        insta::assert_snapshot!(encode(ParamType::Uint, "99999999999999999999", 8).unwrap_err(), @"'99999999999999999999' is not a number of at most 64 bits");
        insta::assert_snapshot!(encode(ParamType::Uint, "-1", 4).unwrap_err(), @"'-1' is not an integer from 0 on, such as 5 or 0x10");
        insta::assert_snapshot!(encode(ParamType::Uint, "256", 1).unwrap_err(), @"'256' needs more than the variable's 1 bytes");
        insta::assert_snapshot!(encode(ParamType::String, "abcd", 4).unwrap_err(), @"'abcd' needs more than the variable's 4 bytes");
        insta::assert_snapshot!(encode(ParamType::Duration, "5 weeks", 8).unwrap_err(), @"'5 weeks' is not a duration, such as 250ms, 1.5s or 2m");
        let ranged =
            Param { range: Some([Value::Int(1), Value::Int(9)]), ..param(ParamType::Uint) };
        insta::assert_snapshot!(ranged.check(&Value::Int(10)).unwrap_err(), @"10 is outside 1 to 9");
        assert!(encode(ParamType::Uint, "1", 0).is_err());
        assert!(encode(ParamType::Uint, "+1", 4).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", size in 0_usize..20) {
            for r#type in [ParamType::Int, ParamType::Duration, ParamType::Size, ParamType::Ip, ParamType::Mac] {
                drop(encode(r#type, &text, size));
            }
        }
    }
}
