//! What reads one service's buffers in batches, on a thread, and hands the records to the readers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use skep_kernel::ring::{self, Waker};
use skep_kernel::{KernelError, maps, perf};
use skep_spec::ServiceName;

use super::EventCounts;
use super::source::{Decoding, Source, choose};
use super::stream::{Event, EventStream, Queue};
use crate::error::RuntimeError;

/// Records of one batch.
const BATCH: usize = 512;
/// One wait: programs may put out without waking the reader (`BPF_RB_NO_WAKEUP`).
const WAIT: Duration = Duration::from_millis(100);
/// Records that are kept while there is no reader.
const BACKLOG: usize = 4096;
/// Batches that are still read from a perf buffer when its reader ends.
const LAST_BATCHES: usize = 256;
/// Pages of a perf buffer for each CPU.
const PERF_PAGES: usize = 64;

/// The readers of one service's events, and the threads that feed them.
#[derive(Debug)]
pub(super) struct Consumer {
    name: String,
    shared: Arc<Shared>,
    /// Reads all rings.
    rings: Option<Worker>,
    /// One for each perf buffer, by the map's id: what is unread goes with its reader, so that they stay.
    perfs: BTreeMap<u32, Worker>,
    /// Ids of the maps of the running generation that are read.
    reads: BTreeSet<u32>,
}

/// A thread that reads some buffers; it ends when this value goes, and has read them to their end then.
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
    lost: AtomicU64,
    dropped: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Debug, Default)]
struct Readers {
    queues: Vec<Arc<Queue>>,
    backlog: VecDeque<Event>,
}

impl Consumer {
    /// One that reads nothing yet.
    pub(super) fn new(service: &ServiceName) -> Self {
        let name = format!("events-{service}");
        let (shared, perfs, reads) = (Arc::default(), BTreeMap::new(), BTreeSet::new());
        Self { name, shared, rings: None, perfs, reads }
    }

    /// Whether it reads the buffers of the running generation.
    pub(super) fn is_reading(&self) -> bool {
        self.rings.is_some()
    }

    /// Whether it reads these, and no others.
    pub(super) fn reads(&self, sources: &[Source]) -> bool {
        self.reads == sources.iter().map(|source| source.map.info().id).collect()
    }

    /// Reads these perf buffers too, from now on: before the programs that write to them run.
    pub(super) fn add_perfs(&mut self, sources: Vec<Source>) -> Result<(), RuntimeError> {
        for source in sources {
            let id = source.map.info().id;
            if self.perfs.contains_key(&id) {
                continue;
            }
            let reader = perf::Reader::new(&source.map, PERF_PAGES)?;
            let buffers = Buffers::Perf { reader, source };
            let worker = Worker::start(&self.name, self.shared.clone(), buffers)?;
            self.perfs.insert(id, worker);
        }
        Ok(())
    }

    /// Changes the buffers; returns when `retiring` are read to their end. Without `active` it reads no more.
    pub(super) fn set_sources(
        &mut self,
        retiring: Vec<Source>,
        active: Vec<Source>,
    ) -> Result<(), RuntimeError> {
        self.rings = None; // one thread reads a ring at a time
        for source in &retiring {
            self.perfs.remove(&source.map.info().id);
        }
        let is_ring = |source: &Source| source.map.info().kind == maps::kind::RINGBUF;
        let old = retiring.into_iter().filter(is_ring).collect();
        Buffers::rings(old)?.read_to_end(&self.shared)?;
        self.reads = active.iter().map(|source| source.map.info().id).collect();
        if active.is_empty() {
            return Ok(());
        }
        let (rings, perfs) = active.into_iter().partition(is_ring);
        self.add_perfs(perfs)?;
        let buffers = Buffers::rings(rings)?;
        self.rings = Some(Worker::start(&self.name, self.shared.clone(), buffers)?);
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
            lost: self.shared.lost.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            unknown: self.shared.unknown.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.rings = None;
        self.perfs.clear();
        self.shared.readers().queues.iter().for_each(|queue| queue.close());
    }
}

impl Worker {
    fn start(name: &str, shared: Arc<Shared>, mut buffers: Buffers) -> Result<Self, RuntimeError> {
        let stop = Arc::<AtomicBool>::default();
        let waker = buffers.waker();
        let stopped = stop.clone();
        let read = move || {
            let mut result = Ok(0);
            while result.is_ok() && !stopped.load(Ordering::Acquire) {
                result = buffers.read_into(&shared, Some(WAIT));
            }
            if let Err(error) = result.map(drop).and_then(|()| buffers.finish(&shared)) {
                tracing::error!("reading events ended: {error}");
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
enum Buffers {
    Rings { reader: ring::Reader, sources: Vec<Source> },
    Perf { reader: perf::Reader, source: Source },
}

impl Buffers {
    fn rings(sources: Vec<Source>) -> Result<Self, KernelError> {
        let mut reader = ring::Reader::new()?;
        for source in &sources {
            reader.add(&source.map)?;
        }
        Ok(Self::Rings { reader, sources })
    }

    fn waker(&self) -> Waker {
        match self {
            Self::Rings { reader, .. } => reader.waker(),
            Self::Perf { reader, .. } => reader.waker(),
        }
    }

    /// Reads what is there, at most a batch; without anything waits up to `timeout`. Gives the number of records.
    fn read_into(
        &mut self,
        shared: &Shared,
        timeout: Option<Duration>,
    ) -> Result<usize, KernelError> {
        let (mut batch, mut lost) = (Batch::default(), 0);
        match self {
            Self::Rings { reader, sources } => {
                reader.poll(timeout, BATCH, |number, data| {
                    if let Some(source) = sources.get(number) {
                        batch.add(data, &source.decodings);
                    }
                })?;
            }
            Self::Perf { reader, source } => {
                reader.poll(timeout, BATCH, |_, record| match record {
                    perf::Record::Sample(data) => batch.add(data, &source.decodings),
                    perf::Record::Lost(more) => lost += more,
                })?;
            }
        }
        shared.lost.fetch_add(lost, Ordering::Relaxed);
        let count = batch.records.len() + batch.unknown;
        if count > 0 {
            shared.publish(batch);
        }
        Ok(count)
    }

    fn read_to_end(&mut self, shared: &Shared) -> Result<(), KernelError> {
        while self.read_into(shared, Some(Duration::ZERO))? > 0 {}
        Ok(())
    }

    /// Before the reader goes: a perf buffer's records go with it, a ring's wait for the next reader. Programs may
    /// still write, so that there need not be an end.
    fn finish(&mut self, shared: &Shared) -> Result<(), KernelError> {
        let batches = if matches!(self, Self::Perf { .. }) { LAST_BATCHES } else { 0 };
        for _ in 0..batches {
            if self.read_into(shared, Some(Duration::ZERO))? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Records as they were read, in one allocation.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    records: Vec<(usize, usize, Arc<[Decoding]>)>,
    /// Records that no output takes.
    unknown: usize,
}

impl Batch {
    fn add(&mut self, data: &[u8], decodings: &Arc<[Decoding]>) {
        if choose(decodings, data).is_none() {
            self.unknown += 1;
            return;
        }
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
        let unknown = batch.unknown as u64;
        let events = batch.events();
        self.read.fetch_add(events.len() as u64 + unknown, Ordering::Relaxed);
        self.unknown.fetch_add(unknown, Ordering::Relaxed);
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
