//! The readers of one service's events, and what waits for the first of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use skep_kernel::ring::Waker;

use super::EventCounts;
use super::source::{Decoding, choose};
use super::stream::{Event, Queue};

/// Records that are kept while there is no reader.
const BACKLOG: usize = 4096;

/// What a batch comes from: the rings together, or one perf buffer by its map's id.
pub(super) type BufferId = u32;
/// All rings of a service; no map has this id.
pub(super) const RINGS: BufferId = 0;

/// Readers, and the counts of what they were given.
#[derive(Debug, Default)]
pub(super) struct Readers {
    inner: Mutex<Inner>,
    /// A reader came, or somebody is to look whether to stop.
    changed: Condvar,
    read: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    readers: Vec<Reader>,
    /// By number: what no reader was given.
    backlog: BTreeMap<u64, Event>,
    /// The number of the next event.
    next: u64,
    /// Events below this number were taken by some reader.
    taken: u64,
    /// Ends the wait of the thread that reads the rings.
    rings: Option<Waker>,
}

#[derive(Debug)]
struct Reader {
    queue: Arc<Queue>,
    until: Until,
}

/// How long a reader is given events.
#[derive(Debug)]
enum Until {
    ServiceEnds,
    /// Till each of these was once seen empty, or gave so many bytes, which is all that can have waited in it.
    Emptied(BTreeMap<BufferId, u64>),
    /// It has all that it is given.
    Now,
}

/// Records as they were read, in one allocation.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<(usize, usize, Arc<Decoding>)>,
    /// Records that no output takes.
    unknown: u64,
}

impl Batch {
    pub(super) fn add(&mut self, data: &[u8], decodings: &[Arc<Decoding>]) {
        let Some(decoding) = choose(decodings, data) else {
            self.unknown += 1;
            return;
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.records.push((start, self.bytes.len(), decoding.clone()));
    }

    fn events(self, first: u64) -> Vec<Event> {
        let slab: Arc<[u8]> = self.bytes.into();
        let numbered = self.records.into_iter().zip(first..);
        let event = |((start, end, decoding), number)| {
            Event::new(number, slab.clone(), start..end, decoding)
        };
        numbered.map(event).collect()
    }
}

impl Readers {
    /// A new reader that is given all events till the service ends; the first one gets what waits.
    pub(super) fn follow(&self) -> Arc<Queue> {
        self.add(Until::ServiceEnds)
    }

    /// A new reader that is given what waits now, in these buffers of so many bytes.
    pub(super) fn look(&self, buffers: BTreeMap<BufferId, u64>) -> Arc<Queue> {
        self.add(Until::Emptied(buffers))
    }

    fn add(&self, until: Until) -> Arc<Queue> {
        let queue = Arc::<Queue>::default();
        let mut inner = self.lock();
        queue.push(std::mem::take(&mut inner.backlog).into_values());
        let mut reader = Reader { queue: queue.clone(), until };
        reader.end_if_emptied();
        inner.readers.push(reader);
        drop(inner);
        self.changed.notify_all();
        queue
    }

    /// A reader went: if it was the last one, what it did not take waits for the next.
    pub(super) fn leave(&self, queue: &Arc<Queue>) {
        let mut inner = self.lock();
        inner.readers.retain(|reader| !Arc::ptr_eq(&reader.queue, queue));
        let (rest, taken) = queue.close();
        inner.taken = inner.taken.max(taken);
        if inner.is_open() {
            return;
        }
        inner.rings.iter().for_each(Waker::wake); // what comes from now on is left where it is
        let taken = inner.taken;
        inner.backlog = inner.backlog.split_off(&taken);
        inner.backlog.extend(rest.into_iter().map(|e| (e.number(), e)).filter(|e| e.0 >= taken));
        let over = inner.shorten();
        self.dropped.fetch_add(over, Ordering::Relaxed);
    }

    /// Whether anybody is given events.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    /// Waits for a reader that is given events, or for `stop`. `rings` is woken when the last one goes.
    pub(super) fn wait(&self, rings: &Waker, stop: &AtomicBool) {
        let mut inner = self.lock();
        inner.rings = Some(rings.clone());
        while !inner.is_open() && !stop.load(Ordering::Acquire) {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Makes those that wait look at their `stop`.
    pub(super) fn wake(&self) {
        let _inner = self.lock(); // whoever looked before, waits by now
        self.changed.notify_all();
    }

    /// Hands a batch to every reader, or keeps it for the first one. `emptied` says whether nothing is left there.
    pub(super) fn publish(&self, from: BufferId, batch: Batch, emptied: bool) {
        let (unknown, bytes) = (batch.unknown, batch.bytes.len() as u64);
        let mut inner = self.lock();
        let events = batch.events(inner.next);
        inner.next += events.len() as u64;
        self.read.fetch_add(events.len() as u64 + unknown, Ordering::Relaxed);
        self.unknown.fetch_add(unknown, Ordering::Relaxed);
        let mut over = 0;
        let open = inner.is_open();
        for reader in inner.readers.iter_mut().filter(|reader| reader.is_open()) {
            over += reader.queue.push(events.iter().cloned());
            reader.heard(from, if emptied { u64::MAX } else { bytes });
        }
        if !open {
            inner.backlog.extend(events.into_iter().map(|event| (event.number(), event)));
            over += inner.shorten();
        }
        self.dropped.fetch_add(over, Ordering::Relaxed);
    }

    /// Nothing more comes from this buffer.
    pub(super) fn ended(&self, from: BufferId) {
        self.lock().readers.iter_mut().for_each(|reader| reader.heard(from, u64::MAX));
    }

    /// A perf buffer lost so many records.
    pub(super) fn lost(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// No event will come any more.
    pub(super) fn end(&self) {
        for reader in &mut self.lock().readers {
            reader.until = Until::Now;
            reader.queue.end();
        }
    }

    pub(super) fn counts(&self) -> EventCounts {
        EventCounts {
            read: self.read.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_open(&self) -> bool {
        self.readers.iter().any(Reader::is_open)
    }

    /// Gives up the oldest beyond the limit; gives their number.
    fn shorten(&mut self) -> u64 {
        let over = self.backlog.len().saturating_sub(BACKLOG);
        for _ in 0..over {
            self.backlog.pop_first();
        }
        over as u64
    }
}

impl Reader {
    fn is_open(&self) -> bool {
        !matches!(self.until, Until::Now)
    }

    /// A buffer gave so many bytes.
    fn heard(&mut self, from: BufferId, bytes: u64) {
        let Until::Emptied(buffers) = &mut self.until else { return };
        if let Some(left) = buffers.get_mut(&from) {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                buffers.remove(&from);
            }
        }
        self.end_if_emptied();
    }

    fn end_if_emptied(&mut self) {
        if matches!(&self.until, Until::Emptied(buffers) if buffers.is_empty()) {
            self.until = Until::Now;
            self.queue.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::events::source::raw;
    use crate::events::stream::{EventStream, Next, QUEUE};

    /// Publishes events of one byte each, from `buffer`.
    fn publish(readers: &Readers, buffer: BufferId, bytes: &[u8], emptied: bool) {
        let (mut batch, decodings) = (Batch::default(), [Arc::new(raw("events"))]);
        bytes.iter().for_each(|byte| batch.add(&[*byte], &decodings));
        readers.publish(buffer, batch, emptied);
    }

    fn follow(readers: &Arc<Readers>) -> EventStream {
        EventStream::new(readers.follow(), readers.clone())
    }

    fn look(readers: &Arc<Readers>, buffers: &[(BufferId, u64)]) -> EventStream {
        EventStream::new(readers.look(buffers.iter().copied().collect()), readers.clone())
    }

    fn take(stream: &EventStream, most: usize) -> Vec<u8> {
        let next = |_| match stream.next(Duration::ZERO) {
            Next::Event(event) => Some(event.bytes()[0]),
            Next::Timeout | Next::Closed => None,
        };
        (0..most).map_while(next).collect()
    }

    fn is_closed(stream: &EventStream) -> bool {
        matches!(stream.next(Duration::ZERO), Next::Closed)
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_and_is_told() {
        let readers = Arc::default();
        let stream = follow(&readers);
        publish(&readers, RINGS, &vec![1; QUEUE], true);
        publish(&readers, RINGS, &[2, 3], true);
        assert_eq!((stream.dropped(), readers.counts().dropped), (2, 2));
        let got = take(&stream, usize::MAX);
        assert_eq!((got.len(), got.last()), (QUEUE, Some(&3)));
        assert!(!is_closed(&stream));
    }

    #[test]
    fn the_end_comes_after_the_last_event() {
        let readers = Arc::default();
        let stream = follow(&readers);
        publish(&readers, RINGS, &[1], true);
        readers.end();
        assert_eq!(take(&stream, 9), [1]);
        assert!(is_closed(&stream));
    }

    #[test]
    fn what_a_reader_did_not_take_waits_for_the_next() {
        let readers = Arc::default();
        let first = follow(&readers);
        publish(&readers, RINGS, &[1, 2, 3], true);
        assert_eq!(take(&first, 1), [1]);
        drop(first);
        assert!(!readers.is_open());
        publish(&readers, 7, &[4], true); // a perf buffer goes on
        assert_eq!(take(&follow(&readers), 9), [2, 3, 4]);
        assert!(take(&follow(&readers), 9).is_empty(), "they were taken");
    }

    #[test]
    fn of_several_readers_the_last_leaves_what_none_took() {
        for swapped in [false, true] {
            let readers = Arc::default();
            let (mut a, mut b) = (follow(&readers), follow(&readers));
            publish(&readers, RINGS, &[1, 2, 3, 4], true);
            assert_eq!((take(&a, 1), take(&b, 3)), (vec![1], vec![1, 2, 3]));
            if swapped {
                std::mem::swap(&mut a, &mut b);
            }
            drop((a, b));
            assert_eq!(take(&follow(&readers), 9), [4], "swapped: {swapped}");
        }
    }

    #[test]
    fn what_one_of_two_ended_looks_took_is_not_given_again() {
        let readers = Arc::default();
        let (a, b) = (look(&readers, &[(RINGS, 100)]), look(&readers, &[(RINGS, 100)]));
        publish(&readers, RINGS, &[1, 2, 3], true);
        drop(a); // nothing of it was taken
        assert_eq!(take(&b, 9), [1, 2, 3]);
        drop(b);
        assert!(take(&follow(&readers), 9).is_empty());
    }

    #[test]
    fn a_look_ends_when_each_buffer_was_empty_once() {
        let readers = Arc::default();
        let stream = look(&readers, &[(RINGS, 100), (7, 100)]);
        publish(&readers, RINGS, &[1], true);
        publish(&readers, RINGS, &[2], true);
        assert_eq!(take(&stream, 9), [1, 2]);
        assert!(!is_closed(&stream));
        publish(&readers, 7, &[3], true);
        publish(&readers, 7, &[4], true);
        assert_eq!(take(&stream, 9), [3]);
        assert!(is_closed(&stream));
    }

    #[test]
    fn a_look_ends_although_more_keeps_coming() {
        let readers = Arc::default();
        let stream = look(&readers, &[(RINGS, 3)]);
        publish(&readers, RINGS, &[1, 2], false);
        publish(&readers, RINGS, &[3, 4], false);
        publish(&readers, RINGS, &[5], false);
        assert_eq!(take(&stream, 9), [1, 2, 3, 4]);
        assert!(is_closed(&stream));
    }

    #[test]
    fn a_look_ends_with_its_buffers() {
        let readers = Arc::default();
        let (gone, none) = (look(&readers, &[(7, 100)]), look(&readers, &[]));
        assert!(is_closed(&none));
        readers.ended(7);
        assert!(is_closed(&gone));
    }
}
