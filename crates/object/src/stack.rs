//! How much stack programs take.

use crate::insn::{CALL, Insn, class};

/// Frames that the verifier takes (`MAX_CALL_FRAMES`).
const FRAMES: usize = 8;
/// What the verifier rounds a frame up to.
const ROUND: u32 = 32;
const FRAME_POINTER: u8 = 10;

/// Bytes of the frame that a function addresses, by distances from the frame pointer that it shows.
pub(crate) fn of_function(body: &[Insn]) -> u32 {
    let mut deepest = 0;
    // Distance from the frame pointer, for registers that hold such an address.
    let mut known = [None; 16];
    for insn in body {
        if let Some(at) = known.get_mut(usize::from(FRAME_POINTER)) {
            *at = Some(0i32);
        }
        let base = match insn.class() {
            class::LDX => insn.src,
            class::ST | class::STX => insn.dst,
            class::ALU64 => {
                deepest = deepest.max(arithmetic(&mut known, *insn));
                continue;
            }
            class::ALU | class::LD => {
                forget(&mut known, insn.dst);
                continue;
            }
            _ => {
                if insn.code == CALL {
                    (0..=5).for_each(|register| forget(&mut known, register));
                }
                continue;
            }
        };
        if let Some(at) = known.get(usize::from(base)).copied().flatten() {
            deepest = deepest.max(depth(at.saturating_add(insn.off.into())));
        }
        if insn.class() == class::LDX {
            forget(&mut known, insn.dst);
        }
    }
    deepest
}

fn forget(known: &mut [Option<i32>], register: u8) {
    if let Some(at) = known.get_mut(usize::from(register)) {
        *at = None;
    }
}

/// Follows an address through a move or an addition; how deep it points.
fn arithmetic(known: &mut [Option<i32>], insn: Insn) -> u32 {
    const ADD_IMM: u8 = 0x07;
    const MOV_REG: u8 = 0xbf;
    let value = |register: u8| known.get(usize::from(register)).copied().flatten();
    let now = match insn.code {
        MOV_REG if insn.off == 0 => value(insn.src),
        ADD_IMM => value(insn.dst).map(|at| at.saturating_add(insn.imm)),
        _ => None,
    };
    if let Some(at) = known.get_mut(usize::from(insn.dst)) {
        *at = now;
    }
    now.map_or(0, depth)
}

/// More than a frame can have is no address of its own.
fn depth(at: i32) -> u32 {
    if at < -512 { 0 } else { at.min(0).unsigned_abs() }
}

/// For each function the bytes of the deepest way from it; none for recursion and too many frames.
pub(crate) fn deepest<'a, I>(own: &[u32], calls: impl Fn(usize) -> Option<I>) -> Vec<Option<u32>>
where
    I: Iterator<Item = &'a usize>,
{
    let rounded = |bytes: u32| bytes.max(1).next_multiple_of(ROUND);
    let frame: Vec<u32> = own.iter().map(|bytes| rounded(*bytes)).collect();
    let deeper = |last: &[u32]| -> Vec<u32> {
        let with_callees = |(index, own): (usize, &u32)| {
            let callees = calls(index).into_iter().flatten();
            own + callees.filter_map(|to| last.get(*to)).max().copied().unwrap_or(0)
        };
        frame.iter().enumerate().map(with_callees).collect()
    };
    let whole = (1..FRAMES).fold(frame.clone(), |last, _| deeper(&last));
    // What one frame more makes deeper goes on for ever, or for too long.
    let more = deeper(&whole);
    whole.iter().zip(&more).map(|(a, b)| (a == b).then_some(*a)).collect()
}
