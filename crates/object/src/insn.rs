//! BPF instructions: eight bytes each (RFC 9669, section 3).

/// Bytes of one instruction.
pub const INSN_BYTES: usize = 8;

/// One instruction, or one half of a 16-byte `ld_imm64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register, or a mark such as `BPF_PSEUDO_CALL`.
    pub src: u8,
    /// Jump distance in instructions, or memory offset in bytes.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

/// Class bits of [`Insn::code`].
pub mod class {
    /// Non-standard loads, `ld_imm64` among them.
    pub const LD: u8 = 0;
    /// Loads from memory.
    pub const LDX: u8 = 1;
    /// Stores of an immediate.
    pub const ST: u8 = 2;
    /// Stores of a register, atomics among them.
    pub const STX: u8 = 3;
    /// 32-bit arithmetic.
    pub const ALU: u8 = 4;
    /// Jumps with 64-bit comparisons.
    pub const JMP: u8 = 5;
    /// Jumps with 32-bit comparisons.
    pub const JMP32: u8 = 6;
    /// 64-bit arithmetic.
    pub const ALU64: u8 = 7;
}

/// `ld_imm64`: the first half of a 16-byte load.
pub const LD_IMM64: u8 = 0x18;
/// `call`.
pub const CALL: u8 = 0x85;
/// `callx`: call the function whose address is in a register.
pub const CALLX: u8 = 0x8d;
/// `gotox`: jump to the address in a register, which a table of the program gives.
pub const GOTOX: u8 = 0x0d;
/// `exit`.
pub const EXIT: u8 = 0x95;
/// `ja`: jump by `off`.
pub const JA: u8 = 0x05;
/// `gotol`: jump by `imm` (cpu v4).
pub const JA32: u8 = 0x06;
/// `may_goto` (`BPF_JCOND`): jump by `off` once the loop budget is used up.
pub const JCOND: u8 = 0xe5;
/// Source register of a `call` to a function of the same program.
pub const PSEUDO_CALL: u8 = 1;
/// Source register of an `ld_imm64` with a map's file descriptor.
pub const PSEUDO_MAP_FD: u8 = 1;
/// Source register of an `ld_imm64` with an address inside a map's value.
pub const PSEUDO_MAP_VALUE: u8 = 2;
/// Source register of an `ld_imm64` with a function of the same program.
pub const PSEUDO_FUNC: u8 = 4;

impl Insn {
    /// Reads one instruction as the ELF holds it.
    #[must_use]
    pub fn from_bytes(bytes: [u8; INSN_BYTES], big_endian: bool) -> Self {
        let [code, regs, o0, o1, i0, i1, i2, i3] = bytes;
        let (low, high) = (regs & 0xf, regs >> 4);
        if big_endian {
            let off = i16::from_be_bytes([o0, o1]);
            Self { code, dst: high, src: low, off, imm: i32::from_be_bytes([i0, i1, i2, i3]) }
        } else {
            let off = i16::from_le_bytes([o0, o1]);
            Self { code, dst: low, src: high, off, imm: i32::from_le_bytes([i0, i1, i2, i3]) }
        }
    }

    /// The bytes as a little-endian kernel takes them.
    #[must_use]
    pub fn to_le_bytes(self) -> [u8; INSN_BYTES] {
        let [o0, o1] = self.off.to_le_bytes();
        let [i0, i1, i2, i3] = self.imm.to_le_bytes();
        [self.code, (self.dst & 0xf) | self.src << 4, o0, o1, i0, i1, i2, i3]
    }

    /// The class, one of [`class`].
    #[must_use]
    pub const fn class(self) -> u8 {
        self.code & 7
    }

    /// Whether this is the first half of an `ld_imm64`.
    #[must_use]
    pub const fn is_ld_imm64(self) -> bool {
        self.code == LD_IMM64
    }

    /// The helper that is called, by its id.
    #[must_use]
    pub fn helper(self) -> Option<u32> {
        (self.code == CALL && self.src == 0).then(|| self.imm.cast_unsigned())
    }

    /// Whether this jumps within its function by a distance: conditional or not, but no call and no exit.
    #[must_use]
    pub const fn is_jump(self) -> bool {
        matches!(self.class(), class::JMP | class::JMP32)
            && !matches!(self.code, CALL | CALLX | GOTOX | EXIT)
    }
}

/// Reads a section's instructions; bytes that make no whole instruction at the end are left out.
pub fn read(bytes: &[u8], big_endian: bool) -> impl Iterator<Item = Insn> + '_ {
    bytes.as_chunks::<INSN_BYTES>().0.iter().map(move |c| Insn::from_bytes(*c, big_endian))
}
