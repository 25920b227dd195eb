//! One instruction as LLVM's assembler spells it (RFC 9669 and what the kernel added up to cpu v4).

use crate::insn::{CALL, CALLX, EXIT, GOTOX, Insn, JA, JA32, JCOND, LD_IMM64, class};

/// What no instruction set has.
pub const UNKNOWN: &str = "<unknown>";

/// The text of an instruction. `high` is the one after it, which holds the upper half of an `ld_imm64`.
///
/// As `llvm-objdump` from 15 on prints it, without the labels after jumps; [`UNKNOWN`] for what means nothing.
#[must_use]
pub fn text(insn: Insn, high: Option<Insn>) -> String {
    let text = match insn.class() {
        class::LD if insn.code == LD_IMM64 => high.and_then(|high| load_imm64(insn, high)),
        class::LD => load_packet(insn),
        class::LDX => load(insn),
        class::ST => store(insn, number(insn.imm)),
        class::STX if insn.code & MODE == ATOMIC => atomic(insn),
        class::STX => store(insn, reg('r', insn.src)),
        class::ALU | class::ALU64 => arithmetic(insn),
        _ => jump(insn),
    };
    text.filter(|_| insn.dst <= 10 && insn.src <= 10).unwrap_or_else(|| UNKNOWN.to_owned())
}

const MODE: u8 = 0xe0;
const MEM: u8 = 0x60;
const MEMSX: u8 = 0x80;
const ATOMIC: u8 = 0xc0;
const ABS: u8 = 0x20;
const IND: u8 = 0x40;
const FROM_REG: u8 = 8;

fn load_imm64(low: Insn, high: Insn) -> Option<String> {
    if high.code != 0 {
        return None;
    }
    if low.src != 0 {
        let imm = low.imm.cast_unsigned();
        return Some(format!("ld_pseudo r{}, {:#x}, {imm:#x}", low.dst, low.src));
    }
    let (low_bits, high_bits) = (low.imm.cast_unsigned(), high.imm.cast_unsigned());
    let value = (u64::from(high_bits) << 32 | u64::from(low_bits)).cast_signed();
    Some(format!("r{} = {} ll", low.dst, hex(value)))
}

fn load_packet(insn: Insn) -> Option<String> {
    let size = size(insn);
    match insn.code & MODE {
        _ if size == 64 => None,
        ABS => Some(format!("r0 = *(u{size} *)skb[{}]", number(insn.imm))),
        IND => Some(format!("r0 = *(u{size} *)skb[r{}]", insn.src)),
        _ => None,
    }
}

fn load(insn: Insn) -> Option<String> {
    let size = size(insn);
    let sign = match insn.code & MODE {
        MEM => 'u',
        MEMSX if size != 64 => 's',
        _ => return None,
    };
    Some(format!("r{} = *({sign}{size} *)({})", insn.dst, place(insn.src, insn.off)))
}

fn store(insn: Insn, value: String) -> Option<String> {
    let (size, at) = (size(insn), place(insn.dst, insn.off));
    (insn.code & MODE == MEM).then(|| format!("*(u{size} *)({at}) = {value}"))
}

fn atomic(insn: Insn) -> Option<String> {
    const FETCH: i32 = 1;
    let size = size(insn);
    let (kind, at) = (if size == 64 { 'r' } else { 'w' }, place(insn.dst, insn.off));
    let src = reg(kind, insn.src);
    match insn.imm {
        0x100 => {
            let (dst, from) = (reg(kind, insn.dst), place(insn.src, insn.off));
            return Some(format!("{dst} = load_acquire((u{size} *)({from}))"));
        }
        0x110 => return Some(format!("store_release((u{size} *)({at}), {src})")),
        _ if size < 32 => return None,
        0xe1 if size == 64 => return Some(format!("{src} = xchg_64({at}, {src})")),
        0xe1 => return Some(format!("{src} = xchg32_32({at}, {src})")),
        0xf1 if size == 64 => return Some(format!("r0 = cmpxchg_64({at}, r0, {src})")),
        0xf1 => return Some(format!("w0 = cmpxchg32_32({at}, w0, {src})")),
        _ => {}
    }
    let (name, sign) = match insn.imm & !FETCH {
        0x00 => ("add", "+="),
        0x40 => ("or", "|="),
        0x50 => ("and", "&="),
        0xa0 => ("xor", "^="),
        _ => return None,
    };
    Some(if insn.imm & FETCH == 0 {
        format!("lock *(u{size} *)({at}) {sign} r{}", insn.src)
    } else {
        format!("{src} = atomic_fetch_{name}((u{size} *)({at}), {src})")
    })
}

fn arithmetic(insn: Insn) -> Option<String> {
    let wide = insn.class() == class::ALU64;
    let kind = if wide { 'r' } else { 'w' };
    let dst = reg(kind, insn.dst);
    let from_reg = insn.code & FROM_REG != 0;
    let value = if from_reg { reg(kind, insn.src) } else { number(insn.imm) };
    let sign = match (insn.code & 0xf0, insn.off) {
        (0x00, 0) => "+=",
        (0x10, 0) => "-=",
        (0x20, 0) => "*=",
        (0x30, 0) => "/=",
        (0x30, 1) => "s/=",
        (0x40, 0) => "|=",
        (0x50, 0) => "&=",
        (0x60, 0) => "<<=",
        (0x70, 0) => ">>=",
        (0x80, 0) if !from_reg => return Some(format!("{dst} = -{dst}")),
        (0x90, 0) => "%=",
        (0x90, 1) => "s%=",
        (0xa0, 0) => "^=",
        (0xb0, 0) => "=",
        (0xb0, 8 | 16) if from_reg => return Some(format!("{dst} = (s{}){value}", insn.off)),
        (0xb0, 32) if from_reg && wide => return Some(format!("{dst} = (s32){value}")),
        (0xb0, 1) if from_reg && wide => return Some(cast_address(insn)),
        (0xc0, 0) => "s>>=",
        (0xd0, 0) => return swap(insn, wide, from_reg),
        _ => return None,
    };
    Some(format!("{dst} {sign} {value}"))
}

fn cast_address(insn: Insn) -> String {
    let spaces = insn.imm.cast_unsigned();
    let (to, from) = (spaces >> 16, spaces & 0xffff);
    format!("r{} = addr_space_cast(r{}, {to:#x}, {from:#x})", insn.dst, insn.src)
}

fn swap(insn: Insn, wide: bool, from_reg: bool) -> Option<String> {
    let order = match (wide, from_reg) {
        (true, false) => "bswap",
        (false, false) => "le",
        (false, true) => "be",
        (true, true) => return None,
    };
    let dst = reg('r', insn.dst);
    matches!(insn.imm, 16 | 32 | 64).then(|| format!("{dst} = {order}{} {dst}", insn.imm))
}

fn jump(insn: Insn) -> Option<String> {
    match insn.code {
        CALL => return Some(format!("call {}", number(insn.imm))),
        CALLX => return Some(format!("callx r{}", insn.dst)),
        EXIT => return Some("exit".to_owned()),
        JA => return Some(format!("goto {}", distance(insn.off.into()))),
        JA32 => return Some(format!("gotol {}", distance(insn.imm.into()))),
        GOTOX => return Some(format!("gotox r{}", insn.dst)),
        JCOND => return Some(format!("may_goto {}", distance(insn.off.into()))),
        _ => {}
    }
    let kind = if insn.class() == class::JMP { 'r' } else { 'w' };
    let right = if insn.code & FROM_REG != 0 { reg(kind, insn.src) } else { number(insn.imm) };
    let sign = match insn.code & 0xf0 {
        0x10 => "==",
        0x20 => ">",
        0x30 => ">=",
        0x40 => "&",
        0x50 => "!=",
        0x60 => "s>",
        0x70 => "s>=",
        0xa0 => "<",
        0xb0 => "<=",
        0xc0 => "s<",
        0xd0 => "s<=",
        _ => return None,
    };
    let left = reg(kind, insn.dst);
    Some(format!("if {left} {sign} {right} goto {}", distance(insn.off.into())))
}

/// Bits of a load or store.
const fn size(insn: Insn) -> u8 {
    match insn.code & 0x18 {
        0x00 => 32,
        0x08 => 16,
        0x10 => 8,
        _ => 64,
    }
}

fn reg(kind: char, number: u8) -> String {
    format!("{kind}{number}")
}

fn number(imm: i32) -> String {
    hex(imm.into())
}

fn hex(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{:#x}", value.unsigned_abs())
}

fn distance(by: i64) -> String {
    let sign = if by < 0 { "-" } else { "+" };
    format!("{sign}{:#x}", by.unsigned_abs())
}

fn place(base: u8, off: i16) -> String {
    let sign = if off < 0 { "-" } else { "+" };
    format!("r{base} {sign} {:#x}", off.unsigned_abs())
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
