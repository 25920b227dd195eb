//! Maps of two versions: what changed, and what a warm upgrade can keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::event_type;
use crate::layout::{FieldChange, FieldClass, LayoutChange, compare, fields};
use crate::{Btf, Facts, MapFacts, MapKind, MapOrigin, TypeId};

/// A map of either version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDifference {
    /// The map.
    pub name: String,
    /// What a warm upgrade can keep of it.
    pub keeps: Keeps,
    /// Why, where the word does not say it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Attributes that changed, in words: `max_entries: 64, was 16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Fields of the key that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<FieldChange>,
    /// Fields of the value, or of a ring's records, that changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub value: Vec<FieldChange>,
}

/// What a warm upgrade can keep of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeps {
    /// The same map serves both versions.
    All,
    /// Entries can be moved, field by field, if the manifest says how.
    Movable,
    /// Variables are carried over by name.
    Variables,
    /// Each version has its own, and nothing is lost by that.
    Own,
    /// Nothing: its contents cannot be moved.
    Nothing,
    /// Only the new version has it.
    New,
    /// Only the old version has it.
    Gone,
}

impl fmt::Display for Keeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "kept as it is",
            Self::Movable => "can be moved, if the manifest says how",
            Self::Variables => "variables are carried over by name",
            Self::Own => "each version has its own",
            Self::Nothing => "cannot be kept",
            Self::New => "new",
            Self::Gone => "gone",
        })
    }
}

pub(super) fn maps(old: &Facts, new: &Facts) -> Vec<MapDifference> {
    let names: BTreeSet<&str> =
        old.maps.iter().chain(&new.maps).map(|map| map.name.as_str()).collect();
    let difference = |name: &str| match (old.map(name), new.map(name)) {
        (Some(before), Some(after)) => Some(Pair { old, new, before, after }.difference()),
        (None, Some(_)) => Some(alone(name, Keeps::New)),
        (Some(_), None) => Some(alone(name, Keeps::Gone)),
        (None, None) => None,
    };
    names.into_iter().filter_map(difference).collect()
}

fn alone(name: &str, keeps: Keeps) -> MapDifference {
    let (name, why) = (name.to_owned(), String::new());
    MapDifference { name, keeps, why, attributes: vec![], key: vec![], value: vec![] }
}

struct Pair<'a> {
    old: &'a Facts,
    new: &'a Facts,
    before: &'a MapFacts,
    after: &'a MapFacts,
}

impl Pair<'_> {
    fn difference(&self) -> MapDifference {
        let (keeps, why) = self.keeps();
        let record = |facts: &Facts, map: &MapFacts| match self.is_ring() {
            true => event_type(facts, &map.name, None),
            false => map.value_type,
        };
        let value = (record(self.old, self.before), record(self.new, self.after));
        MapDifference {
            name: self.after.name.clone(),
            keeps,
            why,
            attributes: self.attributes(),
            key: self.fields(self.before.key_type, self.after.key_type),
            value: self.fields(value.0, value.1),
        }
    }

    fn keeps(&self) -> (Keeps, String) {
        let said = |keeps, why: &str| (keeps, why.to_owned());
        match self.after.kind {
            _ if self.after.origin == MapOrigin::Data => {
                match self.after.name.starts_with(".rodata") {
                    true => said(Keeps::Own, "constants"),
                    false => said(Keeps::Variables, ""),
                }
            }
            MapKind::RingBuf | MapKind::PerfEventArray | MapKind::UserRingBuf => {
                match self.same_ring() {
                    true => said(Keeps::All, ""),
                    false => said(Keeps::Own, "the old one is read to its end first"),
                }
            }
            MapKind::ProgArray | MapKind::ArrayOfMaps | MapKind::HashOfMaps => {
                said(Keeps::Own, "it holds the version's own programs or maps")
            }
            _ => self.entries(),
        }
    }

    fn entries(&self) -> (Keeps, String) {
        let same_key = self.same(|map| map.key_type);
        if self.attributes().is_empty() && same_key && self.same(|map| map.value_type) {
            return (Keeps::All, String::new());
        }
        let shape = |map: &MapFacts| (map.kind.is_array(), map.kind.is_per_cpu());
        if !same_key || self.before.key_size != self.after.key_size {
            return (Keeps::Nothing, "its key changed".to_owned());
        }
        if shape(self.before) != shape(self.after) {
            return (Keeps::Nothing, format!("it was a {}", self.before.kind));
        }
        let (Some((a, b)), Some(old), Some(new)) =
            (self.types(), self.before.value_type, self.after.value_type)
        else {
            return (Keeps::Nothing, "its value has no type in BTF".to_owned());
        };
        match compare(a, old, b, new, &BTreeMap::new()) {
            LayoutChange::Equal => (Keeps::Movable, String::new()),
            LayoutChange::Incompatible(why) => (Keeps::Nothing, why),
            LayoutChange::Fields { blocked, removed, .. } => match blocked.first() {
                Some(field) => (Keeps::Nothing, format!("field '{}': {}", field.name, field.why)),
                None if removed.is_empty() => (Keeps::Movable, String::new()),
                None => (Keeps::Movable, format!("{} would be lost", removed.join(", "))),
            },
        }
    }

    fn attributes(&self) -> Vec<String> {
        let (old, new) = (self.before, self.after);
        let kinds = (old.kind.to_string(), new.kind.to_string());
        let number = |number: u32| number.to_string();
        let rows = [
            ("type", kinds.0, kinds.1),
            ("key_size", number(old.key_size), number(new.key_size)),
            ("value_size", number(old.value_size), number(new.value_size)),
            ("max_entries", number(old.max_entries), number(new.max_entries)),
            ("flags", format!("{:#x}", old.flags), format!("{:#x}", new.flags)),
            ("pinned", old.pinned.to_string(), new.pinned.to_string()),
        ];
        let changed = rows.into_iter().filter(|(_, old, new)| old != new);
        changed.map(|(what, old, new)| format!("{what}: {new}, was {old}")).collect()
    }

    fn is_ring(&self) -> bool {
        matches!(self.after.kind, MapKind::RingBuf | MapKind::PerfEventArray | MapKind::UserRingBuf)
    }

    fn same_ring(&self) -> bool {
        let record = |facts: &Facts, map: &MapFacts| event_type(facts, &map.name, None);
        let records = (record(self.old, self.before), record(self.new, self.after), self.types());
        let (Some(old), Some(new), Some((a, b))) = records else { return false };
        self.attributes().is_empty() && a.layout_eq(old, b, new)
    }

    fn types(&self) -> Option<(&Btf, &Btf)> {
        Some((self.old.btf.as_ref()?, self.new.btf.as_ref()?))
    }

    /// Whether a type is the same; where neither version says one, its size must do.
    fn same(&self, of: fn(&MapFacts) -> Option<TypeId>) -> bool {
        match (of(self.before), of(self.after), self.types()) {
            (Some(old), Some(new), Some((a, b))) => a.layout_eq(old, b, new),
            (None, None, _) => true,
            _ => false,
        }
    }

    /// What is not as it was.
    fn fields(&self, old: Option<TypeId>, new: Option<TypeId>) -> Vec<FieldChange> {
        let (Some(old), Some(new), Some((a, b))) = (old, new, self.types()) else {
            return Vec::new();
        };
        let mut all = fields(a, old, b, new, &BTreeMap::new()).unwrap_or_default();
        all.retain(|field| field.class != FieldClass::Same);
        all
    }
}
