//! How much of an object we are willing to read.

/// Most bytes of an object. The largest that clang makes of one program is some 10 MB with DWARF.
pub const OBJECT_BYTES: usize = 64 << 20;
/// Most ELF sections.
pub const SECTIONS: usize = 8192;
/// Most ELF symbols.
pub const SYMBOLS: usize = 1 << 20;
/// Most relocations of one section.
pub const RELOCATIONS: usize = 1 << 20;
/// Most instructions of one object: the verifier's own limit for one program (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const INSNS: usize = 1_000_000;
/// Most BTF types: a whole kernel has 150,000.
pub const BTF_TYPES: usize = 1_000_000;
/// Most bytes of a BTF string table (`BTF_MAX_NAME_OFFSET`).
pub const BTF_STRINGS: usize = 0xff_ffff;
/// Most members, values or parameters of all types together.
pub const BTF_MEMBERS: usize = 4_000_000;
/// Deepest nesting of types that is followed: the kernel's own is 32 (`MAX_RESOLVE_DEPTH`).
pub const TYPE_DEPTH: usize = 32;
/// Most fields of a record, nested ones included.
pub const RECORD_FIELDS: usize = 4096;
/// Most programs of an object.
pub const PROGRAMS: usize = 1024;
/// Most calls and references of all functions of an object, each kind once a function.
pub const CALLS: usize = 100_000;
/// The same for all programs, where what functions share counts for each program that reaches it.
pub const REACHED: usize = 200_000;
/// Most maps of an object.
pub const MAPS: usize = 4096;
/// Most objects carved out of one file.
pub const CARVED: usize = 64;
