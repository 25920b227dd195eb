//! Programs without what they print for people, for kernels that cannot print it.
//!
//! A message of more than three numbers is printed by `bpf_trace_vprintk` (Linux 5.16). It goes to the trace pipe, where nobody
//! who waits for a program's events looks: a program does its work without.

use skep_object::insn::{CALL, Insn};

/// `bpf_trace_vprintk` (include/uapi/linux/bpf.h).
pub const TRACE_VPRINTK: i32 = 177;
const MOV64_IMM: u8 = 0xb7;

/// Makes each such call one that prints nothing: it gives 0, the number of bytes. Says how many there were.
pub fn silence(insns: &mut [Insn]) -> usize {
    let mut silenced = 0;
    let mut is_second_half = false;
    for insn in insns {
        let is_first_half = !is_second_half && insn.is_ld_imm64();
        if !is_second_half && (insn.code, insn.src, insn.imm) == (CALL, 0, TRACE_VPRINTK) {
            *insn = Insn { code: MOV64_IMM, ..Insn::default() };
            silenced += 1;
        }
        is_second_half = is_first_half;
    }
    silenced
}

#[cfg(test)]
mod tests {
    use skep_object::insn::LD_IMM64;

    use super::*;

    #[test]
    fn only_what_prints_is_taken() {
        let call = |src, imm| Insn { code: CALL, src, imm, ..Insn::default() };
        // The second half of a wide constant may look like anything.
        let wide = Insn { code: LD_IMM64, ..Insn::default() };
        let mut insns = [
            call(0, 5),
            wide,
            call(0, TRACE_VPRINTK),
            call(1, TRACE_VPRINTK),
            call(0, TRACE_VPRINTK),
        ];
        let before = insns;
        assert_eq!(silence(&mut insns), 1);
        assert_eq!(insns[..4], before[..4]);
        assert_eq!(insns[4], Insn { code: MOV64_IMM, ..Insn::default() });
    }
}
