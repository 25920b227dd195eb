//! One map in both versions: what is the same of it, and which rule it falls under.

use skep_object::event::event_type;
use skep_object::layout::FieldPair;
use skep_object::share::{Defined, TypeOf, same_type};
use skep_object::{Btf, Facts, MapFacts, MapKind, MapOrigin};
use skep_spec::PackageName;
use skep_spec::life::{Class, Moved, class};
use skep_spec::manifest::{Map, Merge, Upgrade};

use super::decide::{Held, Side};
use super::explain;
use crate::plan::{Exactness, FieldMove, MapChange, MapPlan};
use crate::usdt::is_loaders;

/// A map of both versions.
pub(super) struct Pair<'a> {
    pub(super) name: &'a str,
    pub(super) held: Held<'a>,
    pub(super) policy: Option<&'a Map>,
    pub(super) old: Version<'a>,
    pub(super) new: Version<'a>,
}

#[derive(Clone, Copy)]
pub(super) struct Version<'a> {
    pub(super) facts: &'a Facts,
    pub(super) map: &'a MapFacts,
    pub(super) side: Side<'a>,
}

impl<'a> Version<'a> {
    const fn defined(&self) -> Defined<'a> {
        Defined { facts: self.facts, map: self.map }
    }

    /// The package whose map it is, if it is another's.
    fn given_by(&self) -> Option<&'a PackageName> {
        let mut all = self.side.manifest.dependencies.iter();
        all.find(|(_, on)| on.maps.contains(&self.map.name)).map(|(package, _)| package)
    }

    /// How many entries there is room for.
    pub(super) fn entries(&self) -> u32 {
        let told = self.side.params.max_entries(&self.map.name).ok().flatten();
        told.unwrap_or(self.map.max_entries)
    }
}

impl Pair<'_> {
    /// Of a map that another package gives, nothing becomes; one that is given by another than before is a new one.
    pub(super) fn of_whom(&self) -> Result<MapPlan, String> {
        match (self.old.given_by(), self.new.given_by()) {
            (None, None) => self.plan(),
            (Some(old), Some(new)) if old == new => {
                let why = format!("it is {new}'s, and stays where it is");
                Ok(plan(MapChange::Keep, why, Exactness::Exact))
            }
            _ if self.upgrade() == Some(Upgrade::Reset) => Ok(reset()),
            (old, new) => Err(explain::other_owner(self.name, old, new)),
        }
    }

    fn plan(&self) -> Result<MapPlan, String> {
        let resets = self.upgrade() == Some(Upgrade::Reset);
        match self.new.map.kind {
            _ if self.new.map.origin == MapOrigin::Data => Ok(self.variables(resets)),
            MapKind::RingBuf | MapKind::PerfEventArray | MapKind::UserRingBuf => Ok(self.ring()),
            MapKind::StructOps => {
                let why = "each version has its own functions of the interface";
                Ok(plan(MapChange::Reset, why, Exactness::Exact))
            }
            _ if is_loaders(&self.new.map.name) => Ok(self.loaders()),
            _ if resets => Ok(reset()),
            kind if kind.holds_of_others() && self.same_map() => {
                let why = format!(
                    "the {kind} is the same in both versions: what others put into it stays"
                );
                Ok(plan(MapChange::Keep, why, Exactness::Exact))
            }
            kind if kind.holds_objects() => {
                let why = format!("a {kind} holds the version's own programs or maps");
                Ok(plan(MapChange::Reset, why, Exactness::Dropped))
            }
            _ => self.entries(),
        }
    }

    /// A map that is filled when programs are attached.
    fn loaders(&self) -> MapPlan {
        if self.same_map() && self.same_value() {
            return plan(
                MapChange::Keep,
                "its layout is the same in both versions",
                Exactness::Exact,
            );
        }
        let why = "it says where arguments of probes lie, and is written anew in the new layout";
        plan(MapChange::Reset, why, Exactness::Exact)
    }

    pub(super) fn upgrade(&self) -> Option<Upgrade> {
        self.policy.and_then(|policy| policy.upgrade)
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

    pub(super) fn merge_of(&self, field: &str) -> Option<Merge> {
        self.policy?.merge_of(field)
    }

    pub(super) fn exactness(&self, fields: &[FieldMove]) -> Exactness {
        let writers = |version: Version<'_>| version.facts.writers(&version.map.name);
        let moved = fields.iter().map(|f| Moved { merge: f.merge, old: f.old, new: f.new });
        match class(writers(self.old).max(writers(self.new)), moved) {
            Class::Exact => Exactness::Exact,
            Class::PerCpu => Exactness::PerCpu,
            Class::Based => Exactness::Plain,
        }
    }

    pub(super) fn types(&self) -> Option<(&Btf, &Btf)> {
        Some((self.old.facts.btf.as_ref()?, self.new.facts.btf.as_ref()?))
    }

    /// Everything but the types: what the kernel itself compares.
    pub(super) fn same_map(&self) -> bool {
        let rest = |v: Version<'_>| (v.map.kind, v.map.key_size, v.map.value_size, v.map.flags);
        rest(self.old) == rest(self.new) && self.old.entries() == self.new.entries()
    }

    pub(super) fn same_key(&self) -> bool {
        self.same_type(|map| map.key_type) && self.old.map.key_size == self.new.map.key_size
    }

    pub(super) fn same_value(&self) -> bool {
        self.same_type(|map| map.value_type) && self.old.map.value_size == self.new.map.value_size
    }

    fn same_type(&self, of: TypeOf) -> bool {
        same_type(self.old.defined(), self.new.defined(), of)
    }
}

pub(super) fn plan(change: MapChange, why: impl Into<String>, exactness: Exactness) -> MapPlan {
    MapPlan { change, why: why.into(), exactness }
}

pub(super) fn reset() -> MapPlan {
    plan(MapChange::Reset, "the manifest says reset", Exactness::Dropped)
}

pub(super) fn field_move(pair: &FieldPair, merge: Merge) -> FieldMove {
    FieldMove {
        name: pair.name.clone(),
        old: pair.old,
        new: pair.new,
        count: pair.count,
        signed: pair.signed,
        merge,
    }
}
