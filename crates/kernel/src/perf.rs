//! Reading perf buffers (BPF_MAP_TYPE_PERF_EVENT_ARRAY): one ring per CPU, and the kernel counts what it loses.
//!
//! The rings live as long as their fds and mappings: a reader that goes takes unread records along.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::attach::perf::{PerfAttr, enable, open_event};
use crate::error::KernelError;
use crate::maps::{MapHandle, Mapping, Update, kind, possible_cpus};
use crate::wake::{Polled, Waiter, Waker};

// include/uapi/linux/perf_event.h
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_BPF_OUTPUT: u64 = 10;
const PERF_SAMPLE_RAW: u64 = 1 << 10;
const PERF_RECORD_LOST: u32 = 2;
const PERF_RECORD_SAMPLE: u32 = 9;
/// Where struct perf_event_mmap_page has `data_head` and `data_tail`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;
const HEADER: usize = 8;

/// Reads the perf buffer of one map.
#[derive(Debug)]
pub struct Reader {
    rings: Vec<Ring>,
    /// Which of them comes first.
    first: usize,
    waiter: Waiter,
    scratch: Vec<u8>,
}

/// What is in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// What a program put out; up to 7 bytes of padding may follow its data.
    Sample(&'a [u8]),
    /// So many samples were lost before this place, because the ring was full.
    Lost(u64),
}

#[derive(Debug)]
struct Ring {
    cpu: usize,
    event: OwnedFd,
    memory: Mapping,
    page: usize,
    size: usize,
}

impl Reader {
    /// Pages for each CPU, as libbpf's tools have them.
    pub const PAGES: usize = 64;

    /// Makes a ring of `pages` pages (rounded up to a power of two) for each CPU that is online and puts them into `map`.
    ///
    /// # Errors
    /// The map is no perf event array; EPERM beyond `perf_event_mlock_kb` without CAP_IPC_LOCK.
    pub fn new(map: &MapHandle, pages: usize) -> Result<Self, KernelError> {
        let failed = |e| KernelError::new("read the perf buffer", map.name(), e);
        if map.info().kind != kind::PERF_EVENT_ARRAY {
            return Err(KernelError::unsupported("read the perf buffer", map.name(), "it is none"));
        }
        let waiter = Waiter::new().map_err(failed)?;
        let mut rings = Vec::new();
        for cpu in 0..possible_cpus()?.min(map.info().max_entries as usize) {
            let event = match open(cpu) {
                Err(e) if e.raw_os_error() == Some(libc::ENODEV) => continue, // offline
                other => other.map_err(failed)?,
            };
            let ring = Ring::map(cpu, event, pages).map_err(failed)?;
            waiter.add(ring.event.as_fd()).map_err(failed)?;
            let fd = ring.event.as_raw_fd();
            map.update(&(cpu as u32).to_ne_bytes(), &fd.to_ne_bytes(), Update::Any)?;
            enable(&ring.event).map_err(failed)?;
            rings.push(ring);
        }
        Ok(Self { rings, first: 0, waiter, scratch: Vec::new() })
    }

    /// What ends a wait from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waiter.waker()
    }

    /// Hands at most `most` records to `each`, with the CPU; waits for the first one up to `timeout` (`None`:
    /// without end), unless somebody wakes it: then it takes none.
    ///
    /// # Errors
    /// epoll_wait(2) refused; a record's length makes no sense.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        most: usize,
        mut each: impl FnMut(usize, Record<'_>),
    ) -> Result<Polled, KernelError> {
        let polled = self.take(most, &mut each)?;
        match self.waiter.settled(polled, timeout)? {
            Some(polled) => Ok(polled),
            None => self.take(most, &mut each),
        }
    }

    /// Bytes that can wait in it.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.rings.iter().map(|ring| ring.size as u64).sum()
    }

    fn take(
        &mut self,
        most: usize,
        each: &mut impl FnMut(usize, Record<'_>),
    ) -> Result<Polled, KernelError> {
        let mut polled = Polled { emptied: true, ..Polled::default() };
        // A busy CPU that fills each batch alone must not be the first each time.
        self.first = (self.first + 1) % self.rings.len().max(1);
        let (last, first) = self.rings.split_at(self.first);
        for ring in first.iter().chain(last) {
            let mut each = |record: Record<'_>| each(ring.cpu, record);
            let taken = ring.take(most - polled.records, &mut self.scratch, &mut each);
            polled.add(taken.map_err(|e| {
                KernelError::new("read", format!("the perf buffer of CPU {}", ring.cpu), e)
            })?);
        }
        Ok(polled)
    }
}

fn open(cpu: usize) -> io::Result<OwnedFd> {
    let attr = PerfAttr {
        kind: PERF_TYPE_SOFTWARE,
        config: PERF_COUNT_SW_BPF_OUTPUT,
        sample_period: 1,
        sample_type: PERF_SAMPLE_RAW,
        wakeup_events: 1,
        ..PerfAttr::default()
    };
    open_event(attr, -1, cpu as i32)
}

impl Ring {
    fn map(cpu: usize, event: OwnedFd, pages: usize) -> io::Result<Self> {
        // SAFETY: takes an integer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = page * pages.clamp(1, 1 << 16).next_power_of_two();
        let memory = Mapping::new(&event, page + size, 0, true)?;
        Ok(Self { cpu, event, memory, page, size })
    }

    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: inside the first page, aligned to 8, mapped as long as `self`.
        unsafe { AtomicU64::from_ptr(self.memory.start().add(offset).cast()) }
    }

    fn take(
        &self,
        most: usize,
        scratch: &mut Vec<u8>,
        each: &mut impl FnMut(Record<'_>),
    ) -> io::Result<Polled> {
        let head = self.position(DATA_HEAD).load(Ordering::Acquire);
        let start = self.position(DATA_TAIL).load(Ordering::Relaxed);
        let (mut tail, mut records) = (start, 0);
        while tail < head && records < most {
            let mut header = [0; HEADER];
            self.copy(tail, &mut header);
            let [k0, k1, k2, k3, _, _, s0, s1] = header;
            let size = usize::from(u16::from_ne_bytes([s0, s1]));
            if size < HEADER || size as u64 > head - tail {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a record of no possible length",
                ));
            }
            scratch.resize(size - HEADER, 0);
            self.copy(tail + HEADER as u64, scratch);
            if let Some(record) = parse(u32::from_ne_bytes([k0, k1, k2, k3]), scratch) {
                each(record);
                records += 1;
            }
            tail += size as u64;
        }
        self.position(DATA_TAIL).store(tail, Ordering::Release);
        Ok(Polled { records, bytes: tail - start, emptied: tail == head, woken: false })
    }

    /// Copies from position `at` on; a record may go over the ring's end.
    fn copy(&self, at: u64, out: &mut [u8]) {
        let start = (at as usize) & (self.size - 1);
        let first = out.len().min(self.size - start);
        // SAFETY: both parts lie within the `size` bytes after the first page; the kernel does not write
        // between tail and head, and `out` is not longer than what lies there.
        unsafe {
            let data = self.memory.start().add(self.page);
            std::ptr::copy_nonoverlapping(data.add(start), out.as_mut_ptr(), first);
            std::ptr::copy_nonoverlapping(data, out.as_mut_ptr().add(first), out.len() - first);
        }
    }
}

fn parse(kind: u32, body: &[u8]) -> Option<Record<'_>> {
    match kind {
        PERF_RECORD_SAMPLE => {
            let (len, data) = body.split_first_chunk()?;
            data.get(..u32::from_ne_bytes(*len) as usize).map(Record::Sample)
        }
        PERF_RECORD_LOST => {
            let (_id, rest) = body.split_first_chunk::<8>()?;
            rest.first_chunk().map(|count| Record::Lost(u64::from_ne_bytes(*count)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::asm::Assembler;
    use crate::maps::MapSpec;
    use crate::process;
    use crate::program::{LoadKind, Program};

    fn map() -> MapHandle {
        let spec = MapSpec {
            name: "perf_test".into(),
            kind: kind::PERF_EVENT_ARRAY,
            key_size: 4,
            value_size: 4,
            max_entries: possible_cpus().unwrap() as u32,
            flags: 0,
        };
        MapHandle::create(&spec).unwrap()
    }

    /// A tc program that puts 8 bytes out on the CPU where it runs.
    fn writer(map: &MapHandle) -> Program {
        let mut asm = Assembler::new();
        asm.store_imm(crate::asm::Width::B8, 10, -8, 77);
        asm.map(2, map.as_fd().as_raw_fd());
        // flags: BPF_F_CURRENT_CPU, the low 32 bits
        asm.mov_imm(3, -1).shl(3, 32).shr(3, 32).mov(4, 10).add_imm(4, -8).mov_imm(5, 8);
        asm.call(25).exit(); // bpf_perf_event_output
        let kind = LoadKind { prog_type: 3, ..LoadKind::default() };
        Program::load("perf_writer", &kind, &asm.finish().unwrap()).unwrap()
    }

    #[test]
    fn every_sample_comes_or_is_counted_as_lost() {
        let map = map();
        let mut reader = Reader::new(&map, 1).unwrap();
        let program = writer(&map);
        process::pin_to_cpu(0).unwrap();
        let fired = 1000;
        for _ in 0..fired {
            program.run(&[0; 64]).unwrap();
        }
        let (mut got, mut lost) = (0, 0);
        let mut count = |cpu: usize, record: Record<'_>| match record {
            Record::Sample(data) => {
                assert_eq!((cpu, data[..8].to_vec()), (0, 77u64.to_ne_bytes().to_vec()));
                got += 1;
            }
            Record::Lost(n) => lost += n,
        };
        let mut bytes = 0;
        loop {
            let polled = reader.poll(Some(Duration::ZERO), 10, &mut count).unwrap();
            bytes += polled.bytes;
            if polled.emptied {
                break;
            }
        }
        assert!(bytes <= reader.room(), "{bytes} bytes waited in {}", reader.room());
        // the kernel says what it lost when it next has room
        program.run(&[0; 64]).unwrap();
        reader.poll(None, 10, &mut count).unwrap();
        assert!(got > 0 && lost > 0, "{got} read, {lost} lost");
        assert!(bytes >= got / 2 * 16, "{bytes} bytes");
        assert_eq!(got + lost, fired + 1);
    }

    #[test]
    fn a_busy_cpu_does_not_keep_the_others_waiting() {
        let (map, mut seen) = (map(), BTreeMap::new());
        let (mut reader, program) = (Reader::new(&map, 64).unwrap(), writer(&map));
        let online = |cpu: &usize| process::pin_to_cpu(*cpu).is_ok();
        for cpu in (0..possible_cpus().unwrap()).filter(online) {
            for _ in 0..100 {
                program.run(&[0; 64]).unwrap();
            }
            seen.insert(cpu, 0);
        }
        for _ in 0..seen.len() {
            let count = |cpu, _: Record<'_>| *seen.get_mut(&cpu).unwrap() += 1;
            reader.poll(Some(Duration::ZERO), 10, count).unwrap();
        }
        assert!(seen.values().all(|count| *count == 10), "{seen:?}");
    }

    #[test]
    fn a_waker_ends_the_wait() {
        let mut reader = Reader::new(&map(), 1).unwrap();
        reader.waker().wake();
        assert!(reader.poll(None, 1, |_, _| ()).unwrap().woken);
    }

    #[test]
    fn what_is_no_perf_buffer() {
        assert!(Reader::new(&MapHandle::create_u64s("none", 1).unwrap(), 1).is_err());
    }
}
