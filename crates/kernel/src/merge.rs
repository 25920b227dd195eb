//! The moving merge: state of an old map into a new one, inside the kernel, while programs write the new one.
//!
//! Per key, one run of an emitted tc program (BPF_PROG_TEST_RUN, so that it works on Linux 5.10) takes each field's
//! old value and adds it to the new one. A run is never cut by a signal, and what it took it left as zero: doing
//! it again adds nothing. The caller has made sure that nobody writes the old map any more
//! ([`crate::maps::rcu::Wait`]). Figures in docs/decisions/0003-merge.md.

mod emit;

use std::io;

use crate::error::KernelError;
use crate::maps::Update;
use crate::maps::{MapHandle, possible_cpus};
use crate::process;
use crate::program::{Program, ProgramKind};
use crate::sched::Unpreempted;

/// How a field's old value meets the new one. Zero means "nothing here yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Added, with atomic instructions for aligned fields of 4 and 8 bytes: exact beside atomic writers.
    Sum,
    /// The smaller of the two that isn't zero.
    Min,
    /// The larger of the two; below zero only where the other is zero.
    Max,
    /// The new one, unless it is zero: the old one came first.
    Last,
}

/// Where a field's elements lie in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Bytes from the start of the value.
    pub offset: usize,
    /// Bytes of one element.
    pub width: usize,
}

/// One field that both layouts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// In the old value.
    pub old: Span,
    /// In the new value.
    pub new: Span,
    /// Number of elements: more than 1 for arrays, such as the slots of a histogram.
    pub count: usize,
    /// Whether it is a signed integer.
    pub signed: bool,
    /// How they meet.
    pub op: Op,
}

impl Field {
    /// The field for the way back: old and new change places.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { old: self.new, new: self.old, ..self }
    }
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

impl Merger {
    /// Emits and loads the program. Both maps are hash tables or both arrays, per CPU or not, with keys of one size.
    ///
    /// # Errors
    /// The kinds of the maps differ, a field lies outside its value or is wider than 8 bytes (unless
    /// [`Op::Last`] with equal widths), or the verifier refuses.
    pub fn new(old: &MapHandle, new: &MapHandle, fields: &[Field]) -> Result<Self, KernelError> {
        check(old, new, fields)?;
        let unsupported = |why| KernelError::unsupported("emit the merge of", old.name(), why);
        let insns = emit::program(old, new, fields).ok_or_else(|| {
            unsupported("a field's width or place is none that instructions have")
        })?;
        let kind = ProgramKind {
            prog_type: libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            ..ProgramKind::default()
        };
        let program = Program::load("skep_merge", &kind, &insns)?;
        Ok(Self { program, old: old.try_clone()?, new: new.try_clone()? })
    }

    /// Moves all keys of the old map; gives their number. May be called again, and by another process.
    ///
    /// # Errors
    /// As [`Self::merge_keys`].
    pub fn merge_all(&self) -> Result<usize, KernelError> {
        self.merge_keys(&self.old.keys()?)
    }

    /// Moves the entries of `keys`; gives the number of those that the old map has.
    ///
    /// # Errors
    /// The new map is full (E2BIG); for per-CPU maps a CPU that can't be run on. What was moved stays moved.
    pub fn merge_keys(&self, keys: &[Vec<u8>]) -> Result<usize, KernelError> {
        for some in keys.chunks(KEYS_OF_A_STRETCH) {
            let _stretch = Unpreempted::begin(); // once for all of them: it takes three system calls
            some.iter().try_for_each(|key| self.make_entry(key))?;
        }
        if !self.old.info().is_per_cpu() {
            return self.move_here(keys);
        }
        // Each CPU's values on that CPU, so that a program's plain `count++` there can't be between load and
        // store: programs run with preemption or migration off. In a thread, which takes its affinity along.
        let cpus = possible_cpus()?;
        std::thread::scope(|scope| {
            let work = move || (0..cpus).try_fold(0, |_, cpu| self.move_on(cpu, keys));
            let lost = || Err(self.failed(io::Error::other("its thread ended")));
            scope.spawn(work).join().unwrap_or_else(|_| lost())
        })
    }

    fn move_on(&self, cpu: usize, keys: &[Vec<u8>]) -> Result<usize, KernelError> {
        match process::pin_to_cpu(cpu) {
            Ok(()) => self.move_here(keys),
            Err(_) if self.is_empty_on(cpu, keys)? => Ok(keys.len()),
            Err(e) => Err(self.failed(e).with_hint(format!(
                "CPU {cpu} holds values but can't be run on: bring it online, or allow it in the cpuset"
            ))),
        }
    }

    fn is_empty_on(&self, cpu: usize, keys: &[Vec<u8>]) -> Result<bool, KernelError> {
        for key in keys {
            let values = self.old.lookup_per_cpu(key)?.unwrap_or_default();
            if values.get(cpu).is_some_and(|value| value.iter().any(|byte| *byte != 0)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn move_here(&self, keys: &[Vec<u8>]) -> Result<usize, KernelError> {
        let mut packet = vec![0u8; 64.max(KEY_AT + self.old.info().key_size as usize)];
        let mut moved = 0;
        for key in keys {
            packet[KEY_AT..KEY_AT + key.len()].copy_from_slice(key);
            match self.program.run(&packet)? {
                MOVED => moved += 1,
                NO_OLD_ENTRY => {}
                _ => return Err(self.failed(io::Error::from_raw_os_error(libc::ENOENT))),
            }
        }
        Ok(moved)
    }

    /// An entry of zeroes where the new map has none; arrays have all.
    fn make_entry(&self, key: &[u8]) -> Result<(), KernelError> {
        if key.len() != self.old.info().key_size as usize {
            let why = format!("a key has {} bytes", key.len());
            return Err(KernelError::unsupported("merge the map", self.old.name(), why));
        }
        if self.new.info().is_array() {
            return Ok(());
        }
        let size = self.new.value_bytes_of_one()?;
        match self.new.update(key, &vec![0; size], Update::New) {
            Err(e) if e.errno() == Some(libc::E2BIG) => {
                Err(e.with_hint("the new map is full: give it as many entries as the old one"))
            }
            Err(e) if e.errno() != Some(libc::EEXIST) => Err(e),
            _ => Ok(()),
        }
    }

    fn failed(&self, source: io::Error) -> KernelError {
        let thing = format!("the map '{}' into '{}'", self.old.name(), self.new.name());
        KernelError::new("merge", thing, source)
    }
}

fn check(old: &MapHandle, new: &MapHandle, fields: &[Field]) -> Result<(), KernelError> {
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
    if from.is_array() && from.max_entries > to.max_entries {
        return refuse(format!("{} entries do not fit {}", from.max_entries, to.max_entries));
    }
    for field in fields {
        let inside = |span: Span, size: u32| {
            let end =
                span.width.checked_mul(field.count).and_then(|len| len.checked_add(span.offset));
            end.is_some_and(|end| end <= size as usize && end <= i16::MAX as usize)
        };
        if !inside(field.old, from.value_size) || !inside(field.new, to.value_size) {
            return refuse(format!("the field at {} lies outside the value", field.old.offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
