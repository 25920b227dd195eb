//! What stands in the slots of maps of maps and of programs from the start.

use serde::{Deserialize, Serialize};

use crate::ObjectError;
use crate::elf::Elf;
use crate::place::Place;
use crate::texts::Texts;

/// A slot that the object fills: an inner map or a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The key, counted from 0.
    pub index: u32,
    /// The map or program in it.
    pub name: String,
}

const POINTER: u64 = 8;

/// The slots of a map whose `values` begin some bytes into its definition.
pub(crate) fn slots(
    elf: &Elf<'_>,
    map: &Place<'_>,
    values: u64,
    texts: &mut Texts,
) -> Result<Vec<Slot>, ObjectError> {
    let Some((_, section)) = elf.section(".maps") else { return Ok(Vec::new()) };
    let start = map.start.saturating_add(values);
    let first = section.relocations.partition_point(|r| r.offset < start);
    let inside = section.relocations.iter().skip(first).take_while(|r| r.offset < map.end);
    let mut slots = Vec::new();
    for relocation in inside {
        let name = elf.symbols.get(relocation.symbol).map_or("", |symbol| &symbol.name);
        let Ok(index) = u32::try_from((relocation.offset - start) / POINTER) else { continue };
        // Definitions may overlap, so that relocations do not bound the slots.
        texts.count(size_of::<Slot>())?;
        slots.push(Slot { index, name: texts.take(name)? });
    }
    Ok(slots)
}
