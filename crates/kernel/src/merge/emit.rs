//! The program of a merge, instruction by instruction. No instruction that Linux 5.10 lacks: an atomic
//! exchange is a load and an atomic addition of its negative, which is exact while nobody else writes the old map.

use std::os::fd::{AsFd, AsRawFd};

use skep_spec::life::{FieldMove, FieldSpan};
use skep_spec::manifest::Merge;

use super::KEY_AT;
use crate::asm::{Assembler, Cond, Insn, Reg, Width};
use crate::maps::MapHandle;

const MAP_LOOKUP: u32 = 1;
/// Registers that keep their values: the key, the old and the new entry.
const KEY: Reg = 7;
const OLD: Reg = 8;
const NEW: Reg = 9;

/// `None` if a field has a width that loads don't have.
pub(super) fn program(old: &MapHandle, new: &MapHandle, fields: &[FieldMove]) -> Option<Vec<Insn>> {
    let mut asm = Assembler::new();
    let (no_packet, no_old, no_new) = (asm.label(), asm.label(), asm.label());
    // struct __sk_buff: data at 76, data_end at 80
    asm.load(Width::B4, KEY, 1, 76).load(Width::B4, 3, 1, 80).add_imm(KEY, KEY_AT as i32);
    asm.mov(2, KEY).add_imm(2, old.info().key_size as i32);
    asm.jump_if_reg(Cond::Gt, 2, 3, no_packet);
    find(&mut asm, old);
    asm.jump_if(Cond::Eq, 0, 0, no_old);
    asm.mov(OLD, 0);
    find(&mut asm, new);
    asm.jump_if(Cond::Eq, 0, 0, no_new);
    asm.mov(NEW, 0);
    for field in fields {
        move_field(&mut asm, field)?;
    }
    asm.mov_imm(0, super::MOVED as i32).exit();
    asm.bind(no_old).mov_imm(0, super::NO_OLD_ENTRY as i32).exit();
    asm.bind(no_new).mov_imm(0, super::NO_NEW_ENTRY as i32).exit();
    asm.bind(no_packet).mov_imm(0, 3).exit();
    asm.finish()
}

/// r0 = the entry of the key in `map`, or 0.
fn find(asm: &mut Assembler, map: &MapHandle) {
    asm.map(1, map.as_fd().as_raw_fd()).mov(2, KEY).call(MAP_LOOKUP);
}

fn move_field(asm: &mut Assembler, field: &FieldMove) -> Option<()> {
    if field.merge == Merge::Last {
        return move_last(asm, field);
    }
    for i in 0..field.count {
        let (old, new) = (place(field.old, i)?, place(field.new, i)?);
        let skip = asm.label();
        // r1 = the old value; zero is nothing to move
        load(asm, old, 1, OLD, field.signed);
        asm.jump_if(Cond::Eq, 1, 0, skip);
        match field.merge {
            Merge::Sum => sum(asm, old, new),
            Merge::Min | Merge::Max | Merge::Last => pick(asm, old, new, field),
        }
        asm.bind(skip);
    }
    Some(())
}

/// Where element `i` stands, and how it is loaded; [`super::Merger::new`] has seen that it lies in the value.
fn place(span: FieldSpan, i: u32) -> Option<(Width, i16)> {
    Some((Width::of(span.width as usize)?, (span.offset + i * span.width) as i16))
}

/// Takes r1 out of the old field and puts it into the new one.
fn sum(asm: &mut Assembler, old: (Width, i16), new: (Width, i16)) {
    if is_atomic(old) {
        asm.mov(2, 1).neg(2).atomic_add(old.0, OLD, old.1, 2);
    } else {
        asm.store_imm(old.0, OLD, old.1, 0);
    }
    if is_atomic(new) {
        asm.atomic_add(new.0, NEW, new.1, 1);
    } else {
        asm.load(new.0, 2, NEW, new.1).add(2, 1).store(new.0, NEW, new.1, 2);
    }
}

/// Zeroes the old field, and stores r1 if the new one is zero or loses against it.
fn pick(asm: &mut Assembler, old: (Width, i16), new: (Width, i16), field: &FieldMove) {
    let (store, end) = (asm.label(), asm.label());
    asm.store_imm(old.0, OLD, old.1, 0);
    load(asm, new, 2, NEW, field.signed);
    asm.jump_if(Cond::Eq, 2, 0, store);
    let at_least = if field.signed { Cond::SignedGe } else { Cond::Ge };
    match field.merge {
        Merge::Min => asm.jump_if_reg(at_least, 1, 2, end),
        _ => asm.jump_if_reg(at_least, 2, 1, end),
    };
    asm.bind(store).store(new.0, NEW, new.1, 1).bind(end);
}

/// Any number of bytes: copied where all of the new ones are zero, and the old ones zeroed.
fn move_last(asm: &mut Assembler, field: &FieldMove) -> Option<()> {
    if field.old.width != field.new.width {
        return move_last_resized(asm, field);
    }
    for i in 0..field.count {
        let keep = asm.label();
        let width = field.old.width;
        let (from, to) = (field.old.offset + i * width, field.new.offset + i * width);
        let pieces = pieces(from, to, width);
        for (width, at) in &pieces {
            asm.load(*width, 1, NEW, (to + at) as i16).jump_if(Cond::Ne, 1, 0, keep);
        }
        for (width, at) in &pieces {
            asm.load(*width, 1, OLD, (from + at) as i16).store(*width, NEW, (to + at) as i16, 1);
        }
        asm.bind(keep);
        for (width, at) in &pieces {
            asm.store_imm(*width, OLD, (from + at) as i16, 0);
        }
    }
    Some(())
}

fn move_last_resized(asm: &mut Assembler, field: &FieldMove) -> Option<()> {
    for i in 0..field.count {
        let (old, new) = (place(field.old, i)?, place(field.new, i)?);
        let keep = asm.label();
        load(asm, old, 1, OLD, field.signed);
        asm.store_imm(old.0, OLD, old.1, 0);
        asm.load(new.0, 2, NEW, new.1).jump_if(Cond::Ne, 2, 0, keep);
        asm.store(new.0, NEW, new.1, 1).bind(keep);
    }
    Some(())
}

fn load(asm: &mut Assembler, place: (Width, i16), into: Reg, base: Reg, signed: bool) {
    asm.load(place.0, into, base, place.1);
    let bits = match place.0 {
        Width::B1 => 56,
        Width::B2 => 48,
        Width::B4 => 32,
        Width::B8 => 0,
    };
    if signed && bits > 0 {
        asm.shl(into, bits).shr_signed(into, bits);
    }
}

/// The verifier wants atomic operands of 4 or 8 bytes, aligned; map values are aligned to 8.
fn is_atomic((width, offset): (Width, i16)) -> bool {
    match width {
        Width::B4 => offset % 4 == 0,
        Width::B8 => offset % 8 == 0,
        Width::B1 | Width::B2 => false,
    }
}

/// `len` bytes as the widest loads that both places are aligned for.
fn pieces(from: u32, to: u32, len: u32) -> Vec<(Width, u32)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < len {
        let fits = |(_, bytes): &(Width, u32)| {
            (from + at).is_multiple_of(*bytes)
                && (to + at).is_multiple_of(*bytes)
                && at + bytes <= len
        };
        let widths = [(Width::B8, 8), (Width::B4, 4), (Width::B2, 2), (Width::B1, 1)];
        let (width, bytes) = widths.into_iter().find(fits).unwrap_or((Width::B1, 1));
        pieces.push((width, at));
        at += bytes;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_cover_all() {
        let bytes: Vec<_> = pieces(4, 12, 19);
        assert_eq!(bytes.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [0, 4, 12, 16, 18]);
    }
}
