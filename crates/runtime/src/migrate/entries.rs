//! The entries of a map of keys and values across an upgrade: kept, moved, or refused with the lines that would allow it.

use std::collections::BTreeSet;

use skep_object::layout::{FieldPair, LayoutChange, compare_fields, paths};
use skep_spec::life::{Entries, Fate, Lost};
use skep_spec::manifest::{Merge, Upgrade};
use skep_spec::nearest::nearest;
use skep_spec::param::Value;

use super::explain;
use super::pair::{Pair, field_move, plan, reset};
use crate::plan::{Exactness, FieldMove, MapChange, MapPlan};

/// So many renames of nothing are told, and held against what they may have meant.
const TOLD: usize = 8;

const OTHER_KEY: &str =
    "entries can only move between hash tables, or between arrays, with the same key";

impl Pair<'_> {
    /// A map of keys and values.
    pub(super) fn entries(&self) -> Result<MapPlan, String> {
        if let Some(told) = self.misnamed() {
            return Err(told);
        }
        let same = self.same_map() && self.same_key() && self.same_value();
        let change = self.value_change();
        let (common, removed, blocked) = match &change {
            LayoutChange::Fields { common, removed, blocked, .. } => {
                (common.as_slice(), removed.as_slice(), blocked.first())
            }
            _ => Default::default(),
        };
        let (unsaid, crowded) = (self.unsaid(common), self.crowded());
        let movable = self.old.map.movable_to(self.new.map);
        let asked = Entries {
            policy: self.upgrade(),
            same,
            same_key: self.same_key() && movable.is_ok(),
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
                let moving = Entries { policy: Some(Upgrade::Migrate), unsaid: false, ..asked };
                let unmoved = moving.fate().err().map(|_| self.unmoved(movable, &change));
                let difference = self.difference();
                Err(explain::not_allowed(
                    self.name,
                    self.upgrade(),
                    &difference,
                    unmoved.or_else(|| self.shrinks()).map_or(Ok(&change), Err),
                ))
            }
            Err(Lost::Merge) => Err(explain::no_merge(self.name, &unsaid)),
            Err(Lost::Layout) => {
                Err(explain::impossible(self.name, &self.unmoved(movable, &change)))
            }
        }
    }

    /// Why no entry can move.
    fn unmoved(&self, movable: Result<(), String>, change: &LayoutChange) -> String {
        match movable {
            Err(why) => why,
            Ok(()) if !self.same_key() => OTHER_KEY.to_owned(),
            Ok(()) => unmovable(change),
        }
    }

    /// That not all entries of an array can be in the new one, if so.
    fn shrinks(&self) -> Option<String> {
        let (old, room) = (self.old.entries(), self.new.entries());
        let shrinks = self.old.map.kind.is_array() && old > room;
        shrinks.then(|| format!("it has {old} entries, and {room} fit now"))
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
        let nothing = self.renamed_from_nothing();
        for (new, old) in nothing.iter().take(TOLD) {
            why += &format!("; it renames '{old}' to '{new}', and the old version has neither");
        }
        if nothing.len() > TOLD {
            why += &format!("; {} more renames are of nothing", nothing.len() - TOLD);
        }
        if let Some(overflow) = self.overflow() {
            why += &format!("; {overflow}");
        }
        plan(MapChange::Migrate { fields }, why, exactness)
    }

    fn value_change(&self) -> LayoutChange {
        let types = (self.old.map.value_type, self.new.map.value_type, self.types());
        let (Some(old), Some(new), Some((a, b))) = types else {
            return LayoutChange::Incompatible("its value has no type in BTF".to_owned());
        };
        let renames = self.policy.map(|policy| policy.rename.clone()).unwrap_or_default();
        compare_fields(a, old, b, new, &renames)
    }

    /// Renames of what the old version does not have; where it has the new name already, another version renamed it before.
    fn renamed_from_nothing(&self) -> Vec<(&str, &str)> {
        let Some(known) = self.old_fields() else { return Vec::new() };
        let has = |name: &String| known.contains(name);
        let renames = self.policy.into_iter().flat_map(|policy| &policy.rename);
        let nothing = renames.filter(|(new, old)| !has(new) && !has(old));
        nothing.map(|(new, old)| (new.as_str(), old.as_str())).collect()
    }

    fn old_fields(&self) -> Option<BTreeSet<String>> {
        paths(self.old.facts.btf.as_ref()?, self.old.map.value_type?)
    }

    /// A rename that misses what it is meant for: nearly that name is the one of a field that nothing takes over.
    fn misnamed(&self) -> Option<String> {
        let (known, now) = (self.old_fields()?, paths(self.types()?.1, self.new.map.value_type?)?);
        let taken: BTreeSet<&String> = self.policy?.rename.values().chain(&now).collect();
        let left = || known.iter().filter(|name| !taken.contains(name)).map(String::as_str);
        self.renamed_from_nothing().into_iter().take(TOLD).find_map(|(new, old)| {
            let near = nearest(old, left())?;
            Some(explain::misnamed(self.name, (new, old), near))
        })
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::choose::Objects;
    use crate::compiled::{alone, compiled};
    use crate::load::map_names;
    use crate::migrate::decide::{Side, decide};
    use crate::params::Params;

    /// An object with a map `m` of this kind, whose values have these members.
    fn objects(kind: &str, members: &str) -> Objects {
        let key = if kind == "22" { "" } else { "unsigned *key;" };
        let source = format!(
            "struct val {{ {members} }};\nstruct {{ int (*type)[{kind}]; int (*max_entries)[8]; {key} struct val *value; }}\n\
             m __attribute__((section(\".maps\")));\n\
             __attribute__((section(\"xdp\"))) int x(void *packet) {{ return 2; }}\n"
        );
        alone(&compiled(&source))
    }

    fn decided(kind: &str, tables: &str) -> Result<MapPlan, String> {
        between([objects(kind, "long n;"), objects(kind, "long a; long n;")], tables)
    }

    fn between([old, new]: [Objects; 2], tables: &str) -> Result<MapPlan, String> {
        let source = format!(
            "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
             [object.x]\nsources = [\"x.bpf.c\"]\n{tables}"
        );
        let manifest = skep_spec::source::parse(&source).unwrap().resolve(&BTreeMap::new());
        let params = Params::default();
        let names = map_names(&old, None);
        let side = |objects| Side { manifest: &manifest, objects, params: &params, names: &names };
        let plans = decide(side(&old), side(&new), &|_| None);
        plans.map(|mut plans| plans.remove("m").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_move_that_the_kernel_cannot_do_is_neither_promised_nor_advised() {
        let migrate = "[map.m]\nupgrade = \"migrate\"\nfields = { n = \"sum\" }\n";
        assert!(matches!(decided("1", migrate).unwrap().change, MapChange::Migrate { .. }));
        assert!(decided("1", "").unwrap_err().contains("to move the entries"));
        for kind in ["22", "29"] {
            let error = decided(kind, migrate).unwrap_err();
            assert!(error.contains(" cannot be moved\n  to start empty: "), "{error}");
            let error = decided(kind, "").unwrap_err();
            assert!(!error.contains("migrate"), "{error}");
            decided(kind, "[map.m]\nupgrade = \"reset\"\n").unwrap();
        }
    }

    #[test]
    fn a_rename_from_what_the_old_version_does_not_have_is_told() {
        let renamed = |old: &str, from: &str| {
            let versions = [objects("1", old), objects("1", "long total; long n;")];
            let tables = format!(
                "[map.m]\nupgrade = \"migrate\"\nfields = {{ total = \"sum\", n = \"sum\" }}\n\
                 rename = {{ total = \"{from}\" }}\n"
            );
            between(versions, &tables)
        };
        let moved = |plan: Result<MapPlan, String>| match plan.unwrap() {
            MapPlan { change: MapChange::Migrate { fields }, why, .. } => (fields.len(), why),
            other => panic!("{other:?}"),
        };
        let plain = "the manifest says migrate";
        assert_eq!(moved(renamed("long bytes; long n;", "bytes")), (2, plain.to_owned()));
        // Another version renamed it before.
        assert_eq!(
            moved(renamed("long total; long n; int x;", "bytes")),
            (2, format!("{plain}; what the old version has in x is lost"))
        );
        let (count, why) = moved(renamed("long packets; long n;", "bytes"));
        assert_eq!(count, 1);
        assert!(
            why.ends_with("; it renames 'bytes' to 'total', and the old version has neither"),
            "{why}"
        );
        let error = renamed("long bytes; long n;", "byte").unwrap_err();
        let told = "the manifest renames 'byte' to 'total', and the version that runs has no field 'byte', but 'bytes', which would be lost\n  \
             to take it over:      [map.m]\n                        rename = { total = \"bytes\" }";
        assert!(error.contains(told), "{error}");
    }
}
