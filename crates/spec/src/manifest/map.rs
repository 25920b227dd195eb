//! `[map]`: its size, and what an upgrade does with what is in it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::param::Value;

/// A map: its size, and what an upgrade does with what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Map {
    /// Entries, or bytes of a ring buffer: an integer, a size such as `64KiB`, or `${param.NAME}`; default: the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<Value>,
    /// What an upgrade does with the contents: `keep`, `migrate` or `reset`; default: kept if the layout is the same, else the upgrade is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// For `migrate`, by field of the new value, how two values become one: `sum`, `max`, `min` (0 means "never set") or `last` (the default).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Merge>,
    /// For `migrate`: new field = old field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// How the code writes it: `atomic`, `plain` or `none`; a claim for readers, which is derived from the bytecode again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers: Option<String>,
    /// Whether the contents are kept over a reboot; default `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<bool>,
    /// `config`: the contents are the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// With `role`: how keys of a `config` map are written: `cidr`, `ip`, `mac`, `cgroup`, `device` or `interface`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A stable pin for other programs of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
}

impl Map {
    /// How a field is merged: said for itself, or for what it is in.
    #[must_use]
    pub fn merge_of(&self, field: &str) -> Option<Merge> {
        let mut outer = std::iter::successors(Some(field), |path| Some(path.rsplit_once('.')?.0));
        outer.find_map(|path| self.fields.get(path).copied())
    }
}

/// A stable pin for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// The pin's mode: octal text, at most `0777`.
    pub mode: String,
    /// The group that owns the pin, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What an upgrade does with a map's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// The same map; refused if the BTF layout differs.
    Keep,
    /// Moved entry by entry into the new map.
    Migrate,
    /// The new version starts empty.
    Reset,
}

/// How two values of a field become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    /// Added.
    Sum,
    /// The larger.
    Max,
    /// The smaller, where zero means "never set".
    Min,
    /// The new version's, where it is not zero.
    Last,
}
