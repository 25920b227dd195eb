//! The entries of a map of keys and values across an upgrade: kept, moved, or refused with the lines that would allow it.

use skep_object::layout::{FieldPair, LayoutChange};
use skep_spec::life::{Entries, Fate, Lost};
use skep_spec::manifest::{Merge, Upgrade};
use skep_spec::param::Value;

use super::explain;
use super::pair::{Pair, Version, field_move, fields, plan, reset};
use crate::plan::{Exactness, FieldMove, MapChange, MapPlan};

const OTHER_KEY: &str =
    "entries can only move between hash tables, or between arrays, with the same key";

impl Pair<'_> {
    /// A map of keys and values.
    pub(super) fn entries(&self) -> Result<MapPlan, String> {
        let same = self.same_map() && self.same_key() && self.same_value();
        let change = self.value_change();
        let (common, removed, blocked) = match &change {
            LayoutChange::Fields { common, removed, blocked, .. } => {
                (common.as_slice(), removed.as_slice(), blocked.first())
            }
            _ => Default::default(),
        };
        let (unsaid, crowded) = (self.unsaid(common), self.crowded());
        let asked = Entries {
            policy: self.upgrade(),
            same,
            same_key: self.same_key() && self.shape(self.old) == self.shape(self.new),
            common: !common.is_empty() && blocked.is_none(),
            unsaid: !unsaid.is_empty(),
            crowded: crowded.is_some(),
        };
        match asked.fate() {
            Ok(Fate::Kept) => {
                let why = "its layout is the same in both versions";
                Ok(plan(MapChange::Keep, why, Exactness::Exact))
            }
            Ok(Fate::Empty) => Ok(reset()),
            Ok(Fate::Moved) => Ok(self.migration(common, removed)),
            Err(Lost::Room) => Err(self.no_room(crowded.unwrap_or_default())),
            Err(Lost::Policy) => {
                let difference = self.difference();
                Err(explain::not_allowed(self.name, self.upgrade(), &difference, &change))
            }
            Err(Lost::Merge) => Err(explain::no_merge(self.name, &unsaid)),
            Err(Lost::Layout) => {
                let why = if asked.same_key { unmovable(&change) } else { OTHER_KEY.to_owned() };
                Err(explain::impossible(self.name, &why))
            }
        }
    }

    fn no_room(&self, entries: u64) -> String {
        let size = self.policy.and_then(|p| p.max_entries.as_ref()).map(Value::text);
        let (old, room) = (self.old.entries(), self.new.entries());
        explain::no_room(self.name, entries, room, old, size.as_deref())
    }

    /// How many entries the old map has, if that is more than fit: all of an array, of others those that are there now.
    fn crowded(&self) -> Option<u64> {
        let (old, room) = (self.old.entries(), self.new.entries());
        if old <= room || self.new.map.kind.forgets() || self.upgrade() != Some(Upgrade::Migrate) {
            return None;
        }
        let array = self.old.map.kind.is_array();
        let entries = if array { Some(u64::from(old)) } else { (self.held)(self.name) };
        entries.filter(|entries| *entries > u64::from(room))
    }

    /// What becomes of entries for which there is no room, if that can be.
    fn overflow(&self) -> Option<String> {
        let (old, room) = (self.old.entries(), self.new.entries());
        if old <= room || self.old.map.kind.is_array() {
            return None;
        }
        Some(match self.new.map.kind.forgets() {
            true => format!("it holds {room} entries, not {old}, and forgets those used least"),
            false => format!(
                "it holds {room} entries, not {old}: what finds no room stays behind, and is counted"
            ),
        })
    }

    /// The numbers that no merge is said for.
    fn unsaid<'a>(&self, common: &'a [FieldPair]) -> Vec<&'a str> {
        common
            .iter()
            .filter(|pair| pair.number && self.merge_of(&pair.name).is_none())
            .map(|pair| pair.name.as_str())
            .collect()
    }

    fn migration(&self, common: &[FieldPair], removed: &[String]) -> MapPlan {
        let merge = |pair: &FieldPair| match self.merge_of(&pair.name) {
            Some(merge) if pair.number => merge,
            _ => Merge::Last,
        };
        let fields: Vec<FieldMove> = common.iter().map(|p| field_move(p, merge(p))).collect();
        let exactness = self.exactness(&fields);
        let mut why = "the manifest says migrate".to_owned();
        if !removed.is_empty() {
            why += &format!("; what the old version has in {} is lost", removed.join(", "));
        }
        if let Some(overflow) = self.overflow() {
            why += &format!("; {overflow}");
        }
        plan(MapChange::Migrate { fields }, why, exactness)
    }

    fn shape(&self, version: Version<'_>) -> (bool, bool) {
        (version.map.kind.is_array(), version.map.kind.is_per_cpu())
    }

    fn value_change(&self) -> LayoutChange {
        let types = (self.old.map.value_type, self.new.map.value_type, self.types());
        let (Some(old), Some(new), Some((a, b))) = types else {
            return LayoutChange::Incompatible("its value has no type in BTF".to_owned());
        };
        let renames = self.policy.map(|policy| policy.rename.clone()).unwrap_or_default();
        fields(a, old, b, new, &renames)
    }

    fn difference(&self) -> String {
        let (old, new) = (self.old.map, self.new.map);
        if old.kind != new.kind {
            return format!("it was a {}, it is a {} now", old.kind, new.kind);
        }
        if !self.same_key() {
            return "its key has another layout".to_owned();
        }
        if !self.same_value() {
            return "its value has another layout".to_owned();
        }
        "its size or flags differ".to_owned()
    }
}

/// Why fields that both versions have cannot be moved.
fn unmovable(change: &LayoutChange) -> String {
    let blocked = match change {
        LayoutChange::Incompatible(why) => return why.clone(),
        LayoutChange::Fields { blocked, .. } => blocked.first(),
        LayoutChange::Equal => None,
    };
    let said = blocked.map(|blocked| format!("field '{}': {}", blocked.name, blocked.why));
    said.unwrap_or_else(|| "its fields can't be told".to_owned())
}
