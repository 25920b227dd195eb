//! What reads one service's buffers in batches, on threads, and hands the records to the readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use skep_kernel::ring::{self, Waker};
use skep_kernel::{KernelError, maps, perf};
use skep_spec::ServiceName;

use super::EventCounts;
use super::readers::{Batch, BufferId, RINGS, Readers};
use super::source::Source;
use super::stream::EventStream;
use crate::error::RuntimeError;

/// Records of one batch.
const BATCH: usize = 512;
/// One wait: programs may put out without waking the reader (`BPF_RB_NO_WAKEUP`).
const WAIT: Duration = Duration::from_millis(100);
/// Batches that are still read from a perf buffer when its reader ends.
const LAST_BATCHES: usize = 256;
/// Pages of a perf buffer for each CPU.
const PERF_PAGES: usize = 64;

/// The readers of one service's events, and the threads that feed them.
#[derive(Debug)]
pub(super) struct Consumer {
    name: String,
    readers: Arc<Readers>,
    /// Reads all rings, as long as there is a reader: without one they keep their records.
    rings: Option<Worker>,
    /// One for each perf buffer, by the map's id: what is unread goes with its reader, so that they stay.
    perfs: BTreeMap<BufferId, Worker>,
    /// Ids of the maps of the running generation that are read.
    reads: BTreeSet<u32>,
}

/// A thread that reads some buffers; it ends when this value goes, and has read perf buffers to their end then.
#[derive(Debug)]
struct Worker {
    stop: Arc<AtomicBool>,
    waker: Waker,
    readers: Arc<Readers>,
    /// Bytes that can wait in its buffers.
    room: u64,
    thread: Option<JoinHandle<()>>,
}

impl Consumer {
    /// One that reads nothing yet.
    pub(super) fn new(service: &ServiceName) -> Self {
        let name = format!("events-{service}");
        let (readers, perfs, reads) = (Arc::default(), BTreeMap::new(), BTreeSet::new());
        Self { name, readers, rings: None, perfs, reads }
    }

    /// Whether it reads the buffers of the running generation, or does so when a reader comes.
    pub(super) fn is_ready(&self) -> bool {
        self.rings.as_ref().is_some_and(Worker::is_alive)
    }

    /// Whether anybody is given events.
    pub(super) fn has_readers(&self) -> bool {
        self.readers.is_open()
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
            let worker = Worker::start(&self.name, self.readers.clone(), buffers)?;
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
            let id = source.map.info().id;
            self.perfs.remove(&id);
            self.readers.ended(id);
        }
        let is_ring = |source: &Source| source.map.info().kind == maps::kind::RINGBUF;
        let old = retiring.into_iter().filter(is_ring).collect();
        Buffers::rings(old)?.read_to_end(&self.readers)?;
        self.reads = active.iter().map(|source| source.map.info().id).collect();
        if active.is_empty() {
            self.readers.ended(RINGS);
            return Ok(());
        }
        let (rings, perfs) = active.into_iter().partition(is_ring);
        self.add_perfs(perfs)?;
        let buffers = Buffers::rings(rings)?;
        self.rings = Some(Worker::start(&self.name, self.readers.clone(), buffers)?);
        Ok(())
    }

    /// A new reader of all events till the service ends; the first one gets what waits.
    pub(super) fn follow(&self) -> EventStream {
        EventStream::new(self.readers.follow(), self.readers.clone())
    }

    /// A new reader of what waits now.
    pub(super) fn look(&self) -> EventStream {
        let perfs = self.perfs.iter().map(|(id, worker)| (*id, worker));
        let workers = self.rings.iter().map(|worker| (RINGS, worker)).chain(perfs);
        let workers: BTreeMap<BufferId, &Worker> = workers.collect();
        let rooms = workers.iter().map(|(id, worker)| (*id, worker.room)).collect();
        let queue = self.readers.look(rooms);
        workers.values().for_each(|worker| worker.waker.wake());
        EventStream::new(queue, self.readers.clone())
    }

    pub(super) fn counts(&self) -> EventCounts {
        self.readers.counts()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.rings = None;
        self.perfs.clear();
        self.readers.end();
    }
}

impl Worker {
    fn start(name: &str, readers: Arc<Readers>, buffers: Buffers) -> Result<Self, RuntimeError> {
        let stop = Arc::<AtomicBool>::default();
        let (waker, room) = (buffers.waker(), buffers.room());
        let (stopped, to) = (stop.clone(), readers.clone());
        let read = move || {
            if let Err(error) = buffers.read_until(&stopped, &to) {
                tracing::error!("reading events ended: {error}");
                to.end();
            }
        };
        let failed = |source| RuntimeError::File {
            action: "start the thread",
            path: name.to_owned(),
            source,
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(read).map_err(failed)?;
        Ok(Self { stop, waker, readers, room, thread: Some(thread) })
    }
}

impl Worker {
    /// Whether it reads, or waits to: what is no ring any more ends it.
    fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.readers.wake();
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

    fn id(&self) -> BufferId {
        match self {
            Self::Rings { .. } => RINGS,
            Self::Perf { source, .. } => source.map.info().id,
        }
    }

    /// Bytes that can wait in them.
    fn room(&self) -> u64 {
        match self {
            Self::Rings { sources, .. } => {
                sources.iter().map(|source| u64::from(source.map.info().max_entries)).sum()
            }
            Self::Perf { reader, .. } => reader.room(),
        }
    }

    /// What a thread does.
    fn read_until(mut self, stop: &AtomicBool, readers: &Readers) -> Result<(), KernelError> {
        while !stop.load(Ordering::Acquire) {
            if let Self::Rings { reader, .. } = &self {
                readers.wait(&reader.waker(), stop);
            }
            self.read_into(readers, Some(WAIT))?;
        }
        self.finish(readers)
    }

    /// Reads what is there, at most a batch; without anything waits up to `timeout`. Says whether nothing is left.
    fn read_into(
        &mut self,
        readers: &Readers,
        timeout: Option<Duration>,
    ) -> Result<bool, KernelError> {
        let (id, mut batch, mut lost) = (self.id(), Batch::default(), 0);
        let polled = match self {
            Self::Rings { reader, sources } => reader.poll(timeout, BATCH, |number, data| {
                if let Some(source) = sources.get(number) {
                    batch.add(data, &source.decodings);
                }
            })?,
            Self::Perf { reader, source } => {
                reader.poll(timeout, BATCH, |_, record| match record {
                    perf::Record::Sample(data) => batch.add(data, &source.decodings),
                    perf::Record::Lost(more) => lost += more,
                })?
            }
        };
        readers.lost(lost);
        readers.publish(id, batch, polled.emptied);
        Ok(polled.emptied)
    }

    fn read_to_end(&mut self, readers: &Readers) -> Result<(), KernelError> {
        while !self.read_into(readers, Some(Duration::ZERO))? {}
        Ok(())
    }

    /// Before the reader goes: a perf buffer's records go with it, a ring's wait for the next reader. Programs may
    /// still write, so that there need not be an end.
    fn finish(&mut self, readers: &Readers) -> Result<(), KernelError> {
        let batches = if matches!(self, Self::Perf { .. }) { LAST_BATCHES } else { 0 };
        for _ in 0..batches {
            if self.read_into(readers, Some(Duration::ZERO))? {
                break;
            }
        }
        Ok(())
    }
}
