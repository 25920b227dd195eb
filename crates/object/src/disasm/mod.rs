//! The instructions of an object as assembly, with what each of them refers to.

mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::iter::Peekable;
use std::mem;

use serde::Serialize;
use skep_spec::Digest;

pub use text::{UNKNOWN, text};

use crate::btf_ext::LineInfo;
use crate::calls::{Code, Function, Reference};
use crate::elf::Elf;
use crate::insn::{GOTOX, INSN_BYTES, Insn, JA32};
use crate::opened::Opened;
use crate::program::reached_from;
use crate::shown::shown;
use crate::{CoreKind, Loose, ObjectError, Source, core_kind, helper, jump, loose, mark};

/// Something that is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Item {
    /// A function starts here; its lines follow.
    Function(Start),
    /// Instructions of no function start here; their lines follow.
    Loose(Loose),
    /// An instruction.
    Line(Line),
}

/// The start of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Start {
    /// Its symbol.
    pub name: String,
    /// The ELF section that it stands in.
    pub section: String,
    /// Whether it is a program, and no subprogram.
    pub program: bool,
    /// What the tables hold by which it jumps, in their order, if it does.
    #[serde(skip)]
    pub tables: Option<Digest>,
}

/// An instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number in its section, from 0.
    pub at: usize,
    /// As [`text()`] writes it.
    pub text: String,
    /// What it refers to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The source line that starts here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLine>,
}

/// A line of source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// Where it is.
    #[serde(flatten)]
    pub source: Source,
    /// What it says, if the object holds that.
    pub code: String,
}

/// What an instruction refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the variants are the kernel's words")]
pub enum Note {
    /// Another function of the object.
    Function(String),
    Helper(String),
    Kfunc(String),
    /// A kernel variable, or kernel configuration.
    Extern(String),
    Map(String),
    /// A global variable, or a place in a data section.
    Variable(String),
    /// A CO-RE relocation: what it asks, and of what.
    Core {
        ask: CoreKind,
        path: String,
    },
    /// The instruction that it jumps to.
    Jump(usize),
    /// So many more that it may jump to.
    More(usize),
    /// It may jump to where this instruction of the same function may.
    Same(usize),
    /// A call that leads where reading the object cannot follow.
    Unknown,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => write!(f, "{}", shown(name)),
            Self::Helper(name) => write!(f, "bpf_{}", shown(name)),
            Self::Kfunc(name) => write!(f, "kfunc {}", shown(name)),
            Self::Extern(name) => write!(f, "extern {}", shown(name)),
            Self::Map(name) => write!(f, "map {}", shown(name)),
            Self::Variable(name) => write!(f, "{}", shown(name)),
            Self::Core { ask, path } => write!(f, "{ask} {}", shown(path)),
            Self::Jump(at) => write!(f, "to {at}"),
            Self::More(count) => write!(f, "and {count} more"),
            Self::Same(at) => write!(f, "to the same as {at}"),
            Self::Unknown => f.write_str("to where nobody can tell"),
        }
    }
}

/// Why an object cannot be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisasmError {
    /// It cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// It has no such program.
    #[error("there is no program '{}'", shown(.0))]
    Absent(String),
}

/// Hands each instruction of an object to `each`, function by function in the order of the ELF; of `program` alone, and
/// what it calls, where one is named.
///
/// # Errors
/// The object cannot be read, or has no such program.
pub fn list(
    bytes: &[u8],
    program: Option<&str>,
    mut each: impl FnMut(Item),
) -> Result<(), DisasmError> {
    let opened = Opened::parse(bytes)?;
    let code = Code::read(&opened)?;
    mark::check(&opened, &code)?;
    let wanted = program.map(|name| of_program(&opened.elf, &code, name)).transpose()?;
    let mut loose = Ahead::of(&opened, &code, wanted.is_some());
    let tables = jump::contents(&opened.elf, &code.functions);
    for (index, function) in code.functions.iter().enumerate() {
        loose.up_to((function.section, function.start), &mut each);
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&index)) {
            continue;
        }
        let section = opened.elf.sections.get(function.section);
        let section = section.map(|section| section.name.to_string()).unwrap_or_default();
        let (name, program) = (function.name.clone(), section != ".text");
        let tables = tables.get(&(function.section, function.start)).copied();
        each(Item::Function(Start { name, section, program, tables }));
        Listing { opened: &opened, code: &code, function }.lines(&mut each);
    }
    loose.up_to((usize::MAX, 0), &mut each);
    Ok(())
}

/// Instructions of no function that are still to be listed, as if each run of them were one.
struct Ahead<'a> {
    opened: &'a Opened<'a>,
    code: &'a Code<'a>,
    runs: Peekable<std::vec::IntoIter<Function>>,
}

impl<'a> Ahead<'a> {
    fn of(opened: &'a Opened<'a>, code: &'a Code<'a>, none: bool) -> Self {
        let sections = opened.elf.sections.iter().enumerate();
        let sections = sections.filter(|(_, section)| section.code && !none);
        let runs = sections.flat_map(|(section, its)| {
            loose::runs(section, its.data.len(), &code.functions).map(move |run| {
                let (start, end) = (run.start / INSN_BYTES, run.end / INSN_BYTES);
                Function { name: String::new(), section, start, end, local: true }
            })
        });
        let runs: Vec<Function> = runs.collect();
        Self { opened, code, runs: runs.into_iter().peekable() }
    }

    /// Lists those that stand before a place.
    fn up_to(&mut self, place: (usize, usize), each: &mut impl FnMut(Item)) {
        while let Some(run) = self.runs.next_if(|run| (run.section, run.start) < place) {
            let section = self.opened.elf.sections.get(run.section);
            let section = section.map(|section| section.name.to_string()).unwrap_or_default();
            let size = ((run.end - run.start) * INSN_BYTES) as u64;
            each(Item::Loose(Loose { section, offset: run.offset(0).into(), size }));
            Listing { opened: self.opened, code: self.code, function: &run }.lines(each);
        }
    }
}

fn of_program(elf: &Elf<'_>, code: &Code<'_>, name: &str) -> Result<BTreeSet<usize>, DisasmError> {
    let is_program = |function: &Function| {
        function.name == name
            && elf.sections.get(function.section).is_some_and(|section| section.name != ".text")
    };
    let start = code.functions.iter().position(is_program);
    start.map(|start| reached_from(code, start)).ok_or_else(|| DisasmError::Absent(name.to_owned()))
}

struct Listing<'a> {
    opened: &'a Opened<'a>,
    code: &'a Code<'a>,
    function: &'a Function,
}

impl Listing<'_> {
    fn lines(&self, each: &mut impl FnMut(Item)) {
        let body = self.code.body(self.function);
        let mut tables = self.tables();
        let (mut at, mut before) = (0, None);
        while let Some(insn) = body.get(at) {
            let high = body.get(at + 1).copied();
            let line =
                self.opened.line(self.function.section, self.offset(0), self.offset(at)).copied();
            let place = line.map(|line| (line.file, line.line));
            let source = line.filter(|_| place != before).and_then(|line| self.source(&line));
            before = place;
            let here = self.function.start + at;
            let notes = match insn.code {
                // A function may have a million of them, and all lead to the same.
                GOTOX if tables.len() > 1 => mem::replace(&mut tables, vec![Note::Same(here)]),
                GOTOX => tables.clone(),
                _ => self.notes(at, *insn),
            };
            each(Item::Line(Line { at: here, text: text(*insn, high), notes, source }));
            at += if insn.is_ld_imm64() { 2 } else { 1 };
        }
    }

    fn source(&self, line: &LineInfo) -> Option<SourceLine> {
        const MOST: usize = 160;
        let code = self.opened.btf.as_ref()?.string(line.text).trim();
        // A line may have 4,096 bytes, and stand before each of a million instructions.
        let code = match code.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}…", &code[..end]),
            None => code.to_owned(),
        };
        let mut source = self.opened.source(line)?;
        if let Some((start, _)) = source.file.char_indices().nth_back(MOST) {
            source.file.replace_range(..start, "…");
        }
        Some(SourceLine { source, code })
    }

    fn offset(&self, at: usize) -> u32 {
        self.function.offset(at)
    }

    fn notes(&self, at: usize, insn: Insn) -> Vec<Note> {
        let refers = self.code.reference(self.function, at).map(|to| self.note(to));
        refers.into_iter().chain(self.jump(at, insn)).chain(self.relocation(at)).collect()
    }

    /// Where the function's jumps to addresses out of tables may lead, the first of them one by one.
    fn tables(&self) -> Vec<Note> {
        const TOLD: usize = 16;
        let all = self.code.jumps(self.function).unwrap_or_default();
        let told = all.iter().take(TOLD).map(|at| Note::Jump(self.function.start + at));
        let more = all.len().saturating_sub(TOLD);
        told.chain((more > 0).then_some(Note::More(more))).collect()
    }

    fn note(&self, to: Reference<'_>) -> Note {
        match to {
            Reference::Helper(id) => Note::Helper(helper::label(id).into_owned()),
            Reference::Kfunc(name) => Note::Kfunc(name.to_owned()),
            Reference::Extern { name, .. } | Reference::Config(name) => {
                Note::Extern(name.to_owned())
            }
            Reference::Function(index) => {
                let name = self.code.functions.get(index).map(|function| function.name.clone());
                name.map_or(Note::Unknown, Note::Function)
            }
            Reference::Map { name, offset } if name.starts_with('.') => {
                Note::Variable(self.opened.variable(name, offset))
            }
            Reference::Map { name, .. } => Note::Map(name.to_owned()),
            Reference::Unknown => Note::Unknown,
        }
    }

    fn jump(&self, at: usize, insn: Insn) -> Option<Note> {
        let by = if insn.code == JA32 { i64::from(insn.imm) } else { i64::from(insn.off) };
        let from = i64::try_from(self.function.start + at + 1).ok()?;
        insn.is_jump().then_some(usize::try_from(from + by).ok()).flatten().map(Note::Jump)
    }

    fn relocation(&self, at: usize) -> Option<Note> {
        let (btf, info) = (self.opened.btf.as_ref()?, self.opened.info(self.function.section)?);
        let relocation = info.relocation(self.offset(at))?;
        let ask = CoreKind::from(relocation.kind);
        let path = core_kind::path(btf, relocation.ty, btf.string(relocation.access), ask);
        Some(Note::Core { ask, path })
    }
}
