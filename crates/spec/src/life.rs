//! What part 8 of the standard decides without a kernel: what a crash left, and what becomes of a map.

use serde::{Deserialize, Serialize};

use crate::manifest::Upgrade;

/// An operation that began and did not end, as its node wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Interrupted {
    /// Whether it can only go on: a removal, a commit.
    #[serde(default)]
    pub only_forward: bool,
    /// Whether the node wrote down that it had switched.
    #[serde(default)]
    pub switched: bool,
}

/// What a node does with an interrupted operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The new state holds.
    Finish,
    /// The old state holds.
    Undo,
}

/// What becomes of an interrupted operation; `runs_new` is whether the kernel runs the new generation.
#[must_use]
pub const fn after_crash(interrupted: Interrupted, runs_new: bool) -> Way {
    if interrupted.only_forward || interrupted.switched || runs_new {
        Way::Finish
    } else {
        Way::Undo
    }
}

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
}

impl Lost {
    /// The standard's code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Policy => "life.policy",
            Self::Layout => "life.layout",
            Self::Merge => "life.merge",
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
            Some(Upgrade::Migrate) => Ok(Fate::Moved),
            None | Some(Upgrade::Keep) => Err(Lost::Policy),
        }
    }
}
