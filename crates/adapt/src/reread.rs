//! Arguments of a hook that a program keeps on its stack are read from the hook again.
//!
//! Where a program gives a helper the address of a place on its stack, be it a map's key that is only read, kernels up to
//! Linux 6.12 forget that a pointer lies there (`check_stack_range_initialized`, kernel/bpf/verifier.c): what comes back from the
//! stack is a number to them, which must not be followed. An argument that was stored there is still the hook's: read from the
//! context, it is a pointer again.

use std::ops::Range;

use skep_object::insn::{CALL, EXIT, GOTOX, Insn, JA, JA32, PSEUDO_CALL, class};

const LDX_DW: u8 = 0x79;
const STX_DW: u8 = 0x7b;
const MOV64_REG: u8 = 0xbf;
const ADD64_IMM: u8 = 0x07;
const ADD64_REG: u8 = 0x0f;
const MOV64_IMM: u8 = 0xb7;
/// The stack's end.
const FRAME: u8 = 10;
/// How far back from a call the place is looked for that it writes to, in instructions.
const LOOK_BACK: usize = 16;
/// Helpers that write into no memory of the program: of maps, of times and tasks, and those that put out events.
const WRITES_NOTHING: [i32; 16] = [1, 2, 3, 5, 6, 7, 8, 14, 15, 25, 27, 35, 37, 125, 130, 177];
/// Helpers that write so many bytes as their second argument says where their first points: probe reads and names.
const WRITES_FIRST: [i32; 8] = [4, 16, 45, 67, 112, 113, 114, 115];

/// An argument of the hook on the stack.
struct Kept {
    /// Where in the frame.
    slot: i16,
    /// Where in the context.
    offset: i16,
    /// The register that has the context.
    context: u8,
    /// The instructions where it has, and the slot the argument.
    valid: Range<usize>,
}

/// Reads such arguments from the context again, where that is surely the same; says how often.
pub fn reread(insns: &mut [Insn]) -> usize {
    let end = end_of_main(insns);
    let Some(kept) = insns.get(..end).map(kept) else { return 0 };
    let mut changed = 0;
    for Kept { slot, offset, context, valid } in kept {
        for insn in &mut insns[valid] {
            if (insn.code, insn.src, insn.off) == (LDX_DW, FRAME, slot) {
                (insn.src, insn.off) = (context, offset);
                changed += 1;
            }
        }
    }
    changed
}

/// Where functions of the object's own begin, behind the program.
fn end_of_main(insns: &[Insn]) -> usize {
    let calls = insns.iter().enumerate().filter(|(_, i)| (i.code, i.src) == (CALL, PSEUDO_CALL));
    let targets =
        calls.filter_map(|(at, insn)| usize::try_from(at as i64 + 1 + i64::from(insn.imm)).ok());
    targets.min().unwrap_or(insns.len())
}

fn kept(insns: &[Insn]) -> Vec<Kept> {
    // Without a way back, whatever runs between two instructions stands between them.
    if insns.iter().any(|insn| insn.is_jump() && insn.off < 0) || stores_by_copies(insns) {
        return Vec::new();
    }
    let straight = insns.iter().position(|insn| insn.is_jump()).unwrap_or(insns.len());
    let Some((context, from)) = context(&insns[..straight]) else { return Vec::new() };
    let until = (from + 1..insns.len()).find(|at| writes(insns[*at], context));
    let until = until.unwrap_or(insns.len());
    let stores = (0..straight).filter_map(|at| {
        let store = insns[at];
        let (slot, register) = (store.off, store.src);
        let is_store = (store.code, store.dst) == (STX_DW, FRAME);
        let load = (0..at).rev().find(|at| writes(insns[*at], register)).filter(|_| is_store)?;
        let is_argument =
            insns[load].code == LDX_DW && has_context(&insns[..load], insns[load].src);
        let is_whole = is_argument && is_left_alone(insns, at, slot);
        is_whole.then(|| Kept {
            slot,
            offset: insns[load].off,
            context,
            valid: from.max(at) + 1..until,
        })
    });
    stores.filter(|kept| !kept.valid.is_empty()).collect()
}

/// The register that keeps the context beyond calls, and the instruction that puts it there.
fn context(straight: &[Insn]) -> Option<(u8, usize)> {
    let keeps = |(at, insn): (usize, &Insn)| {
        let is_copy = insn.code == MOV64_REG && (6..=9).contains(&insn.dst);
        (is_copy && has_context(&straight[..at], insn.src)).then_some((insn.dst, at))
    };
    straight.iter().enumerate().find_map(keeps)
}

/// Whether a register has the context after these instructions, one after the other: r1 has it at first.
fn has_context(before: &[Insn], register: u8) -> bool {
    match before.iter().rposition(|insn| writes(*insn, register)) {
        None => register == 1,
        Some(at) => before[at].code == MOV64_REG && has_context(&before[..at], before[at].src),
    }
}

/// Whether an instruction changes a register.
fn writes(insn: Insn, register: u8) -> bool {
    let class = insn.code & 7;
    match insn.code {
        CALL => register <= 5,
        _ if class == 0 || class == 1 || class == 4 || class == 7 => insn.dst == register,
        // Atomic operations may fetch.
        _ if class == 3 && insn.code & 0xe0 == 0xc0 => insn.src == register || register == 0,
        _ => false,
    }
}

/// Whether nothing but one store writes into a slot.
fn is_left_alone(insns: &[Insn], store: usize, slot: i16) -> bool {
    let slot = i64::from(slot)..i64::from(slot) + 8;
    insns.iter().enumerate().all(|(at, insn)| {
        let stores = matches!(insn.code & 7, 2 | 3) && insn.dst == FRAME && at != store;
        let room = i64::from(insn.off)..i64::from(insn.off) + bytes_of(*insn);
        let is_stored = stores && overlap(&room, &slot);
        let is_called = insn.code == CALL && may_write(&insns[..at], *insn, &slot);
        !is_stored && !is_called
    })
}

/// Whether something is stored by a copy of the frame's address, which may be any place of it.
fn stores_by_copies(insns: &[Insn]) -> bool {
    // Registers that may have one before each instruction. Jumps lead forward only.
    let mut before = vec![0_u16; insns.len() + 1];
    for (at, insn) in insns.iter().enumerate() {
        let copies = before[at] | 1 << FRAME;
        let has = |register: u8| copies & (1 << register) != 0;
        let is_by_copy = matches!(insn.code & 7, 2 | 3) && insn.dst != FRAME && has(insn.dst);
        let is_kept_away = insn.code & 7 == 3 && has(insn.src); // who knows what reads it back
        if is_by_copy || is_kept_away || matches!(insn.code, JA32 | GOTOX) {
            return true;
        }
        let is_copied = matches!(insn.code, MOV64_REG | ADD64_REG) && has(insn.src);
        let after = match insn.code {
            CALL => copies & !0x3f,
            _ if is_copied => copies | 1 << insn.dst,
            MOV64_REG | MOV64_IMM => copies & !(1 << insn.dst),
            _ if insn.class() == class::LDX => copies & !(1 << insn.dst),
            _ => copies,
        };
        let target = usize::try_from(insn.off).ok().filter(|_| insn.is_jump());
        if let Some(reached) = target.and_then(|off| before.get_mut(at + 1 + off)) {
            *reached |= after;
        }
        if !matches!(insn.code, JA | EXIT) {
            before[at + 1] |= after;
        }
    }
    false
}

/// How many bytes a load or store is of.
const fn bytes_of(insn: Insn) -> i64 {
    match insn.code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

fn may_write(before: &[Insn], call: Insn, slot: &Range<i64>) -> bool {
    if call.src != 0 {
        return true;
    }
    if WRITES_NOTHING.contains(&call.imm) {
        return false;
    }
    let room = written(before).filter(|_| WRITES_FIRST.contains(&call.imm));
    room.is_none_or(|room| overlap(&room, slot))
}

/// The bytes of the frame that r1 and r2 name before a call.
fn written(before: &[Insn]) -> Option<Range<i64>> {
    let near = &before[before.len().saturating_sub(LOOK_BACK)..];
    let last = |register: u8, till: usize| near[..till].iter().rposition(|i| writes(*i, register));
    let add = last(1, near.len()).filter(|at| near[*at].code == ADD64_IMM)?;
    let base = last(1, add).map(|at| near[at])?;
    let size = last(2, near.len()).map(|at| near[at]).filter(|insn| insn.code == MOV64_IMM)?;
    let start = i64::from(near[add].imm);
    ((base.code, base.src) == (MOV64_REG, FRAME)).then(|| start..start + i64::from(size.imm))
}

const fn overlap(one: &Range<i64>, other: &Range<i64>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
        Insn { code, dst, src, off, imm }
    }

    /// `r6 = ctx; *(fp - 8) = ctx[0]; helper(…, fp - 8); r1 = *(fp - 8); r2 = *(r1 + 48)`.
    fn program(middle: &[Insn]) -> Vec<Insn> {
        let mut all = vec![
            insn(MOV64_REG, 6, 1, 0, 0),
            insn(LDX_DW, 1, 6, 0, 0),
            insn(STX_DW, 10, 1, -8, 0),
            insn(MOV64_REG, 2, 10, 0, 0),
            insn(ADD64_IMM, 2, 0, 0, -8),
            insn(CALL, 0, 0, 0, 1),
            insn(0x15, 0, 0, 2, 0),
        ];
        all.extend_from_slice(middle);
        all.extend([insn(LDX_DW, 1, 10, -8, 0), insn(LDX_DW, 2, 1, 48, 0), insn(0x95, 0, 0, 0, 0)]);
        all
    }

    fn read_of(bytes: i32, at: i32) -> [Insn; 4] {
        [
            insn(MOV64_REG, 1, 10, 0, 0),
            insn(ADD64_IMM, 1, 0, 0, at),
            insn(MOV64_IMM, 2, 0, 0, bytes),
            insn(CALL, 0, 0, 0, 113),
        ]
    }

    #[test]
    fn an_argument_is_read_from_the_context_again() {
        let by_value = vec![insn(MOV64_REG, 2, 0, 0, 0), insn(STX_DW, 2, 7, 0, 0)];
        // A register had a copy on a way that ends elsewhere, or has another value since.
        let copy = insn(MOV64_REG, 2, 10, 0, 0);
        let other_way =
            vec![insn(0x15, 0, 0, 2, 0), copy, insn(0x95, 0, 0, 0, 0), insn(STX_DW, 2, 7, 0, 0)];
        let over = vec![copy, insn(MOV64_REG, 2, 0, 0, 0), insn(STX_DW, 2, 7, 0, 0)];
        let jumped_over_a_call = vec![
            copy,
            insn(0x15, 0, 0, 1, 0),
            insn(CALL, 0, 0, 0, 1),
            insn(MOV64_REG, 2, 0, 0, 0),
            insn(STX_DW, 2, 7, 0, 0),
        ];
        let store = vec![insn(0x63, 10, 0, -12, 0)];
        let helped = read_of(8, -16).to_vec();
        for middle in [vec![], helped, store, by_value, other_way, over, jumped_over_a_call] {
            let mut all = program(&middle);
            assert_eq!(reread(&mut all), 1);
            let load = all[all.len() - 3];
            assert_eq!((load.code, load.dst, load.src, load.off), (LDX_DW, 1, 6, 0));
        }
    }

    #[test]
    fn what_may_be_another_stays() {
        let copy = insn(MOV64_REG, 7, 10, 0, 0);
        let others: [Vec<Insn>; 10] = [
            vec![copy, insn(STX_DW, 10, 7, -16, 0)], // whose name is kept
            vec![copy, insn(STX_DW, 7, 0, -8, 0)],   // by another name of the place
            vec![copy, insn(MOV64_REG, 3, 7, 0, 0), insn(0x7a, 3, 0, 0, 0)],
            // on one of two ways
            vec![insn(0x15, 0, 0, 1, 0), copy, insn(STX_DW, 7, 0, -8, 0)],
            vec![insn(STX_DW, 10, 0, -8, 0)],  // stored anew
            vec![insn(0x62, 10, 0, -4, 0)],    // in part
            read_of(16, -16).to_vec(),         // written by a helper
            vec![insn(CALL, 0, 0, 0, 200)],    // by one that nobody knows
            vec![insn(MOV64_IMM, 6, 0, 0, 0)], // the context is gone
            vec![insn(0x05, 0, 0, -2, 0)],     // a way back
        ];
        for middle in others {
            let mut all = program(&middle);
            assert_eq!(reread(&mut all), 0, "{middle:?}");
        }
    }

    #[test]
    fn only_what_came_from_the_context_is_read_from_it() {
        let mut all = program(&[]);
        all[1] = insn(LDX_DW, 1, 7, 0, 0);
        assert_eq!(reread(&mut all), 0);
    }
}
