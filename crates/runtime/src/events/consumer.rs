//! What reads one service's buffers: a thread for its rings, and one for each perf buffer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use skep_kernel::maps;
use skep_spec::ServiceName;

use super::EventCounts;
use super::readers::{BufferId, RINGS, Readers};
use super::source::{Decodings, Source};
use super::stream::EventStream;
use super::worker::{Rings, Worker};
use crate::error::RuntimeError;

/// The readers of one service's events, and the threads that feed them.
#[derive(Debug)]
pub(super) struct Consumer {
    name: String,
    readers: Arc<Readers>,
    /// Reads all rings, as long as there is a reader: without one they keep their records.
    rings: Option<Worker>,
    /// One for each perf buffer, by the map's id: what is unread goes with its reader, so that they stay.
    perfs: BTreeMap<BufferId, Perf>,
    /// The generation whose buffers are read, and as it says; none where rings wait for a reader.
    reads: Option<u64>,
}

#[derive(Debug)]
struct Perf {
    worker: Worker,
    decodings: Arc<Mutex<Decodings>>,
}

impl Consumer {
    /// One that reads nothing yet.
    pub(super) fn new(service: &ServiceName) -> Self {
        let name = format!("events-{service}");
        Self { name, readers: Arc::default(), rings: None, perfs: BTreeMap::new(), reads: None }
    }

    /// Whether it reads the buffers of the running generation, or does so when a reader comes.
    pub(super) fn is_ready(&self) -> bool {
        let rings = self.rings.as_ref().is_some_and(Worker::is_alive);
        rings && self.perfs.values().all(|perf| perf.worker.is_alive())
    }

    /// Whether anybody is given events.
    pub(super) fn has_readers(&self) -> bool {
        self.readers.are_there()
    }

    /// The generation whose rings it reads, if it does.
    pub(super) fn reads(&self) -> Option<u64> {
        self.reads
    }

    /// Whether it reads perf buffers.
    pub(super) fn has_perfs(&self) -> bool {
        !self.perfs.is_empty()
    }

    /// Reads perf buffers as these say from now on, as far as it reads them.
    pub(super) fn decode_perfs(&self, sources: &[Source]) {
        for source in sources {
            if let Some(perf) = self.perfs.get(&source.map.info().id) {
                let mut decodings = perf.decodings.lock().unwrap_or_else(PoisonError::into_inner);
                decodings.clone_from(&source.decodings);
            }
        }
    }

    /// Reads these perf buffers too, from now on: before the programs that write to them run.
    pub(super) fn add_perfs(&mut self, sources: Vec<Source>) -> Result<(), RuntimeError> {
        for source in sources {
            let id = source.map.info().id;
            if self.perfs.get(&id).is_some_and(|perf| perf.worker.is_alive()) {
                continue;
            }
            let (readers, decodings) =
                (self.readers.clone(), Arc::new(Mutex::new(source.decodings)));
            let worker = Worker::perf(&self.name, readers, source.map, decodings.clone())?;
            self.perfs.insert(id, Perf { worker, decodings });
        }
        Ok(())
    }

    /// Reads no perf buffers but these.
    pub(super) fn keep_perfs(&mut self, ids: &BTreeSet<u32>) {
        self.perfs.retain(|id, _| ids.contains(id));
    }

    /// Changes the buffers. The thread reads the rings that are `retiring` to their end for those who follow, before the
    /// `active` ones; it holds them open, so that nobody need wait for it. Without `active` nobody follows: then they
    /// are read here, into what waits for the next reader, and the thread ends.
    pub(super) fn set_sources(
        &mut self,
        retiring: Vec<Source>,
        (generation, active): (u64, Vec<Source>),
    ) -> Result<(), RuntimeError> {
        // One thread reads a ring at a time. What it has not come to may be gone but for its handle.
        let mut old = self.rings.take().map(|mut rings| rings.stop()).unwrap_or_default();
        let listed: Vec<u32> = retiring.iter().chain(&active).map(|s| s.map.info().id).collect();
        old.retain(|rings| !rings.any_of(&listed));
        for source in retiring {
            let id = source.map.info().id;
            self.perfs.remove(&id);
            self.readers.ended(id);
            if is_ring(&source) {
                old.push(Rings::new(vec![source])?);
            }
        }
        self.reads = (!active.is_empty()).then_some(generation);
        if active.is_empty() {
            old.iter_mut().try_for_each(|rings| rings.read_to_end(&self.readers))?;
            self.readers.ended(RINGS);
            return Ok(());
        }
        let (rings, perfs): (Vec<Source>, Vec<Source>) = active.into_iter().partition(is_ring);
        self.decode_perfs(&perfs);
        self.add_perfs(perfs)?;
        let rings = Rings::new(rings)?;
        self.rings = Some(Worker::rings(&self.name, self.readers.clone(), old, rings)?);
        Ok(())
    }

    /// A new reader of all events till the service ends; the first one gets what waits.
    pub(super) fn follow(&self, since: Option<u64>) -> EventStream {
        EventStream::new(self.readers.follow(since), self.readers.clone())
    }

    /// A new reader of what waits now.
    pub(super) fn look(&self, since: Option<u64>) -> EventStream {
        let perfs = self.perfs.iter().map(|(id, perf)| (*id, &perf.worker));
        let workers = self.rings.iter().map(|worker| (RINGS, worker)).chain(perfs);
        let workers: BTreeMap<BufferId, &Worker> = workers.collect();
        let rooms = workers.iter().map(|(id, worker)| (*id, worker.room())).collect();
        let queue = self.readers.look(rooms, since);
        workers.values().for_each(|worker| worker.wake());
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

fn is_ring(source: &Source) -> bool {
    source.map.info().kind == maps::kind::RINGBUF
}
