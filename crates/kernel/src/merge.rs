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
        for key in keys {
            self.make_entry(key)?;
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
mod tests {
    use super::*;
    use crate::maps::{MapSpec, kind};

    fn map(kind: u32, value_size: u32) -> MapHandle {
        let name = "merge_test".to_owned();
        MapHandle::create(&MapSpec {
            name,
            kind,
            key_size: 4,
            value_size,
            max_entries: 8,
            flags: 0,
        })
        .unwrap()
    }

    fn field(old: (usize, usize), new: (usize, usize), signed: bool, op: Op) -> Field {
        let span = |(offset, width)| Span { offset, width };
        Field { old: span(old), new: span(new), count: 1, signed, op }
    }

    /// Merges one entry and gives the new and the old value after it; then again, which must change nothing.
    fn one(old: &[u8], new: &[u8], fields: &[Field]) -> (Vec<u8>, Vec<u8>) {
        let (from, to) = (map(kind::HASH, old.len() as u32), map(kind::HASH, new.len() as u32));
        from.update(&[1; 4], old, Update::Any).unwrap();
        if new.iter().any(|byte| *byte != 0) {
            to.update(&[1; 4], new, Update::Any).unwrap();
        }
        let merger = Merger::new(&from, &to, fields).unwrap();
        assert_eq!(merger.merge_all().unwrap(), 1);
        let after = to.lookup(&[1; 4]).unwrap().unwrap();
        assert_eq!(merger.merge_all().unwrap(), 1);
        assert_eq!(to.lookup(&[1; 4]).unwrap().unwrap(), after, "doing it again adds nothing");
        (after, from.lookup(&[1; 4]).unwrap().unwrap())
    }

    #[test]
    fn a_sum_of_each_width() {
        let old = [&5u64.to_ne_bytes()[..], &(-3i32).to_ne_bytes(), &7u16.to_ne_bytes(), &[9, 0]]
            .concat();
        let new =
            [&1u64.to_ne_bytes()[..], &10i64.to_ne_bytes(), &1u16.to_ne_bytes(), &[1; 6]].concat();
        let fields = [
            field((0, 8), (0, 8), false, Op::Sum),
            field((8, 4), (8, 8), true, Op::Sum),
            field((12, 2), (16, 2), false, Op::Sum),
            field((14, 1), (18, 1), false, Op::Sum),
        ];
        let (new, old) = one(&old, &new, &fields);
        let expected = [
            &6u64.to_ne_bytes()[..],
            &7i64.to_ne_bytes(),
            &8u16.to_ne_bytes(),
            &[10, 1, 1, 1, 1, 1],
        ]
        .concat();
        assert_eq!(new, expected);
        assert_eq!(old, [0; 16]);
    }

    #[test]
    fn a_sum_of_an_unaligned_field() {
        let (new, old) =
            one(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[0; 8], &[field((2, 8), (0, 8), false, Op::Sum)]);
        assert_eq!((new, old), (1u64.to_ne_bytes().to_vec(), vec![0; 10]));
    }

    #[test]
    fn the_smallest_and_the_largest() {
        let pair = |a: i32, b: i32| [a.to_ne_bytes(), b.to_ne_bytes()].concat();
        let fields = |signed| {
            [field((0, 4), (0, 4), signed, Op::Min), field((4, 4), (4, 4), signed, Op::Max)]
        };
        assert_eq!(one(&pair(3, 9), &pair(5, 7), &fields(false)).0, pair(3, 9));
        assert_eq!(one(&pair(5, 7), &pair(3, 9), &fields(false)).0, pair(3, 9));
        assert_eq!(one(&pair(-5, -7), &pair(3, -9), &fields(true)).0, pair(-5, -7));
        assert_eq!(
            one(&pair(4, 4), &pair(0, 0), &fields(false)).0,
            pair(4, 4),
            "zero is nothing yet"
        );
        assert_eq!(one(&pair(0, 0), &pair(4, 4), &fields(false)).0, pair(4, 4));
    }

    #[test]
    fn the_last_one_may_be_text() {
        let last = [field((0, 13), (4, 13), false, Op::Last)];
        let (new, old) = one(b"hello, world!", &[0; 17], &last);
        assert_eq!((&new[4..], old), (&b"hello, world!"[..], vec![0; 13]));
        let (new, _) = one(b"hello, world!", b"....later        ", &last);
        assert_eq!(&new[4..], b"later        ");
        let (new, _) = one(&7u32.to_ne_bytes(), &[0; 8], &[field((0, 4), (0, 8), false, Op::Last)]);
        assert_eq!(new, 7u64.to_ne_bytes());
    }

    #[test]
    fn the_slots_of_a_histogram() {
        let slots = |x: u64| (0..16).flat_map(|i| (i * x).to_ne_bytes()).collect::<Vec<u8>>();
        let span = Span { offset: 0, width: 8 };
        let fields = [Field { old: span, new: span, count: 16, signed: false, op: Op::Sum }];
        assert_eq!(one(&slots(1), &slots(10), &fields).0, slots(11));
    }

    #[test]
    fn arrays_and_values_per_cpu() {
        let cpus = possible_cpus().unwrap();
        let sum = [field((0, 8), (8, 8), false, Op::Sum)];
        for kind in [kind::PERCPU_ARRAY, kind::PERCPU_HASH] {
            let (from, to) = (map(kind, 8), map(kind, 16));
            let old: Vec<u8> = (0..cpus as u64).flat_map(|cpu| (cpu + 1).to_ne_bytes()).collect();
            from.update(&3u32.to_ne_bytes(), &old, Update::Any).unwrap();
            let merger = Merger::new(&from, &to, &sum).unwrap();
            merger.merge_all().unwrap();
            merger.merge_all().unwrap();
            let values = to.lookup_per_cpu(&3u32.to_ne_bytes()).unwrap().unwrap();
            for (cpu, value) in values.iter().enumerate() {
                assert_eq!(value[8..], (cpu as u64 + 1).to_ne_bytes(), "CPU {cpu}");
            }
        }
        let (from, to) = (map(kind::ARRAY, 8), map(kind::ARRAY, 16));
        from.update(&[0; 4], &4u64.to_ne_bytes(), Update::Any).unwrap();
        assert_eq!(Merger::new(&from, &to, &sum).unwrap().merge_all().unwrap(), 8);
        assert_eq!(to.lookup(&[0; 4]).unwrap().unwrap()[8..], 4u64.to_ne_bytes());
    }

    #[test]
    fn what_can_not_be_merged() {
        let sum = [field((0, 8), (0, 8), false, Op::Sum)];
        let hash = map(kind::HASH, 8);
        assert!(Merger::new(&hash, &map(kind::ARRAY, 8), &sum).is_err(), "kinds differ");
        assert!(Merger::new(&hash, &map(kind::HASH, 4), &sum).is_err(), "outside");
        let odd = [field((0, 3), (0, 3), false, Op::Sum)];
        assert!(Merger::new(&hash, &map(kind::HASH, 8), &odd).is_err(), "3 bytes have no sum");
        for i in 0..8u32 {
            hash.update(&i.to_ne_bytes(), &[1; 8], Update::Any).unwrap();
        }
        let full = map(kind::HASH, 8);
        for i in 8..16u32 {
            full.update(&i.to_ne_bytes(), &[1; 8], Update::Any).unwrap();
        }
        let error = Merger::new(&hash, &full, &sum).unwrap().merge_all().unwrap_err();
        assert_eq!(error.errno(), Some(libc::E2BIG));
        assert!(error.hint().is_some_and(|hint| hint.contains("full")));
    }
}
