//! The facts of part 4 as a document.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use skep_object::{CoreRelocation, Facts, MapFacts, ProgramFacts, Writers};

/// What an object says about itself.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ObjectFacts {
    /// `little` or `big`.
    #[schemars(extend("enum" = ["little", "big"]))]
    byte_order: &'static str,
    /// What the section `license` says.
    license: Option<String>,
    /// In the order of the ELF.
    programs: Vec<Program>,
    /// By name, global data included.
    maps: Vec<Map>,
    /// By section and offset.
    globals: Vec<Global>,
    /// CO-RE relocations.
    core_relocations: Vec<Relocation>,
    /// Instructions that belong to no function, by section and offset.
    loose: Vec<Loose>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Program {
    /// The function.
    name: String,
    /// The ELF section.
    section: String,
    /// Where it attaches.
    target: String,
    /// The kind of that.
    kind: String,
    /// Whether it is loaded where no manifest names it.
    autoload: bool,
    /// Helpers, without `bpf_`.
    helpers: BTreeSet<String>,
    /// Kernel functions.
    kfuncs: BTreeSet<String>,
    /// Maps that it uses.
    maps: BTreeSet<String>,
    /// Maps that it writes, and how.
    #[schemars(
        with = "BTreeMap<String, String>",
        extend("additionalProperties" = {"enum": ["none", "atomic", "plain-per-cpu", "plain"]})
    )]
    writes: BTreeMap<String, Writers>,
    /// Whether there is a call that cannot be followed.
    unknown_calls: bool,
    /// Of a probe, whether it may store into the registers that it is handed.
    writes_registers: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Map {
    /// The symbol; of global data the section.
    name: String,
    /// As the kernel names it.
    kind: String,
    /// Bytes.
    key_size: u32,
    /// Bytes.
    value_size: u32,
    /// 0 where a loader decides.
    max_entries: u32,
    /// `BPF_F_…`.
    flags: u32,
    /// Whether it asks to be pinned under its name.
    pinned: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Global {
    /// The symbol.
    name: String,
    /// `.rodata`, `.data`, `.bss` and the like.
    section: String,
    /// Bytes from the section's beginning.
    offset: u64,
    /// Bytes.
    size: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Loose {
    /// The ELF section.
    section: String,
    /// Bytes from its beginning.
    offset: u64,
    /// Bytes.
    size: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Relocation {
    /// The ELF section.
    section: String,
    /// Bytes from its beginning.
    offset: u32,
    /// What is asked of the kernel's types.
    kind: String,
    /// The root type.
    r#type: String,
    /// Indices of members, `0:1:2`.
    access: String,
}

impl ObjectFacts {
    /// The facts of an object that was read.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        Self {
            byte_order: if facts.big_endian { "big" } else { "little" },
            license: facts.license.clone(),
            programs: facts.programs.iter().map(Program::of).collect(),
            maps: facts.maps.iter().map(Map::of).collect(),
            globals: facts.globals.iter().map(Global::of).collect(),
            core_relocations: facts.core_relocations.iter().map(Relocation::of).collect(),
            loose: facts.loose.iter().map(Loose::of).collect(),
        }
    }
}

impl Program {
    fn of(program: &ProgramFacts) -> Self {
        Self {
            name: program.name.clone(),
            section: program.section.clone(),
            target: program.target.to_string(),
            kind: program.target.kind().to_owned(),
            autoload: program.autoload,
            helpers: program.helpers.clone(),
            kfuncs: program.kfuncs.clone(),
            maps: program.maps.clone(),
            writes: program.writes.clone(),
            unknown_calls: program.unknown_calls,
            writes_registers: program.writes_registers,
        }
    }
}

impl Map {
    fn of(map: &MapFacts) -> Self {
        Self {
            name: map.name.clone(),
            kind: map.kind.to_string(),
            key_size: map.key_size,
            value_size: map.value_size,
            max_entries: map.max_entries,
            flags: map.flags,
            pinned: map.pinned,
        }
    }
}

impl Global {
    fn of(global: &skep_object::Global) -> Self {
        let (name, section) = (global.name.clone(), global.section.clone());
        Self { name, section, offset: global.offset, size: global.size }
    }
}

impl Loose {
    fn of(loose: &skep_object::Loose) -> Self {
        Self { section: loose.section.clone(), offset: loose.offset, size: loose.size }
    }
}

impl Relocation {
    fn of(relocation: &CoreRelocation) -> Self {
        Self {
            section: relocation.section.clone(),
            offset: relocation.offset,
            kind: relocation.kind.to_string(),
            r#type: relocation.type_name.clone(),
            access: relocation.access.clone(),
        }
    }
}
