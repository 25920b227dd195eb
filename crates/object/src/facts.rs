//! Everything that an object says, read once.

use std::collections::BTreeSet;

use skep_spec::Arch;

use crate::btf::{BtfError, Kind};
use crate::calls::Code;
use crate::elf::Elf;
use crate::loose::loose;
use crate::opened::Opened;
use crate::outside::{Outside, outsides};
use crate::program::{core_relocations, programs};
use crate::shown::shown;
use crate::texts::Texts;
use crate::writers::Writers;
use crate::{
    Btf, CoreRelocation, Global, Loose, MapFacts, ProgramFacts, core_kind, global, limits, map,
    mark,
};

/// What a BPF object says about itself. Nothing here was checked by a kernel.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The architecture whose `struct pt_regs` the object reads, if it reads one.
    pub arch_hint: Option<Arch>,
    /// Whether it is for big-endian machines (`bpfeb`).
    pub big_endian: bool,
    /// What `char LICENSE[] SEC("license")` says; helpers marked GPL-only ask for it.
    pub license: Option<String>,
    /// Programs in the order of the ELF.
    pub programs: Vec<ProgramFacts>,
    /// Maps by name, global data included.
    pub maps: Vec<MapFacts>,
    /// Global variables by section and offset.
    pub globals: Vec<Global>,
    /// Types; objects without maps need none.
    pub btf: Option<Btf>,
    /// Symbols of the kernel that it names, by name.
    pub outside: Vec<Outside>,
    /// CO-RE relocations.
    pub core_relocations: Vec<CoreRelocation>,
    /// Instructions that belong to no function, of which nothing else here says anything.
    pub loose: Vec<Loose>,
}

/// Why bytes are not an object that we can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// No ELF magic.
    #[error("this is not an ELF file: {looks}")]
    NotElf {
        /// What it seems to be.
        looks: &'static str,
    },
    /// An ELF for a CPU.
    #[error(
        "this is a {bits}-bit ELF for {machine}, not a 64-bit ELF for BPF: compile with `clang -target bpf -g -O2 -c`"
    )]
    OtherMachine {
        /// The machine's name.
        machine: String,
        /// 32 or 64.
        bits: u8,
    },
    /// An ELF for BPF that was linked.
    #[error("this BPF ELF is no relocatable object (e_type {kind}): leave it unlinked, with `-c`")]
    NotRelocatable {
        /// `e_type`.
        kind: u16,
    },
    /// A part reaches beyond the end of the file.
    #[error(
        "the object is truncated in {}: that would end at byte {reaches}, the file ends at {has}",
        shown(what)
    )]
    Truncated {
        /// The part.
        what: String,
        /// Where the part ends.
        reaches: u64,
        /// Where the file ends.
        has: u64,
    },
    /// A part contradicts itself.
    #[error("{} is malformed: {}", shown(what), shown(why))]
    Malformed {
        /// The part.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// More than we are willing to read.
    #[error("the object has {found} {what}; at most {most} are read")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// Types are needed and absent.
    #[error("the object has no BTF, which its maps and events need: compile with `-g`")]
    NoBtf,
    /// `.BTF` or `.BTF.ext` cannot be read.
    #[error("section '{section}' cannot be read")]
    Btf {
        /// The section.
        section: &'static str,
        /// Why.
        source: BtfError,
    },
    /// A program that libbpf would refuse to open.
    #[error("program '{}' cannot be used: {}", shown(program), shown(why))]
    Program {
        /// The function.
        program: String,
        /// What is wrong.
        why: String,
    },
    /// A map whose definition makes no sense.
    #[error("map '{}' cannot be used: {}", shown(map), shown(why))]
    Map {
        /// The map.
        map: String,
        /// What is wrong.
        why: String,
    },
}

impl ObjectError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotElf { .. } => "object.not-elf",
            Self::OtherMachine { .. } => "object.machine",
            Self::NotRelocatable { .. } => "object.not-relocatable",
            Self::Truncated { .. } => "object.truncated",
            Self::Limit { .. } | Self::Btf { source: BtfError::Limit { .. }, .. } => "object.limit",
            Self::NoBtf => "object.no-btf",
            Self::Btf { .. } => "object.btf",
            Self::Program { .. } => "object.program",
            Self::Map { .. } => "object.map",
            _ => "object.malformed",
        }
    }
}

impl Facts {
    /// Reads an object.
    ///
    /// # Errors
    /// Anything that is not a relocatable BPF ELF, is cut off, contradicts itself, or goes beyond
    /// [`crate::limits`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ObjectError> {
        let opened = Opened::parse(bytes)?;
        let code = Code::read(&opened)?;
        mark::check(&opened, &code)?;
        let mut texts = Texts::default();
        let outside = outsides(&opened.elf, opened.btf.as_ref());
        let maps = map::maps(&opened.elf, opened.btf.as_ref(), &outside, &mut texts)?;
        let mut facts = Self {
            arch_hint: opened.btf.as_ref().and_then(arch_hint),
            big_endian: opened.elf.big_endian,
            license: license(&opened.elf)?,
            programs: programs(&opened, &code, &maps, &mut texts)?,
            maps,
            globals: global::globals(&opened.elf, opened.btf.as_ref(), &mut texts)?,
            outside,
            core_relocations: core_relocations(&opened, &mut texts)?,
            loose: loose(&opened.elf, &code.functions, &mut texts)?,
            btf: opened.btf,
        };
        facts.mark_called();
        Ok(facts)
    }

    /// The types, for what cannot do without.
    ///
    /// # Errors
    /// [`ObjectError::NoBtf`].
    pub fn types(&self) -> Result<&Btf, ObjectError> {
        self.btf.as_ref().ok_or(ObjectError::NoBtf)
    }

    /// The program of this name.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<&ProgramFacts> {
        self.programs.iter().find(|p| p.name == name)
    }

    /// Symbols of the kernel that the object does without (`__weak`), without flavour.
    #[must_use]
    pub fn weak(&self) -> BTreeSet<&str> {
        let names = |weak| {
            let outside = self.outside.iter().filter(move |outside| outside.weak == weak);
            outside.map(|outside| core_kind::plain(&outside.name))
        };
        let strong: BTreeSet<&str> = names(false).collect();
        names(true).filter(|name| !strong.contains(name)).collect()
    }

    /// The map of this name.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&MapFacts> {
        self.maps.iter().find(|m| m.name == name)
    }

    /// The variable of this name.
    #[must_use]
    pub fn global(&self, name: &str) -> Option<&Global> {
        self.globals.iter().find(|g| g.name == name)
    }

    /// How the programs of the object write a map, all together.
    #[must_use]
    pub fn writers(&self, map: &str) -> Writers {
        self.programs.iter().filter_map(|p| p.writes.get(map)).max().copied().unwrap_or_default()
    }
}

fn license(elf: &Elf<'_>) -> Result<Option<String>, ObjectError> {
    let text = elf.section("license").and_then(|(_, s)| s.data.split(|b| *b == 0).next());
    let text = text.unwrap_or(&[]);
    let (found, most) = (text.len(), limits::NAME_BYTES);
    if found > most {
        return Err(ObjectError::Limit { what: "bytes in its licence", found, most });
    }
    Ok((!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned()))
}

/// Clang puts only those types into an object's BTF that it uses; which registers are read tells the machine.
fn arch_hint(btf: &Btf) -> Option<Arch> {
    let has = |name: &str, member: &str| {
        let found = btf.find(name, |k| matches!(k, Kind::Struct(c) if !c.members.is_empty()))?;
        let composite = btf.composite(found)?;
        composite.members.iter().any(|m| btf.name(m) == member).then_some(())
    };
    let x86 = has("pt_regs", "di").or_else(|| has("pt_regs", "rdi"));
    x86.map(|()| Arch::X86_64)
        .or_else(|| has("user_pt_regs", "pstate").map(|()| Arch::Aarch64))
        .or_else(|| has("user_regs_struct", "a0").map(|()| Arch::Riscv64))
        .or_else(|| has("user_pt_regs", "psw").map(|()| Arch::S390x))
}
