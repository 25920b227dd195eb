//! Programs: the entry functions of an object, by libbpf's rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skep_spec::Target;

use crate::btf_ext::BtfExt;
use crate::calls::{Code, Function, Reference};
use crate::elf::Elf;
use crate::insn::INSN_BYTES;
use crate::writers::{Analysis, Writers};
use crate::{Btf, MapFacts, ObjectError, helper, limits};

/// One program of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// The ELF symbol.
    pub name: String,
    /// The ELF section, as written.
    pub section: String,
    /// Where it attaches, by its section.
    pub target: Target,
    /// Whether libbpf loads it without being asked: false for sections that start with `?`.
    pub autoload: bool,
    /// Helpers without `bpf_`, of its subprograms too.
    pub helpers: BTreeSet<String>,
    /// Kernel functions, of its subprograms too.
    pub kfuncs: BTreeSet<String>,
    /// Maps that it names, global data included, of its subprograms too.
    pub maps: BTreeSet<String>,
    /// How it writes maps; those that it does not write are left out.
    pub writes: BTreeMap<String, Writers>,
    /// Instructions, with each subprogram once.
    pub insns: usize,
    /// Whether a call leads where we cannot follow, so that the sets above may lack something.
    pub unknown_calls: bool,
    /// Where its source starts.
    pub source: Option<Source>,
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As the compiler was given it.
    pub file: String,
    /// From 1.
    pub line: u32,
}

/// A CO-RE relocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreRelocation {
    /// The ELF section of its instruction.
    pub section: String,
    /// Bytes into the section.
    pub offset: u32,
    /// The root type, without CO-RE's flavour (`___old`).
    pub type_name: String,
    /// The path from the root type: `0:1:2`.
    pub access: String,
    /// `enum bpf_core_relo_kind`.
    pub kind: u32,
}

/// All programs, in the order of their sections and places.
pub(crate) fn programs(
    elf: &Elf<'_>,
    code: &Code<'_>,
    maps: &[MapFacts],
    ext: &BtfExt,
) -> Result<Vec<ProgramFacts>, ObjectError> {
    let uses = uses_of_functions(code)?;
    let lines = lines_by_section(ext);
    let mut analysis = Analysis::new(code, maps.iter().map(|m| (m.name.clone(), m.kind)));
    let mut programs = Vec::new();
    for (index, function) in code.functions.iter().enumerate() {
        let Some(section) = elf.sections.get(function.section) else { continue };
        if section.name == ".text" {
            continue; // subprograms, reached by calls
        }
        if function.local {
            return Err(ObjectError::Program {
                program: function.name.clone(),
                why: format!("it is static; libbpf takes no static function in '{}'", section.name),
            });
        }
        let target =
            section.name.parse().unwrap_or_else(|_| Target::Other(section.name.to_string()));
        let reached = reached(&uses, index);
        programs.push(ProgramFacts {
            name: function.name.clone(),
            section: section.name.to_string(),
            target,
            autoload: !section.name.starts_with('?'),
            helpers: gather(&reached, |u| &u.helpers),
            kfuncs: gather(&reached, |u| &u.kfuncs),
            maps: gather(&reached, |u| &u.maps),
            writes: analysis.writes(index),
            insns: reached.iter().map(|u| u.insns).sum(),
            unknown_calls: reached.iter().any(|u| u.unknown),
            source: source_of(function, &section.name, &lines),
        });
        if programs.len() > limits::PROGRAMS {
            let found = programs.len();
            return Err(ObjectError::Limit { what: "programs", found, most: limits::PROGRAMS });
        }
    }
    Ok(programs)
}

/// What one function itself uses.
#[derive(Default)]
struct Uses {
    helpers: BTreeSet<String>,
    kfuncs: BTreeSet<String>,
    maps: BTreeSet<String>,
    calls: BTreeSet<usize>,
    insns: usize,
    unknown: bool,
}

fn uses_of_functions(code: &Code<'_>) -> Result<Vec<Uses>, ObjectError> {
    let mut all = Vec::with_capacity(code.functions.len());
    let mut calls = 0;
    for function in &code.functions {
        let mut uses = Uses { insns: function.end - function.start, ..Uses::default() };
        for at in 0..uses.insns {
            match code.reference(function, at) {
                Some(Reference::Helper(id)) => _ = uses.helpers.insert(helper::label(id)),
                Some(Reference::Kfunc(name)) => _ = uses.kfuncs.insert(name),
                Some(Reference::Map { name, .. }) => _ = uses.maps.insert(name),
                Some(Reference::Function(to)) => _ = uses.calls.insert(to),
                Some(Reference::Unknown) => uses.unknown = true,
                None => {}
            }
        }
        calls += uses.calls.len();
        if calls > limits::CALLS {
            return Err(ObjectError::Limit { what: "calls", found: calls, most: limits::CALLS });
        }
        all.push(uses);
    }
    Ok(all)
}

/// What the functions use that a call of `from` can reach, itself included.
fn reached(uses: &[Uses], from: usize) -> Vec<&Uses> {
    let mut seen = BTreeSet::from([from]);
    let mut todo = vec![from];
    let mut found = Vec::new();
    while let Some(uses) = todo.pop().and_then(|at| uses.get(at)) {
        todo.extend(uses.calls.iter().filter(|to| seen.insert(**to)));
        found.push(uses);
    }
    found
}

fn gather(reached: &[&Uses], of: fn(&Uses) -> &BTreeSet<String>) -> BTreeSet<String> {
    reached.iter().flat_map(|uses| of(uses)).cloned().collect()
}

type Lines<'a> = BTreeMap<&'a str, BTreeMap<u32, (&'a str, u32)>>;

fn lines_by_section(ext: &BtfExt) -> Lines<'_> {
    let mut lines = Lines::new();
    for line in &ext.lines {
        lines.entry(&line.section).or_default().insert(line.offset, (&line.file, line.line));
    }
    lines
}

fn source_of(function: &Function, section: &str, lines: &Lines<'_>) -> Option<Source> {
    let place = |insn: usize| u32::try_from(insn * INSN_BYTES).ok();
    let range = place(function.start)?..place(function.end)?;
    let (_, (file, line)) = lines.get(section)?.range(range).next()?;
    Some(Source { file: (*file).to_owned(), line: *line })
}

/// All CO-RE relocations, in order of section and place.
pub(crate) fn core_relocations(btf: &Btf, ext: &BtfExt) -> Vec<CoreRelocation> {
    ext.relocations
        .iter()
        .map(|relocation| {
            let name = btf.name(btf.ty(relocation.ty));
            let name = name.split_once("___").map_or(name, |(plain, _)| plain);
            CoreRelocation {
                section: relocation.section.clone(),
                offset: relocation.offset,
                type_name: name.to_owned(),
                access: relocation.access.clone(),
                kind: relocation.kind,
            }
        })
        .collect()
}
