//! Counting failed ring-buffer output: the pass of `skep_adapt::lost` between libbpf's prepare and load.
//!
//! After `bpf_object__prepare` a program is as the kernel would get it: CO-RE applied, maps as fds, subprograms
//! appended. Its instructions can still be set, and its tables of functions and lines be changed in place.

use std::os::fd::{AsFd, AsRawFd};

use super::instructions::{instructions, set};
use super::{Raw, program_name};
use crate::maps::MapHandle;
use skep_adapt::lost::{self, LostError, Rewritten, Slot};

/// What the pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Programs with counters, in the order of their words.
    pub slots: Vec<String>,
    /// Programs that were left as they are, and why.
    pub uncounted: Vec<(String, String)>,
}

/// Rewrites every program that will be loaded and puts something into a ring buffer.
pub(super) fn inject_all(raw: &Raw, counters: &MapHandle) -> Result<Counted, i32> {
    let mut counted = Counted::default();
    for program in raw.programs() {
        // SAFETY: a program of a prepared object.
        if !unsafe { libbpf_sys::bpf_program__autoload(program) } {
            continue;
        }
        let name = program_name(program);
        let offset = counted.slots.len() as u32 * 8;
        let slot = Slot { map_fd: counters.as_fd().as_raw_fd(), offset };
        match rewrite(program, slot) {
            Ok(None) => {}
            Ok(Some(rewritten)) => {
                set(program, &rewritten.insns)?;
                counted.slots.push(name);
            }
            Err(why) => counted.uncounted.push((name, why.to_string())),
        }
    }
    Ok(counted)
}

/// The rewritten program, with both tables moved already; nothing is changed on an error.
fn rewrite(
    program: *mut libbpf_sys::bpf_program,
    slot: Slot,
) -> Result<Option<Rewritten>, LostError> {
    let Some(rewritten) = lost::inject(&instructions(program), slot)? else { return Ok(None) };
    for table in tables(program) {
        rewritten.move_info(&mut table.bytes.to_vec(), table.record)?; // would it do?
        rewritten.move_info(table.bytes, table.record)?;
    }
    Ok(Some(rewritten))
}

struct Table<'a> {
    bytes: &'a mut [u8],
    record: usize,
}

/// The tables of functions and of lines, as libbpf will hand them to the kernel.
fn tables<'a>(program: *mut libbpf_sys::bpf_program) -> Vec<Table<'a>> {
    // SAFETY: a program of a prepared object; each is null or a table with the count beside it, which libbpf
    // keeps until it has loaded the program. Nobody else looks at them meanwhile.
    unsafe {
        let (functions, lines) = (
            libbpf_sys::bpf_program__func_info(program),
            libbpf_sys::bpf_program__line_info(program),
        );
        let counts = (
            libbpf_sys::bpf_program__func_info_cnt(program) as usize,
            libbpf_sys::bpf_program__line_info_cnt(program) as usize,
        );
        [
            table(functions.cast(), counts.0, size_of::<libbpf_sys::bpf_func_info>()),
            table(lines.cast(), counts.1, size_of::<libbpf_sys::bpf_line_info>()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// # Safety
/// `start` is null or points at `count` records of `record` bytes that live and belong to nobody else for `'a`.
unsafe fn table<'a>(start: *mut u8, count: usize, record: usize) -> Option<Table<'a>> {
    if start.is_null() || count == 0 {
        return None;
    }
    // SAFETY: not null, and what the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start, count * record) };
    Some(Table { bytes, record })
}
