//! Who writes which map, and how: an abstract interpretation of the bytecode.
//!
//! It follows pointers into map values through registers, stack slots, calls and callbacks. What it cannot follow
//! counts as the worst, so that a class is never better than the truth.

mod helpers;
mod state;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use crate::calls::Code;
use crate::{MapFacts, MapKind};

pub use skep_spec::life::Writers;

/// How each program writes the maps that it can reach, by the index of its function. Maps that it does not write
/// are left out.
pub(crate) struct Analysis<'a> {
    code: &'a Code<'a>,
    maps: Vec<Map>,
    /// Maps that programs write by addresses, which are not followed.
    arenas: BTreeSet<String>,
    /// Instructions that may still be walked, for all programs together.
    budget: usize,
}

/// A map as programs write it.
struct Map {
    name: String,
    per_cpu: bool,
    /// The maps that its entries may be, one bit each.
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

/// More maps than this are not told apart.
const MOST_MAPS: usize = 64;
/// Real programs need some two walks over each instruction.
const BUDGET: usize = 8_000_000;

impl<'a> Analysis<'a> {
    pub(crate) fn new(code: &'a Code<'a>, maps: &[MapFacts]) -> Self {
        let arenas = maps.iter().filter(|map| map.kind == MapKind::Arena);
        let arenas = arenas.map(|map| map.name.clone()).collect();
        let map = |map: &MapFacts| Map {
            name: map.name.clone(),
            per_cpu: map.kind.is_per_cpu(),
            inner: if map.kind.holds_maps() { inner(map, maps) } else { 0 },
        };
        Self { code, maps: maps.iter().map(map).collect(), arenas, budget: BUDGET }
    }

    /// How the program that starts with a function, and uses some maps, writes them; whether it writes its context is asked
    /// of `probe`s only.
    pub(crate) fn writes(
        &mut self,
        function: usize,
        used: &BTreeSet<String>,
        probe: bool,
    ) -> Written {
        let are_told_apart = self.maps.len() <= MOST_MAPS;
        let maps = if are_told_apart { self.maps.as_slice() } else { &[] };
        let found = (are_told_apart || probe)
            .then(|| walk::Walk::new(self.code, maps, &mut self.budget).program(function));
        let found = found.flatten();
        let context = probe && found.as_ref().is_none_or(|done| done.context_written);
        let mut written = Written { context, ..Written::default() };
        let worst = || (vec![Writers::Plain; self.maps.len()], u64::MAX);
        let found = found.filter(|_| are_told_apart);
        let (classes, deleted) = found.map_or_else(worst, |done| (done.written, done.deleted));
        for (at, (Map { name, .. }, class)) in self.maps.iter().zip(classes).enumerate() {
            if class != Writers::None {
                written.writes.insert(name.clone(), class);
            }
            if deleted == u64::MAX || deleted >> (at % 64) & 1 == 1 {
                written.deletes.insert(name.clone());
            }
        }
        let arenas = self.arenas.intersection(used).cloned();
        written.writes.extend(arenas.map(|name| (name, Writers::Plain)));
        written
    }
}

/// What stands in a map's slots, and what could: maps of the same shape as its inner ones, all where that is not told.
fn inner(outer: &MapFacts, maps: &[MapFacts]) -> u64 {
    let shape = |map: &MapFacts| (map.kind, map.key_size, map.value_size);
    let fits = |map: &MapFacts| {
        outer.slots.iter().any(|slot| slot.name == map.name)
            || outer.inner.as_deref().is_none_or(|inner| shape(inner) == shape(map))
    };
    let bits = maps.iter().take(MOST_MAPS).enumerate().filter(|(_, map)| fits(map));
    bits.fold(0, |all, (at, _)| all | 1 << at)
}
