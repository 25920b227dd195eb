//! Counts events that are lost: the kernel itself does not count failed ring-buffer reservations.
//!
//! After each call that puts something into a ring buffer, instructions are inserted that add 1 to a counter if the
//! call failed. After a call registers r1 to r5 are dead, so that the code may use r1 and r2. Everything that counts
//! in instructions is moved along: jumps, calls between functions, addresses of functions, and the tables that say
//! where functions and lines start.

use skep_object::insn::{
    CALL, Insn, JA, JA32, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, PSEUDO_MAP_VALUE,
};

/// Most instructions that the verifier takes (`BPF_COMPLEXITY_LIMIT_INSNS`).
const MOST_INSNS: usize = 1_000_000;

const RINGBUF_OUTPUT: i32 = 130;
const RINGBUF_RESERVE: i32 = 131;
const RINGBUF_RESERVE_DYNPTR: i32 = 198;

/// Where losses are counted: a u64 in the value of an array map with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// File descriptor of the map, valid in the process that loads the program.
    pub map_fd: i32,
    /// Bytes into the value, a multiple of 8.
    pub offset: u32,
}

/// A program that counts its losses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The new instructions.
    pub insns: Vec<Insn>,
    /// How many calls are watched.
    pub calls: usize,
    /// The new place of each old instruction, and of the end.
    places: Vec<usize>,
}

/// Why a program was left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LostError {
    /// The counter is not aligned.
    #[error("the counter at byte {0} is not aligned to 8 bytes")]
    Slot(u32),
    /// A jump does not reach its target any more.
    #[error(
        "the jump at instruction {insn} would have to reach {distance} instructions, more than its 16 bits hold"
    )]
    TooFar {
        /// The instruction, counted in the original program.
        insn: usize,
        /// The distance that it would need.
        distance: i64,
    },
    /// A jump to an address in a register (kernel 7.0): its table lies outside of the program.
    #[error("instruction {insn} jumps to an address in a register")]
    Indirect {
        /// The instruction.
        insn: usize,
    },
    /// A jump or call out of the program.
    #[error("instruction {insn} leads out of the program")]
    Outside {
        /// The instruction.
        insn: usize,
    },
    /// The program is as long as the verifier takes.
    #[error("the program would have {0} instructions, more than the verifier takes")]
    TooLong(usize),
    /// A table of functions or lines that does not fit the program.
    #[error("a record of the function or line table is for instruction {insn}, which is not there")]
    Info {
        /// The instruction.
        insn: u32,
    },
}

/// Inserts the counting code into a program as the kernel would load it: relocations applied, subprograms appended.
///
/// None if the program calls nothing that is watched.
///
/// # Errors
/// Where the program cannot be rewritten; it still loads as it is, uncounted.
pub fn inject(insns: &[Insn], slot: Slot) -> Result<Option<Rewritten>, LostError> {
    if !slot.offset.is_multiple_of(8) {
        return Err(LostError::Slot(slot.offset));
    }
    let places = places(insns, slot);
    let length = places.last().copied().unwrap_or(0);
    if length == insns.len() {
        return Ok(None);
    }
    if length > MOST_INSNS {
        return Err(LostError::TooLong(length));
    }
    let mut out = Vec::with_capacity(length);
    let mut calls = 0;
    for (at, insn) in starts(insns) {
        out.push(moved(insn, at, &places)?);
        if insn.is_ld_imm64() {
            out.extend(insns.get(at + 1));
        }
        if let Some(count) = counting_code(insn, slot) {
            calls += 1;
            out.extend(count);
        }
    }
    Ok(Some(Rewritten { insns: out, calls, places }))
}

impl Rewritten {
    /// Moves a table of functions or lines (`struct bpf_func_info`, `bpf_line_info`), whose records start with the
    /// number of an instruction.
    ///
    /// # Errors
    /// A record for an instruction that is not there.
    pub fn move_info(&self, table: &mut [u8], record_bytes: usize) -> Result<(), LostError> {
        for record in table.chunks_mut(record_bytes.max(4)) {
            let Some(place) = record.first_chunk_mut::<4>() else { break };
            let insn = u32::from_ne_bytes(*place);
            let new = self.places.get(insn as usize).and_then(|at| u32::try_from(*at).ok());
            *place = new.ok_or(LostError::Info { insn })?.to_ne_bytes();
        }
        Ok(())
    }
}

/// Instructions with their numbers, without the second halves of `ld_imm64`.
fn starts(insns: &[Insn]) -> impl Iterator<Item = (usize, Insn)> + '_ {
    let mut second_half = false;
    insns.iter().enumerate().filter_map(move |(at, insn)| {
        let skip = second_half;
        second_half = !skip && insn.is_ld_imm64();
        (!skip).then_some((at, *insn))
    })
}

/// The new place of each instruction. The counting code stands before the place of the instruction that follows
/// the call, so that a jump to that instruction, which comes from elsewhere, does not run it.
fn places(insns: &[Insn], slot: Slot) -> Vec<usize> {
    let mut places: Vec<usize> = vec![1; insns.len()];
    for (at, insn) in starts(insns) {
        if let (Some(code), Some(length)) = (counting_code(insn, slot), places.get_mut(at)) {
            *length += code.len();
        }
    }
    let mut sum = 0;
    for length in &mut places {
        sum += std::mem::replace(length, sum);
    }
    places.push(sum);
    places
}

/// The instruction with its distances mended.
fn moved(insn: Insn, at: usize, places: &[usize]) -> Result<Insn, LostError> {
    let distance = |old: i64| -> Result<i64, LostError> {
        let target = usize::try_from(at as i64 + 1 + old).ok();
        let target = target.filter(|t| *t < places.len() - 1).and_then(|t| places.get(t));
        match (target, places.get(at)) {
            (Some(target), Some(place)) => Ok(*target as i64 - *place as i64 - 1),
            _ => Err(LostError::Outside { insn: at }),
        }
    };
    let by_imm = |insn: Insn| -> Result<Insn, LostError> {
        let imm = distance(i64::from(insn.imm))?;
        Ok(Insn { imm: i32::try_from(imm).map_err(|_| too_far(at, imm))?, ..insn })
    };
    match insn {
        Insn { code: CALL, src: PSEUDO_CALL, .. }
        | Insn { code: LD_IMM64, src: PSEUDO_FUNC, .. }
        | Insn { code: JA32, .. } => by_imm(insn),
        Insn { code: GOTOX, .. } => Err(LostError::Indirect { insn: at }),
        _ if insn.is_jump() => {
            let off = distance(i64::from(insn.off))?;
            Ok(Insn { off: i16::try_from(off).map_err(|_| too_far(at, off))?, ..insn })
        }
        _ => Ok(insn),
    }
}

/// `gotox`: jump to an address in a register.
const GOTOX: u8 = JA | 0x08;

const fn too_far(insn: usize, distance: i64) -> LostError {
    LostError::TooFar { insn, distance }
}

/// What follows a call that is watched.
fn counting_code(insn: Insn, slot: Slot) -> Option<Vec<Insn>> {
    const MOV64_IMM: u8 = 0xb7;
    const JEQ_IMM: u8 = 0x15;
    const JNE_REG: u8 = 0x5d;
    const ATOMIC_U64: u8 = 0xdb;
    const ADD: i32 = 0;
    let add = [
        Insn { code: LD_IMM64, dst: 1, src: PSEUDO_MAP_VALUE, off: 0, imm: slot.map_fd },
        Insn { imm: slot.offset.cast_signed(), ..Insn::default() },
        Insn { code: MOV64_IMM, dst: 2, imm: 1, ..Insn::default() },
        Insn { code: ATOMIC_U64, dst: 1, src: 2, off: 0, imm: ADD },
    ];
    let mut code = match (insn.code, insn.src, insn.imm) {
        // A comparison with a register, not with the immediate 0: the verifier takes `r0 == 0` for the program's own
        // check, and 5.10 then follows that check's other branch with a record that is never submitted.
        (CALL, 0, RINGBUF_RESERVE) => vec![
            Insn { code: MOV64_IMM, dst: 1, ..Insn::default() },
            Insn { code: JNE_REG, dst: 0, src: 1, off: 4, imm: 0 },
        ],
        (CALL, 0, RINGBUF_OUTPUT | RINGBUF_RESERVE_DYNPTR) => {
            vec![Insn { code: JEQ_IMM, dst: 0, off: 4, ..Insn::default() }]
        }
        _ => return None,
    };
    code.extend(add);
    Some(code)
}

#[cfg(test)]
#[path = "lost_tests.rs"]
mod tests;
