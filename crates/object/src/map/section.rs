//! Maps that libbpf makes of other sections: of global data, of the kernel's configuration, and of an interface's functions.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{MapFacts, MapKind, MapOrigin};
use crate::btf::Kind;
use crate::elf::{Elf, Section, Symbol, SymbolKind, is_data_section};
use crate::outside::{CONFIG, Outside, OutsideKind};
use crate::slot::slots;
use crate::texts::Texts;
use crate::{Btf, ObjectError, TypeId};

/// `BPF_F_LINK`: what `.struct_ops.link` sets.
const LINK: u32 = 1 << 13;
const MMAPABLE: u32 = 1 << 10;
const RDONLY_PROG: u32 = 1 << 7;

impl MapFacts {
    /// Whether it is of a kernel interface that a link holds: of `.struct_ops.link`.
    #[must_use]
    pub fn has_link(&self) -> bool {
        self.origin == MapOrigin::StructOps && self.flags & LINK != 0
    }

    /// Whether programs only read it, and each version has its own: constants, and the kernel's configuration.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.origin == MapOrigin::Data && self.flags & RDONLY_PROG != 0
    }
}

/// A map for each section of global data.
pub(super) fn data(elf: &Elf<'_>, btf: Option<&Btf>) -> Vec<MapFacts> {
    let types = data_sections(btf);
    let of_section = |section: &Section<'_>| {
        if !is_data_section(&section.name) || section.size == 0 {
            return None;
        }
        let read_only = section.name.starts_with(".rodata");
        Some(MapFacts {
            kind: MapKind::Array,
            key_size: 4,
            value_size: u32::try_from(section.size).unwrap_or(u32::MAX),
            max_entries: 1,
            flags: MMAPABLE | if read_only { RDONLY_PROG } else { 0 },
            key_type: None,
            value_type: types.get(&*section.name).copied(),
            ..MapFacts::empty(section.name.to_string(), MapOrigin::Data)
        })
    };
    elf.sections.iter().filter_map(of_section).collect()
}

/// What a loader fills in from the kernel's configuration: the variables of `.kconfig`, laid out as libbpf does.
pub(super) fn config(outside: &[Outside], btf: Option<&Btf>) -> Option<MapFacts> {
    let options = outside.iter().filter(|outside| outside.kind == OutsideKind::Config);
    let sized = |option: &Outside| {
        let (btf, ty) = (btf?, option.ty?);
        let size = btf.size_of(ty).unwrap_or(0);
        let text = matches!(btf.kind(btf.skip_modifiers(ty)), Kind::Array(_));
        Some((Reverse(if text { 1 } else { size.clamp(1, 8) }), size))
    };
    let mut options: Vec<(Reverse<u64>, u64)> = options.filter_map(sized).collect();
    options.sort_unstable();
    let end = |at: u64, (Reverse(align), size): &(Reverse<u64>, u64)| {
        at.next_multiple_of(*align).saturating_add(*size)
    };
    let size = options.iter().fold(0, end);
    (size > 0).then(|| MapFacts {
        kind: MapKind::Array,
        key_size: 4,
        value_size: u32::try_from(size).unwrap_or(u32::MAX),
        max_entries: 1,
        flags: MMAPABLE | RDONLY_PROG,
        ..MapFacts::empty(CONFIG.to_owned(), MapOrigin::Data)
    })
}

/// The types of data sections by name, the first of each.
fn data_sections(btf: Option<&Btf>) -> BTreeMap<&str, TypeId> {
    let mut sections = BTreeMap::new();
    for (btf, (id, ty)) in btf.into_iter().flat_map(|btf| btf.types().map(move |ty| (btf, ty))) {
        if matches!(ty.kind, Kind::DataSection { .. }) {
            sections.entry(btf.name(ty)).or_insert(id);
        }
    }
    sections
}

const INTERFACES: [(&str, u32); 4] = [
    (".struct_ops", 0),
    (".struct_ops.link", LINK),
    ("?.struct_ops", 0),
    ("?.struct_ops.link", LINK),
];

/// The maps of kernel interfaces. The kernel's own struct is larger than the object's, so that the size is not the one that is loaded.
pub(super) fn struct_ops(btf: &Btf) -> impl Iterator<Item = MapFacts> {
    INTERFACES.into_iter().flat_map(move |(section, flags)| {
        btf.data_section(section).iter().filter_map(move |variable| {
            let Kind::Variable { ty, .. } = btf.kind(variable.ty) else { return None };
            let name = btf.name(btf.ty(variable.ty)).to_owned();
            Some(MapFacts {
                kind: MapKind::StructOps,
                key_size: 4,
                value_size: u32::try_from(btf.size_of(*ty)?).ok()?,
                value_type: Some(*ty),
                max_entries: 1,
                flags,
                ..MapFacts::empty(name, MapOrigin::StructOps)
            })
        })
    })
}

/// Which functions the maps of kernel interfaces hold.
pub(super) fn functions(
    elf: &Elf<'_>,
    maps: &mut [MapFacts],
    texts: &mut Texts,
) -> Result<(), ObjectError> {
    let section = |symbol: &Symbol<'_>| {
        let section = elf.sections.get(symbol.section?)?;
        INTERFACES.iter().any(|(name, _)| *name == section.name).then_some(section)
    };
    let variables = elf.symbols.iter().filter(|symbol| symbol.kind == SymbolKind::Object);
    let places: BTreeMap<&str, _> =
        variables.filter_map(|symbol| Some((&*symbol.name, (section(symbol)?, symbol)))).collect();
    for map in maps.iter_mut().filter(|map| map.origin == MapOrigin::StructOps) {
        let Some((section, symbol)) = places.get(map.name.as_str()) else { continue };
        let part = symbol.value..symbol.value.saturating_add(symbol.size);
        map.slots = slots(elf, section, part, texts)?;
    }
    Ok(())
}
