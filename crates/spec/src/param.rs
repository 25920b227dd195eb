//! Parameters: what an operator may set at install, and what a value of each type looks like.

mod encode;
mod spelling;
mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::spelling::{
    DURATIONS, SIZES, parse_device, parse_duration, parse_entries, parse_integer, parse_mac,
    parse_size,
};
pub use self::template::{MAX_TEXT, references, substitute};

/// The type of a parameter, as `type = "…"` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Whether every JSON reader keeps an integer exact.
#[must_use]
pub const fn is_exact(number: i64) -> bool {
    -MAX_EXACT <= number && number <= MAX_EXACT
}

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
    #[error("{}", too_large(text, *size))]
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
    /// A text that its values make too long.
    #[error("with the values of its parameters it has more than {MAX_TEXT} bytes")]
    Long,
}

/// Integers are written to variables of up to 8 bytes: a larger one has room, and is refused all the same.
fn too_large(text: &str, size: usize) -> String {
    match size {
        9.. if parse_integer(text).is_some() => {
            format!(
                "'{text}' cannot be written to a variable of {size} bytes: integers have 1 to 8"
            )
        }
        size => format!("'{text}' needs more than the variable's {size} bytes"),
    }
}

impl ParamError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Type { .. } => "param.type",
            Self::Range { .. } => "param.range",
            Self::Size { .. } | Self::Long => "param.size",
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
            Ok(number) if is_exact(number) => Self::Int(number),
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

impl ParamType {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Bool,
        Self::Int,
        Self::Uint,
        Self::Enum,
        Self::String,
        Self::Duration,
        Self::Size,
        Self::Ip,
        Self::Cidr,
        Self::Mac,
        Self::Device,
        Self::Interface,
        Self::Cgroup,
        Self::Path,
        Self::Pid,
        Self::Function,
        Self::Cpus,
    ];

    /// How `type = "…"` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        TYPES[self as usize]
    }

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
            Self::Cidr | Self::Cpus => r"^([\s\S]*)$",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_in_the_list_in_its_place() {
        for (at, name) in TYPES.into_iter().enumerate() {
            let found: ParamType = serde_json::from_value(name.into()).unwrap();
            assert_eq!((found, found.name()), (ParamType::ALL[at], name));
        }
        assert_eq!(TYPES.len(), ParamType::Cpus as usize + 1);
    }
}
