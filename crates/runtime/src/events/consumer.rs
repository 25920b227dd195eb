//! What reads one service's buffers in batches, on a thread, and hands the records to the readers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use skep_kernel::KernelError;
use skep_kernel::ring::{Reader, Waker};
use skep_spec::ServiceName;

use super::EventCounts;
use super::source::{Decoding, Source};
use super::stream::{Event, EventStream, Queue};
use crate::error::RuntimeError;

/// Records of one batch.
const BATCH: usize = 512;
/// Records that are kept while there is no reader.
const BACKLOG: usize = 4096;

/// The readers of one service's events, and the thread that feeds them.
#[derive(Debug)]
pub(super) struct Consumer {
    name: String,
    shared: Arc<Shared>,
    worker: Option<Worker>,
}

/// A thread that reads one set of buffers; it ends when this value goes.
#[derive(Debug)]
struct Worker {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    readers: Mutex<Readers>,
    read: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Readers {
    queues: Vec<Arc<Queue>>,
    backlog: VecDeque<Event>,
}

impl Consumer {
    /// Reads `retiring` to their end, then `active` from now on.
    pub(super) fn start(
        service: &ServiceName,
        retiring: Vec<Source>,
        active: Vec<Source>,
    ) -> Result<Self, RuntimeError> {
        let name = format!("events-{service}");
        let mut consumer = Self { name, shared: Arc::default(), worker: None };
        consumer.set_sources(retiring, active)?;
        Ok(consumer)
    }

    /// Changes the buffers; returns when `retiring` are read to their end.
    pub(super) fn set_sources(
        &mut self,
        retiring: Vec<Source>,
        active: Vec<Source>,
    ) -> Result<(), RuntimeError> {
        self.worker = None; // one process, and one thread of it, reads a ring at a time
        let mut old = Buffers::new(retiring)?;
        while old.read_into(&self.shared, Some(Duration::ZERO))? > 0 {}
        let buffers = Buffers::new(active)?;
        self.worker = Some(Worker::start(&self.name, self.shared.clone(), buffers)?);
        Ok(())
    }

    /// A new reader; the first one gets the backlog.
    pub(super) fn stream(&self) -> EventStream {
        let queue = Arc::<Queue>::default();
        let mut readers = self.shared.readers();
        queue.push(std::mem::take(&mut readers.backlog));
        readers.queues.push(queue.clone());
        EventStream::new(queue)
    }

    pub(super) fn counts(&self) -> EventCounts {
        EventCounts {
            read: self.shared.read.load(Ordering::Relaxed),
            lost: 0,
            dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.worker = None;
        self.shared.readers().queues.iter().for_each(|queue| queue.close());
    }
}

impl Worker {
    fn start(name: &str, shared: Arc<Shared>, mut buffers: Buffers) -> Result<Self, RuntimeError> {
        let stop = Arc::<AtomicBool>::default();
        let waker = buffers.reader.waker();
        let stopped = stop.clone();
        let read = move || {
            while !stopped.load(Ordering::Acquire) {
                if let Err(error) = buffers.read_into(&shared, None) {
                    tracing::error!("reading events ended: {error}");
                    return;
                }
            }
        };
        let failed = |source| RuntimeError::File {
            action: "start the thread",
            path: name.to_owned(),
            source,
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(read).map_err(failed)?;
        Ok(Self { stop, waker, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Buffers that are read together.
struct Buffers {
    reader: Reader,
    sources: Vec<Source>,
}

impl Buffers {
    fn new(sources: Vec<Source>) -> Result<Self, KernelError> {
        let mut reader = Reader::new()?;
        for source in &sources {
            reader.add(&source.map)?;
        }
        Ok(Self { reader, sources })
    }

    /// Reads what is there, at most a batch; without anything waits up to `timeout`. Gives the number of records.
    fn read_into(
        &mut self,
        shared: &Shared,
        timeout: Option<Duration>,
    ) -> Result<usize, KernelError> {
        let mut batch = Batch::default();
        let sources = &self.sources;
        self.reader.poll(timeout, BATCH, |number, data| {
            if let Some(source) = sources.get(number) {
                batch.add(data, &source.decodings);
            }
        })?;
        let count = batch.records.len();
        if count > 0 {
            shared.publish(batch);
        }
        Ok(count)
    }
}

/// Records as they were read, in one allocation.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    records: Vec<(usize, usize, Arc<[Decoding]>)>,
}

impl Batch {
    fn add(&mut self, data: &[u8], decodings: &Arc<[Decoding]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.records.push((start, self.bytes.len(), decodings.clone()));
    }

    fn events(self) -> Vec<Event> {
        let slab: Arc<[u8]> = self.bytes.into();
        let event = |(start, end, decodings)| Event::new(slab.clone(), (start, end), decodings);
        self.records.into_iter().map(event).collect()
    }
}

impl Shared {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a batch to every reader, or keeps it for the first one.
    fn publish(&self, batch: Batch) {
        let events = batch.events();
        self.read.fetch_add(events.len() as u64, Ordering::Relaxed);
        let mut readers = self.readers();
        let mut over = 0;
        readers.queues.retain(|queue| {
            let pushed = queue.push(events.clone());
            over += pushed.unwrap_or(0);
            pushed.is_some()
        });
        if readers.queues.is_empty() {
            readers.backlog.extend(events);
            let beyond = readers.backlog.len().saturating_sub(BACKLOG);
            readers.backlog.drain(..beyond);
            over += beyond as u64;
        }
        self.dropped.fetch_add(over, Ordering::Relaxed);
    }
}
