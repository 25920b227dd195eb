//! Who writes which map, and how: an abstract interpretation of the bytecode.
//!
//! It follows pointers into map values through registers, stack slots, calls and callbacks. What it cannot follow
//! counts as the worst, so that a class is never better than the truth.

mod helpers;
mod state;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use self::walk::Walk;
use crate::calls::Code;
use crate::{MapFacts, MapKind, ProgramKind};

pub use skep_spec::life::Writers;

/// How each program writes the maps that it can reach, by the index of its function. Maps that it does not write
/// are left out.
pub(crate) struct Analysis<'a> {
    code: &'a Code<'a>,
    names: BTreeSet<String>,
    /// All maps, by the walks that tell them apart.
    groups: Vec<Vec<Map>>,
    /// Whether there are so many maps of maps that no walk has room for them.
    crowded: bool,
    /// Maps that programs write by addresses, which are not followed.
    arenas: BTreeSet<String>,
    /// Instructions that may still be walked, for all programs together.
    budget: usize,
}

/// A map as programs write it.
struct Map {
    name: String,
    per_cpu: bool,
    /// The maps of its group that its entries may be, one bit each.
    inner: u64,
}

/// How a program writes maps, and what it was handed.
#[derive(Default)]
pub(crate) struct Written {
    /// Those that it does not write are left out.
    pub(crate) writes: BTreeMap<String, Writers>,
    /// Those that it takes entries out of.
    pub(crate) deletes: BTreeSet<String>,
    /// Whether it stores into its context.
    pub(crate) context: bool,
}

/// Maps that one walk tells apart: a bit each.
const MAPS_AT_ONCE: usize = 64;
/// Real programs need some two walks over each instruction.
const BUDGET: usize = 8_000_000;

impl<'a> Analysis<'a> {
    pub(crate) fn new(code: &'a Code<'a>, maps: &[MapFacts]) -> Self {
        let names = |maps: &mut dyn Iterator<Item = &MapFacts>| {
            maps.map(|map| map.name.clone()).collect::<BTreeSet<_>>()
        };
        let groups = groups(maps);
        Self {
            code,
            names: names(&mut maps.iter()),
            crowded: groups.is_none(),
            // What is asked of probes is found without maps too.
            groups: groups.unwrap_or_else(|| vec![Vec::new()]),
            arenas: names(&mut maps.iter().filter(|map| map.kind == MapKind::Arena)),
            budget: BUDGET,
        }
    }

    /// How the program that starts with a function, and uses some maps, writes them; whether it writes its context is asked
    /// of probes only.
    pub(crate) fn writes(
        &mut self,
        function: usize,
        used: &BTreeSet<String>,
        kind: Option<ProgramKind>,
    ) -> Written {
        let (probe, replaces) = (kind == Some(ProgramKind::Kprobe), kind == Some(ProgramKind::Ext));
        let code = self.code;
        let Self { names, groups, crowded, arenas, budget, .. } = self;
        let mut written = Written::default();
        if *crowded {
            names.iter().for_each(|name| written.add(name, Writers::Plain, true));
        }
        for maps in groups.iter() {
            let done = Walk::new(code, maps, names, budget).program(function, replaces);
            written.context |= probe && done.as_ref().is_none_or(|done| done.context_written);
            for (at, map) in maps.iter().enumerate() {
                match &done {
                    Some(done) => {
                        let class = done.written.get(at).copied().unwrap_or(Writers::Plain);
                        written.add(&map.name, class, done.deleted >> at & 1 == 1);
                    }
                    None => written.add(&map.name, Writers::Plain, true),
                }
            }
        }
        let arenas = arenas.intersection(used).cloned();
        written.writes.extend(arenas.map(|name| (name, Writers::Plain)));
        written
    }
}

impl Written {
    fn add(&mut self, map: &str, class: Writers, deletes: bool) {
        if class != Writers::None {
            let known = self.writes.entry(map.to_owned()).or_default();
            *known = class.max(*known);
        }
        if deletes {
            self.deletes.insert(map.to_owned());
        }
    }
}

/// The maps by walks. Each walk has the maps of maps, since what is looked up in one may be any of the others; none where they
/// leave no room.
fn groups(maps: &[MapFacts]) -> Option<Vec<Vec<Map>>> {
    let (outer, others): (Vec<&MapFacts>, Vec<_>) =
        maps.iter().partition(|map| map.kind.holds_maps());
    let room = MAPS_AT_ONCE.checked_sub(outer.len()).filter(|room| *room > 0)?;
    let group = |others: &[&MapFacts]| -> Vec<Map> {
        let maps: Vec<&MapFacts> = outer.iter().chain(others).copied().collect();
        let map = |map: &&MapFacts| Map {
            name: map.name.clone(),
            per_cpu: map.kind.is_per_cpu(),
            inner: if map.kind.holds_maps() { inner(map, &maps) } else { 0 },
        };
        maps.iter().map(map).collect()
    };
    match others.is_empty() {
        true => Some(vec![group(&[])]),
        false => Some(others.chunks(room).map(group).collect()),
    }
}

/// What stands in a map's slots, and what could: maps of the same shape as its inner ones, all where that is not told.
fn inner(outer: &MapFacts, maps: &[&MapFacts]) -> u64 {
    let shape = |map: &MapFacts| (map.kind, map.key_size, map.value_size);
    let fits = |map: &MapFacts| {
        outer.slots.iter().any(|slot| slot.name == map.name)
            || outer.inner.as_deref().is_none_or(|inner| shape(inner) == shape(map))
    };
    let bits = maps.iter().enumerate().filter(|(_, map)| fits(map));
    bits.fold(0, |all, (at, _)| all | 1 << at)
}
