//! Maps: what `.maps`, the older `maps` section and the data sections define.

mod definition;
mod kind;
mod movable;
mod section;
mod size;

use serde::{Deserialize, Serialize};

pub(crate) use self::definition::number_of;
pub use self::kind::MapKind;
pub use self::size::{Memory, OpenSize};
use crate::elf::Elf;
use crate::outside::Outside;
use crate::slot::Slot;
use crate::texts::Texts;
use crate::{Btf, ObjectError, TypeId, limits};

/// One map of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFacts {
    /// The ELF symbol, or the section's name for global data (`.rodata`).
    pub name: String,
    /// `enum bpf_map_type`.
    pub kind: MapKind,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value, without libbpf's rounding.
    pub value_size: u32,
    /// Entries, or bytes of a ring buffer. 0 where its own loader decides.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// The key's type, where the definition names it.
    pub key_type: Option<TypeId>,
    /// The value's type, where the definition names it; of global data its section.
    pub value_type: Option<TypeId>,
    /// `LIBBPF_PIN_BY_NAME`.
    pub pinned: bool,
    /// For maps of maps: what an inner map looks like.
    pub inner: Option<Box<Self>>,
    /// What stands in its slots from the start: inner maps, programs, or the functions of an interface.
    pub slots: Vec<Slot>,
    /// Where the definition stands.
    pub origin: MapOrigin,
}

/// Where a map is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapOrigin {
    /// A variable in `.maps`.
    Btf,
    /// A `struct bpf_map_def` in `maps`, which libbpf 1.x no longer takes.
    Legacy,
    /// A section of global data.
    Data,
    /// A variable in `.struct_ops`, `.struct_ops.link`, or either with a `?` before it: a kernel interface whose functions are
    /// programs.
    StructOps,
}

impl MapFacts {
    const fn empty(name: String, origin: MapOrigin) -> Self {
        Self {
            name,
            kind: MapKind::Other(0),
            key_size: 0,
            value_size: 0,
            max_entries: 0,
            flags: 0,
            key_type: None,
            value_type: None,
            pinned: false,
            inner: None,
            slots: Vec::new(),
            origin,
        }
    }
}

/// All maps of an object, sorted by name.
pub(crate) fn maps(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    outside: &[Outside],
    texts: &mut Texts,
) -> Result<Vec<MapFacts>, ObjectError> {
    let mut maps = definition::of_older(elf)?;
    if elf.section(".maps").is_some() {
        maps.extend(definition::of_btf(elf, btf.ok_or(ObjectError::NoBtf)?, texts)?);
    }
    maps.extend(section::data(elf, btf));
    maps.extend(section::config(outside, btf));
    maps.extend(btf.into_iter().flat_map(section::struct_ops).take(limits::MAPS + 1));
    few(maps.len())?;
    section::functions(elf, &mut maps, texts)?;
    texts.count(maps.iter().map(|map| map.name.len()).sum())?;
    maps.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some([map, _]) = maps.array_windows().find(|[a, b]| a.name == b.name) {
        let why = "there are two of this name".to_owned();
        return Err(ObjectError::Map { map: map.name.clone(), why });
    }
    Ok(maps)
}

fn few(found: usize) -> Result<(), ObjectError> {
    let most = limits::MAPS;
    if found > most { Err(ObjectError::Limit { what: "maps", found, most }) } else { Ok(()) }
}
