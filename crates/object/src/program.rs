//! Programs: the entry functions of an object, by libbpf's rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skep_spec::Target;

use crate::btf_ext::RelocationInfo;
use crate::calls::{Code, Function, Reference};
use crate::opened::Opened;
use crate::texts::Texts;
use crate::uses::{Gathered, Use, Used, Uses};
use crate::writers::{Analysis, Writers, Written};
use crate::{Btf, CoreKind, MapFacts, ObjectError, ProgramKind, attach, core_kind, limits, shown};

/// One program of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// The ELF symbol.
    pub name: String,
    /// The ELF section, as written.
    pub section: String,
    /// Where it attaches, by its section.
    pub target: Target,
    /// The kernel's name for its way to attach (`enum bpf_attach_type`), where its section says one.
    pub attach_type: Option<&'static str>,
    /// Whether libbpf loads it without being asked: false for sections that start with `?`.
    pub autoload: bool,
    /// Whether it attaches anywhere: false of one that others call out of an array that the object fills.
    pub attached: bool,
    /// Helpers without `bpf_`, of its subprograms too.
    pub helpers: BTreeSet<String>,
    /// Kernel functions, of its subprograms too.
    pub kfuncs: BTreeSet<String>,
    /// Variables of the kernel and its configuration, of its subprograms too.
    pub ksyms: BTreeSet<String>,
    /// Maps that it names, global data included, of its subprograms too.
    pub maps: BTreeSet<String>,
    /// How it writes maps; those that it does not write are left out.
    pub writes: BTreeMap<String, Writers>,
    /// Maps that it takes entries out of.
    pub deletes: BTreeSet<String>,
    /// Whether it may store into the registers that a probe hands it, which a uprobe's process then goes on with.
    pub writes_registers: bool,
    /// Whether it has CO-RE relocations, of its subprograms too.
    pub relocated: bool,
    /// Instructions, with each subprogram once.
    pub insns: usize,
    /// Functions, itself included.
    pub functions: usize,
    /// Bytes of stack of its deepest calls, by the frames that it shows; none for recursion and too many frames.
    pub stack: Option<u32>,
    /// Where it uses helpers, kernel functions and symbols, and what must hold for that; sorted by what and name.
    pub uses: Vec<Use>,
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

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", shown(&self.file), self.line)
    }
}

/// A CO-RE relocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreRelocation {
    /// The ELF section of its instruction.
    pub section: String,
    /// Bytes into the section.
    pub offset: u32,
    /// The root type, without CO-RE's flavour (`___old`).
    #[serde(rename = "type")]
    pub type_name: String,
    /// The path from the root type: `0:1:2`.
    pub access: String,
    /// What it asks.
    pub kind: CoreKind,
    /// The path in words: `task_struct.mm.arg_start`.
    pub path: String,
    /// The line that asks.
    pub source: Option<Source>,
}

/// All programs, in the order of their sections and places.
pub(crate) fn programs(
    opened: &Opened<'_>,
    code: &Code<'_>,
    maps: &[MapFacts],
    texts: &mut Texts,
) -> Result<Vec<ProgramFacts>, ObjectError> {
    let uses = Uses::read(opened, code, texts)?;
    let stacks = uses.stacks();
    let (mut reached, mut walked, mut names) = (0, 0, BTreeSet::new());
    let mut analysis = Analysis::new(code, maps);
    let mut programs = Vec::new();
    for (index, function) in code.functions.iter().enumerate() {
        let Some(section) = opened.elf.sections.get(function.section) else { continue };
        if section.name == ".text" {
            continue; // subprograms, reached by calls
        }
        check_entry(function, &section.name, names.insert(function.name.as_str()))?;
        let gathered = uses.gather(index, &mut reached, &mut walked, texts)?;
        let kind = ProgramKind::of_section(&section.name);
        let mut written = analysis.writes(index, &gathered.maps, kind);
        if gives_values(&section.name) {
            let all = maps.iter().map(|map| (map.name.clone(), Writers::Plain));
            written.writes.extend(all);
        }
        reached += written.writes.len();
        texts.count(repeated(&section.name, &gathered, &written))?;
        programs.push(ProgramFacts {
            stack: stacks.get(index).copied().flatten(),
            source: source_of(opened, function),
            ..facts(&function.name, &section.name, gathered, written)
        });
        if programs.len() > limits::PROGRAMS {
            let found = programs.len();
            return Err(ObjectError::Limit { what: "programs", found, most: limits::PROGRAMS });
        }
    }
    Ok(programs)
}

/// Refuses an entry function that libbpf would not take.
fn check_entry(function: &Function, section: &str, is_first: bool) -> Result<(), ObjectError> {
    let refuse = |why| Err(ObjectError::Program { program: function.name.clone(), why });
    if !is_first {
        return refuse("there are two of this name".to_owned());
    }
    if function.local {
        return refuse(format!("it is static; libbpf takes no static function in '{section}'"));
    }
    Ok(())
}

/// Whether a program of this section is handed values of any map, to change them.
fn gives_values(section: &str) -> bool {
    let section = section.strip_prefix('?').unwrap_or(section);
    let place = section.strip_prefix("iter/").or_else(|| section.strip_prefix("iter.s/"));
    matches!(place, Some("bpf_map_elem" | "bpf_sk_storage_map"))
}

/// Bytes of the names that a program's facts repeat: its section stands in three of them.
fn repeated(section: &str, gathered: &Gathered, written: &Written) -> usize {
    let used = gathered.uses.iter().map(|used| &used.name);
    let names = used.chain(written.writes.keys()).chain(&written.deletes);
    names.map(String::len).sum::<usize>() + 3 * section.len()
}

/// What its section says of a program, and what its code shows.
fn facts(name: &str, section: &str, gathered: Gathered, written: Written) -> ProgramFacts {
    let used = |what| gathered.uses.iter().filter(move |used| used.what == what);
    let names = |what| used(what).map(|used| used.name.clone()).collect();
    ProgramFacts {
        name: name.to_owned(),
        section: section.to_owned(),
        target: Target::of(section),
        attach_type: attach::attach_type(section),
        autoload: !section.starts_with('?'),
        attached: true,
        helpers: names(Used::Helper),
        kfuncs: names(Used::Kfunc),
        ksyms: names(Used::Ksym),
        maps: gathered.maps,
        writes: written.writes,
        deletes: written.deletes,
        writes_registers: written.context,
        relocated: gathered.relocated,
        insns: gathered.insns,
        functions: gathered.functions,
        stack: None,
        unknown_calls: gathered.unknown,
        uses: gathered.uses,
        source: None,
    }
}

/// The functions that a call of `from` can reach, itself included; none that lie behind a call into nowhere.
pub(crate) fn reached_from(code: &Code<'_>, from: usize) -> BTreeSet<usize> {
    let mut seen = BTreeSet::from([from]);
    let mut todo = vec![from];
    while let Some((index, function)) =
        todo.pop().and_then(|at| Some((at, code.functions.get(at)?)))
    {
        let named =
            (0..function.end - function.start).filter_map(|at| code.reference(function, at));
        for reference in named.chain(code.exceptions(index).iter().copied()) {
            if let Reference::Function(to) = reference
                && seen.insert(to)
            {
                todo.push(to);
            }
        }
    }
    seen
}

fn source_of(opened: &Opened<'_>, function: &Function) -> Option<Source> {
    let (from, to) = (function.offset(0), function.offset(function.end - function.start));
    let lines = &opened.info(function.section)?.lines;
    let first = lines.get(lines.partition_point(|line| line.offset < from))?;
    opened.source(first).filter(|_| first.offset < to)
}

/// All CO-RE relocations, in order of section and place.
pub(crate) fn core_relocations(
    opened: &Opened<'_>,
    texts: &mut Texts,
) -> Result<Vec<CoreRelocation>, ObjectError> {
    let Some(btf) = &opened.btf else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (section, info) in opened.ext.sections() {
        for relocation in &info.relocations {
            let line = info.line(0, relocation.offset);
            let relocation = CoreRelocation {
                source: line.and_then(|line| opened.source(line)),
                ..core_relocation(btf, section, relocation)
            };
            let CoreRelocation { section, type_name, access, path, .. } = &relocation;
            let file = relocation.source.as_ref().map_or("", |source| &source.file);
            texts.count([section, type_name, access, path, file].map(str::len).iter().sum())?;
            all.push(relocation);
        }
    }
    Ok(all)
}

fn core_relocation(btf: &Btf, section: &str, relocation: &RelocationInfo) -> CoreRelocation {
    let (kind, access) = (CoreKind::from(relocation.kind), btf.string(relocation.access));
    CoreRelocation {
        section: section.to_owned(),
        offset: relocation.offset,
        type_name: core_kind::plain(btf.name(btf.ty(relocation.ty))).to_owned(),
        path: core_kind::path(btf, relocation.ty, access, kind),
        access: access.to_owned(),
        kind,
        source: None,
    }
}
