//! What becomes of a map's contents, and how exactly.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::{Merge, Upgrade};

/// A map of keys and values that both versions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Entries {
    /// What the new manifest says.
    pub policy: Option<Upgrade>,
    /// Whether nothing differs: kind, sizes, flags, key and value.
    pub same: bool,
    /// Whether the key is the same, and both are hash tables or both arrays.
    #[serde(default)]
    pub same_key: bool,
    /// Whether the values have fields in common, and none of both is blocked.
    #[serde(default)]
    pub common: bool,
    /// Whether a common number has no merge.
    #[serde(default)]
    pub unsaid: bool,
    /// Whether the old one has more entries than the new one has room for, and the new one does not forget by itself.
    #[serde(default)]
    pub crowded: bool,
}

/// What becomes of a map of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Both versions use it.
    Kept,
    /// Its entries move.
    Moved,
    /// The new version starts with an empty one.
    Empty,
}

/// Why an upgrade is refused for a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The layouts differ and nothing says what is to become of the contents.
    #[error("the layouts differ and the manifest does not say migrate or reset")]
    Policy,
    /// The contents cannot move.
    #[error("the contents cannot move: the key, the kind or a field does not allow it")]
    Layout,
    /// A number has no merge.
    #[error("a number of the value has no merge in fields")]
    Merge,
    /// Not all entries fit.
    #[error("the old map has more entries than the new one has room for")]
    Room,
}

impl Lost {
    /// The standard's code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Policy => "life.policy",
            Self::Layout => "life.layout",
            Self::Merge => "life.merge",
            Self::Room => "life.room",
        }
    }
}

impl Entries {
    /// What becomes of the contents.
    ///
    /// # Errors
    /// They would be lost, and no policy says so.
    pub const fn fate(self) -> Result<Fate, Lost> {
        match self.policy {
            Some(Upgrade::Reset) => Ok(Fate::Empty),
            _ if self.same => Ok(Fate::Kept),
            Some(Upgrade::Migrate) if !self.same_key || !self.common => Err(Lost::Layout),
            Some(Upgrade::Migrate) if self.unsaid => Err(Lost::Merge),
            Some(Upgrade::Migrate) if self.crowded => Err(Lost::Room),
            Some(Upgrade::Migrate) => Ok(Fate::Moved),
            None | Some(Upgrade::Keep) => Err(Lost::Policy),
        }
    }
}

/// How a map's values are written by programs, the most harmless first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Writers {
    /// Not at all.
    #[default]
    None,
    /// Only by atomic additions and the like, or by creating entries that are not there.
    Atomic,
    /// By plain stores, into values that each CPU has for itself.
    PlainPerCpu,
    /// By plain stores that another CPU's, or another writer's, may overtake; or in a way that cannot be told.
    Plain,
}

impl fmt::Display for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Atomic => "atomic",
            Self::PlainPerCpu => "plain-per-cpu",
            Self::Plain => "plain",
        })
    }
}

/// Where a field's elements lie in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldSpan {
    /// Bytes from the start of the value.
    pub offset: u32,
    /// Bytes of one element.
    pub width: u32,
}

/// A field that moves from an old value to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Moved {
    /// How the two values become one.
    pub merge: Merge,
    /// In the old value.
    pub old: FieldSpan,
    /// In the new value.
    pub new: FieldSpan,
}

/// How exact moved contents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Every update is in the result once.
    Exact,
    /// The same, since each CPU's value moves on its CPU.
    PerCpu,
    /// An update that is under way may be lost.
    Based,
}

/// The class of a map whose entries move; `writers` are the worse of both versions'.
#[must_use]
pub fn class(writers: Writers, fields: impl IntoIterator<Item = Moved>) -> Class {
    let aligned = |at: FieldSpan| matches!(at.width, 4 | 8) && at.offset.is_multiple_of(at.width);
    let adds = |field: Moved| field.merge == Merge::Sum && aligned(field.old) && aligned(field.new);
    match writers {
        Writers::None => Class::Exact,
        Writers::Atomic if fields.into_iter().all(adds) => Class::Exact,
        Writers::PlainPerCpu => Class::PerCpu,
        Writers::Atomic | Writers::Plain => Class::Based,
    }
}
