//! What stands in the slots of maps of maps and of programs from the start.

use serde::{Deserialize, Serialize};

use crate::elf::{Elf, Symbol};

/// A slot that the object fills: an inner map or a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The key, counted from 0.
    pub index: u32,
    /// The map or program in it.
    pub name: String,
}

const POINTER: u64 = 8;

/// The slots of a map whose `values` begin some bytes into its definition, which is `symbol`.
pub(crate) fn slots(elf: &Elf<'_>, symbol: &Symbol<'_>, values: u64) -> Vec<Slot> {
    let Some(section) = symbol.section.and_then(|index| elf.sections.get(index)) else {
        return Vec::new();
    };
    let start = symbol.value.saturating_add(values);
    let end = symbol.value.saturating_add(symbol.size);
    let first = section.relocations.partition_point(|r| r.offset < start);
    let inside = section.relocations.iter().skip(first).take_while(|r| r.offset < end);
    let slot = |relocation: &crate::elf::Relocation| {
        let name = elf.symbols.get(relocation.symbol)?.name.to_string();
        let index = u32::try_from((relocation.offset - start) / POINTER).ok()?;
        Some(Slot { index, name })
    };
    inside.filter_map(slot).collect()
}
