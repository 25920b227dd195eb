//! The instructions of a program between libbpf's prepare and load: CO-RE applied, maps as fds, subprograms appended.

use skep_adapt::{reread, silent};
use skep_object::insn::Insn;

use super::{Edit, Raw};
use crate::asm;
use crate::sys;

/// Changes every program that will be loaded; none becomes longer.
pub(super) fn edit_all(raw: &Raw, edit: Edit) -> Result<(), i32> {
    for program in raw.programs() {
        // SAFETY: a program of a prepared object.
        if !unsafe { libbpf_sys::bpf_program__autoload(program) } {
            continue;
        }
        let mut insns = instructions(program);
        let changed = match edit {
            Edit::PrintNothing => silent::silence(&mut insns),
            Edit::RereadArguments => reread::reread(&mut insns),
        };
        if changed > 0 {
            set(program, &insns)?;
        }
    }
    Ok(())
}

/// Those of a prepared program.
pub(super) fn instructions(program: *mut libbpf_sys::bpf_program) -> Vec<Insn> {
    // SAFETY: a program of a prepared object: `count` instructions of 8 bytes, laid out as `asm::Insn`.
    let raw = unsafe {
        let count = libbpf_sys::bpf_program__insn_cnt(program) as usize;
        std::slice::from_raw_parts(
            libbpf_sys::bpf_program__insns(program).cast::<asm::Insn>(),
            count,
        )
    };
    let unpack = |insn: &asm::Insn| {
        let (dst, src) = insn.registers();
        Insn { code: insn.code, dst, src, off: insn.off, imm: insn.imm }
    };
    raw.iter().map(unpack).collect()
}

/// Gives it others.
pub(super) fn set(program: *mut libbpf_sys::bpf_program, insns: &[Insn]) -> Result<(), i32> {
    let pack = |insn: &Insn| asm::Insn::new(insn.code, insn.dst, insn.src, insn.off, insn.imm);
    let mut insns: Vec<asm::Insn> = insns.iter().map(pack).collect();
    // SAFETY: a program of a prepared object, and instructions that libbpf copies.
    sys::check(unsafe {
        libbpf_sys::bpf_program__set_insns(
            program,
            insns.as_mut_ptr().cast(),
            insns.len() as libbpf_sys::size_t,
        )
    })
    .map(drop)
    .map_err(|e| e.raw_os_error().unwrap_or(0))
}
