//! What an operation will do, or did: for the journal, for `--dry-run` and for `show`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_adapt::{Change, Pass};
pub use skep_spec::life::Place;
use skep_spec::manifest::Merge;
use skep_spec::{Digest, PackageName, ServiceName, Target, Version};

use crate::state::Mechanism;

/// What an upgrade (or install) would do; nothing was touched to find out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The service.
    pub service: ServiceName,
    /// What runs now; none for an install.
    pub from: Option<Identity>,
    /// What will run.
    pub to: Identity,
    /// The package and parameters are those that run already: nothing to do.
    pub already: bool,
    /// What becomes of each hook.
    pub hooks: Vec<HookPlan>,
    /// What becomes of each map, by name.
    pub maps: BTreeMap<String, MapPlan>,
    /// Hooks that do not switch by the one store of the service's switch word, each with the reason.
    pub separately: Vec<String>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// Which package a generation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The generation's number.
    pub generation: u64,
    /// `publisher/name`.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// Digest of its index.
    pub index: Digest,
}

/// What becomes of one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPlan {
    /// The decision.
    pub change: MapChange,
    /// One sentence for people.
    pub why: String,
    /// How exact the contents are afterwards.
    pub exactness: Exactness,
}

/// What an upgrade does with a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldMove {
    /// The new name.
    pub name: String,
    /// In the old value.
    pub old: Place,
    /// In the new value.
    pub new: Place,
    /// Number of elements: more than 1 for arrays.
    pub count: u32,
    /// Whether it is a signed number.
    pub signed: bool,
    /// How the two values become one.
    pub merge: Merge,
}

/// How exact a map's contents are after an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// What was done to make a generation run here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In the order in which it was done.
    pub changes: Vec<Change>,
}

impl Report {
    pub(crate) fn add(&mut self, pass: Pass, on: impl Into<String>, what: impl Into<String>) {
        self.changes.push(Change { pass, on: on.into(), what: what.into() });
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reversed_twice_is_itself() {
        let field = FieldMove {
            name: "count".to_owned(),
            old: Place { offset: 0, width: 4 },
            new: Place { offset: 8, width: 8 },
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
}
