//! Parameters: what an operator may set at install, and what a value of each type looks like.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::manifest::Param;

/// The type of a parameter, as `type = "…"` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// `true` or `false`.
    Bool,
    /// A signed integer.
    Int,
    /// An unsigned integer.
    Uint,
    /// The number of an enumerator; a name of the variable's BTF enum where an operator sets it.
    Enum,
    /// Bytes for a `char` array, NUL-terminated.
    String,
    /// `250ms`, `1.5s`, `2m`; stored in `unit`.
    Duration,
    /// `64KiB`, `1MiB`, `512`; in bytes.
    Size,
    /// An IPv4 or IPv6 address, network byte order.
    Ip,
    /// An address and a prefix length.
    Cidr,
    /// A MAC address, six bytes.
    Mac,
    /// A block device, as the kernel's `dev_t`.
    Device,
    /// A network interface's name.
    Interface,
    /// A cgroup v2 folder.
    Cgroup,
    /// A path.
    Path,
    /// A process id.
    Pid,
    /// A kernel function's name.
    Function,
    /// A list of CPUs, `0-3,8`.
    Cpus,
}

/// How each type is spelled, in the order of [`ParamType`].
pub const TYPES: [&str; 17] = [
    "bool",
    "int",
    "uint",
    "enum",
    "string",
    "duration",
    "size",
    "ip",
    "cidr",
    "mac",
    "device",
    "interface",
    "cgroup",
    "path",
    "pid",
    "function",
    "cpus",
];

/// A value as written in a manifest or given by `--set`: integers keep all 64 bits and their sign.
///
/// Integers beyond ±(2^53-1) are decimal text, as canonical JSON has them; readers accept both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// An integer within JSON's exact range.
    Int(i64),
    /// Everything else, larger integers included.
    Text(String),
}

/// The largest integer that every JSON reader keeps exact: 2^53 - 1 (RFC 7493, section 2.2).
pub const MAX_EXACT: i64 = (1 << 53) - 1;

/// Why a value does not fit its parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Not a value of the type.
    #[error("'{text}' is not {wanted}")]
    Type {
        /// The value.
        text: String,
        /// What it should be, with an example.
        wanted: &'static str,
    },
    /// Outside the range.
    #[error("{text} is outside {low} to {high}")]
    Range {
        /// The value.
        text: String,
        /// Lowest.
        low: String,
        /// Highest.
        high: String,
    },
    /// More than the variable holds.
    #[error("'{text}' needs more than the variable's {size} bytes")]
    Size {
        /// The value.
        text: String,
        /// The variable's size.
        size: usize,
    },
    /// A type that cannot be written to a variable.
    #[error("a parameter of this type cannot be written to a variable")]
    Unwritable,
    /// `${param.NAME}` names no parameter, or one without a value.
    #[error(
        "'{template}' uses ${{param.{name}}}, which has no value; give it one: --set {name}=VALUE"
    )]
    NoValue {
        /// The text with the reference.
        template: String,
        /// The parameter.
        name: String,
    },
    /// `${` without an end, or something else than `param.` in it.
    #[error("'{0}' holds a reference that is not ${{param.NAME}}")]
    Reference(String),
}

impl ParamError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Type { .. } => "param.type",
            Self::Range { .. } => "param.range",
            Self::Size { .. } => "param.size",
            Self::Unwritable => "param.unwritable",
            Self::NoValue { .. } => "param.no-value",
            Self::Reference(_) => "param.reference",
        }
    }
}

impl Value {
    /// An integer, as text where JSON would not keep it exact.
    #[must_use]
    pub fn integer(number: i128) -> Self {
        match i64::try_from(number) {
            Ok(number) if number.abs() <= MAX_EXACT => Self::Int(number),
            _ => Self::Text(number.to_string()),
        }
    }

    /// The value as a person writes it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

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

impl ParamType {
    /// Whether no variable takes a value of this type.
    #[must_use]
    pub const fn is_unwritable(self) -> bool {
        matches!(self, Self::Cidr | Self::Cpus)
    }

    /// What a value of this type looks like, as a pattern of ECMA-262. Its groups are what is converted: digits, a unit.
    #[must_use]
    pub const fn pattern(self) -> &'static str {
        match self {
            Self::Bool => "^(true|false|1|0)$",
            Self::Int | Self::Uint | Self::Enum | Self::Pid => "^(-?(?:0x[0-9a-fA-F_]+|[0-9_]+))$",
            Self::Size => "^(-?(?:0x[0-9a-fA-F_]+|[0-9_]+)) *(|B|KiB|MiB|GiB|TiB)$",
            Self::Duration => r"^([0-9_]+(?:\.[0-9]{0,18})?) *(ns|us|ms|s|m|h)$",
            Self::Device => "^([0-9]+):([0-9]+)$",
            Self::Ip => "^([0-9A-Fa-f:.]+)$",
            Self::Mac => "^((?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2})$",
            Self::Cidr | Self::Cpus => "^(.*)$",
            Self::String | Self::Interface | Self::Cgroup | Self::Path | Self::Function => {
                r"^([^\u0000]*)$"
            }
        }
    }

    /// Whether a variable of this type is NUL-terminated.
    const fn is_text(self) -> bool {
        matches!(self, Self::String | Self::Interface | Self::Cgroup | Self::Path | Self::Function)
    }
}

/// Puts values in the places of `${param.NAME}`.
///
/// # Errors
/// A reference to no value, or one that is not `${param.NAME}`.
pub fn substitute(template: &str, values: &BTreeMap<String, Value>) -> Result<String, ParamError> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, end) = reference(template, after)?;
        let value = values.get(name);
        let value = value
            .ok_or_else(|| ParamError::NoValue { template: template.into(), name: name.into() })?;
        out.push_str(before);
        out.push_str(&value.text());
        rest = end;
    }
    out.push_str(rest);
    Ok(out)
}

/// The names of the parameters that a text refers to.
///
/// # Errors
/// A reference that is not `${param.NAME}`.
pub fn references(template: &str) -> Result<Vec<&str>, ParamError> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((_, after)) = rest.split_once("${") {
        let (name, end) = reference(template, after)?;
        names.push(name);
        rest = end;
    }
    Ok(names)
}

fn reference<'a>(template: &str, after: &'a str) -> Result<(&'a str, &'a str), ParamError> {
    let wrong = || ParamError::Reference(template.to_owned());
    let (inside, end) = after.split_once('}').ok_or_else(wrong)?;
    let name = inside.strip_prefix("param.").ok_or_else(wrong)?;
    Ok((name, end))
}

/// What may stand behind a size, in bytes.
pub const SIZES: [(&str, u64); 5] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1)];

/// What stands behind a duration, in nanoseconds.
pub const DURATIONS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A number of bytes: `512`, `64KiB`, `1 MiB`, `2GiB`. Its digits are as many as there can be: `0x1B` is 27.
#[must_use]
pub fn parse_size(text: &str) -> Option<i128> {
    let is_hex = text.trim_start_matches('-').starts_with("0x");
    let is_digit = |c: char| match c {
        '-' | '_' => true,
        'x' => is_hex,
        c if is_hex => c.is_ascii_hexdigit(),
        c => c.is_ascii_digit(),
    };
    let (number, unit) = text.split_at(text.find(|c| !is_digit(c)).unwrap_or(text.len()));
    let unit = match unit.trim_start_matches(' ') {
        "" => 1,
        unit => SIZES.into_iter().find(|(name, _)| *name == unit)?.1,
    };
    parse_integer(number)
        .filter(|number| (0..=1 << 60).contains(number))
        .map(|number| number * i128::from(unit))
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

/// An integer as a person writes it: decimal or `0x` hexadecimal, with an optional `-` and digits grouped by `_`; its
/// magnitude is below 2^64.
#[must_use]
pub fn parse_integer(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let digits = digits.replace('_', "");
    let (digits, radix) =
        digits.strip_prefix("0x").map_or((digits.as_str(), 10), |digits| (digits, 16));
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(digits, radix).ok()?);
    Some(if negative { -number } else { number })
}

/// Nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i128> {
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))?;
    let (number, unit) = text.split_at(at);
    let unit = unit_ns(Some(unit.trim_start_matches(' ')))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole = parse_integer(whole)?.checked_mul(unit)?;
    if part.is_empty() {
        return Some(whole);
    }
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok().filter(|len| *len <= 18)?)?;
    let part =
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i128>().ok()).flatten()?;
    Some(whole + part * unit / scale)
}

fn unit_ns(unit: Option<&str>) -> Option<i128> {
    let unit = unit.unwrap_or("ns");
    let found = DURATIONS.into_iter().find(|(name, _)| *name == unit);
    found.map(|(_, ns)| i128::from(ns))
}

/// The kernel's `dev_t`: 12 bits of major, 20 of minor (include/linux/kdev_t.h).
fn parse_device(text: &str) -> Option<i128> {
    let (major, minor) = text.split_once(':')?;
    let (major, minor) = (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some(i128::from(major << 20 | minor))
}

fn parse_mac(text: &str) -> Option<Vec<u8>> {
    let parts: Option<Vec<u8>> = text
        .split(':')
        .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
        .collect();
    parts.filter(|bytes| bytes.len() == 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_in_the_list_in_its_place() {
        for (at, name) in TYPES.into_iter().enumerate() {
            let found: ParamType = serde_json::from_value(name.into()).unwrap();
            assert_eq!(found as usize, at, "{name}");
        }
        assert_eq!(TYPES.len(), ParamType::Cpus as usize + 1);
    }

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

    #[test]
    fn references_take_values() {
        let values = BTreeMap::from([("f".to_owned(), Value::Text("vfs_read".into()))]);
        assert_eq!(substitute("fentry/${param.f}", &values).unwrap(), "fentry/vfs_read");
        insta::assert_snapshot!(substitute("xdp/${param.i}", &values).unwrap_err(), @"'xdp/${param.i}' uses ${param.i}, which has no value; give it one: --set i=VALUE");
        insta::assert_snapshot!(substitute("${env.HOME}", &values).unwrap_err(), @"'${env.HOME}' holds a reference that is not ${param.NAME}");
        assert!(references("${").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", size in 0_usize..20) {
            for r#type in [ParamType::Int, ParamType::Duration, ParamType::Size, ParamType::Ip, ParamType::Mac] {
                drop(encode(r#type, &text, size));
            }
            drop(substitute(&text, &BTreeMap::new()));
        }
    }
}
