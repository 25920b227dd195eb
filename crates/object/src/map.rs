//! Maps: what `.maps`, the older `maps` section and the data sections define.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::btf::{Composite, Kind};
use crate::elf::Elf;
use crate::kernel_enum::kernel_enum;
use crate::outside::{CONFIG, Outside, OutsideKind};
use crate::place::places;
use crate::slot::{Slot, slots};
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
    /// What stands in its slots from the start: inner maps, or programs.
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

/// `BPF_F_LINK`: what `.struct_ops.link` sets.
const LINK: u32 = 1 << 13;
const MMAPABLE: u32 = 1 << 10;
const RDONLY_PROG: u32 = 1 << 7;
/// Bytes of a page of an arena, on most machines.
const PAGE: u64 = 4096;

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

    /// Whether programs only read it, and each version has its own: constants, and the kernel's configuration.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.origin == MapOrigin::Data && self.flags & RDONLY_PROG != 0
    }

    /// What a node fills in; none where the object says a size or the kernel takes none.
    #[must_use]
    pub const fn open_size(&self) -> Option<OpenSize> {
        if self.max_entries != 0 {
            return None;
        }
        match self.kind {
            MapKind::RingBuf | MapKind::UserRingBuf => Some(OpenSize::Entries(256 << 10)),
            MapKind::PerfEventArray => Some(OpenSize::EachCpu),
            MapKind::SkStorage
            | MapKind::InodeStorage
            | MapKind::TaskStorage
            | MapKind::CgrpStorage
            | MapKind::CgroupStorage
            | MapKind::PercpuCgroupStorage
            | MapKind::StructOps
            | MapKind::Arena => None,
            _ => Some(OpenSize::Entries(10_240)),
        }
    }

    /// Bytes of all keys and values when the map is full: once, and again for each CPU.
    ///
    /// An arena's entries are pages, which count 4 KiB each. The storages of tasks, inodes, sockets and cgroups count nothing: they
    /// grow with what there is ([`MapKind::grows_with`]). Values count rounded up to eight bytes, as the kernel lays them out; its own bookkeeping does not count. A size that
    /// is left open counts as the node fills it in.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let round = |bytes: u32| u64::from(bytes).next_multiple_of(8);
        let entries = match self.open_size() {
            Some(OpenSize::EachCpu) => return Memory { once: 0, per_cpu: round(self.value_size) },
            Some(OpenSize::Entries(entries)) => entries.into(),
            None => u64::from(self.max_entries),
        };
        let (key, value) = (round(self.key_size), round(self.value_size));
        let key = if self.kind.is_array() { 0 } else { key.saturating_mul(entries) };
        match self.kind {
            MapKind::RingBuf | MapKind::UserRingBuf => Memory { once: ring(entries), per_cpu: 0 },
            MapKind::Arena => Memory { once: entries.saturating_mul(PAGE), per_cpu: 0 },
            kind if kind.is_per_cpu() => {
                Memory { once: key, per_cpu: value.saturating_mul(entries) }
            }
            _ => Memory { once: value.saturating_mul(entries).saturating_add(key), per_cpu: 0 },
        }
    }
}

/// Bytes of a ring that is made for so many: libbpf takes the next power of two, from a page on.
const fn ring(bytes: u64) -> u64 {
    match bytes {
        0 => 0,
        1..PAGE => PAGE,
        _ => bytes.next_power_of_two(),
    }
}

/// The size that a node gives a map whose own loader would have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenSize {
    /// So many entries, or bytes of a ring buffer.
    Entries(u32),
    /// An entry for each possible CPU.
    EachCpu,
}

/// Memory of maps in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// However many CPUs there are.
    pub once: u64,
    /// For each possible CPU.
    pub per_cpu: u64,
}

impl Memory {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            once: self.once.saturating_add(other.once),
            per_cpu: self.per_cpu.saturating_add(other.per_cpu),
        }
    }

    /// All of it on a machine with this many possible CPUs.
    #[must_use]
    pub const fn on(self, cpus: u64) -> u64 {
        self.once.saturating_add(self.per_cpu.saturating_mul(cpus))
    }
}

/// All maps of an object, sorted by name.
pub(crate) fn maps(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    outside: &[Outside],
    texts: &mut Texts,
) -> Result<Vec<MapFacts>, ObjectError> {
    let mut maps = legacy_maps(elf)?;
    if elf.section(".maps").is_some() {
        maps.extend(btf_maps(elf, btf.ok_or(ObjectError::NoBtf)?, texts)?);
    }
    maps.extend(data_maps(elf, btf));
    maps.extend(config_map(outside, btf));
    maps.extend(btf.into_iter().flat_map(struct_ops).take(limits::MAPS + 1));
    few(maps.len())?;
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

fn btf_maps(elf: &Elf<'_>, btf: &Btf, texts: &mut Texts) -> Result<Vec<MapFacts>, ObjectError> {
    let mut maps = Vec::new();
    for place in places(elf, btf)? {
        let name = place.name.to_owned();
        let Some(definition) = btf.composite(place.ty) else {
            return Err(ObjectError::Map {
                map: name,
                why: "its definition is not a struct".into(),
            });
        };
        let mut map = definition_of(btf, name, definition, 0)?;
        if let Some(values) = definition.members.iter().find(|m| btf.name(*m) == "values") {
            map.slots = slots(elf, &place, u64::from(values.bit_offset / 8), texts)?;
        }
        maps.push(map);
        few(maps.len())?;
    }
    Ok(maps)
}

fn definition_of(
    btf: &Btf,
    name: String,
    definition: &Composite,
    depth: usize,
) -> Result<MapFacts, ObjectError> {
    let mut map = MapFacts::empty(name.clone(), MapOrigin::Btf);
    for member in &definition.members {
        let what = btf.name(member);
        let number = || {
            number_of(btf, member.ty).ok_or_else(|| ObjectError::Map {
                map: name.clone(),
                why: format!("its {what} is not a number from 0 to 2^32 - 1"),
            })
        };
        match what {
            "type" => map.kind = MapKind::from(number()?),
            "max_entries" => map.max_entries = number()?,
            "map_flags" => map.flags = number()?,
            "key_size" => map.key_size = number()?,
            "value_size" => map.value_size = number()?,
            "pinning" => map.pinned = number()? == 1,
            "key" => (map.key_type, map.key_size) = pointed(btf, &map.name, "key", member.ty)?,
            "value" => {
                (map.value_type, map.value_size) = pointed(btf, &map.name, "value", member.ty)?;
            }
            "values" => {
                if let Some(inner) = inner_definition(btf, member.ty).filter(|_| depth == 0) {
                    let name = format!("{}.inner", map.name);
                    map.inner = Some(Box::new(definition_of(btf, name, inner, depth + 1)?));
                }
                // Maps of maps and prog arrays hold file descriptors.
                map.value_size = 4;
                map.key_size = map.key_size.max(4);
            }
            _ => {}
        }
    }
    Ok(map)
}

/// `__uint(name, N)` is a pointer to an array of N ints, `__ulong` an enumeration with one value.
pub(crate) fn number_of(btf: &Btf, ty: TypeId) -> Option<u32> {
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Pointer(to) => match btf.kind(btf.skip_modifiers(*to)) {
            Kind::Array(array) => Some(array.count),
            _ => None,
        },
        Kind::Enum(e) | Kind::Enum64(e) => e.values.first().and_then(|v| v.value.try_into().ok()),
        _ => None,
    }
}

/// `__type(name, T)` is a pointer to T.
fn pointed(
    btf: &Btf,
    map: &str,
    what: &str,
    ty: TypeId,
) -> Result<(Option<TypeId>, u32), ObjectError> {
    let Kind::Pointer(to) = btf.kind(btf.skip_modifiers(ty)) else {
        let why = format!("its {what} is not declared with __type()");
        return Err(ObjectError::Map { map: map.to_owned(), why });
    };
    let size = btf.size_of(*to).and_then(|size| u32::try_from(size).ok());
    let size = size.ok_or_else(|| ObjectError::Map {
        map: map.to_owned(),
        why: format!("the size of its {what}, {}, is unknown", btf.describe(*to)),
    })?;
    Ok((Some(*to), size))
}

/// `__array(values, struct …)` is a flexible array of pointers to the inner definition.
fn inner_definition(btf: &Btf, ty: TypeId) -> Option<&Composite> {
    match btf.kind(btf.skip_modifiers(ty)) {
        Kind::Array(array) => btf.composite(btf.pointee(array.element)),
        _ => None,
    }
}

fn legacy_maps(elf: &Elf<'_>) -> Result<Vec<MapFacts>, ObjectError> {
    let Some((index, section)) = elf.section("maps") else { return Ok(Vec::new()) };
    let mut maps = Vec::new();
    for symbol in elf.symbols.iter().filter(|s| s.section == Some(index) && !s.name.is_empty()) {
        let at = usize::try_from(symbol.value).unwrap_or(usize::MAX);
        let Some(bytes) = section.data.get(at..).and_then(|rest| rest.first_chunk::<20>()) else {
            let why = "its definition reaches beyond the section 'maps'".to_owned();
            return Err(ObjectError::Map { map: symbol.name.to_string(), why });
        };
        let mut words = bytes.as_chunks::<4>().0.iter().map(|w| match elf.big_endian {
            true => u32::from_be_bytes(*w),
            false => u32::from_le_bytes(*w),
        });
        let mut word = || words.next().unwrap_or(0);
        maps.push(MapFacts {
            kind: MapKind::from(word()),
            key_size: word(),
            value_size: word(),
            max_entries: word(),
            flags: word(),
            ..MapFacts::empty(symbol.name.to_string(), MapOrigin::Legacy)
        });
        few(maps.len())?;
    }
    Ok(maps)
}

/// The kernel's own struct is larger than the object's, so that the size is not the one that is loaded.
fn struct_ops(btf: &Btf) -> impl Iterator<Item = MapFacts> {
    const SECTIONS: [(&str, u32); 4] = [
        (".struct_ops", 0),
        (".struct_ops.link", LINK),
        ("?.struct_ops", 0),
        ("?.struct_ops.link", LINK),
    ];
    SECTIONS.into_iter().flat_map(move |(section, flags)| {
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

/// Whether libbpf makes a map of a section.
pub(crate) fn is_data_section(name: &str) -> bool {
    [".data", ".rodata", ".bss"].iter().any(|base| {
        name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn data_maps(elf: &Elf<'_>, btf: Option<&Btf>) -> Vec<MapFacts> {
    let types = data_sections(btf);
    let of_section = |section: &crate::elf::Section<'_>| {
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
fn config_map(outside: &[Outside], btf: Option<&Btf>) -> Option<MapFacts> {
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

kernel_enum! {
    /// The kinds of maps (`enum bpf_map_type`).
    MapKind "map_type_"
    1 Hash "hash",
    2 Array "array",
    3 ProgArray "prog_array",
    4 PerfEventArray "perf_event_array",
    5 PercpuHash "percpu_hash",
    6 PercpuArray "percpu_array",
    7 StackTrace "stack_trace",
    8 CgroupArray "cgroup_array",
    9 LruHash "lru_hash",
    10 LruPercpuHash "lru_percpu_hash",
    11 LpmTrie "lpm_trie",
    12 ArrayOfMaps "array_of_maps",
    13 HashOfMaps "hash_of_maps",
    14 Devmap "devmap",
    15 Sockmap "sockmap",
    16 Cpumap "cpumap",
    17 Xskmap "xskmap",
    18 Sockhash "sockhash",
    19 CgroupStorage "cgroup_storage",
    20 ReuseportSockarray "reuseport_sockarray",
    21 PercpuCgroupStorage "percpu_cgroup_storage",
    22 Queue "queue",
    23 Stack "stack",
    24 SkStorage "sk_storage",
    25 DevmapHash "devmap_hash",
    26 StructOps "struct_ops",
    27 RingBuf "ringbuf",
    28 InodeStorage "inode_storage",
    29 TaskStorage "task_storage",
    30 BloomFilter "bloom_filter",
    31 UserRingBuf "user_ringbuf",
    32 CgrpStorage "cgrp_storage",
    33 Arena "arena",
    34 InsnArray "insn_array",
}

impl MapKind {
    /// Whether each CPU has a value of its own.
    #[must_use]
    pub const fn is_per_cpu(self) -> bool {
        matches!(
            self,
            Self::PercpuHash | Self::PercpuArray | Self::LruPercpuHash | Self::PercpuCgroupStorage
        )
    }

    /// Whether its values are maps.
    #[must_use]
    pub const fn holds_maps(self) -> bool {
        matches!(self, Self::ArrayOfMaps | Self::HashOfMaps)
    }

    /// Whether a full one makes room by itself, by what was used least.
    #[must_use]
    pub const fn forgets(self) -> bool {
        matches!(self, Self::LruHash | Self::LruPercpuHash)
    }

    /// Of what it has a value each, however many there are.
    #[must_use]
    pub const fn grows_with(self) -> Option<&'static str> {
        match self {
            Self::SkStorage => Some("a socket"),
            Self::InodeStorage => Some("an inode"),
            Self::TaskStorage => Some("a task"),
            Self::CgrpStorage | Self::CgroupStorage | Self::PercpuCgroupStorage => Some("a cgroup"),
            _ => None,
        }
    }

    /// Whether keys are indexes, and take no memory.
    #[must_use]
    pub const fn is_array(self) -> bool {
        matches!(
            self,
            Self::Array
                | Self::PercpuArray
                | Self::ProgArray
                | Self::PerfEventArray
                | Self::CgroupArray
                | Self::ArrayOfMaps
                | Self::Devmap
                | Self::Sockmap
                | Self::Cpumap
                | Self::Xskmap
        )
    }

    /// Whether values are programs, maps, sockets or devices, which belong to the version that put them there.
    #[must_use]
    pub const fn holds_objects(self) -> bool {
        matches!(
            self,
            Self::ProgArray
                | Self::ArrayOfMaps
                | Self::HashOfMaps
                | Self::CgroupArray
                | Self::Sockmap
                | Self::Sockhash
                | Self::ReuseportSockarray
                | Self::Xskmap
                | Self::Devmap
                | Self::DevmapHash
                | Self::Cpumap
                | Self::StructOps
                | Self::StackTrace
        )
    }
}
