//! Reading ring buffers (BPF_MAP_TYPE_RINGBUF, Linux 5.8) straight from the shared memory.
//!
//! The consumer's position lies in the kernel's map: a new process goes on where the old one stopped. It is stored
//! after the records were handed on, so after a `kill -9` the last ones (16 KiB at most) come again; none is lost.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::error::KernelError;
use crate::maps::{MapHandle, Mapping, kind};
use crate::wake::Waiter;
pub use crate::wake::{Polled, Waker};

// include/uapi/linux/bpf.h
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: usize = 8;
/// The position is stored after so many bytes at the latest: the producer gets room back.
const STORE_EVERY: u64 = 16 << 10;

/// Reads any number of ring buffers.
#[derive(Debug)]
pub struct Reader {
    rings: Vec<Ring>,
    waiter: Waiter,
    /// The ring to begin with: none starves behind a busy one.
    first: usize,
}

#[derive(Debug)]
struct Ring {
    /// One page, writable: where the consumer is.
    consumer: Mapping,
    /// One page with where the producer is, then the data twice, so that no record is cut.
    producer: Mapping,
    size: usize,
    page: usize,
}

impl Reader {
    /// A reader of no ring yet.
    ///
    /// # Errors
    /// EMFILE.
    pub fn new() -> Result<Self, KernelError> {
        let waiter = Waiter::new().map_err(|e| KernelError::new("make", "a ring reader", e))?;
        Ok(Self { rings: Vec::new(), waiter, first: 0 })
    }

    /// Adds a ring buffer; gives its number. One process reads a ring at a time: two would both get some records.
    ///
    /// # Errors
    /// It is no ring buffer; what mmap(2) says.
    pub fn add(&mut self, map: &MapHandle) -> Result<usize, KernelError> {
        let failed = |e| KernelError::new("read the ring buffer", map.name(), e);
        if map.info().kind != kind::RINGBUF {
            return Err(KernelError::unsupported("read the ring buffer", map.name(), "it is none"));
        }
        let ring = Ring::map(map).map_err(failed)?;
        self.waiter.add(map.as_fd()).map_err(failed)?;
        self.rings.push(ring);
        Ok(self.rings.len() - 1)
    }

    /// What ends a wait from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waiter.waker()
    }

    /// Hands at most `most` records to `each`, with the ring's number; waits for the first one up to `timeout`
    /// (`None`: without end), unless somebody wakes it: then it takes none.
    ///
    /// # Errors
    /// epoll_wait(2) refused; a record's length makes no sense.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        most: usize,
        mut each: impl FnMut(usize, &[u8]),
    ) -> Result<Polled, KernelError> {
        let polled = self.take(most, &mut each)?;
        match self.waiter.settled(polled, timeout)? {
            Some(polled) => Ok(polled),
            None => self.take(most, &mut each),
        }
    }

    fn take(
        &mut self,
        most: usize,
        each: &mut impl FnMut(usize, &[u8]),
    ) -> Result<Polled, KernelError> {
        let count = self.rings.len();
        let mut polled = Polled { emptied: true, ..Polled::default() };
        for i in 0..count {
            let number = (self.first + i) % count;
            let taken = self.rings[number]
                .take(most - polled.records, &mut |data| each(number, data))
                .map_err(|e| KernelError::new("read", format!("ring buffer {number}"), e))?;
            polled.add(taken);
        }
        self.first = (self.first + 1) % count.max(1);
        Ok(polled)
    }
}

impl Ring {
    fn map(map: &MapHandle) -> io::Result<Self> {
        // SAFETY: takes an integer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = map.info().max_entries as usize;
        let fd = map.as_fd();
        let consumer = Mapping::new(&fd, page, 0, true)?;
        let producer = Mapping::new(&fd, page + 2 * size, page, false)?;
        Ok(Self { consumer, producer, size, page })
    }

    fn consumed(&self) -> &AtomicU64 {
        // SAFETY: the first 8 bytes of a page that is mapped as long as `self`.
        unsafe { AtomicU64::from_ptr(self.consumer.start().cast()) }
    }

    fn produced(&self) -> &AtomicU64 {
        // SAFETY: as above; only ever loaded, since the page is read-only.
        unsafe { AtomicU64::from_ptr(self.producer.start().cast()) }
    }

    /// Hands on at most `most` records, in the order in which they were reserved.
    fn take(&self, most: usize, each: &mut impl FnMut(&[u8])) -> io::Result<Polled> {
        let start = self.consumed().load(Ordering::Relaxed);
        let (mut at, mut stored, mut polled) = (start, start, Polled::default());
        let mut produced = self.produced().load(Ordering::Acquire);
        // Discarded records are work too: a call is bounded whatever programs do.
        for _ in 0..most {
            if at == produced {
                self.store(at, &mut stored);
                // A record that came before the store woke nobody: look again after it.
                fence(Ordering::SeqCst);
                produced = self.produced().load(Ordering::Acquire);
                if at == produced {
                    polled.emptied = true;
                    break;
                }
            }
            let Some((length, data)) = self.record(at)? else {
                polled.emptied = true;
                break;
            };
            if length & DISCARDED == 0 {
                each(data);
                polled.records += 1;
            }
            at += (data.len() as u64 + HEADER as u64).next_multiple_of(8);
            if at - stored >= STORE_EVERY {
                self.store(at, &mut stored);
            }
        }
        self.store(at, &mut stored);
        polled.bytes = at - start;
        Ok(polled)
    }

    fn store(&self, at: u64, stored: &mut u64) {
        if at != *stored {
            self.consumed().store(at, Ordering::Release);
            *stored = at;
        }
    }

    /// The record at position `at`; `None` while its program has not finished it.
    fn record(&self, at: u64) -> io::Result<Option<(u32, &[u8])>> {
        if !at.is_multiple_of(HEADER as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the reader's position is odd"));
        }
        let offset = (at as usize) & (self.size - 1);
        // SAFETY: positions are multiples of 8, and `offset` is below `size`: a header inside the mapping.
        let header = unsafe { self.producer.start().add(self.page + offset) };
        // SAFETY: aligned to 8, mapped as long as `self`; only ever loaded.
        let length = unsafe { AtomicU32::from_ptr(header.cast()) }.load(Ordering::Acquire);
        if length & BUSY != 0 {
            return Ok(None);
        }
        let len = (length & !(BUSY | DISCARDED)) as usize;
        if len + HEADER > self.size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a record is longer than its ring",
            ));
        }
        // SAFETY: the data is mapped twice, so `len` bytes after any header are inside; the producer leaves
        // them alone until the consumer's position is past them.
        Ok(Some((length, unsafe { std::slice::from_raw_parts(header.add(HEADER), len) })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asm::{Assembler, Width};
    use crate::maps::MapSpec;
    use crate::program::{LoadKind, Program};
    use std::os::fd::AsRawFd;

    fn ring(bytes: u32) -> MapHandle {
        let name = "ring_test".to_owned();
        let spec = MapSpec { name, kind: kind::RINGBUF, max_entries: bytes, ..MapSpec::default() };
        MapHandle::create(&spec).unwrap()
    }

    /// A tc program that puts the first 8 bytes of its context's mark and a counter out; returns the helper's result.
    fn writer(ring: &MapHandle) -> Program {
        let mut asm = Assembler::new();
        // struct __sk_buff: data at 76, data_end at 80; the number is at byte 16 of the packet
        let out = asm.label();
        asm.load(Width::B4, 2, 1, 76).load(Width::B4, 3, 1, 80).mov(4, 2).add_imm(4, 24);
        asm.mov_imm(0, 9).jump_if_reg(crate::asm::Cond::Gt, 4, 3, out);
        asm.load(Width::B8, 1, 2, 16).store(Width::B8, 10, -8, 1);
        asm.map(1, ring.as_fd().as_raw_fd()).mov(2, 10).add_imm(2, -8).mov_imm(3, 8).mov_imm(4, 0);
        asm.call(130).bind(out).exit(); // bpf_ringbuf_output
        let kind = LoadKind { prog_type: 3, ..LoadKind::default() };
        Program::load("ring_writer", &kind, &asm.finish().unwrap()).unwrap()
    }

    fn write(program: &Program, number: u64) -> bool {
        let mut packet = [0; 64];
        packet[16..24].copy_from_slice(&number.to_ne_bytes());
        program.run(&packet).unwrap() == 0
    }

    fn number(data: &[u8]) -> u64 {
        u64::from_ne_bytes(data.try_into().unwrap())
    }

    #[test]
    fn records_come_in_order_and_once_across_readers() {
        let map = ring(4096);
        let program = writer(&map);
        let (mut next, mut sent) = (0, 0);
        for round in 0..50 {
            // a new reader each time, as after an exec: the position is the kernel's
            let mut reader = Reader::new().unwrap();
            assert_eq!(reader.add(&map).unwrap(), 0);
            for _ in 0..37 {
                assert!(write(&program, sent));
                sent += 1;
            }
            let most = if round % 2 == 0 { 20 } else { 1000 };
            let polled = reader
                .poll(Some(Duration::ZERO), most, |ring, data| {
                    assert_eq!((ring, number(data)), (0, next));
                    next += 1;
                })
                .unwrap();
            assert!(polled.records <= most);
            assert_eq!(polled.bytes, 16 * polled.records as u64, "each has a header of 8 bytes");
            assert_eq!(polled.emptied, next == sent);
        }
        assert_eq!(next, sent);
    }

    #[test]
    fn a_full_ring_refuses_and_goes_on() {
        let map = ring(4096);
        let program = writer(&map);
        let written = (0..1000).filter(|i| write(&program, *i)).count();
        assert!(written < 1000);
        let mut reader = Reader::new().unwrap();
        reader.add(&map).unwrap();
        assert_eq!(reader.poll(None, usize::MAX, |_, _| ()).unwrap().records, written);
        assert!(write(&program, 0));
        assert_eq!(reader.poll(None, usize::MAX, |_, _| ()).unwrap().records, 1);
    }

    #[test]
    fn what_a_program_gave_up_is_no_record_but_was_read() {
        let map = ring(4096);
        let mut asm = Assembler::new();
        let out = asm.label();
        asm.map(1, map.as_fd().as_raw_fd()).mov_imm(2, 24).mov_imm(3, 0).call(131); // bpf_ringbuf_reserve
        asm.jump_if(crate::asm::Cond::Eq, 0, 0, out).mov(1, 0).mov_imm(2, 0).call(133); // bpf_ringbuf_discard
        asm.bind(out).mov_imm(0, 0).exit();
        let kind = LoadKind { prog_type: 3, ..LoadKind::default() };
        let program = Program::load("ring_waster", &kind, &asm.finish().unwrap()).unwrap();
        program.run(&[0; 64]).unwrap();
        let mut reader = Reader::new().unwrap();
        reader.add(&map).unwrap();
        let polled = reader.poll(Some(Duration::ZERO), 9, |_, _| ()).unwrap();
        assert_eq!(polled, Polled { bytes: 32, emptied: true, ..Polled::default() });
    }

    #[test]
    fn a_waker_ends_the_wait_and_a_timeout_too() {
        let map = ring(4096);
        let mut reader = Reader::new().unwrap();
        reader.add(&map).unwrap();
        let waker = reader.waker();
        let none = Polled { emptied: true, ..Polled::default() };
        assert_eq!(reader.poll(Some(Duration::from_millis(1)), 1, |_, _| ()).unwrap(), none);
        let thread = std::thread::spawn(move || waker.wake());
        assert_eq!(
            reader.poll(None, 1, |_, _| ()).unwrap(),
            Polled { woken: true, ..Polled::default() }
        );
        thread.join().unwrap();
        assert_eq!(reader.poll(Some(Duration::from_millis(1)), 1, |_, _| ()).unwrap(), none);
    }

    #[test]
    fn the_kernel_wakes_a_waiting_reader() {
        let (a, b) = (ring(4096), ring(4096));
        let program = writer(&b);
        let mut reader = Reader::new().unwrap();
        reader.add(&a).unwrap();
        reader.add(&b).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(write(&program, 5)));
            let mut got = Vec::new();
            reader.poll(None, 10, |ring, data| got.push((ring, number(data)))).unwrap();
            assert_eq!(got, [(1, 5)]);
        });
    }

    #[test]
    fn what_is_no_ring() {
        let map = MapHandle::create_u64s("none", 1).unwrap();
        assert!(Reader::new().unwrap().add(&map).is_err());
    }
}
