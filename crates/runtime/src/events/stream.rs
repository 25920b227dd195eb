//! A reader's end: events in order, a bounded queue, and the number of those that it was too slow for.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skep_object::event::Column;

use super::source::{Decoding, choose};

/// Records that one reader may be behind.
const QUEUE: usize = 16 * 1024;

/// One record of a buffer, not decoded yet.
#[derive(Clone, Debug)]
pub struct Event {
    /// Many records in one allocation.
    slab: Arc<[u8]>,
    start: usize,
    end: usize,
    decodings: Arc<[Decoding]>,
}

/// What [`EventStream::next`] gives.
#[derive(Clone, Debug)]
pub enum Next {
    /// An event.
    Event(Event),
    /// None came in time.
    Timeout,
    /// None will come any more: the service is gone.
    Closed,
}

/// A reader of a service's events.
#[derive(Debug)]
pub struct EventStream {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    dropped: u64,
    closed: bool,
}

impl Event {
    pub(super) fn new(slab: Arc<[u8]>, range: (usize, usize), decodings: Arc<[Decoding]>) -> Self {
        Self { slab, start: range.0, end: range.1, decodings }
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.slab[self.start..self.end]
    }

    fn decoding(&self) -> Option<&Decoding> {
        choose(&self.decodings, self.bytes())
    }

    /// The output that it belongs to; without a manifest the buffer's name.
    #[must_use]
    pub fn output(&self) -> &str {
        self.decoding().map_or("", |decoding| &decoding.output)
    }

    /// The fields as JSON, in the order of declaration.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.decoding().map_or_else(String::new, |d| d.decoder.decode(self.bytes()).to_json())
    }

    /// The columns of its output's table.
    #[must_use]
    pub fn columns(&self) -> Vec<Column> {
        self.decoding().map_or_else(Vec::new, |d| d.decoder.columns().cloned().collect())
    }

    /// The cells of its row.
    #[must_use]
    pub fn row(&self) -> Vec<String> {
        self.decoding().map_or_else(Vec::new, |d| d.decoder.row(self.bytes()))
    }

    /// A number in it, by the field's path.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<i128> {
        self.decoding()?.decoder.number(field, self.bytes())
    }
}

impl EventStream {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The next event; waits for it up to `timeout`.
    #[must_use]
    pub fn next(&self, timeout: Duration) -> Next {
        let deadline = Instant::now() + timeout;
        let mut inner = self.queue.lock();
        loop {
            if let Some(event) = inner.events.pop_front() {
                return Next::Event(event);
            }
            if inner.closed {
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
        self.queue.lock().closed = true;
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds events; those beyond the limit push out the oldest. Gives the number of those, or none if the reader
    /// is gone.
    pub(super) fn push(&self, events: impl IntoIterator<Item = Event>) -> Option<u64> {
        let mut inner = self.lock();
        if inner.closed {
            return None;
        }
        inner.events.extend(events);
        let over = inner.events.len().saturating_sub(QUEUE);
        inner.events.drain(..over);
        inner.dropped += over as u64;
        drop(inner);
        self.filled.notify_one();
        Some(over as u64)
    }

    /// No event will come any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(byte: u8) -> Event {
        Event::new([byte].into(), (0, 1), Arc::from(Vec::new()))
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_and_is_told() {
        let queue = Arc::new(Queue::default());
        let stream = EventStream::new(queue.clone());
        assert_eq!(queue.push((0..QUEUE).map(|_| event(1))), Some(0));
        assert_eq!(queue.push([event(2), event(3)]), Some(2));
        assert_eq!(stream.dropped(), 2);
        let mut last = 0;
        for _ in 0..QUEUE {
            let Next::Event(event) = stream.next(Duration::ZERO) else { panic!("too few") };
            last = event.bytes()[0];
        }
        assert_eq!(last, 3);
        assert!(matches!(stream.next(Duration::ZERO), Next::Timeout));
    }

    #[test]
    fn the_end_comes_after_the_last_event() {
        let queue = Arc::new(Queue::default());
        let stream = EventStream::new(queue.clone());
        queue.push([event(1)]);
        queue.close();
        assert!(matches!(stream.next(Duration::from_secs(9)), Next::Event(_)));
        assert!(matches!(stream.next(Duration::from_secs(9)), Next::Closed));
    }

    #[test]
    fn a_reader_that_is_gone_gets_nothing() {
        let queue = Arc::new(Queue::default());
        drop(EventStream::new(queue.clone()));
        assert_eq!(queue.push([event(1)]), None);
    }
}
