//! Who writes which map, and how: an abstract interpretation of the bytecode.
//!
//! It follows pointers into map values through registers, stack slots, calls and callbacks. What it cannot follow
//! counts as the worst, so that a class is never better than the truth.

mod helpers;
mod state;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use crate::MapKind;
use crate::calls::Code;

pub use skep_spec::life::Writers;

/// How each program writes the maps that it can reach, by the index of its function. Maps that it does not write
/// are left out.
pub(crate) struct Analysis<'a> {
    code: &'a Code<'a>,
    /// Per-CPU or not, by name.
    maps: Vec<(String, bool)>,
    /// Maps that programs write by addresses, which are not followed.
    arenas: BTreeSet<String>,
    /// Instructions that may still be walked, for all programs together.
    budget: usize,
}

/// How a program writes maps.
#[derive(Default)]
pub(crate) struct Written {
    /// Those that it does not write are left out.
    pub(crate) writes: BTreeMap<String, Writers>,
    /// Those that it takes entries out of.
    pub(crate) deletes: BTreeSet<String>,
}

/// More maps than this are not told apart.
const MOST_MAPS: usize = 64;
/// Real programs need some two walks over each instruction.
const BUDGET: usize = 8_000_000;

impl<'a> Analysis<'a> {
    pub(crate) fn new(code: &'a Code<'a>, maps: impl Iterator<Item = (String, MapKind)>) -> Self {
        let maps: Vec<(String, MapKind)> = maps.collect();
        let arenas = maps.iter().filter(|(_, kind)| *kind == MapKind::Arena);
        let arenas = arenas.map(|(name, _)| name.clone()).collect();
        let maps = maps.into_iter().map(|(name, kind)| (name, kind.is_per_cpu())).collect();
        Self { code, maps, arenas, budget: BUDGET }
    }

    /// How the program that starts with a function, and uses some maps, writes them.
    pub(crate) fn writes(&mut self, function: usize, used: &BTreeSet<String>) -> Written {
        let found = if self.maps.len() > MOST_MAPS {
            None
        } else {
            walk::Walk::new(self.code, &self.maps, &mut self.budget).program(function)
        };
        let worst = || (vec![Writers::Plain; self.maps.len()], u64::MAX);
        let (classes, deleted) = found.unwrap_or_else(worst);
        let mut written = Written::default();
        for (at, ((name, _), class)) in self.maps.iter().zip(classes).enumerate() {
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
