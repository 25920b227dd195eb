//! How much of an object we are willing to read.
//!
//! All tables together take at most 64 MiB beside the object itself, whatever is in them: `tests/memory.rs` holds that.

/// Most bytes of an object. The largest that clang makes of one program is some 10 MB with DWARF.
pub const OBJECT_BYTES: usize = 32 << 20;
/// Most ELF sections.
pub const SECTIONS: usize = 8192;
/// Most ELF symbols.
pub const SYMBOLS: usize = 1 << 17;
/// Most bytes of a name, of the licence, and of any other string of BTF.
pub const NAME_BYTES: usize = 4096;
/// Most bytes of all names of sections and symbols, each counted as often as it is referred to.
pub const NAMES_BYTES: usize = 4 << 20;
/// Most bytes of all names that the facts of an object repeat: for each program those of what it uses, with functions, source
/// files and guards, and those of CO-RE relocations, variables, slots and maps.
pub const TEXT_BYTES: usize = 16 << 20;
/// Most relocations of an object.
pub const RELOCATIONS: usize = 1 << 18;
/// Most instructions of one object: the verifier's own limit for one program (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const INSNS: usize = 1_000_000;
/// Most BTF types: a whole kernel has 150,000.
pub const BTF_TYPES: usize = 300_000;
/// Most bytes of a BTF string table: a whole kernel has 3 MB.
pub const BTF_STRINGS: usize = 8 << 20;
/// Most members, values or parameters of all types together: a whole kernel has half of that.
pub const BTF_MEMBERS: usize = 1_000_000;
/// Most functions, lines and relocations of a `.BTF.ext`, together.
pub const EXT_RECORDS: usize = 1_000_000;
/// Most CO-RE relocations: large programs have some thousands.
pub const CORE_RELOCATIONS: usize = 1 << 16;
/// Deepest nesting of types that is followed: the kernel's own is 32 (`MAX_RESOLVE_DEPTH`).
pub const TYPE_DEPTH: usize = 32;
/// Most fields of a record, nested ones included.
pub const RECORD_FIELDS: usize = 4096;
/// Most bytes of the paths of all members and elements of a type that is compared, and of all members of a record's.
pub const PATH_BYTES: usize = 1 << 20;
/// Most bytes of names, of members and enumerators, that one record repeats.
pub const RECORD_NAMES: usize = 1 << 20;
/// Most bytes of JSON of one record.
pub const JSON_BYTES: usize = 4 << 20;
/// Most members and elements that are looked at of the types of all maps of two versions together.
pub const COMPARED_PARTS: usize = 1 << 18;
/// Most fields that changed that are told of all maps of two versions together, and most variables.
pub const TOLD_FIELDS: usize = 8192;
/// Most bytes of what is told of all maps of two versions together, and of all variables.
pub const TOLD_BYTES: usize = 1 << 20;
/// Most programs of an object.
pub const PROGRAMS: usize = 1024;
/// Most calls and references of all functions of an object, each kind once a function.
pub const CALLS: usize = 100_000;
/// The same for all programs, where what functions share counts for each program that reaches it.
pub const REACHED: usize = 100_000;
/// Most calls that are followed for all programs, those of shared functions for each program that reaches them.
pub const WALKED: usize = 500_000;
/// Most maps of an object.
pub const MAPS: usize = 4096;
/// Most objects carved out of one file.
pub const CARVED: usize = 64;
