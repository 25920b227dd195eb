//! What an upgrade does with each map, from the layouts of both versions and the new version's manifest.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::event::event_type;
use skep_object::layout::{FieldPair, LayoutChange, compare};
use skep_object::{Btf, Facts, Global, MapFacts, MapKind, MapOrigin, TypeId};
use skep_spec::Manifest;
use skep_spec::life::{Class, Entries, Fate, Lost, Moved, class};
use skep_spec::manifest::{Map, Merge, Upgrade};
use skep_spec::param::Value;

use super::{MigrateError, explain};
use crate::choose::Objects;
use crate::load::{LOST, map_names};
use crate::params::Params;
use crate::plan::{Exactness, FieldMove, MapChange, MapPlan, Place};

/// One version: its objects and its manifest.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) objects: &'a Objects,
    pub(crate) params: &'a Params,
}

/// How many entries a map of the old version has now, where that is known.
pub(crate) type Held<'a> = &'a dyn Fn(&str) -> Option<u64>;

/// A map of both versions.
struct Pair<'a> {
    name: &'a str,
    held: Held<'a>,
    policy: Option<&'a Map>,
    old: Version<'a>,
    new: Version<'a>,
}

#[derive(Clone, Copy)]
struct Version<'a> {
    facts: &'a Facts,
    map: &'a MapFacts,
    side: Side<'a>,
}

impl Version<'_> {
    /// How many entries there is room for.
    fn entries(&self) -> u32 {
        let told = self.side.params.max_entries(&self.map.name).ok().flatten();
        told.unwrap_or(self.map.max_entries)
    }
}

/// Decides for every map of both versions.
pub(crate) fn decide(
    old: Side<'_>,
    new: Side<'_>,
    held: Held<'_>,
) -> Result<BTreeMap<String, MapPlan>, MigrateError> {
    let (old_maps, new_maps) = (versions(old), versions(new));
    let names: BTreeSet<&String> = old_maps.keys().chain(new_maps.keys()).collect();
    let (mut plans, mut problems) = (BTreeMap::new(), Vec::new());
    for name in names {
        let plan = match (old_maps.get(name), new_maps.get(name)) {
            (Some(old), Some(map)) => {
                let policy = new.manifest.map.get(&map.map.name);
                Pair { name, held, policy, old: *old, new: *map }.plan()
            }
            (None, _) => Ok(plan(MapChange::New, "only the new version has it", Exactness::Exact)),
            (_, None) => {
                Ok(plan(MapChange::Gone, "only the old version has it", Exactness::Dropped))
            }
        };
        match plan {
            Ok(plan) => drop(plans.insert(name.clone(), plan)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(plans) } else { Err(MigrateError { problems }) }
}

fn versions(side: Side<'_>) -> BTreeMap<String, Version<'_>> {
    let mut versions = BTreeMap::new();
    for (name, place) in map_names(side.objects) {
        let facts = side.objects.get(&place.object);
        if let Some((facts, map)) = facts.and_then(|f| f.map(&place.symbol).map(|map| (f, map))) {
            versions.insert(name, Version { facts, map, side });
        }
    }
    versions
}

fn plan(change: MapChange, why: impl Into<String>, exactness: Exactness) -> MapPlan {
    MapPlan { change, why: why.into(), exactness }
}

fn reset() -> MapPlan {
    plan(MapChange::Reset, "the manifest says reset", Exactness::Dropped)
}

impl Pair<'_> {
    fn plan(&self) -> Result<MapPlan, String> {
        let resets = self.upgrade() == Some(Upgrade::Reset);
        match self.new.map.kind {
            _ if self.new.map.origin == MapOrigin::Data => Ok(self.variables(resets)),
            MapKind::RingBuf | MapKind::PerfEventArray | MapKind::UserRingBuf => Ok(self.ring()),
            _ if resets => Ok(reset()),
            kind if kind.holds_objects() => {
                let why = format!("a {kind} holds the version's own programs or maps");
                Ok(plan(MapChange::Reset, why, Exactness::Dropped))
            }
            _ => self.entries(),
        }
    }

    fn upgrade(&self) -> Option<Upgrade> {
        self.policy.and_then(|policy| policy.upgrade)
    }

    /// Constants are the version's own; variables are copied, or moved where the manifest says how.
    fn variables(&self, resets: bool) -> MapPlan {
        if self.name.contains(".rodata") {
            let why = "constants are each version's own";
            return plan(MapChange::Reset, why, Exactness::Exact);
        }
        if resets {
            return reset();
        }
        let (mut copied, mut moved, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for new in self.globals(self.new) {
            let Some(old) = self.globals(self.old).find(|old| old.name == new.name) else {
                continue;
            };
            match self.variable(old, new) {
                Some(found) if self.merge_of(&new.name).is_some() => moved.extend(found),
                Some(found) => copied.extend(found),
                None => left.push(new.name.as_str()),
            }
        }
        let exactness = match (copied.is_empty(), moved.is_empty()) {
            (true, true) => Exactness::Dropped,
            (true, false) => self.exactness(&moved),
            _ => Exactness::Copied,
        };
        let mut why = match copied.len() + moved.len() {
            1 => "1 variable is carried over by name".to_owned(),
            several => format!("{several} variables are carried over by name"),
        };
        if !left.is_empty() {
            why += &format!("; not those whose type changed: {}", left.join(", "));
        }
        plan(MapChange::Variables { copied, moved }, why, exactness)
    }

    fn globals<'a>(&self, of: Version<'a>) -> impl Iterator<Item = &'a Global> {
        of.facts.globals.iter().filter(move |global| global.section == of.map.name)
    }

    /// How one variable is carried over; none if its type changed. One that the operator set is not touched.
    fn variable(&self, old: &Global, new: &Global) -> Option<Vec<FieldMove>> {
        if self.new.side.params.is_set_live(&new.name) {
            return Some(Vec::new());
        }
        let place = |global: &Global| {
            let offset = u32::try_from(global.offset).ok()?;
            Some(Place { offset, width: u32::try_from(global.size).ok()? })
        };
        let (from, to) = (place(old)?, place(new)?);
        let types = self.types().and_then(|(a, b)| Some((a, old.ty?, b, new.ty?)));
        let same = types.is_none_or(|(a, old_ty, b, new_ty)| a.layout_eq(old_ty, b, new_ty));
        if let (Some(merge), Some((a, old_ty, b, new_ty))) = (self.merge_of(&new.name), types) {
            let pairs = fields(a, old_ty, b, new_ty, &BTreeMap::new());
            let LayoutChange::Fields { common, blocked, .. } = pairs else { return None };
            if !blocked.is_empty() {
                return None;
            }
            let inside = |pair: FieldPair| {
                let mut field = field_move(&pair, if pair.number { merge } else { Merge::Last });
                field.old.offset += from.offset;
                field.new.offset += to.offset;
                FieldMove { name: new.name.clone(), ..field }
            };
            return Some(common.into_iter().map(inside).collect());
        }
        if !same || from.width != to.width {
            return None;
        }
        let name = new.name.clone();
        Some(vec![FieldMove {
            name,
            old: from,
            new: to,
            count: 1,
            signed: false,
            merge: Merge::Last,
        }])
    }

    /// A ring serves both versions if their records are the same; otherwise each has its own.
    fn ring(&self) -> MapPlan {
        let record = |version: Version<'_>| {
            let outputs = version.side.manifest.output.values();
            let told =
                outputs.filter(|o| o.map == version.map.name).find_map(|o| o.r#struct.as_deref());
            event_type(version.facts, &version.map.name, told)
        };
        let same_records = match (record(self.old), record(self.new), self.types()) {
            (Some(old), Some(new), Some((a, b))) => a.layout_eq(old, b, new),
            _ => false,
        };
        if same_records && self.same_map() {
            let why = "its records are the same in both versions";
            return plan(MapChange::Keep, why, Exactness::Exact);
        }
        let why = "its records or its size differ: each version has its own, and the old one is read to its end first";
        plan(MapChange::Ring, why, Exactness::Exact)
    }

    /// A map of keys and values.
    fn entries(&self) -> Result<MapPlan, String> {
        let same = self.same_map() && self.same_key() && self.same_value();
        let change = self.value_change();
        let (common, removed, blocked) = match &change {
            LayoutChange::Fields { common, removed, blocked, .. } => {
                (common.as_slice(), removed.as_slice(), blocked.first())
            }
            _ => Default::default(),
        };
        let unsaid = self.unsaid(common);
        let crowded = self.crowded();
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
            Err(Lost::Policy) => {
                let difference = self.difference();
                Err(explain::not_allowed(self.name, self.upgrade(), &difference, &change))
            }
            Err(Lost::Merge) => Err(explain::no_merge(self.name, &unsaid)),
            Err(Lost::Room) => {
                let size = self.policy.and_then(|p| p.max_entries.as_ref()).map(Value::text);
                let (entries, size) = (crowded.unwrap_or_default(), size.as_deref());
                let (old, room) = (self.old.entries(), self.new.entries());
                Err(explain::no_room(self.name, entries, room, old, size))
            }
            Err(Lost::Layout) if !asked.same_key => {
                let why = "entries can only move between hash tables, or between arrays, with the same key";
                Err(explain::impossible(self.name, why))
            }
            Err(Lost::Layout) => {
                let why = match (&change, blocked) {
                    (LayoutChange::Incompatible(why), _) => why.clone(),
                    (_, Some(blocked)) => format!("field '{}': {}", blocked.name, blocked.why),
                    _ => "its fields can't be told".to_owned(),
                };
                Err(explain::impossible(self.name, &why))
            }
        }
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

    fn merge_of(&self, field: &str) -> Option<Merge> {
        self.policy?.merge_of(field)
    }

    fn exactness(&self, fields: &[FieldMove]) -> Exactness {
        let writers = |version: Version<'_>| version.facts.writers(&version.map.name);
        let moved = fields.iter().map(|f| Moved { merge: f.merge, old: f.old, new: f.new });
        match class(writers(self.old).max(writers(self.new)), moved) {
            Class::Exact => Exactness::Exact,
            Class::PerCpu => Exactness::PerCpu,
            Class::Based => Exactness::Plain,
        }
    }

    fn types(&self) -> Option<(&Btf, &Btf)> {
        Some((self.old.facts.btf.as_ref()?, self.new.facts.btf.as_ref()?))
    }

    /// Everything but the types: what the kernel itself compares.
    fn same_map(&self) -> bool {
        let rest = |v: Version<'_>| (v.map.kind, v.map.key_size, v.map.value_size, v.map.flags);
        rest(self.old) == rest(self.new) && self.old.entries() == self.new.entries()
    }

    fn same_key(&self) -> bool {
        self.same_type(|map| map.key_type) && self.old.map.key_size == self.new.map.key_size
    }

    fn same_value(&self) -> bool {
        self.same_type(|map| map.value_type) && self.old.map.value_size == self.new.map.value_size
    }

    /// Whether a type is the same; where neither version says one, its size must do.
    fn same_type(&self, of: fn(&MapFacts) -> Option<TypeId>) -> bool {
        match (of(self.old.map), of(self.new.map), self.types()) {
            (Some(old), Some(new), Some((a, b))) => a.layout_eq(old, b, new),
            (None, None, _) => true,
            _ => false,
        }
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

/// The fields of two types, also where the types are equal.
fn fields(
    a: &Btf,
    old: TypeId,
    b: &Btf,
    new: TypeId,
    renames: &BTreeMap<String, String>,
) -> LayoutChange {
    let mut renames = renames.clone();
    renames.entry(LOST.to_owned()).or_default(); // no field has that name: compare() looks at every field
    compare(a, old, b, new, &renames)
}

fn field_move(pair: &FieldPair, merge: Merge) -> FieldMove {
    let place = |span: skep_object::layout::Span| Place { offset: span.offset, width: span.size };
    FieldMove {
        name: pair.name.clone(),
        old: place(pair.old),
        new: place(pair.new),
        count: pair.count,
        signed: pair.signed,
        merge,
    }
}
