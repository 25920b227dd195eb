//! The parts of a BPF ELF that we read: sections, symbols, relocations.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Rel, SectionHeader, SectionTable, Sym};
use object::{Endianness, SymbolIndex};

use crate::{ObjectError, limits};

/// A BPF ELF whose every section lies inside the file.
pub(crate) struct Elf<'a> {
    pub(crate) big_endian: bool,
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) symbols: Vec<Symbol<'a>>,
    /// The first section of each name; of what is read by its name, the only one.
    by_name: HashMap<Cow<'a, str>, usize>,
}

pub(crate) struct Section<'a> {
    pub(crate) name: Cow<'a, str>,
    /// Whether it holds instructions.
    pub(crate) code: bool,
    pub(crate) size: u64,
    /// Whether it is part of what runs: code or data.
    pub(crate) alloc: bool,
    /// Empty for a section without bytes in the file (`.bss`).
    pub(crate) data: &'a [u8],
    /// Sorted by offset.
    pub(crate) relocations: Vec<Relocation>,
}

pub(crate) struct Symbol<'a> {
    pub(crate) name: Cow<'a, str>,
    /// Index into `sections`; none for undefined and absolute symbols.
    pub(crate) section: Option<usize>,
    pub(crate) undefined: bool,
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) kind: SymbolKind,
    pub(crate) local: bool,
    pub(crate) weak: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SymbolKind {
    Function,
    Object,
    Section,
    Other,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    /// Byte offset into the section.
    pub(crate) offset: u64,
    /// Index into `symbols`.
    pub(crate) symbol: usize,
}

type Header = FileHeader64<Endianness>;

impl<'a> Elf<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, ObjectError> {
        let header = header(data)?;
        let endian = header.endian().map_err(|e| malformed("the ELF header", e))?;
        let table = section_table(header, endian, data)?;
        let mut sections = Vec::with_capacity(table.len());
        let mut names = Names { bytes: 0 };
        for (index, section) in table.iter().enumerate() {
            sections.push(read_section(&table, section, index, endian, data, &mut names)?);
        }
        let symbols = read_symbols(&table, endian, data, sections.len(), &mut names)?;
        let mut relocations = 0;
        for (index, section) in table.iter().enumerate() {
            let name =
                sections.get(index).map_or(Cow::Borrowed(""), |section| section.name.clone());
            let found = read_relocations(section, &name, endian, data, &symbols, &mut sections)?;
            relocations += found;
            limit("relocations", relocations, limits::RELOCATIONS)?;
        }
        for section in &mut sections {
            section.relocations.sort_by_key(|r| r.offset);
            once_a_place(section)?;
        }
        none_overlap(&table, endian, &sections)?;
        let by_name = by_name(&sections)?;
        Ok(Self { big_endian: endian == Endianness::Big, sections, symbols, by_name })
    }

    pub(crate) fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        let index = *self.by_name.get(name)?;
        self.sections.get(index).map(|section| (index, section))
    }
}

/// Of two sections of one name, one loader reads the first and another the last.
fn by_name<'a>(sections: &[Section<'a>]) -> Result<HashMap<Cow<'a, str>, usize>, ObjectError> {
    let mut by_name: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(sections.len());
    let is_read = |at: &usize| sections.get(*at).is_some_and(Section::is_read);
    for (index, section) in sections.iter().enumerate() {
        match by_name.entry(section.name.clone()) {
            Entry::Vacant(entry) => _ = entry.insert(index),
            Entry::Occupied(first) if is_read(&index) || is_read(first.get()) => {
                return Err(ObjectError::Malformed {
                    what: "the table of sections".to_owned(),
                    why: format!("there are two sections '{}'", section.name),
                });
            }
            Entry::Occupied(_) => {}
        }
    }
    Ok(by_name)
}

/// Whether loaders read a section by its name, whatever its flags.
fn by_its_name(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        ".text",
        "license",
        "version",
        "maps",
        ".maps",
        ".BTF",
        ".BTF.ext",
        ".struct_ops",
        ".struct_ops.link",
        "?.struct_ops",
        "?.struct_ops.link",
        ".addr_space.1",
        ".jumptables",
    ];
    NAMES.contains(&name) || is_data_section(name)
}

/// Whether a section holds variables: libbpf makes a map of it.
pub(crate) fn is_data_section(name: &str) -> bool {
    [".data", ".rodata", ".bss"].iter().any(|base| {
        name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// No byte of the file is part of two sections.
fn none_overlap(
    table: &SectionTable<'_, Header>,
    endian: Endianness,
    sections: &[Section<'_>],
) -> Result<(), ObjectError> {
    let ranges = table.iter().zip(sections).filter_map(|(header, section)| {
        let (start, length) = header.file_range(endian).filter(|(_, length)| *length > 0)?;
        Some((start, start.saturating_add(length), &section.name))
    });
    let mut ranges: Vec<(u64, u64, &Cow<'_, str>)> = ranges.collect();
    ranges.sort_by_key(|(start, ..)| *start);
    match ranges.array_windows().find(|[a, b]| b.0 < a.1) {
        Some([a, b]) => Err(ObjectError::Malformed {
            what: format!("section '{}'", b.2),
            why: format!("it lies over the section '{}'", a.2),
        }),
        None => Ok(()),
    }
}

impl Section<'_> {
    fn is_read(&self) -> bool {
        self.alloc || self.code || by_its_name(&self.name)
    }

    /// The relocation at a byte offset.
    pub(crate) fn relocation(&self, offset: u64) -> Option<Relocation> {
        let at = self.relocations.binary_search_by_key(&offset, |r| r.offset).ok()?;
        self.relocations.get(at).copied()
    }
}

fn header(data: &[u8]) -> Result<&Header, ObjectError> {
    if !data.starts_with(b"\x7fELF") {
        return Err(ObjectError::NotElf { looks: looks_like(data) });
    }
    if data.len() < size_of::<Header>() {
        return Err(truncated("the ELF header", size_of::<Header>() as u64, data));
    }
    if data.get(4) != Some(&elf::ELFCLASS64.0) {
        let machine = data.get(18..20).map_or(0, |b| u16::from(b[0]) | u16::from(b[1]) << 8);
        return Err(ObjectError::OtherMachine { machine: machine_name(machine), bits: 32 });
    }
    let header = Header::parse(data).map_err(|e| malformed("the ELF header", e))?;
    let endian = header.endian().map_err(|e| malformed("the ELF header", e))?;
    let machine = header.e_machine(endian).0;
    if machine != elf::EM_BPF.0 {
        return Err(ObjectError::OtherMachine { machine: machine_name(machine), bits: 64 });
    }
    if header.e_type(endian) != elf::ET_REL {
        return Err(ObjectError::NotRelocatable { kind: header.e_type(endian).0 });
    }
    // Last: a large file that is no object at all is told as what it is.
    if data.len() > limits::OBJECT_BYTES {
        return Err(ObjectError::Limit {
            what: "bytes",
            found: data.len(),
            most: limits::OBJECT_BYTES,
        });
    }
    Ok(header)
}

fn section_table<'a>(
    header: &'a Header,
    endian: Endianness,
    data: &'a [u8],
) -> Result<SectionTable<'a, Header>, ObjectError> {
    let start = header.e_shoff(endian);
    let count = u64::from(header.e_shnum(endian));
    let end = start.saturating_add(count.saturating_mul(u64::from(header.e_shentsize(endian))));
    if start == 0 {
        return Err(ObjectError::Malformed {
            what: "the ELF header".to_owned(),
            why: "it names no section headers".to_owned(),
        });
    }
    if end > data.len() as u64 {
        return Err(truncated("the section headers", end, data));
    }
    let table = header.sections(endian, data).map_err(|e| malformed("the section headers", e))?;
    if table.len() > limits::SECTIONS {
        return Err(ObjectError::Limit {
            what: "sections",
            found: table.len(),
            most: limits::SECTIONS,
        });
    }
    Ok(table)
}

fn read_section<'a>(
    table: &SectionTable<'a, Header>,
    section: &'a elf::SectionHeader64<Endianness>,
    index: usize,
    endian: Endianness,
    data: &'a [u8],
    names: &mut Names,
) -> Result<Section<'a>, ObjectError> {
    let name = table
        .section_name(endian, section)
        .map_err(|e| malformed(&format!("the name of section {index}"), e))?;
    let name = names.take(name)?;
    let (size, kind) = (section.sh_size(endian), section.sh_type(endian));
    if by_its_name(&name) && !matches!(kind, elf::SHT_PROGBITS | elf::SHT_NOBITS) {
        return Err(ObjectError::Malformed {
            what: format!("section '{name}'"),
            why: format!("it is of type {:#x}, which loaders pass over", kind.0),
        });
    }
    let bytes = match section.file_range(endian) {
        None => &[][..],
        Some((offset, length)) => {
            let end = offset.saturating_add(length);
            usize::try_from(offset)
                .ok()
                .zip(usize::try_from(end).ok())
                .and_then(|(from, to)| data.get(from..to))
                .ok_or_else(|| truncated(&format!("section '{name}'"), end, data))?
        }
    };
    let code = kind == elf::SHT_PROGBITS && section.sh_flags(endian).0 & elf::SHF_EXECINSTR.0 != 0;
    let alloc = section.sh_flags(endian).0 & elf::SHF_ALLOC.0 != 0;
    Ok(Section { name, code, size, alloc, data: bytes, relocations: Vec::new() })
}

fn read_symbols<'a>(
    table: &SectionTable<'a, Header>,
    endian: Endianness,
    data: &'a [u8],
    sections: usize,
    names: &mut Names,
) -> Result<Vec<Symbol<'a>>, ObjectError> {
    let symbols = table
        .symbols(endian, data, elf::SHT_SYMTAB)
        .map_err(|e| malformed("the symbol table", e))?;
    if symbols.len() > limits::SYMBOLS {
        let found = symbols.len();
        return Err(ObjectError::Limit { what: "symbols", found, most: limits::SYMBOLS });
    }
    let mut out = Vec::with_capacity(symbols.len());
    // Null symbol included: relocations count from it.
    for (index, symbol) in symbols.symbols().iter().enumerate() {
        let name = symbols
            .symbol_name(endian, symbol)
            .map_err(|e| malformed(&format!("the name of symbol {index}"), e))?;
        let place = symbols
            .symbol_section(endian, symbol, SymbolIndex(index))
            .map_err(|e| malformed(&format!("the section of symbol {index}"), e))?;
        out.push(Symbol {
            name: names.take(name)?,
            section: place.map(|s| s.0).filter(|s| *s < sections),
            undefined: symbol.st_shndx(endian) == elf::SHN_UNDEF,
            value: symbol.st_value(endian),
            size: symbol.st_size(endian),
            kind: match symbol.st_type() {
                elf::STT_FUNC => SymbolKind::Function,
                elf::STT_OBJECT => SymbolKind::Object,
                elf::STT_SECTION => SymbolKind::Section,
                _ => SymbolKind::Other,
            },
            local: symbol.st_bind() == elf::STB_LOCAL,
            weak: symbol.st_bind() == elf::STB_WEAK,
        });
    }
    Ok(out)
}

fn read_relocations(
    section: &elf::SectionHeader64<Endianness>,
    name: &str,
    endian: Endianness,
    data: &[u8],
    symbols: &[Symbol<'_>],
    sections: &mut [Section<'_>],
) -> Result<usize, ObjectError> {
    let Some((entries, _)) =
        section.rel(endian, data).map_err(|e| malformed("a relocation section", e))?
    else {
        return Ok(0);
    };
    let Some(target) = sections.get_mut(section.sh_info(endian) as usize) else {
        return Err(ObjectError::Malformed {
            what: "a relocation section".to_owned(),
            why: format!("it is for section {}, which is not there", section.sh_info(endian)),
        });
    };
    if name.strip_prefix(".rel") != Some(&*target.name) {
        return Err(ObjectError::Malformed {
            what: format!("the relocation section '{name}'"),
            why: format!(
                "it is for the section '{}', and loaders pass some over by name",
                target.name
            ),
        });
    }
    limit("relocations", entries.len(), limits::RELOCATIONS)?;
    target.relocations.reserve_exact(entries.len());
    for entry in entries {
        let symbol = entry.r_sym(endian) as usize;
        if symbol >= symbols.len() {
            return Err(ObjectError::Malformed {
                what: format!("a relocation of section '{}'", target.name),
                why: format!("symbol {symbol} is not there"),
            });
        }
        let offset = entry.r_offset(endian);
        let (size, step) = if target.code { (8, 8) } else { (4, 1) };
        if offset.saturating_add(size) > target.size || offset % step != 0 {
            return Err(ObjectError::Malformed {
                what: format!("a relocation of section '{}'", target.name),
                why: format!("there is nothing to relocate at offset {offset:#x}"),
            });
        }
        target.relocations.push(Relocation { offset, symbol });
    }
    Ok(entries.len())
}

/// Loaders differ in which of two relocations at one place they apply, or apply both.
fn once_a_place(section: &Section<'_>) -> Result<(), ObjectError> {
    let twice = section.relocations.array_windows().find(|[a, b]| a.offset == b.offset);
    twice.map_or(Ok(()), |[relocation, _]| {
        Err(ObjectError::Malformed {
            what: format!("the relocation table of section '{}'", section.name),
            why: format!("it has two relocations at offset {:#x}", relocation.offset),
        })
    })
}

/// Names of strangers, counted: thousands of symbols may name the same long string.
struct Names {
    bytes: usize,
}

impl Names {
    fn take<'a>(&mut self, name: &'a [u8]) -> Result<Cow<'a, str>, ObjectError> {
        limit("bytes in a name", name.len(), limits::NAME_BYTES)?;
        let name = String::from_utf8_lossy(name);
        self.bytes += name.len();
        limit("bytes of names", self.bytes, limits::NAMES_BYTES)?;
        Ok(name)
    }
}

fn limit(what: &'static str, found: usize, most: usize) -> Result<(), ObjectError> {
    if found > most { Err(ObjectError::Limit { what, found, most }) } else { Ok(()) }
}

fn truncated(what: &str, reaches: u64, data: &[u8]) -> ObjectError {
    ObjectError::Truncated { what: what.to_owned(), reaches, has: data.len() as u64 }
}

fn malformed(what: &str, error: object::read::Error) -> ObjectError {
    ObjectError::Malformed { what: what.to_owned(), why: error.to_string() }
}

/// What a file that is no ELF seems to be, for the message.
fn looks_like(data: &[u8]) -> &'static str {
    match data {
        [] => "it is empty",
        [0x1f, 0x8b, ..] => "it looks like gzip",
        [b'B', b'C', 0xc0, 0xde, ..] => "it looks like LLVM bitcode",
        [0x9f, 0xeb, ..] | [0xeb, 0x9f, ..] => "it looks like bare BTF",
        [b'!', b'<', b'a', ..] => "it looks like an ar archive",
        [b'{', ..] => "it looks like JSON",
        _ if data.len() < 4 => "it is shorter than an ELF magic number",
        _ if data.iter().take(256).all(|b| matches!(b, 9 | 10 | 13 | 32..=126)) => {
            "it looks like text; build sources with `skep build`"
        }
        _ => "its first bytes are not \\x7fELF",
    }
}

/// The name of an ELF machine (`e_machine`), or its number.
fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        8 => "MIPS",
        20 => "PowerPC",
        21 => "PowerPC64",
        22 => "s390x",
        40 => "ARM",
        62 => "x86_64",
        183 => "aarch64",
        243 => "RISC-V",
        247 => "BPF",
        258 => "LoongArch",
        263 => "Solana SBF",
        other => return format!("machine {other}"),
    };
    name.to_owned()
}
