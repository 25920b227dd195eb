//! BPF instructions and an assembler with labels, for the small programs that skep emits itself.

/// One instruction as the kernel takes it (RFC 9669, section 3): 8 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Opcode.
    pub code: u8,
    /// Destination in the low four bits, source in the high four (little-endian machines).
    pub regs: u8,
    /// Jump or memory offset.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl Insn {
    /// An instruction of its parts.
    #[must_use]
    pub const fn new(code: u8, dst: Reg, src: Reg, off: i16, imm: i32) -> Self {
        let regs = if cfg!(target_endian = "little") { dst | src << 4 } else { dst << 4 | src };
        Self { code, regs, off, imm }
    }

    /// Destination and source register.
    #[must_use]
    pub const fn registers(self) -> (Reg, Reg) {
        let (low, high) = (self.regs & 15, self.regs >> 4);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }
}

/// A place to jump to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A register.
pub type Reg = u8;

/// The size of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 1 byte.
    B1,
    /// 2 bytes.
    B2,
    /// 4 bytes.
    B4,
    /// 8 bytes.
    B8,
}

impl Width {
    /// The width of `bytes`, if loads and stores have it.
    #[must_use]
    pub fn of(bytes: usize) -> Option<Self> {
        Some(match bytes {
            1 => Self::B1,
            2 => Self::B2,
            4 => Self::B4,
            8 => Self::B8,
            _ => return None,
        })
    }

    const fn code(self) -> u8 {
        match self {
            Self::B4 => 0x00,
            Self::B2 => 0x08,
            Self::B1 => 0x10,
            Self::B8 => 0x18,
        }
    }
}

/// A condition of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Any bit in common.
    Set,
    /// Unsigned greater.
    Gt,
    /// Unsigned greater or equal.
    Ge,
    /// Signed greater or equal.
    SignedGe,
}

impl Cond {
    const fn code(self) -> u8 {
        match self {
            Self::Eq => 0x10,
            Self::Gt => 0x20,
            Self::Ge => 0x30,
            Self::Set => 0x40,
            Self::Ne => 0x50,
            Self::SignedGe => 0x70,
        }
    }
}

const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;

/// Writes a program from its first instruction to its last.
#[derive(Debug, Default)]
pub struct Assembler {
    insns: Vec<Insn>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// An empty program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn emit(&mut self, code: u8, dst: Reg, src: Reg, off: i16, imm: i32) -> &mut Self {
        self.insns.push(Insn::new(code, dst, src, off, imm));
        self
    }

    /// A label that [`Self::bind`] places later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places `label` before the next instruction.
    pub fn bind(&mut self, label: Label) -> &mut Self {
        self.labels[label.0] = Some(self.insns.len());
        self
    }

    /// `dst = src`.
    pub fn mov(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.emit(0xbf, dst, src, 0, 0)
    }

    /// `dst = value`, sign-extended.
    pub fn mov_imm(&mut self, dst: Reg, value: i32) -> &mut Self {
        self.emit(0xb7, dst, 0, 0, value)
    }

    /// `dst += value`.
    pub fn add_imm(&mut self, dst: Reg, value: i32) -> &mut Self {
        self.emit(0x07, dst, 0, 0, value)
    }

    /// `dst += src`.
    pub fn add(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.emit(0x0f, dst, src, 0, 0)
    }

    /// `dst = -dst`.
    pub fn neg(&mut self, dst: Reg) -> &mut Self {
        self.emit(0x87, dst, 0, 0, 0)
    }

    /// `dst <<= bits`.
    pub fn shl(&mut self, dst: Reg, bits: i32) -> &mut Self {
        self.emit(0x67, dst, 0, 0, bits)
    }

    /// `dst >>= bits`.
    pub fn shr(&mut self, dst: Reg, bits: i32) -> &mut Self {
        self.emit(0x77, dst, 0, 0, bits)
    }

    /// `dst >>= bits`, keeping the sign.
    pub fn shr_signed(&mut self, dst: Reg, bits: i32) -> &mut Self {
        self.emit(0xc7, dst, 0, 0, bits)
    }

    /// `dst = *(width *)(src + off)`, zero-extended.
    pub fn load(&mut self, width: Width, dst: Reg, src: Reg, off: i16) -> &mut Self {
        self.emit(0x61 | width.code(), dst, src, off, 0)
    }

    /// `*(width *)(dst + off) = src`.
    pub fn store(&mut self, width: Width, dst: Reg, off: i16, src: Reg) -> &mut Self {
        self.emit(0x63 | width.code(), dst, src, off, 0)
    }

    /// `*(width *)(dst + off) = value`.
    pub fn store_imm(&mut self, width: Width, dst: Reg, off: i16, value: i32) -> &mut Self {
        self.emit(0x62 | width.code(), dst, 0, off, value)
    }

    /// `lock *(width *)(dst + off) += src`, of 4 or 8 bytes; every kernel with BPF has it.
    pub fn atomic_add(&mut self, width: Width, dst: Reg, off: i16, src: Reg) -> &mut Self {
        self.emit(0xc3 | width.code(), dst, src, off, 0)
    }

    /// `dst = map`, by fd.
    pub fn map(&mut self, dst: Reg, fd: i32) -> &mut Self {
        self.emit(0x18, dst, PSEUDO_MAP_FD, 0, fd).emit(0, 0, 0, 0, 0)
    }

    /// `dst = &value[0] + offset` of an array map, by fd.
    pub fn map_value(&mut self, dst: Reg, fd: i32, offset: i32) -> &mut Self {
        self.emit(0x18, dst, PSEUDO_MAP_VALUE, 0, fd).emit(0, 0, 0, 0, offset)
    }

    /// Calls helper number `helper`.
    pub fn call(&mut self, helper: u32) -> &mut Self {
        self.emit(0x85, 0, 0, 0, helper as i32)
    }

    /// Jumps to `label`.
    pub fn jump(&mut self, label: Label) -> &mut Self {
        self.jumps.push((self.insns.len(), label));
        self.emit(0x05, 0, 0, 0, 0)
    }

    /// Jumps to `label` if `reg` stands in `cond` to `value`.
    pub fn jump_if(&mut self, cond: Cond, reg: Reg, value: i32, label: Label) -> &mut Self {
        self.jumps.push((self.insns.len(), label));
        self.emit(0x05 | cond.code(), reg, 0, 0, value)
    }

    /// Jumps to `label` if `a` stands in `cond` to `b`.
    pub fn jump_if_reg(&mut self, cond: Cond, a: Reg, b: Reg, label: Label) -> &mut Self {
        self.jumps.push((self.insns.len(), label));
        self.emit(0x0d | cond.code(), a, b, 0, 0)
    }

    /// Ends the program with what is in r0.
    pub fn exit(&mut self) -> &mut Self {
        self.emit(0x95, 0, 0, 0, 0)
    }

    /// The finished program; `None` if a label was never placed or a jump is too long.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<Insn>> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0]?;
            self.insns[at].off = i16::try_from(to as isize - at as isize - 1).ok()?;
        }
        Some(self.insns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_offsets() {
        let mut asm = Assembler::new();
        let (top, end) = (asm.label(), asm.label());
        asm.bind(top).mov_imm(0, 1).jump_if(Cond::Eq, 0, 1, end).jump(top).bind(end).exit();
        let insns = asm.finish().unwrap();
        assert_eq!((insns[1].off, insns[2].off), (1, -3));
        assert_eq!(insns[0], Insn { code: 0xb7, regs: 0, off: 0, imm: 1 });
    }

    #[test]
    fn a_label_that_is_nowhere() {
        let mut asm = Assembler::new();
        let lost = asm.label();
        asm.jump(lost);
        assert_eq!(asm.finish(), None);
    }
}
