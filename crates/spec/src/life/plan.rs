//! What an upgrade does with hooks and maps: decided before anything is touched, written down, and shown.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FieldSpan;
use crate::Target;
use crate::manifest::Merge;

/// How a program is replaced on a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    /// A stub that calls the slot which the service's switch word picks.
    Stub,
    /// The link's program is replaced (xdp, tcx, cgroup).
    Update,
    /// What holds the program is replaced by such with another one: a tc filter at the same handle and priority, a route.
    Replace,
    /// It can't be replaced without a gap or a doubled event.
    Fixed,
}

/// What becomes of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookPlan {
    /// The hook's name.
    pub hook: String,
    /// Where it is.
    pub target: Target,
    /// The program that will run on it; none for a hook that goes.
    pub program: Option<String>,
    /// How the program is put there.
    pub mechanism: Mechanism,
    /// Whether it comes, stays or goes.
    pub change: HookChange,
}

/// Whether a hook comes, stays or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HookChange {
    /// Attached before the switch, with nothing in its slot till then.
    Added,
    /// Stays attached.
    Kept,
    /// Nothing runs on it after the switch; detached when the old generation goes.
    Removed,
}

/// What becomes of one map, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapPlan {
    /// The decision.
    pub change: MapChange,
    /// One sentence for people.
    pub why: String,
    /// How exact the contents are afterwards.
    pub exactness: Exactness,
}

/// What an upgrade does with a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum MapChange {
    /// Only the new version has it.
    New,
    /// Both versions use the same map.
    Keep,
    /// The entries move into the new version's map once the old one is quiet.
    Migrate {
        /// Field by field.
        fields: Vec<FieldMove>,
    },
    /// The new version starts with an empty map.
    Reset,
    /// The new version has a ring of its own, since its records are other ones; the old ring is read to its end first.
    Ring,
    /// Global variables: some are copied before the switch, some moved after it.
    Variables {
        /// Copied just before the switch.
        copied: Vec<FieldMove>,
        /// Moved after it.
        moved: Vec<FieldMove>,
    },
    /// Only the old version has it.
    Gone,
}

/// A field (or variable) on its way from an old value to a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldMove {
    /// The new name.
    pub name: String,
    /// In the old value.
    pub old: FieldSpan,
    /// In the new value.
    pub new: FieldSpan,
    /// Number of elements: more than 1 for arrays.
    pub count: u32,
    /// Whether it is a signed number.
    pub signed: bool,
    /// How the two values become one.
    pub merge: Merge,
}

/// How exact a map's contents are after an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exactness {
    /// Nothing is copied, or every write is atomic: not one update is lost or counted twice.
    Exact,
    /// Values are per CPU, and each is moved on its own CPU.
    PerCpu,
    /// The programs write without atomic instructions: a write that is under way during the move can be lost.
    Plain,
    /// What the old version writes between the copy and the switch is lost.
    Copied,
    /// The contents are not carried over.
    Dropped,
}

impl MapChange {
    /// The same change seen from the new version: what a rollback does.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let back = |fields: &[FieldMove]| fields.iter().map(FieldMove::reversed).collect();
        match self {
            Self::New => Self::Gone,
            Self::Gone => Self::New,
            Self::Migrate { fields } => Self::Migrate { fields: back(fields) },
            Self::Variables { copied, moved } => {
                Self::Variables { copied: back(copied), moved: back(moved) }
            }
            Self::Keep | Self::Reset | Self::Ring => self.clone(),
        }
    }
}

impl FieldMove {
    fn reversed(&self) -> Self {
        Self { name: self.name.clone(), old: self.new, new: self.old, ..*self }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stub => "stub",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Fixed => "fixed",
        })
    }
}

impl fmt::Display for HookChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Kept => "kept",
            Self::Removed => "removed",
        })
    }
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::PerCpu => "per-cpu",
            Self::Plain => "plain",
            Self::Copied => "copied",
            Self::Dropped => "dropped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reversed_twice_is_itself() {
        let field = FieldMove {
            name: "count".to_owned(),
            old: FieldSpan { offset: 0, width: 4 },
            new: FieldSpan { offset: 8, width: 8 },
            count: 1,
            signed: false,
            merge: Merge::Sum,
        };
        let change = MapChange::Migrate { fields: vec![field] };
        let MapChange::Migrate { fields } = change.reversed() else { panic!() };
        assert_eq!((fields[0].old.offset, fields[0].new.width), (8, 4));
        assert_eq!(change.reversed().reversed(), change);
        assert_eq!(MapChange::New.reversed(), MapChange::Gone);
    }

    /// What people read is what is on the wire.
    fn word<T: Serialize + fmt::Display>(of: T) {
        assert_eq!(serde_json::to_value(&of).unwrap(), of.to_string());
    }

    #[test]
    fn people_read_the_words_of_the_wire() {
        use Mechanism::{Fixed, Replace, Stub, Update};
        [Stub, Update, Replace, Fixed].into_iter().for_each(word);
        [HookChange::Added, HookChange::Kept, HookChange::Removed].into_iter().for_each(word);
        use Exactness::{Copied, Dropped, Exact, PerCpu, Plain};
        [Exact, PerCpu, Plain, Copied, Dropped].into_iter().for_each(word);
    }
}
