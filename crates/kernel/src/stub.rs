//! The A/B stub: the one decision point of an event on hooks whose program the kernel can't replace.
//!
//! `if (switch & 1) tail_call(slots, 1) else tail_call(slots, 2)`. The keys are constants, so that the JIT
//! patches direct jumps; the switch word is one value of a mapped array, so that a switch of all hooks of a
//! service is one store. Measured in docs/decisions/0002-stub.md.

use std::os::fd::{AsFd, AsRawFd};

use crate::asm::{Assembler, Cond, Insn, Width};
use crate::attach::target::AttachTarget;
use crate::error::KernelError;
use crate::maps::{MMAPABLE, MapHandle, kind};
use crate::program::{LoadKind, Program, load_insns};

/// Slots of the prog array that a stub calls: 0 is unused, 1 runs on odd switch words, 2 on even ones.
pub const SLOTS: u32 = 3;

/// The slot that runs while the switch word is `word`.
#[must_use]
pub const fn slot_of(word: u64) -> u32 {
    if word & 1 == 1 { 1 } else { 2 }
}

const IDLE: &str = "skep_idle";
const TAIL_CALL: u32 = 12;
const GET_FUNC_IP: u32 = 173;

/// Loads the stub for hooks of `payload`'s kind, named `name`; `switch` is a mapped array of u64 whose value 0 is
/// the switch word, `slots` a prog array of [`SLOTS`]. `uses_func_ip` says whether any version calls
/// `bpf_get_func_ip`: the stub must then call it too, or the payload gets a stray value.
///
/// # Errors
/// The verifier refuses (a sleepable stub before 7.x: EINVAL); the maps are of the wrong kind; no such function.
pub fn load(
    name: &str,
    payload: &Program,
    uses_func_ip: bool,
    switch: &MapHandle,
    slots: &MapHandle,
) -> Result<Program, KernelError> {
    let wrong = |thing: &MapHandle, why: &str| {
        Err(KernelError::unsupported("make a stub with the map", thing.name(), why))
    };
    let info = switch.info();
    if info.kind != kind::ARRAY || info.max_entries != 1 || info.flags & MMAPABLE == 0 {
        return wrong(switch, "the switch word lies in an mmapable array of one value");
    }
    if slots.info().kind != kind::PROG_ARRAY || slots.info().max_entries < SLOTS {
        return wrong(slots, "the slots are a prog array of 3");
    }
    let insns = instructions(uses_func_ip, payload.kind(), switch, slots)
        .ok_or_else(|| KernelError::unsupported("assemble the stub", name, "a label is missing"))?;
    let target = AttachTarget::of(payload)?;
    load_insns(name, payload.kind(), &insns, &target)
}

/// A program that does what a hook of this kind does without one, for a hook whose program is replaced and not taken off.
///
/// # Errors
/// The verifier refuses it.
pub fn idle(kind: &LoadKind) -> Result<Program, KernelError> {
    let mut asm = Assembler::new();
    asm.mov(6, 1);
    pass(&mut asm, kind);
    let insns = asm.finish();
    let insns =
        insns.ok_or_else(|| KernelError::unsupported("assemble", IDLE, "a label is missing"))?;
    Program::load(IDLE, kind, &insns)
}

fn instructions(
    uses_func_ip: bool,
    kind: &LoadKind,
    switch: &MapHandle,
    slots: &MapHandle,
) -> Option<Vec<Insn>> {
    let mut asm = Assembler::new();
    let (odd, empty) = (asm.label(), asm.label());
    let slots = slots.as_fd().as_raw_fd();
    asm.mov(6, 1);
    if uses_func_ip {
        asm.call(GET_FUNC_IP);
    }
    asm.map_value(0, switch.as_fd().as_raw_fd(), 0).load(Width::B8, 0, 0, 0);
    asm.mov(1, 6).map(2, slots).jump_if(Cond::Set, 0, 1, odd);
    asm.mov_imm(3, 2).call(TAIL_CALL).jump(empty);
    asm.bind(odd).mov_imm(3, 1).call(TAIL_CALL);
    asm.bind(empty);
    pass(&mut asm, kind);
    asm.finish()
}

/// Does as if there was no program; register 6 is the context.
fn pass(asm: &mut Assembler, kind: &LoadKind) {
    match kind.expected_attach_type {
        // All of what is there is one message: `len` of `struct __sk_buff`.
        libbpf_sys::BPF_SK_SKB_STREAM_PARSER => asm.load(Width::B4, 0, 6, 0).exit(),
        _ => asm.mov_imm(0, pass_value(kind)).exit(),
    };
}

/// What a hook takes for "as if there was no program", for an empty slot.
fn pass_value(kind: &LoadKind) -> i32 {
    match kind.prog_type {
        libbpf_sys::BPF_PROG_TYPE_XDP => 2,                // XDP_PASS
        libbpf_sys::BPF_PROG_TYPE_SCHED_CLS | libbpf_sys::BPF_PROG_TYPE_SCHED_ACT => -1, // TC_ACT_UNSPEC, TCX_NEXT
        libbpf_sys::BPF_PROG_TYPE_CGROUP_SKB
        | libbpf_sys::BPF_PROG_TYPE_CGROUP_SOCK
        | libbpf_sys::BPF_PROG_TYPE_CGROUP_SOCK_ADDR
        | libbpf_sys::BPF_PROG_TYPE_CGROUP_DEVICE
        | libbpf_sys::BPF_PROG_TYPE_CGROUP_SYSCTL
        | libbpf_sys::BPF_PROG_TYPE_CGROUP_SOCKOPT
        | libbpf_sys::BPF_PROG_TYPE_SOCK_OPS
        | libbpf_sys::BPF_PROG_TYPE_SK_LOOKUP              // SK_PASS
        | libbpf_sys::BPF_PROG_TYPE_SK_REUSEPORT
        | libbpf_sys::BPF_PROG_TYPE_SK_SKB
        | libbpf_sys::BPF_PROG_TYPE_SK_MSG
        | libbpf_sys::BPF_PROG_TYPE_NETFILTER => 1,        // NF_ACCEPT
        libbpf_sys::BPF_PROG_TYPE_LSM
            if kind.expected_attach_type == libbpf_sys::BPF_LSM_CGROUP => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::{MapSpec, prog_array};

    fn returns(prog_type: u32, value: i32) -> Program {
        let mut asm = Assembler::new();
        asm.mov_imm(0, value).exit();
        let kind = LoadKind { prog_type, ..LoadKind::default() };
        Program::load("stub_test", &kind, &asm.finish().unwrap()).unwrap()
    }

    #[test]
    fn parity_picks_the_slot_and_an_empty_one_passes() {
        let (one, two) =
            (returns(libbpf_sys::BPF_PROG_TYPE_XDP, 0), returns(libbpf_sys::BPF_PROG_TYPE_XDP, 1));
        let switch = MapHandle::create_u64s("switch", 1).unwrap();
        let slots = prog_array::create("slots", SLOTS).unwrap();
        let stub = load("stub", &one, false, &switch, &slots).unwrap();
        let word = switch.mmap().unwrap();
        let run = |value| {
            word.store(0, value);
            stub.test_run(&[0; 64], 1).unwrap().retval
        };
        assert_eq!((run(0), run(1)), (2, 2), "XDP_PASS without a program");
        prog_array::set(&slots, slot_of(7), &one).unwrap();
        prog_array::set(&slots, slot_of(8), &two).unwrap();
        assert_eq!((run(7), run(8), run(u64::MAX)), (0, 1, 0));
        assert_eq!(prog_array::program_id(&slots, 1).unwrap(), Some(one.id().unwrap()));
        assert!(prog_array::clear(&slots, 1).unwrap() && !prog_array::clear(&slots, 1).unwrap());
        assert_eq!((run(7), prog_array::program_id(&slots, 1).unwrap()), (2, None));
    }

    #[test]
    fn an_idle_program_passes() {
        for (prog_type, pass) in [
            (libbpf_sys::BPF_PROG_TYPE_XDP, 2),
            (libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, u32::MAX),
            (libbpf_sys::BPF_PROG_TYPE_CGROUP_SKB, 1),
        ] {
            let idle = idle(&LoadKind { prog_type, ..LoadKind::default() }).unwrap();
            assert_eq!(idle.test_run(&[0; 64], 1).unwrap().retval, pass);
        }
    }

    #[test]
    fn a_payload_of_another_kind_is_refused() {
        let switch = MapHandle::create_u64s("switch", 1).unwrap();
        let slots = prog_array::create("slots", SLOTS).unwrap();
        let xdp = returns(libbpf_sys::BPF_PROG_TYPE_XDP, 0);
        load("stub", &xdp, false, &switch, &slots).unwrap();
        prog_array::set(&slots, 1, &xdp).unwrap();
        let tc = returns(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, 0);
        let error = prog_array::set(&slots, 2, &tc).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("another kind")), "{error:?}");
    }

    #[test]
    fn the_wrong_maps_are_refused() {
        let xdp = returns(libbpf_sys::BPF_PROG_TYPE_XDP, 0);
        let (switch, slots) = (
            MapHandle::create_u64s("switch", 1).unwrap(),
            prog_array::create("slots", SLOTS).unwrap(),
        );
        let small = prog_array::create("small", 2).unwrap();
        let spec = MapSpec {
            name: "plain".into(),
            kind: kind::ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
        };
        let plain = MapHandle::create(&spec).unwrap();
        assert!(load("stub", &xdp, false, &plain, &slots).is_err());
        assert!(load("stub", &xdp, false, &switch, &small).is_err());
        assert!(load("stub", &xdp, false, &switch, &switch).is_err());
    }
}
