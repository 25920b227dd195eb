//! Who calls whom: functions, and what each of their instructions refers to once relocations are applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::btf::{Kind, Member};
use crate::btf_ext::RelocationInfo;
use crate::elf::{Elf, Symbol, SymbolKind, is_data_section};
use crate::insn::{self, CALL, CALLX, INSN_BYTES, Insn, PSEUDO_CALL};
use crate::jump::{JUMP_TABLES, Jumps};
use crate::map::number_of;
use crate::opened::Opened;
use crate::outside::{CONFIG, kernel_functions};
use crate::place::places;
use crate::{Btf, MapKind, ObjectError, core_kind, limits};

/// The code of an object.
pub(crate) struct Code<'a> {
    opened: &'a Opened<'a>,
    /// Instructions by section.
    insns: BTreeMap<usize, Vec<Insn>>,
    /// Sorted by section and start.
    pub(crate) functions: Vec<Function>,
    /// Names of maps by their place in `.maps` or `maps`.
    maps: BTreeMap<(usize, u64), &'a str>,
    /// Names of variables that hold the kernel's configuration.
    config: BTreeSet<&'a str>,
    /// The arena, whose variables have a section of their own.
    arena: Option<&'a str>,
    /// What runs when a program throws, by the program's index.
    exceptions: BTreeMap<usize, Vec<Reference<'a>>>,
    /// Symbols that the types declare as functions of the kernel, which a loader looks for.
    kfuncs: BTreeSet<usize>,
    /// Where jumps to addresses in registers may lead.
    jumps: Jumps,
}

/// A function symbol.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// ELF section.
    pub(crate) section: usize,
    /// First instruction, counted in the section.
    pub(crate) start: usize,
    /// One past the last.
    pub(crate) end: usize,
    pub(crate) local: bool,
}

/// What an instruction refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    Helper(u32),
    Kfunc(&'a str),
    /// A function of the object, by its index in [`Code::functions`].
    Function(usize),
    /// A map, and the bytes into its value (of global data).
    Map {
        name: &'a str,
        offset: u64,
    },
    /// A symbol that the loader finds in the kernel.
    Extern {
        name: &'a str,
        weak: bool,
    },
    /// A variable that the loader fills from the kernel's configuration.
    Config(&'a str),
    /// Something that we cannot tell, such as a call without relocation into nowhere.
    Unknown,
}

impl Function {
    /// Where its instruction `at` stands in the section, in bytes.
    pub(crate) fn offset(&self, at: usize) -> u32 {
        u32::try_from((self.start + at) * INSN_BYTES).unwrap_or(u32::MAX)
    }
}

impl<'a> Code<'a> {
    pub(crate) fn read(opened: &'a Opened<'a>) -> Result<Self, ObjectError> {
        let (elf, btf) = (&opened.elf, opened.btf.as_ref());
        let mut insns = BTreeMap::new();
        let mut total = 0;
        for (index, section) in elf.sections.iter().enumerate().filter(|(_, s)| s.code) {
            total += section.data.len() / INSN_BYTES;
            check("instructions", total, limits::INSNS)?;
            insns.insert(index, insn::read(section.data, elf.big_endian).collect::<Vec<_>>());
        }
        let functions = functions(elf, &insns)?;
        let exceptions = exceptions(elf, btf, &functions)?;
        let maps = map_places(elf, btf)?;
        let arena = btf.and_then(|btf| arena(btf, &maps));
        let config = btf.map(config).unwrap_or_default();
        let kfuncs = kfuncs(elf, btf);
        let jumps = Jumps::read(elf, btf, &functions);
        Ok(Self { opened, insns, functions, maps, config, arena, exceptions, kfuncs, jumps })
    }

    /// The functions that run when a program throws (`bpf_throw`), which no instruction names; [`Reference::Unknown`] for
    /// one that is not there.
    pub(crate) fn exceptions(&self, function: usize) -> &[Reference<'a>] {
        self.exceptions.get(&function).map_or(&[], Vec::as_slice)
    }

    /// The instructions of a function.
    pub(crate) fn body(&self, function: &Function) -> &[Insn] {
        let section = self.insns.get(&function.section).map_or(&[][..], Vec::as_slice);
        section.get(function.start..function.end).unwrap_or(&[])
    }

    /// Where the jumps to addresses in registers of a function may lead, if it has any.
    pub(crate) fn jumps(&self, function: &Function) -> Option<Vec<usize>> {
        self.jumps.of(function, self.body(function))
    }

    /// The CO-RE relocations of a function's instructions.
    pub(crate) fn core(&self, function: &Function) -> &'a [RelocationInfo] {
        let length = function.end - function.start;
        self.opened.core(function.section, function.offset(0)..function.offset(length))
    }

    /// What the instruction at `at` of a function refers to, if anything.
    pub(crate) fn reference(&self, function: &Function, at: usize) -> Option<Reference<'a>> {
        let insn = *self.body(function).get(at)?;
        if insn.code == CALLX {
            return Some(Reference::Unknown);
        }
        if !insn.is_ld_imm64() && insn.code != CALL {
            return None;
        }
        let place = function.start + at;
        let section = self.opened.elf.sections.get(function.section)?;
        let Some(relocation) = section.relocation((place * INSN_BYTES) as u64) else {
            return self.unrelocated(function, insn, place);
        };
        let symbol = self.opened.elf.symbols.get(relocation.symbol)?;
        let Some(target) = symbol.section else {
            let name = || &*symbol.name;
            return match (insn.code == CALL, symbol.undefined) {
                (true, _) if self.kfuncs.contains(&relocation.symbol) => {
                    Some(Reference::Kfunc(core_kind::plain(name())))
                }
                (true, _) => Some(Reference::Unknown),
                // Kernel variables and configuration hide no code.
                (false, true) if self.config.contains(name()) => Some(Reference::Config(name())),
                (false, true) => Some(Reference::Extern { name: name(), weak: symbol.weak }),
                (false, false) => None,
            };
        };
        if insn.code == CALL {
            let to = i64::try_from(symbol.value / INSN_BYTES as u64).ok()?;
            return Some(self.function_reference(target, to + i64::from(insn.imm) + 1));
        }
        if self.opened.elf.sections.get(target).is_some_and(|section| section.name == JUMP_TABLES) {
            return None; // where it leads is told of the jump
        }
        Some(self.loaded(target, symbol.value, insn.imm, symbol.kind))
    }

    fn unrelocated(&self, function: &Function, insn: Insn, place: usize) -> Option<Reference<'a>> {
        let from = i64::try_from(place).ok()?;
        match (insn.code, insn.src) {
            (CALL, 0) => Some(Reference::Helper(insn.imm.cast_unsigned())),
            (CALL, PSEUDO_CALL) => {
                Some(self.function_reference(function.section, from + i64::from(insn.imm) + 1))
            }
            (CALL, _) => Some(Reference::Unknown),
            _ => None,
        }
    }

    /// What an `ld_imm64` of a symbol loads.
    fn loaded(&self, section: usize, value: u64, imm: i32, kind: SymbolKind) -> Reference<'a> {
        // For a section's symbol the place stands in the instruction.
        let offset = value.wrapping_add_signed(i64::from(imm));
        if self.insns.contains_key(&section) {
            let to = i64::try_from(offset / INSN_BYTES as u64).unwrap_or(i64::MAX);
            return self.function_reference(section, to);
        }
        let at = if kind == SymbolKind::Section { offset } else { value };
        if let Some(name) = self.maps.get(&(section, at)) {
            return Reference::Map { name, offset: 0 };
        }
        match (self.opened.elf.sections.get(section), self.arena) {
            (Some(section), _) if is_data_section(&section.name) => {
                Reference::Map { name: &section.name, offset }
            }
            (Some(section), Some(name)) if section.name == ARENA_DATA => {
                Reference::Map { name, offset }
            }
            _ => Reference::Unknown,
        }
    }

    fn function_reference(&self, section: usize, insn: i64) -> Reference<'a> {
        let Ok(start) = usize::try_from(insn) else { return Reference::Unknown };
        let found =
            self.functions.binary_search_by_key(&(section, start), |f| (f.section, f.start));
        found.map_or(Reference::Unknown, Reference::Function)
    }
}

fn functions(
    elf: &Elf<'_>,
    insns: &BTreeMap<usize, Vec<Insn>>,
) -> Result<Vec<Function>, ObjectError> {
    let mut functions = Vec::new();
    let mut total = 0;
    for symbol in elf.symbols.iter().filter(|s| s.kind == SymbolKind::Function && s.size > 0) {
        let Some((section, code)) =
            symbol.section.and_then(|s| insns.get(&s).map(|code| (s, code)))
        else {
            continue;
        };
        let whole = INSN_BYTES as u64;
        let (start, length) = (symbol.value / whole, symbol.size / whole);
        let end = start.saturating_add(length);
        if symbol.value % whole != 0 || symbol.size % whole != 0 || end > code.len() as u64 {
            return Err(ObjectError::Malformed {
                what: format!("function '{}'", symbol.name),
                why: "its symbol does not cover whole instructions of its section".to_owned(),
            });
        }
        let (start, end) = (start as usize, end as usize);
        whole_insns(&symbol.name, code.get(start..end).unwrap_or(&[]))?;
        // Two names of one function are no overlap, so that the sum is not bounded by the sections.
        total += end - start;
        check("instructions in functions", total, 2 * limits::INSNS)?;
        let name = symbol.name.to_string();
        functions.push(Function { name, section, start, end, local: symbol.local });
    }
    functions.sort_by_key(|f| (f.section, f.start, f.local));
    none_overlap(&functions)?;
    Ok(functions)
}

/// The last instruction is not the first half of one of 16 bytes.
fn whole_insns(name: &str, body: &[Insn]) -> Result<(), ObjectError> {
    let mut at = 0;
    while let Some(insn) = body.get(at) {
        at += if insn.is_ld_imm64() { 2 } else { 1 };
    }
    if at == body.len() {
        return Ok(());
    }
    Err(ObjectError::Malformed {
        what: format!("function '{name}'"),
        why: "it ends in the middle of an instruction".to_owned(),
    })
}

/// Loaders differ in which of two functions an instruction belongs to. Names of the same function do no harm.
fn none_overlap(functions: &[Function]) -> Result<(), ObjectError> {
    let overlap = |a: &Function, b: &Function| {
        a.section == b.section && b.start < a.end && (a.start, a.end) != (b.start, b.end)
    };
    match functions.array_windows().find(|[a, b]| overlap(a, b)) {
        Some([a, b]) => Err(ObjectError::Malformed {
            what: format!("function '{}'", b.name),
            why: format!("it overlaps the function '{}'", a.name),
        }),
        None => Ok(()),
    }
}

/// Exception callbacks: the loader finds them by a tag in the types, `exception_callback:NAME` on the program's function, and
/// takes subprograms only.
fn exceptions<'a>(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    functions: &[Function],
) -> Result<BTreeMap<usize, Vec<Reference<'a>>>, ObjectError> {
    let tags: BTreeSet<(&str, &str)> = btf.into_iter().flat_map(exception_tags).collect();
    let mut exceptions = BTreeMap::new();
    if tags.is_empty() {
        return Ok(exceptions);
    }
    let (mut programs, mut subprograms) = (BTreeMap::new(), BTreeMap::<&str, Vec<usize>>::new());
    for (index, function) in functions.iter().enumerate() {
        let name = function.name.as_str();
        match elf.sections.get(function.section).is_some_and(|section| section.name == ".text") {
            true => subprograms.entry(name).or_default().push(index),
            false => _ = programs.insert(name, index),
        }
    }
    let mut found = 0;
    for (program, callback) in tags {
        let Some(program) = programs.get(program) else { continue };
        let callbacks = subprograms.get(callback).map_or(&[][..], Vec::as_slice);
        found += callbacks.len();
        check("calls and references", found, limits::CALLS)?;
        let known: &mut Vec<Reference<'a>> = exceptions.entry(*program).or_default();
        known.extend(callbacks.iter().map(|index| Reference::Function(*index)));
        known.extend(callbacks.is_empty().then_some(Reference::Unknown));
    }
    Ok(exceptions)
}

/// The functions that are tagged with a callback, and the callback.
fn exception_tags(btf: &Btf) -> impl Iterator<Item = (&str, &str)> {
    btf.types().filter_map(|(_, tag)| {
        let Kind::DeclTag { ty, .. } = tag.kind else { return None };
        let callback = btf.name(tag).strip_prefix("exception_callback:")?;
        matches!(btf.kind(ty), Kind::Function { .. }).then(|| (btf.name(btf.ty(ty)), callback))
    })
}

/// Where compilers put variables of an arena.
const ARENA_DATA: &str = ".addr_space.1";

fn config(btf: &Btf) -> BTreeSet<&str> {
    let variables = btf.data_section(CONFIG).iter();
    variables.map(|variable| btf.name(btf.ty(variable.ty))).collect()
}

/// The map of this kind: an object has at most one.
fn arena<'a>(btf: &Btf, maps: &BTreeMap<(usize, u64), &'a str>) -> Option<&'a str> {
    let is_arena = |member: &Member| {
        let kind = (btf.name(member) == "type").then(|| number_of(btf, member.ty)).flatten();
        kind.is_some_and(|kind| MapKind::from(kind) == MapKind::Arena)
    };
    let name = btf.data_section(".maps").iter().find_map(|variable| {
        let Kind::Variable { ty, .. } = btf.kind(variable.ty) else { return None };
        let definition = btf.composite(*ty)?;
        definition.members.iter().any(is_arena).then(|| btf.name(btf.ty(variable.ty)))
    })?;
    maps.values().find(|map| **map == name).copied()
}

fn kfuncs(elf: &Elf<'_>, btf: Option<&Btf>) -> BTreeSet<usize> {
    let declared: BTreeSet<&str> = btf.into_iter().flat_map(kernel_functions).collect();
    let is_kfunc = |symbol: &Symbol<'_>| symbol.undefined && declared.contains(&*symbol.name);
    let all = elf.symbols.iter().enumerate();
    all.filter(|(_, symbol)| is_kfunc(symbol)).map(|(index, _)| index).collect()
}

fn map_places<'a>(
    elf: &'a Elf<'a>,
    btf: Option<&Btf>,
) -> Result<BTreeMap<(usize, u64), &'a str>, ObjectError> {
    let older = elf.section("maps").map(|(index, _)| index);
    let symbols =
        elf.symbols.iter().filter(|s| s.kind != SymbolKind::Section && !s.name.is_empty());
    let symbols = symbols.filter_map(|s| Some((s.section.filter(|at| Some(*at) == older)?, s)));
    let mut maps: BTreeMap<(usize, u64), &str> =
        symbols.map(|(section, s)| ((section, s.value), &*s.name)).collect();
    if let (Some((section, _)), Some(btf)) = (elf.section(".maps"), btf) {
        maps.extend(
            places(elf, btf)?.into_iter().map(|place| ((section, place.start), place.name)),
        );
    }
    Ok(maps)
}

fn check(what: &'static str, found: usize, most: usize) -> Result<(), ObjectError> {
    if found > most { Err(ObjectError::Limit { what, found, most }) } else { Ok(()) }
}
