//! The two versions under test, as instructions, and the memory that they share with the generator.

use std::os::fd::{AsFd, AsRawFd};

use skep_kernel::asm::{Assembler, Cond, Width};
use skep_kernel::maps::{MMAPABLE, MapSpec, MappedU64s, kind};
use skep_kernel::{KernelError, MapHandle, Program};

use crate::hooks::{Filter, Hook};

const MAP_LOOKUP: u32 = 1;
const GET_PID_TGID: u32 = 14;
const GET_FUNC_IP: u32 = 173;

/// `control`: the number of the event that is fired now, and the process that fires. `seen`: a word per event.
pub struct Shared {
    control: MapHandle,
    now: MappedU64s,
    seen: MapHandle,
    counts: MappedU64s,
}

impl Shared {
    pub fn new(events: u32) -> Result<Self, KernelError> {
        let control = MapHandle::create_u64s("control", 2)?;
        let seen = MapHandle::create(&MapSpec {
            name: "seen".to_owned(),
            kind: kind::ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: events,
            flags: MMAPABLE,
        })?;
        let (now, counts) = (control.mmap()?, seen.mmap()?);
        now.store(0, u64::MAX);
        now.store(1, u64::from(std::process::id()));
        Ok(Self { control, now, seen, counts })
    }

    /// The events to come are number `number`.
    pub fn announce(&self, number: u32) {
        self.now.store(0, u64::from(number));
    }

    /// How often versions 1 and 2 saw event `number`.
    pub fn seen(&self, number: u32) -> (u64, u64) {
        let word = self.counts.load(number as usize);
        (word & 0xffff_ffff, word >> 32)
    }
}

/// "If the event is ours, count it under its number in the half of `version`."
pub fn load(hook: &Hook, shared: &Shared, version: u64) -> Result<Program, KernelError> {
    let mut asm = Assembler::new();
    let out = asm.label();
    asm.mov(6, 1);
    match hook.filter {
        Filter::Packet { data, at } => {
            asm.load(Width::B4, 2, 6, data).load(Width::B4, 3, 6, data + 4);
            asm.mov(4, 2).add_imm(4, i32::from(at) + 8).jump_if_reg(Cond::Gt, 4, 3, out);
            asm.load(Width::B8, 7, 2, at);
        }
        Filter::Process | Filter::Syscall(_) => {
            if let Filter::Syscall(number) = hook.filter {
                asm.load(Width::B8, 0, 6, 8).jump_if(Cond::Ne, 0, number, out);
            }
            asm.map_value(8, shared.control.as_fd().as_raw_fd(), 0);
            asm.call(GET_PID_TGID).shr(0, 32);
            asm.load(Width::B8, 1, 8, 8).jump_if_reg(Cond::Ne, 0, 1, out);
            asm.load(Width::B8, 7, 8, 0);
        }
    }
    if hook.uses_func_ip {
        // A stray value is not counted: it would show as a lost event.
        asm.mov(1, 6).call(GET_FUNC_IP).jump_if(Cond::Eq, 0, 0, out);
    }
    asm.store(Width::B4, 10, -4, 7).mov(2, 10).add_imm(2, -4);
    asm.map(1, shared.seen.as_fd().as_raw_fd()).call(MAP_LOOKUP).jump_if(Cond::Eq, 0, 0, out);
    asm.mov_imm(1, 1);
    if version == 2 {
        asm.shl(1, 32);
    }
    asm.atomic_add(Width::B8, 0, 0, 1);
    asm.bind(out).mov_imm(0, hook.result).exit();
    let insns = asm.finish().expect("all labels are placed");
    Program::load(&format!("flip_v{version}"), &hook.bound_kind(), &insns)
}

/// Whether the kernel has `bpf_get_func_ip` (Linux 5.15) for programs of the hook.
pub fn may_call_func_ip(hook: &Hook) -> bool {
    let mut asm = Assembler::new();
    asm.call(GET_FUNC_IP).mov_imm(0, hook.result).exit();
    let insns = asm.finish().expect("it has no label");
    Program::load("func_ip", &hook.bound_kind(), &insns).is_ok()
}
