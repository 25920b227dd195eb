//! What stands in the slots of maps of maps, of programs and of kernel interfaces from the start.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::ObjectError;
use crate::elf::{Elf, Section};
use crate::texts::Texts;

/// A slot that the object fills: an inner map or a program. Those of kernel interfaces are words of 8 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The key, counted from 0.
    pub index: u32,
    /// The map or program in it.
    pub name: String,
}

const POINTER: u64 = 8;

/// The slots that stand in a part of a section.
pub(crate) fn slots(
    elf: &Elf<'_>,
    section: &Section<'_>,
    part: Range<u64>,
    texts: &mut Texts,
) -> Result<Vec<Slot>, ObjectError> {
    let first = section.relocations.partition_point(|r| r.offset < part.start);
    let inside = section.relocations.iter().skip(first).take_while(|r| r.offset < part.end);
    let mut slots = Vec::new();
    for relocation in inside {
        let name = elf.symbols.get(relocation.symbol).map_or("", |symbol| &symbol.name);
        let Ok(index) = u32::try_from((relocation.offset - part.start) / POINTER) else { continue };
        // Definitions may overlap, so that relocations do not bound the slots.
        texts.count(size_of::<Slot>())?;
        slots.push(Slot { index, name: texts.take(name)? });
    }
    Ok(slots)
}
