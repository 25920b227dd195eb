//! The moving merge while programs write: a value gains a field, and every count arrives exactly once, also when
//! the process that merges is killed half-way and another does it again.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use skep_kernel::asm::{Assembler, Cond, Width};
use skep_kernel::maps::{MapSpec, MappedU64s, kind, prog_array, rcu};
use skep_kernel::merge::Merger;
use skep_kernel::program::LoadKind;
use skep_kernel::{AttachPlan, KernelError, MapHandle, Program, attach, process, stub};
use skep_spec::life::{FieldMove, FieldSpan};
use skep_spec::manifest::Merge;

use crate::text;

/// Fired at least before the switch; after it, as many as come until the merge is done.
const EVENTS: u32 = 150_000;
const KEYS: i32 = 1000;
const RAW_TRACEPOINT: u32 = 17;
// include/uapi/linux/bpf.h
const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const GET_PID_TGID: u32 = 14;

/// Several rounds of: count with v1, switch, wait, merge (killed once on the way), count on with v2.
pub fn under_load() -> Result<String, String> {
    let mut merged = 0;
    for round in 0..5 {
        merged += one_round(round).map_err(|e| format!("round {round}: {e}"))?;
    }
    Ok(format!("5 rounds, {merged} keys moved under load, each sum exact"))
}

fn one_round(round: u32) -> Result<usize, String> {
    let control = MapHandle::create_u64s("control", 2).map_err(text)?;
    let (old, new) = (counters("old", 8).map_err(text)?, counters("new", 16).map_err(text)?);
    let now = control.mmap().map_err(text)?;
    now.store(1, u64::from(std::process::id()));
    let one = writer(&control, &old, 1).map_err(text)?;
    let two = writer(&control, &new, 2).map_err(text)?;
    let switch = MapHandle::create_u64s("switch", 1).map_err(text)?;
    let slots = prog_array::create("slots", stub::SLOTS).map_err(text)?;
    prog_array::set(&slots, 1, &one).map_err(text)?;
    prog_array::set(&slots, 2, &two).map_err(text)?;
    let stub = stub::load("merge_stub", &one, false, &switch, &slots).map_err(text)?;
    let word = switch.mmap().map_err(text)?;
    word.store(0, 1);
    let target = "raw_tp/task_rename".parse().map_err(|_| "a target".to_owned())?;
    let link = attach::attach(&stub, &AttachPlan::new(target)).map_err(text)?;

    let (done, merged) = (AtomicU32::new(0), AtomicBool::new(false));
    let moved = std::thread::scope(|scope| {
        scope.spawn(|| fire(&now, &done, &merged));
        while done.load(Ordering::Acquire) < EVENTS {
            std::thread::yield_now();
        }
        word.add(0, 1);
        let moved = merge(&old, &new, round);
        merged.store(true, Ordering::Release);
        moved
    })?;
    let missed = stub.info().map_err(text)?.missed;
    drop(link);
    verdict(&old, &new, done.into_inner(), missed).map(|()| moved)
}

/// The writer's events: their number chooses the key.
fn fire(now: &MappedU64s, done: &AtomicU32, merged: &AtomicBool) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let _ = process::pin_to_cpu(cpus - 1);
    // A task_rename event. Not sys_enter, which any task's system call may keep busy where programs can be preempted.
    let name = OpenOptions::new().write(true).open("/proc/thread-self/comm");
    let mut name = name.expect("the name of this thread");
    let mut number = 0;
    while number < EVENTS || !merged.load(Ordering::Acquire) {
        now.store(0, u64::from(number % KEYS as u32));
        name.write_all(b"moving").expect("a new name");
        number += 1;
        done.store(number, Ordering::Release);
    }
}

fn merge(old: &MapHandle, new: &MapHandle, round: u32) -> Result<usize, String> {
    rcu::Wait::new().and_then(|wait| wait.wait()).map_err(text)?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let id = |map: &MapHandle| map.info().id.to_string();
    let keys = (round * 240).to_string();
    let child = Command::new(own).args(["merge-and-die", &id(old), &id(new), &keys]).status();
    if child.map_err(|e| e.to_string())?.success() {
        return Err("the child was to die half-way".to_owned());
    }
    let merger = Merger::new(old, new, &fields()).map_err(text)?;
    let merged = old.keys().and_then(|keys| merger.merge_keys(&keys));
    merged.map(|merged| merged.moved).map_err(text)
}

/// In a child: merges `keys` keys and is killed.
pub fn merge_and_die(old: &str, new: &str, keys: &str) -> ! {
    let open = |id: &str| MapHandle::by_id(id.parse().expect("an id")).expect("a map");
    let (old, new) = (open(old), open(new));
    let merger = Merger::new(&old, &new, &fields()).expect("a merger");
    let keys: usize = keys.parse().expect("a number");
    let all = old.keys().expect("keys");
    merger.merge_keys(&all[..keys.min(all.len())]).expect("a merge");
    process::kill_self()
}

fn fields() -> [FieldMove; 1] {
    let span = FieldSpan { offset: 0, width: 8 };
    let (name, merge) = (String::new(), Merge::Sum);
    [FieldMove { name, old: span, new: span, count: 1, signed: false, merge }]
}

/// All events are in the new map's counts, but for at most as many as the kernel itself `missed` (where it preempts programs, it skips
/// those of another task: here, of the child that executes), and nothing is left in the old one's.
fn verdict(old: &MapHandle, new: &MapHandle, events: u32, missed: u64) -> Result<(), String> {
    let sum = |map: &MapHandle| -> Result<u64, String> {
        let entries = map.entries().map_err(text)?;
        let first = |(_, value): &(Vec<u8>, Vec<u8>)| {
            value.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
        };
        Ok(entries.iter().map(first).sum())
    };
    let (left, arrived) = (sum(old)?, sum(new)?);
    let events = u64::from(events);
    if left == 0 && arrived <= events && events - arrived <= missed {
        return Ok(());
    }
    Err(format!(
        "of {events} events {arrived} arrived and {left} were left behind; the kernel missed {missed}"
    ))
}

fn counters(name: &str, value_size: u32) -> Result<MapHandle, KernelError> {
    let name = name.to_owned();
    let spec =
        MapSpec { name, kind: kind::HASH, key_size: 4, value_size, max_entries: 4096, flags: 0 };
    MapHandle::create(&spec)
}

/// "If it is a new name of ours, add 1 to the count of its key", and version 2 also 10 to the bytes behind it.
fn writer(control: &MapHandle, map: &MapHandle, version: u32) -> Result<Program, KernelError> {
    let mut asm = Assembler::new();
    let (out, found) = (asm.label(), asm.label());
    let fd = map.as_fd().as_raw_fd();
    asm.map_value(8, control.as_fd().as_raw_fd(), 0).call(GET_PID_TGID).shr(0, 32);
    asm.load(Width::B8, 1, 8, 8).jump_if_reg(Cond::Ne, 0, 1, out);
    asm.load(Width::B8, 7, 8, 0).store(Width::B4, 10, -4, 7);
    asm.map(1, fd).mov(2, 10).add_imm(2, -4).call(MAP_LOOKUP).jump_if(Cond::Ne, 0, 0, found);
    asm.store_imm(Width::B8, 10, -16, 0).store_imm(Width::B8, 10, -24, 0);
    asm.map(1, fd).mov(2, 10).add_imm(2, -4).mov(3, 10).add_imm(3, -24).mov_imm(4, 1);
    asm.call(MAP_UPDATE);
    asm.map(1, fd).mov(2, 10).add_imm(2, -4).call(MAP_LOOKUP).jump_if(Cond::Eq, 0, 0, out);
    asm.bind(found).mov_imm(1, 1).atomic_add(Width::B8, 0, 0, 1);
    if version == 2 {
        asm.mov_imm(1, 10).atomic_add(Width::B8, 0, 8, 1);
    }
    asm.bind(out).mov_imm(0, 0).exit();
    let insns = asm.finish().expect("all labels are placed");
    let kind = LoadKind { prog_type: RAW_TRACEPOINT, ..LoadKind::default() };
    Program::load(&format!("merge_v{version}"), &kind, &insns)
}
