//! The moving merge: state of an old map into a new one, inside the kernel, while programs write the new one.
//!
//! Per key, one run of an emitted tc program (BPF_PROG_TEST_RUN, so that it works on Linux 5.10) takes each field's
//! old value and adds it to the new one. A run is never cut by a signal, and what it took it left as zero: doing
//! it again adds nothing. The caller has made sure that nobody writes the old map any more
//! ([`crate::maps::rcu::Wait`]). Figures in docs/decisions/0003-merge.md.

mod emit;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::io;

use skep_spec::life::{FieldMove, FieldSpan};

use crate::error::KernelError;
use crate::maps::{MapHandle, Update, kind, possible_cpus};
use crate::process;
use crate::program::{LoadKind, Program};
use crate::sched::Unpreempted;

/// What became of some entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Those that are in the new map now, also by an earlier run.
    pub moved: usize,
    /// Those that stay where they are, since the new map is full; of an array those beyond the new one's end, but for zeroes.
    pub no_room: usize,
}

/// A merge from one map into another, ready to run.
#[derive(Debug)]
pub struct Merger {
    program: Program,
    old: MapHandle,
    new: MapHandle,
}

/// Length of the Ethernet header that a test packet must have, rounded up: the key follows.
const KEY_AT: usize = 16;
/// Entries that are made before ordinary tasks get the processor again: some 50 µs.
const KEYS_OF_A_STRETCH: usize = 32;
/// What the emitted program returns.
const MOVED: u32 = 0;
const NO_OLD_ENTRY: u32 = 1;
const NO_NEW_ENTRY: u32 = 2;

impl Merger {
    /// Emits and loads the program. Both maps are hash tables or both arrays, per CPU or not, with keys of one size.
    ///
    /// # Errors
    /// The kinds of the maps differ, a field lies outside its value or is wider than 8 bytes (unless
    /// [`Merge::Last`](skep_spec::manifest::Merge::Last) with equal widths), or the verifier refuses.
    pub fn new(
        old: &MapHandle,
        new: &MapHandle,
        fields: &[FieldMove],
    ) -> Result<Self, KernelError> {
        check(old, new, fields)?;
        let unsupported = |why| KernelError::unsupported("emit the merge of", old.name(), why);
        let insns = emit::program(old, new, fields).ok_or_else(|| {
            unsupported("a field's width or place is none that instructions have")
        })?;
        let kind =
            LoadKind { prog_type: libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, ..LoadKind::default() };
        let program = Program::load("skep_merge", &kind, &insns)?;
        Ok(Self { program, old: old.try_clone()?, new: new.try_clone()? })
    }

    /// Moves the entries of `keys` that the old map has and the new one has room for. One that a program, or the map itself
    /// if it is of the kind that forgets, takes away meanwhile is not made again. May be called again, and by another process.
    ///
    /// # Errors
    /// No memory for an entry; for per-CPU maps a CPU that can't be run on. What was moved stays moved.
    pub fn merge_keys(&self, keys: &[Vec<u8>]) -> Result<Merged, KernelError> {
        let (fitting, no_room) = self.make_entries(keys)?;
        if !self.old.info().is_per_cpu() {
            return Ok(Merged { moved: self.move_here(&fitting)?, no_room });
        }
        // Each CPU's values on that CPU, so that a program's plain `count++` there can't be between load and
        // store: programs run with preemption or migration off. In a thread, which takes its affinity along.
        let cpus = possible_cpus()?;
        let moved = std::thread::scope(|scope| {
            let work = || (0..cpus).try_fold(0, |_, cpu| self.move_on(cpu, &fitting));
            let lost = || Err(self.failed(io::Error::other("its thread ended")));
            scope.spawn(work).join().unwrap_or_else(|_| lost())
        })?;
        Ok(Merged { moved, no_room })
    }

    fn move_on(&self, cpu: usize, keys: &[&[u8]]) -> Result<usize, KernelError> {
        match process::pin_to_cpu(cpu) {
            Ok(()) => self.move_here(keys),
            Err(_) if self.is_empty_on(cpu, keys)? => Ok(keys.len()),
            Err(e) => Err(self.failed(e).with_hint(format!(
                "CPU {cpu} holds values but can't be run on: bring it online, or allow it in the cpuset"
            ))),
        }
    }

    fn is_empty_on(&self, cpu: usize, keys: &[&[u8]]) -> Result<bool, KernelError> {
        for key in keys {
            let values = self.old.lookup_per_cpu(key)?.unwrap_or_default();
            if values.get(cpu).is_some_and(|value| value.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn move_here(&self, keys: &[&[u8]]) -> Result<usize, KernelError> {
        let mut packet = vec![0u8; 64.max(KEY_AT + self.old.info().key_size as usize)];
        let mut moved = 0;
        for key in keys {
            packet[KEY_AT..KEY_AT + key.len()].copy_from_slice(key);
            match self.program.run(&packet)? {
                MOVED => moved += 1,
                NO_OLD_ENTRY | NO_NEW_ENTRY => {}
                _ => return Err(self.failed(io::Error::from_raw_os_error(libc::ENOENT))),
            }
        }
        Ok(moved)
    }

    /// Entries of zeroes where the new map has none. Gives the keys that it has then, and the number of those without room.
    fn make_entries<'a>(&self, keys: &'a [Vec<u8>]) -> Result<(Vec<&'a [u8]>, usize), KernelError> {
        let (mut fitting, mut no_room) = (Vec::with_capacity(keys.len()), 0);
        let there = OnceCell::new();
        for some in keys.chunks(KEYS_OF_A_STRETCH) {
            let _stretch = Unpreempted::begin(); // once for all of them: it takes three system calls
            for key in some {
                match self.make_entry(key, &there)? {
                    true => fitting.push(key.as_slice()),
                    false if self.is_nothing(key)? => {}
                    false => no_room += 1,
                }
            }
        }
        Ok((fitting, no_room))
    }

    /// Says whether the new map has the key then.
    fn make_entry(
        &self,
        key: &[u8],
        there: &OnceCell<BTreeSet<Vec<u8>>>,
    ) -> Result<bool, KernelError> {
        if key.len() != self.old.info().key_size as usize {
            let why = format!("a key has {} bytes", key.len());
            return Err(KernelError::unsupported("merge the map", self.old.name(), why));
        }
        if self.new.info().is_array() {
            let index = key.try_into().map_or(u32::MAX, u32::from_ne_bytes);
            return Ok(index < self.new.info().max_entries);
        }
        let size = self.new.value_bytes_of_one()?;
        match self.new.update(key, &vec![0; size], Update::New) {
            Err(e) if e.errno() == Some(libc::E2BIG) => Ok(false),
            // A full trie says so before it looks for the key.
            Err(e) if e.errno() == Some(libc::ENOSPC) && self.new.info().kind == kind::LPM_TRIE => {
                if there.get().is_none() {
                    let _ = there.set(self.new.keys()?.into_iter().collect());
                }
                Ok(there.get().is_some_and(|keys| keys.contains(key)))
            }
            Err(e) if e.errno() != Some(libc::EEXIST) => Err(e),
            _ => Ok(true),
        }
    }

    /// Whether it is an element of an array that holds nothing.
    fn is_nothing(&self, key: &[u8]) -> Result<bool, KernelError> {
        let zeroes = |value: Vec<u8>| value.iter().all(|byte| *byte == 0);
        Ok(self.old.info().is_array() && self.old.lookup(key)?.is_none_or(zeroes))
    }

    fn failed(&self, source: io::Error) -> KernelError {
        let thing = format!("the map '{}' into '{}'", self.old.name(), self.new.name());
        KernelError::new("merge", thing, source)
    }
}

fn check(old: &MapHandle, new: &MapHandle, fields: &[FieldMove]) -> Result<(), KernelError> {
    let refuse = |why: String| {
        let thing = format!("'{}' into '{}'", old.name(), new.name());
        Err(KernelError::unsupported("merge the map", thing, why))
    };
    let (from, to) = (old.info(), new.info());
    let shape = |info: &crate::maps::MapInfo| (info.is_array(), info.is_per_cpu(), info.key_size);
    if shape(from) != shape(to) || from.holds_fds() || from.key_size == 0 {
        return refuse(
            "they are not both hash tables or both arrays with keys of one size".to_owned(),
        );
    }
    if from.key_size > 3000 {
        return refuse(format!("a key of {} bytes does not fit a test packet", from.key_size));
    }
    for field in fields {
        let inside = |span: FieldSpan, size: u32| {
            let end =
                span.width.checked_mul(field.count).and_then(|len| len.checked_add(span.offset));
            end.is_some_and(|end| end <= size && end <= i16::MAX.unsigned_abs().into())
        };
        if !inside(field.old, from.value_size) || !inside(field.new, to.value_size) {
            return refuse(format!("the field at {} lies outside the value", field.old.offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
