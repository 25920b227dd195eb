//! The readers of one service's events, and what waits for the first of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use skep_kernel::ring::{Polled, Waker};

use super::EventCounts;
use super::backlog::Backlog;
use super::past::Past;
use super::source::{Decoding, Moment, decoding_of};
use super::stream::{Event, Queue, Slab};

/// What a batch comes from: the rings together, or one perf buffer by its map's id.
pub(super) type BufferId = u32;
/// All rings of a service; no map has this id.
pub(super) const RINGS: BufferId = 0;

/// Bytes after which a batch is handed on: it lies in memory as long as a reader has to take one of its records.
const BATCH_BYTES: usize = 1 << 20;

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
    backlog: Backlog,
    past: Past,
    /// The number of the next event.
    next: u64,
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
    /// Till each of these was once seen empty, or gave back so many bytes, which is all that can have waited in it.
    Emptied(BTreeMap<BufferId, u64>),
    /// It has all that it is given.
    Now,
}

/// Records as they were read.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// Records that no output takes.
    unknown: u64,
    /// When the first of them was read.
    read: Option<Moment>,
}

struct Record {
    range: Range<usize>,
    decoding: Arc<Decoding>,
    /// When it was made or read, and its place among the others by that.
    time: u64,
    place: u64,
}

impl Batch {
    pub(super) fn add(&mut self, data: &[u8], decodings: &[Arc<Decoding>]) {
        let Some(decoding) = decoding_of(decodings, data) else {
            self.unknown += 1;
            return;
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        let now = *self.read.get_or_insert_with(Moment::now);
        let told = decoding.time(data, now);
        // What does not say when it was made stays behind what came before it.
        let before = self.records.last().map_or(0, |record| record.place);
        self.records.push(Record {
            range: start..self.bytes.len(),
            decoding: decoding.clone(),
            time: told.unwrap_or(now.unix_ns),
            place: told.unwrap_or(before),
        });
    }

    /// Whether it has nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The same for records that are read at another moment.
    pub(super) fn begun_again(self) -> Self {
        Self { read: None, ..self }
    }

    /// Takes out what was made later than a moment.
    pub(super) fn later_than(&mut self, moment: u64) -> Self {
        let (later, own): (Vec<Record>, Vec<Record>) =
            std::mem::take(&mut self.records).into_iter().partition(|one| one.place > moment);
        self.records = own;
        let mut taken = Self::default();
        for one in later {
            let start = taken.bytes.len();
            taken.bytes.extend_from_slice(self.bytes.get(one.range).unwrap_or_default());
            taken.records.push(Record { range: start..taken.bytes.len(), ..one });
        }
        taken
    }

    /// Hands on what was read so far, where that is much.
    pub(super) fn hand_on(&mut self, from: BufferId, readers: &Readers) {
        if self.bytes.len() >= BATCH_BYTES {
            readers.publish(from, std::mem::take(self), Polled::default());
        }
    }

    /// By the times at which they were made: of several CPUs and buffers.
    fn events(mut self, first: u64) -> Vec<Event> {
        self.records.sort_by_key(|record| record.place);
        let slab = Arc::new(Slab::new(first, self.bytes, self.records.len()));
        let numbered = self.records.into_iter().zip(first..);
        let event = |(Record { range, decoding, time, .. }, number)| {
            Event::new(number, slab.clone(), range, (decoding, time))
        };
        numbered.map(event).collect()
    }
}

impl Readers {
    /// A new reader that is given all events till the service ends; the first one gets what waits, and one that wants what
    /// was `since` a moment also what others took.
    pub(super) fn follow(&self, since: Option<u64>) -> (Arc<Queue>, u64) {
        self.add(Until::ServiceEnds, since)
    }

    /// A new reader that is given what waits now, in these buffers of so many bytes.
    pub(super) fn look(
        &self,
        buffers: BTreeMap<BufferId, u64>,
        since: Option<u64>,
    ) -> (Arc<Queue>, u64) {
        self.add(Until::Emptied(buffers), since)
    }

    fn add(&self, until: Until, since: Option<u64>) -> (Arc<Queue>, u64) {
        let queue = Arc::<Queue>::default();
        let mut inner = self.lock();
        let waiting: Vec<Event> = inner.backlog.take().collect();
        let kept_since = inner.past.kept_since();
        queue.push(match since {
            None => waiting.clone(),
            Some(since) => inner.past.with(waiting.clone(), since),
        });
        inner.past.add(waiting);
        let mut reader = Reader { queue: queue.clone(), until };
        reader.end_if_emptied();
        inner.readers.push(reader);
        drop(inner);
        self.changed.notify_all();
        (queue, kept_since)
    }

    /// A reader went: what it did not take, and no other one took or still has, waits for the next.
    pub(super) fn leave(&self, queue: &Arc<Queue>) {
        let mut inner = self.lock();
        inner.readers.retain(|reader| !Arc::ptr_eq(&reader.queue, queue));
        let mut rest = queue.close();
        inner.readers.iter().for_each(|reader| reader.queue.keep_others(&mut rest));
        rest.retain(|event| !event.is_taken()); // after the queues: events are marked before they leave one
        let over = inner.backlog.add(rest);
        self.dropped.fetch_add(over, Ordering::Relaxed);
        if !inner.has_readers() {
            inner.rings.iter().for_each(Waker::wake); // what comes from now on is left where it is
        }
    }

    /// Whether anybody is given events.
    pub(super) fn are_there(&self) -> bool {
        self.lock().has_readers()
    }

    /// Waits for a reader that is given events; false if it is to `stop`. `rings` is woken when the last one goes.
    pub(super) fn wait(&self, rings: &Waker, stop: &AtomicBool) -> bool {
        let mut inner = self.lock();
        inner.rings = Some(rings.clone());
        while !inner.has_readers() && !stop.load(Ordering::Acquire) {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        !stop.load(Ordering::Acquire)
    }

    /// Makes those that wait look at their `stop`.
    pub(super) fn wake(&self) {
        let _inner = self.lock(); // whoever looked before, waits by now
        self.changed.notify_all();
    }

    /// Hands a batch to every reader, or keeps it for the next one.
    pub(super) fn publish(&self, from: BufferId, batch: Batch, polled: Polled) {
        let unknown = batch.unknown;
        let mut inner = self.lock();
        let events = batch.events(inner.next);
        inner.next += events.len() as u64;
        self.read.fetch_add(events.len() as u64 + unknown, Ordering::Relaxed);
        self.unknown.fetch_add(unknown, Ordering::Relaxed);
        let mut over = 0;
        let read = inner.has_readers();
        for reader in inner.readers.iter_mut().filter(|reader| reader.is_open()) {
            over += reader.queue.push(events.iter().cloned());
            reader.heard(from, if polled.emptied { u64::MAX } else { polled.bytes });
        }
        match read {
            true => inner.past.add(events),
            false => over += inner.backlog.add(events),
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
    fn has_readers(&self) -> bool {
        self.readers.iter().any(Reader::is_open)
    }
}

impl Reader {
    fn is_open(&self) -> bool {
        !matches!(self.until, Until::Now)
    }

    /// A buffer gave back so many bytes.
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
mod tests;
