//! Tail calls between an object's own programs: what its program arrays hold from the start.

use std::collections::BTreeSet;

use crate::{Facts, MapFacts, MapKind};

impl Facts {
    /// Program arrays with slots that the object fills.
    fn tables(&self) -> impl Iterator<Item = &MapFacts> {
        self.maps.iter().filter(|map| map.kind == MapKind::ProgArray && !map.slots.is_empty())
    }

    /// `chosen`, and what program arrays hold from the start: those must be loaded too, for libbpf fills the slots of every array,
    /// whoever uses it.
    #[must_use]
    pub fn with_tail_called<'a>(
        &self,
        chosen: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<String> {
        let held = self.tables().flat_map(|map| &map.slots).map(|slot| slot.name.clone());
        let held = held.filter(|name| self.program(name).is_some());
        chosen.into_iter().map(str::to_owned).chain(held).collect()
    }

    /// Whether a program stands in a slot of an array that another one uses: it runs when that one calls it.
    pub(crate) fn is_tail_called(&self, program: &str) -> bool {
        let mut tables = self.tables().filter(|map| map.slots.iter().any(|s| s.name == program));
        tables.any(|map| {
            let mut others = self.programs.iter().filter(|other| other.name != program);
            others.any(|other| other.maps.contains(&map.name))
        })
    }
}
