//! Branches that only some kernels or settings take: code behind a question to the kernel's types, to a kernel symbol,
//! or to a constant that is set before loading.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::btf_ext::RelocationInfo;
use crate::calls::{Code, Function, Reference};
use crate::flow::InsnSet;
use crate::insn::{CALL, CALLX, EXIT, GOTOX, Insn, class};
use crate::opened::Opened;
use crate::texts::Texts;
use crate::{CoreKind, ObjectError, core_kind, flow, shown};

/// What must hold for code to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "on")]
pub enum Guard {
    /// The kernel's types have something, or lack it.
    Type {
        /// What is asked: `field_exists`.
        ask: CoreKind,
        /// Of what: `task_struct.__state`.
        path: String,
        /// Whether it must be there.
        present: bool,
    },
    /// The kernel has a symbol, or lacks it.
    Symbol {
        /// The symbol.
        name: String,
        /// Whether it must be there.
        present: bool,
    },
    /// A constant has some value.
    Constant {
        /// The variable.
        name: String,
        /// Whether the object's own value keeps the code from running.
        off: bool,
    },
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |present: &bool| if *present { "has" } else { "lacks" };
        match self {
            Self::Type { path, present, .. } => {
                write!(f, "where the kernel {} {}", has(present), shown(path))
            }
            Self::Symbol { name, present } => {
                write!(f, "where the kernel {} {}", has(present), shown(name))
            }
            Self::Constant { name, off: true } => {
                write!(f, "off unless {} is changed", shown(name))
            }
            Self::Constant { name, off: false } => write!(f, "depends on {}", shown(name)),
        }
    }
}

/// Most guards of one function that are looked at.
const MOST: usize = 64;
/// Most guards of one place that are told.
pub(crate) const MOST_TOLD: usize = 4;
/// How far back a tested register's origin is looked for, in instructions.
const LOOK_BACK: usize = 16;

/// The guards of a function's instructions.
pub(crate) struct Guards {
    reached: Option<InsnSet>,
    /// Each guard with the instructions that run without it.
    tests: Vec<(Arc<Guard>, InsnSet)>,
}

impl Guards {
    /// Steps are taken from `budget`; where it is used up, code counts as unguarded.
    pub(crate) fn of(
        opened: &Opened<'_>,
        code: &Code<'_>,
        function: &Function,
        budget: &mut usize,
        texts: &mut Texts,
    ) -> Result<Self, ObjectError> {
        let body = code.body(function);
        let (core, targets) = (code.core(function), flow::targets(body));
        let search = Search { opened, code, function, body, core, targets };
        let mut guards = Self { reached: None, tests: Vec::new() };
        let tests = search.tests();
        if tests.is_empty() {
            return Ok(guards);
        }
        let flow = flow::Flow::of(search.body);
        guards.reached = flow.reached(None, budget);
        for (edge, guard) in tests {
            let Some(without) = flow.reached(Some(edge), budget) else { break };
            texts.count(guard.name().len())?;
            guards.tests.push((Arc::new(guard), without));
        }
        Ok(guards)
    }

    /// What must hold for an instruction to run, as much of it as is told.
    pub(crate) fn at(&self, insn: usize) -> Vec<Arc<Guard>> {
        let reached = self.reached.as_ref().is_some_and(|reached| reached.has(insn));
        let tests = self.tests.iter().filter(|(_, without)| reached && !without.has(insn));
        tests.map(|(guard, _)| Arc::clone(guard)).take(MOST_TOLD).collect()
    }
}

impl Guard {
    /// Whether it may not hold for the object as it is.
    #[must_use]
    pub const fn may_fail(&self) -> bool {
        !matches!(self, Self::Constant { off: false, .. })
    }

    /// What is asked about.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Type { path: name, .. }
            | Self::Symbol { name, .. }
            | Self::Constant { name, .. } => name,
        }
    }
}

struct Search<'a> {
    opened: &'a Opened<'a>,
    code: &'a Code<'a>,
    function: &'a Function,
    body: &'a [Insn],
    core: &'a [RelocationInfo],
    targets: InsnSet,
}

/// What a tested register came from, and what it may then hold.
enum Origin {
    Type {
        ask: CoreKind,
        path: String,
        lacking: u64,
        there: u64,
    },
    /// An address: any number but 0 where the kernel has it.
    Symbol(String),
    Constant {
        name: String,
        value: u64,
    },
}

impl Search<'_> {
    /// Edges that something must hold for.
    fn tests(&self) -> Vec<(flow::Edge, Guard)> {
        let mut tests = Vec::new();
        if self.body.iter().any(|insn| insn.code == GOTOX) {
            return tests; // leads wherever a table says
        }
        for (at, insn) in self.body.iter().enumerate() {
            let Some(test) = Test::of(*insn) else { continue };
            let Some(origin) = self.origin(at, insn.dst) else { continue };
            for taken in [true, false] {
                if let Some(guard) = guard(&origin, test, taken) {
                    tests.push((flow::Edge { at, taken }, guard));
                }
            }
            if tests.len() >= MOST {
                break;
            }
        }
        tests
    }

    /// Follows a register back in its basic block.
    fn origin(&self, from: usize, register: u8) -> Option<Origin> {
        let (mut register, mut done) = (register, Vec::new());
        for at in (from.saturating_sub(LOOK_BACK)..from).rev() {
            let insn = *self.body.get(at)?;
            // What jumps to the next instruction brings another value.
            let enters = self.targets.has(at + 1);
            let leaves = insn.is_jump() || matches!(insn.code, CALL | CALLX | EXIT);
            if enters || leaves || fetches(insn, register) {
                return None;
            }
            if insn.dst != register
                || matches!(insn.class(), class::ST | class::STX)
                || insn.code == 0
            {
                continue;
            }
            if let Some(symbol) = self.symbol(at) {
                return done.iter().all(|insn| is_move(*insn)).then_some(Origin::Symbol(symbol));
            }
            if let Some(relocation) = self.relocation(at) {
                return self.type_asked(insn, relocation, &done);
            }
            match (insn.class(), insn.code & 0xf0) {
                (class::LDX, _) => return self.constant(at, insn, &done),
                (class::ALU | class::ALU64, MOV) if insn.code & FROM_REG != 0 && insn.off == 0 => {
                    register = insn.src;
                }
                (class::ALU | class::ALU64, AND | LEFT | RIGHT | SIGNED_RIGHT)
                    if insn.code & FROM_REG == 0 => {}
                _ => return None,
            }
            done.push(insn);
        }
        None
    }

    /// A symbol that a kernel may lack; the address of a variable of its configuration is never 0.
    fn symbol(&self, at: usize) -> Option<String> {
        match self.code.reference(self.function, at) {
            Some(Reference::Extern { name, weak: true }) => Some(core_kind::plain(name).to_owned()),
            _ => None,
        }
    }

    fn relocation(&self, at: usize) -> Option<&RelocationInfo> {
        let offset = self.function.offset(at);
        let found = self.core.binary_search_by_key(&offset, |relocation| relocation.offset).ok()?;
        self.core.get(found)
    }

    /// An answer that the loader puts in as a number, 0 or 1, into a register that held another one.
    fn type_asked(&self, insn: Insn, asked: &RelocationInfo, done: &[Insn]) -> Option<Origin> {
        let (btf, ask) = (self.opened.btf.as_ref()?, CoreKind::from(asked.kind));
        if !ask.is_guard() || !(insn.is_ld_imm64() || matches!(insn.code, MOV_IMM | MOV32_IMM)) {
            return None;
        }
        let path = core_kind::path(btf, asked.ty, btf.string(asked.access), ask);
        let (lacking, there) = (after(done, 0), after(done, 1));
        Some(Origin::Type { ask, path, lacking, there })
    }

    /// A load from read-only data whose address is set just before; `done` to it afterwards, last first.
    fn constant(&self, at: usize, load: Insn, done: &[Insn]) -> Option<Origin> {
        let signed = match load.code & 0xe0 {
            MEM => false,
            MEMSX => true,
            _ => return None,
        };
        let mut before = (at.saturating_sub(LOOK_BACK)..at).rev();
        let set = before.find(|at| {
            self.body.get(*at).is_some_and(|insn| {
                insn.is_ld_imm64() && insn.dst == load.src
                    || insn.is_jump()
                    || (insn.dst == load.src
                        && !matches!(insn.class(), class::ST | class::STX | class::LD))
            })
        })?;
        let between = || set + 1..at;
        let fetches = |at| self.body.get(at).is_some_and(|insn| fetches(*insn, load.src));
        if (set + 1..=at).any(|at| self.targets.has(at)) || between().any(fetches) {
            return None;
        }
        let Some(Reference::Map { name, offset }) = self.code.reference(self.function, set) else {
            return None;
        };
        if !name.starts_with(".rodata") {
            return None;
        }
        let place = offset.checked_add_signed(load.off.into())?;
        let (_, section) = self.opened.elf.section(name)?;
        let size = [4, 2, 1, 8].get(usize::from(load.code >> 3 & 3)).copied()?;
        let from = usize::try_from(place).ok()?;
        let bytes = section.data.get(from..from.checked_add(size)?)?;
        let value = number(bytes, self.opened.elf.big_endian);
        let value = if signed { extended(value, size) } else { value };
        let value = after(done, value);
        let name = self.opened.variable(name, place);
        Some(Origin::Constant { name, value })
    }
}

const MOV: u8 = 0xb0;
const MOV_IMM: u8 = class::ALU64 | MOV;
const MOV32_IMM: u8 = class::ALU | MOV;
const AND: u8 = 0x50;
const LEFT: u8 = 0x60;
const RIGHT: u8 = 0x70;
const SIGNED_RIGHT: u8 = 0xc0;
const FROM_REG: u8 = 8;
const MEM: u8 = 0x60;
const MEMSX: u8 = 0x80;
const ATOMIC: u8 = 0xc0;

fn number(bytes: &[u8], big_endian: bool) -> u64 {
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    if big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
}

/// A number of so many bytes with its sign carried on.
fn extended(value: u64, size: usize) -> u64 {
    let above = 64 - 8 * size as u32;
    (value.cast_signed() << above >> above).cast_unsigned()
}

/// Whether an atomic instruction brings back what was in memory, into this register.
pub(crate) const fn fetches(insn: Insn, register: u8) -> bool {
    let atomic = insn.class() == class::STX && insn.code & 0xe0 == ATOMIC;
    atomic && (insn.src == register || insn.dst == register || register == 0)
}

/// Whether it moves all 64 bits of a register.
const fn is_move(insn: Insn) -> bool {
    insn.code == class::ALU64 | MOV | FROM_REG
}

/// What instructions, last first, make of a value.
fn after(done: &[Insn], value: u64) -> u64 {
    done.iter().rev().fold(value, |value, insn| apply(*insn, value))
}

fn apply(insn: Insn, value: u64) -> u64 {
    let (operation, by) = (insn.code & 0xf0, insn.imm.cast_unsigned());
    if insn.class() == class::ALU {
        let value = value as u32;
        return u64::from(match operation {
            AND => value & by,
            LEFT => value.wrapping_shl(by),
            RIGHT => value.wrapping_shr(by),
            SIGNED_RIGHT => value.cast_signed().wrapping_shr(by).cast_unsigned(),
            _ => value,
        });
    }
    match operation {
        AND => value & i64::from(insn.imm).cast_unsigned(),
        LEFT => value.wrapping_shl(by),
        RIGHT => value.wrapping_shr(by),
        SIGNED_RIGHT => value.cast_signed().wrapping_shr(by).cast_unsigned(),
        _ => value,
    }
}

/// A comparison with a number.
#[derive(Clone, Copy)]
struct Test {
    insn: Insn,
}

impl Test {
    fn of(insn: Insn) -> Option<Self> {
        let compares = insn.is_jump() && insn.code & FROM_REG == 0 && insn.code & 0xf0 != 0;
        (compares && insn.code & 0xf0 != 0xe0).then_some(Self { insn })
    }

    /// Whether one side is that of 0, and the other that of every other number.
    const fn tells_zero(self) -> bool {
        let operation = self.insn.code & 0xf0;
        self.insn.class() == class::JMP
            && matches!(
                (operation, self.insn.imm),
                (0x10 | 0x20 | 0x50 | 0xb0, 0) | (0x30 | 0xa0, 1)
            )
    }

    /// Whether a value takes the jump.
    fn takes(self, value: u64) -> bool {
        let wide = self.insn.class() == class::JMP;
        let imm = i64::from(self.insn.imm);
        let (a, b) = if wide {
            (value, imm.cast_unsigned())
        } else {
            (value & u64::from(u32::MAX), imm.cast_unsigned() & u64::from(u32::MAX))
        };
        let signed =
            |v: u64| if wide { v.cast_signed() } else { i64::from((v as u32).cast_signed()) };
        let (sa, sb) = (signed(a), signed(b));
        match self.insn.code & 0xf0 {
            0x10 => a == b,
            0x20 => a > b,
            0x30 => a >= b,
            0x40 => a & b != 0,
            0x50 => a != b,
            0x60 => sa > sb,
            0x70 => sa >= sb,
            0xa0 => a < b,
            0xb0 => a <= b,
            0xc0 => sa < sb,
            _ => sa <= sb,
        }
    }
}

/// What must hold for one side of a test; none where both answers lead there.
fn guard(origin: &Origin, test: Test, taken: bool) -> Option<Guard> {
    let leads = |value: u64| test.takes(value) == taken;
    Some(match origin {
        Origin::Type { ask, path, lacking, there } => {
            let present = leads(*there);
            if present == leads(*lacking) {
                return None;
            }
            Guard::Type { ask: *ask, path: path.clone(), present }
        }
        Origin::Symbol(name) => {
            test.tells_zero().then(|| Guard::Symbol { name: name.clone(), present: !leads(0) })?
        }
        Origin::Constant { name, value } => {
            Guard::Constant { name: name.clone(), off: !leads(*value) }
        }
    })
}
