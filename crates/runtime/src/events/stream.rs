//! A reader's end: events in order, a bounded queue, and the number of those that it was too slow for.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skep_object::event::{Column, Decoder};

use super::readers::Readers;
use super::source::Decoding;

/// Records that one reader may be behind.
pub(super) const QUEUE: usize = 16 * 1024;
/// Bytes of theirs; the newest record may be longer.
pub(super) const QUEUE_BYTES: usize = 16 << 20;

/// One record of a buffer, not decoded yet.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counted from zero for each service.
    number: u64,
    slab: Arc<Slab>,
    range: Range<usize>,
    decoding: Arc<Decoding>,
    /// When it was made, or else read: nanoseconds since 1970.
    time: u64,
}

/// One version's way to show an output: two records of one format have the same columns.
#[derive(Clone, Debug)]
pub struct Format(Arc<Decoding>);

/// Records that were read together.
#[derive(Debug)]
pub(super) struct Slab {
    /// The first one's number.
    first: u64,
    bytes: Box<[u8]>,
    /// Which of them some reader took.
    taken: Box<[AtomicBool]>,
}

/// What [`EventStream::next`] gives.
#[derive(Clone, Debug)]
pub enum Next {
    /// An event.
    Event(Event),
    /// None came in time.
    Timeout,
    /// None will come any more: the service is gone, or this is all that waited.
    Closed,
}

/// A reader of a service's events. When it goes, what it has not taken waits for the next one, but for what another one
/// took or still has.
#[derive(Debug)]
pub struct EventStream {
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    kept_since: u64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    /// Of all of them.
    bytes: usize,
    dropped: u64,
    ended: bool,
}

impl Event {
    pub(super) fn new(
        number: u64,
        slab: Arc<Slab>,
        range: Range<usize>,
        (decoding, time): (Arc<Decoding>, u64),
    ) -> Self {
        Self { number, slab, range, decoding, time }
    }

    /// When it was made, by its first field that the manifest calls a time, or else when it was read: nanoseconds since 1970.
    #[must_use]
    pub const fn time(&self) -> u64 {
        self.time
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether some reader took it.
    pub(super) fn is_taken(&self) -> bool {
        self.mark().is_some_and(|taken| taken.load(Ordering::Relaxed))
    }

    fn mark(&self) -> Option<&AtomicBool> {
        self.slab.taken.get(usize::try_from(self.number - self.slab.first).ok()?)
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.slab.bytes[self.range.clone()]
    }

    /// The output that it belongs to; without a manifest the buffer's name.
    #[must_use]
    pub fn output(&self) -> &str {
        &self.decoding.output
    }

    /// How it is shown. An upgrade may change the format of an output.
    #[must_use]
    pub fn format(&self) -> Format {
        Format(Arc::clone(&self.decoding))
    }

    /// The fields as JSON, in the order of declaration.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.decoding.decoder.decode(self.bytes()).to_json()
    }

    /// The cells of its row.
    #[must_use]
    pub fn row(&self) -> Vec<String> {
        self.decoding.decoder.row(self.bytes())
    }

    /// The number in one of its fields, by the field's path.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<i128> {
        self.decoding.decoder.number(path, self.bytes())
    }
}

impl Format {
    /// Whether a record is of this format.
    #[must_use]
    pub fn is_of(&self, event: &Event) -> bool {
        Arc::ptr_eq(&self.0, &event.decoding)
    }

    /// Its output.
    #[must_use]
    pub fn output(&self) -> &str {
        &self.0.output
    }

    /// How its records are read.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.0.decoder
    }

    /// The columns of the table.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        self.0.decoder.columns().cloned().collect()
    }

    /// Why records are shown as bytes, where nobody knows their type.
    #[must_use]
    pub fn untyped(&self) -> Option<String> {
        self.0.decoder.untyped(&self.0.output)
    }
}

impl Slab {
    /// `records` in these bytes, the first of them with the number `first`.
    pub(super) fn new(first: u64, bytes: Vec<u8>, records: usize) -> Self {
        let taken = (0..records).map(|_| AtomicBool::new(false)).collect();
        Self { first, bytes: bytes.into(), taken }
    }
}

impl EventStream {
    pub(super) fn new((queue, kept_since): (Arc<Queue>, u64), readers: Arc<Readers>) -> Self {
        Self { queue, readers, kept_since }
    }

    /// Since when no event was given up that somebody had read: nanoseconds since 1970.
    #[must_use]
    pub const fn kept_since(&self) -> u64 {
        self.kept_since
    }

    /// The next event; waits for it up to `timeout`.
    #[must_use]
    pub fn next(&self, timeout: Duration) -> Next {
        let deadline = Instant::now() + timeout;
        let mut inner = self.queue.lock();
        loop {
            if let Some(event) = inner.pop() {
                // Under the queue's lock, which orders it for who looks there first.
                event.mark().iter().for_each(|taken| taken.store(true, Ordering::Relaxed));
                return Next::Event(event);
            }
            if inner.ended {
                return Next::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Timeout;
            }
            let waited = self.queue.filled.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Events that this reader was too slow for so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.readers.leave(&self.queue);
    }
}

impl Inner {
    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.bytes -= event.bytes().len();
        Some(event)
    }

    fn is_over(&self) -> bool {
        self.events.len() > QUEUE || self.bytes > QUEUE_BYTES && self.events.len() > 1
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events; those beyond the limits push out the oldest. Gives the number of those.
    pub(super) fn push(&self, events: impl IntoIterator<Item = Event>) -> u64 {
        let mut inner = self.lock();
        for event in events {
            inner.bytes += event.bytes().len();
            inner.events.push_back(event);
        }
        let mut over = 0;
        while inner.is_over() && inner.pop().is_some() {
            over += 1;
        }
        inner.dropped += over;
        drop(inner);
        self.filled.notify_one();
        over
    }

    /// No event will come after those in it.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.filled.notify_one();
    }

    /// Takes what is left.
    pub(super) fn close(&self) -> VecDeque<Event> {
        let mut inner = self.lock();
        inner.bytes = 0;
        std::mem::take(&mut inner.events)
    }

    /// Keeps those that are not in it.
    pub(super) fn keep_others(&self, events: &mut VecDeque<Event>) {
        let inner = self.lock();
        events.retain(|event| {
            inner.events.binary_search_by_key(&event.number, |held| held.number).is_err()
        });
    }
}
