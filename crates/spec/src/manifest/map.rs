//! `[map]`: its size, and what an upgrade does with what is in it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::param::Value;

/// `[map.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// Entries (or bytes, for a ring buffer): a number, a size, or `${param.NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<Value>,
    /// What an upgrade does with the contents; absent means keep if the BTF layout is equal, else refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// For `migrate`: how each field of the new value is merged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Merge>,
    /// For `migrate`: new field name = old field name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// How the map is written; derived from the bytecode, shown because exactness depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers: Option<String>,
    /// Saved over a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<bool>,
    /// `config`: the contents belong to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The format of a key of a `config` map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A stable pin for others.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Mode of the pin, octal.
    pub mode: String,
    /// Group that owns the pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What an upgrade does with a map's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
