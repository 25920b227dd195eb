//! Walks over a program's functions until nothing new is found.

mod calls;
mod ways;

use std::collections::{BTreeMap, BTreeSet};

use self::ways::Ways;
use super::state::{Address, Held, Stack, State};
use super::{Map, Writers};
use crate::btf_ext::RelocationInfo;
use crate::calls::{Code, Function, Reference};
use crate::flow::{InsnSet, target, targets};
use crate::guard::fetches;
use crate::insn::{CALL, CALLX, EXIT, GOTOX, INSN_BYTES, Insn, JA, JA32, LD_IMM64, class};

/// What joining two states costs, in instructions.
const MERGE_COST: usize = 16;

/// One program.
pub(super) struct Walk<'a> {
    code: &'a Code<'a>,
    maps: &'a [Map],
    /// Of all maps of the object.
    names: &'a BTreeSet<String>,
    budget: &'a mut usize,
    written: Vec<Writers>,
    /// Maps that entries are taken out of, one bit each.
    deleted: u64,
    /// Maps of which some call asks for another CPU's values, one bit each.
    others: u64,
    /// Whether the context lies on a stack somewhere.
    context_stored: bool,
    context_written: bool,
    functions: BTreeMap<usize, Known>,
    /// Functions whose addresses were put on a stack.
    kept: BTreeSet<usize>,
    changed: bool,
}

/// What a program does.
pub(super) struct Done {
    /// The class of each map.
    pub(super) written: Vec<Writers>,
    /// A bit for each map that entries are taken out of.
    pub(super) deleted: u64,
    /// Whether it stores into what it was handed.
    pub(super) context_written: bool,
}

/// A function's instructions.
struct Body<'a> {
    insns: &'a [Insn],
    /// Where jumps lead.
    targets: InsnSet,
    /// Where those lead that take an address out of a table.
    jumps: Vec<usize>,
    /// Whose numbers and distances the loader may change.
    relocated: InsnSet,
}

impl<'a> Body<'a> {
    fn of(code: &'a Code<'a>, function: &Function) -> Self {
        let (insns, start) = (code.body(function), function.offset(0));
        let place = |found: &RelocationInfo| (found.offset - start) as usize / INSN_BYTES;
        let relocated = InsnSet::of(insns, code.core(function).iter().map(place));
        let (mut targets, jumps) = (targets(insns), code.jumps(function).unwrap_or_default());
        jumps.iter().for_each(|at| _ = targets.add(*at));
        Self { insns, targets, jumps, relocated }
    }
}

/// What is known of a function so far.
#[derive(Clone, Copy, Default)]
struct Known {
    arguments: [Held; 5],
    result: Held,
    /// Whether it stores pointers into a caller's stack.
    escapes: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        code: &'a Code<'a>,
        maps: &'a [Map],
        names: &'a BTreeSet<String>,
        budget: &'a mut usize,
    ) -> Self {
        let written = vec![Writers::None; maps.len()];
        Self {
            code,
            maps,
            names,
            budget,
            written,
            deleted: 0,
            others: 0,
            context_stored: false,
            context_written: false,
            functions: BTreeMap::new(),
            kept: BTreeSet::new(),
            changed: false,
        }
    }

    /// What the program that starts with a function does; none where the budget ran out or a call leads nowhere. One that
    /// replaces a function is handed what that one was: values of maps too, of any CPU's.
    pub(super) fn program(mut self, start: usize, replaces: bool) -> Option<Done> {
        let mut known = Known::default();
        if replaces {
            let each = self.maps.iter().enumerate().filter(|(_, map)| map.per_cpu);
            self.others = each.fold(0, |all, (at, _)| all | 1 << at);
            let value = Held { others: self.others, ..Held::value_of(u64::MAX) };
            known.arguments = [value; 5];
        }
        known.arguments[0].context = true;
        self.functions.insert(start, known);
        for reference in self.code.exceptions(start) {
            match reference {
                Reference::Function(callback) => {
                    _ = self.functions.insert(*callback, Known::default())
                }
                _ => return None,
            }
        }
        loop {
            self.changed = false;
            let round: Vec<usize> = self.functions.keys().copied().collect();
            for index in round {
                self.function(index)?;
            }
            if !self.changed {
                let Self { written, deleted, context_written, .. } = self;
                return Some(Done { written, deleted, context_written });
            }
        }
    }

    fn function(&mut self, index: usize) -> Option<()> {
        let code = self.code;
        let body = Body::of(code, code.functions.get(index)?);
        let arguments = self.functions.get(&index)?.arguments;
        self.spend(body.insns.len())?;
        let mut ways = Ways::from(State::entry(arguments));
        while let Some((start, state)) = ways.next() {
            self.follow(index, &body, start, state, &mut ways)?;
        }
        Some(())
    }

    /// Follows the code from a place to its end, or to where another way comes in.
    fn follow(
        &mut self,
        index: usize,
        body: &Body<'_>,
        start: usize,
        mut state: State,
        ways: &mut Ways,
    ) -> Option<()> {
        let mut at = start;
        while let Some(insn) = body.insns.get(at).copied() {
            self.spend(1)?;
            let jump = target(insn, at);
            if insn.code == EXIT {
                self.learn(index, |known| known.result = known.result.join(state.reg(0)));
                break;
            }
            self.step(index, body, at, &mut state)?;
            if insn.code == GOTOX {
                for to in &body.jumps {
                    self.spend(MERGE_COST)?;
                    ways.lead(*to, &state)?;
                }
                break;
            }
            if let Some(to) = jump {
                self.spend(MERGE_COST)?;
                ways.lead(to, &state)?;
            }
            if matches!(insn.code, JA | JA32) {
                break;
            }
            at += if insn.is_ld_imm64() { 2 } else { 1 };
            if body.targets.has(at) {
                self.spend(MERGE_COST)?;
                ways.lead(at, &state)?;
                break;
            }
        }
        Some(())
    }

    fn spend(&mut self, instructions: usize) -> Option<()> {
        *self.budget = self.budget.checked_sub(instructions)?;
        Some(())
    }

    fn step(&mut self, index: usize, body: &Body<'_>, at: usize, state: &mut State) -> Option<()> {
        let function = self.code.functions.get(index)?;
        let insn = *body.insns.get(at)?;
        // The loader may change how far it reaches.
        let relocated = body.relocated.has(at);
        match insn.class() {
            class::LD if insn.code == LD_IMM64 => {
                let held = self.loaded(self.code.reference(function, at));
                state.set(insn.dst, held);
            }
            class::LD => state.set(0, Held::default()), // loads from packets
            class::LDX => state.set(insn.dst, self.read(state, insn, relocated)),
            class::ST | class::STX => self.store(index, insn, relocated, state)?,
            class::ALU64 => arithmetic(state, insn, relocated),
            class::ALU => state.set(insn.dst, Held::default()),
            _ if insn.code == CALLX => return None,
            _ if insn.code == CALL => {
                let reference = self.code.reference(function, at);
                self.call(index, reference?, flags(body, at), state)?;
            }
            _ => {}
        }
        Some(())
    }

    /// What a load leaves in its register.
    fn read(&self, state: &State, insn: Insn, relocated: bool) -> Held {
        match state.reg(insn.src).stack {
            Stack::No => Held::default(),
            Stack::At(at) if !relocated => state.load(at.wrapping_add(i32::from(insn.off))),
            _ => self.any(),
        }
    }

    /// Anything that a slot of some stack may hold.
    fn any(&self) -> Held {
        Held::any(self.context_stored)
    }

    /// What an `ld_imm64` leaves in its register.
    fn loaded(&self, reference: Option<Reference<'_>>) -> Held {
        match reference {
            Some(Reference::Map { name, .. }) => {
                let bit = self.bit(name);
                let data = name.starts_with('.');
                if data { Held::value_of(bit) } else { Held::map(bit) }
            }
            Some(Reference::Function(index)) => {
                Held { function: Address::Of(index), ..Held::default() }
            }
            _ => Held::default(),
        }
    }

    fn bit(&self, name: &str) -> u64 {
        match self.maps.iter().position(|map| map.name == name) {
            Some(at) => 1 << at,
            None if self.names.contains(name) => 0, // another walk tells it apart
            None => u64::MAX,
        }
    }

    fn store(
        &mut self,
        index: usize,
        insn: Insn,
        relocated: bool,
        state: &mut State,
    ) -> Option<()> {
        const ATOMIC: u8 = 0xc0;
        const ADD: i32 = 0;
        const FETCH: i32 = 1;
        const LOAD_ACQUIRE: i32 = 0x100;
        const STORE_RELEASE: i32 = 0x110;
        let mut atomic = insn.class() == class::STX && insn.code & 0xe0 == ATOMIC;
        if atomic && insn.imm == LOAD_ACQUIRE {
            state.set(insn.dst, self.read(state, insn, relocated));
            return Some(());
        }
        atomic &= insn.imm != STORE_RELEASE;
        let to = state.reg(insn.dst);
        let to = if relocated { to.somewhere() } else { to };
        // Only what is added can be added up again: a bit that both versions set would count twice.
        let adds = atomic && insn.imm & !FETCH == ADD;
        self.write(to, if adds { Writers::Atomic } else { Writers::Plain });
        self.context_written |= to.context;
        if atomic {
            if insn.imm & FETCH != 0 {
                // What comes back is what was there: a number, or the pointer of a stack slot.
                let reg = if insn.imm & 0xf0 == 0xf0 { 0 } else { insn.src };
                let back = if to.stack == Stack::No { Held::default() } else { self.any() };
                state.set(reg, back);
            }
            return Some(());
        }
        let stored = if insn.class() == class::STX { state.reg(insn.src) } else { Held::default() };
        if stored.context && to.stack != Stack::No {
            self.changed |= !self.context_stored;
            self.context_stored = true;
        }
        match stored.function {
            Address::Of(function) => self.changed |= self.kept.insert(function),
            Address::Any => return None,
            Address::No | Address::Kept => {}
        }
        match to.stack {
            Stack::At(at) => state.store(at.wrapping_add(i32::from(insn.off)), stored),
            Stack::Any if stored != Held::default() => self.escape(index, state),
            _ => {}
        }
        Some(())
    }

    /// Pointers may be anywhere on the stacks of a function and its callers now.
    fn escape(&mut self, index: usize, state: &mut State) {
        state.forget_slots(self.any());
        self.learn(index, |known| known.escapes = true);
    }

    fn learn(&mut self, function: usize, lesson: impl FnOnce(&mut Known)) {
        let Some(known) = self.functions.get_mut(&function) else { return };
        let before = *known;
        lesson(known);
        self.changed |= before.arguments != known.arguments
            || before.result != known.result
            || before.escapes != known.escapes;
    }

    fn write(&mut self, to: Held, class: Writers) {
        // What may be anything is another CPU's value only where somebody asked for one.
        let others = to.others & self.others;
        for (at, (written, map)) in self.written.iter_mut().zip(self.maps).enumerate() {
            let class = match class {
                // An addition to another CPU's value is lost where that CPU stores at the same time.
                Writers::Atomic if others >> at & 1 == 1 => Writers::Plain,
                Writers::Plain if map.per_cpu && others >> at & 1 == 0 => Writers::PlainPerCpu,
                class => class,
            };
            if to.values >> at & 1 == 1 {
                *written = class.max(*written);
            }
        }
    }

    /// Entries that go or come as a whole are plain writes on per-CPU maps too.
    fn change(&mut self, maps: u64) {
        for (at, written) in self.written.iter_mut().enumerate() {
            if maps >> at & 1 == 1 {
                *written = Writers::Plain;
            }
        }
    }
}

fn arithmetic(state: &mut State, insn: Insn, relocated: bool) {
    const MOV: u8 = 0xb0;
    const ADD: u8 = 0x00;
    const SUB: u8 = 0x10;
    let from_reg = insn.code & 8 != 0;
    let (left, right) = (state.reg(insn.dst), state.reg(insn.src));
    let held = match insn.code & 0xf0 {
        MOV if from_reg => right,
        MOV => Held::default(),
        ADD if from_reg => left.join(right).somewhere(),
        ADD => left.moved(insn.imm),
        SUB if from_reg => left.somewhere(),
        SUB => left.moved(insn.imm.wrapping_neg()),
        _ => Held::default(),
    };
    state.set(insn.dst, if relocated { held.somewhere() } else { held });
}

/// The constant that r4 was last set to before a call, with no way in between: the flags of `map_update_elem` and its like.
fn flags(body: &Body<'_>, call: usize) -> Option<i32> {
    const MOV64_IMM: u8 = 0xb7;
    const MOV32_IMM: u8 = 0xb4;
    const LOOK_BACK: usize = 32;
    const FLAGS: u8 = 4;
    for at in (call.saturating_sub(LOOK_BACK)..call).rev() {
        let insn = body.insns.get(at).filter(|_| !body.targets.has(at + 1))?;
        if insn.is_jump() || matches!(insn.code, CALL | GOTOX | EXIT) || fetches(*insn, FLAGS) {
            return None;
        }
        if insn.dst == FLAGS && !matches!(insn.class(), class::ST | class::STX) {
            let constant = matches!(insn.code, MOV64_IMM | MOV32_IMM) && !body.relocated.has(at);
            return constant.then_some(insn.imm);
        }
    }
    None
}
