//! Parameters: what an operator may set at install, and what a value of each type looks like.

use serde::{Deserialize, Serialize};

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
    /// One of the names of the variable's BTF enum, or its number.
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

/// A value as written in a manifest or given by `--set`: integers keep all 64 bits and their sign.
///
/// Canonical JSON writes integers beyond ±(2^53-1) as decimal strings; readers accept both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits JSON's exact range.
    Int(i64),
    /// Everything else, large integers included.
    Text(String),
}
