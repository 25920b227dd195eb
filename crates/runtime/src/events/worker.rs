//! A thread that reads buffers in batches and hands the records to the readers.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use skep_kernel::ring::{self, Polled, Waker};
use skep_kernel::{KernelError, MapHandle, perf};

use super::readers::{Batch, RINGS, Readers};
use super::sorted::Sorted;
use super::source::{Decodings, Source};
use crate::error::RuntimeError;

/// Records of one batch.
const BATCH: usize = 512;
/// One wait: programs may put out without waking the reader (`BPF_RB_NO_WAKEUP`).
const WAIT: Duration = Duration::from_millis(100);
/// Batches that are still read from a perf buffer when its reader ends.
const LAST_BATCHES: usize = 256;

/// A thread that reads some buffers; it ends when this value goes, and has read perf buffers to their end then.
#[derive(Debug)]
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    waker: Waker,
    readers: Arc<Readers>,
    /// Bytes that can wait in its buffers.
    room: Arc<AtomicU64>,
    thread: Option<JoinHandle<Vec<Rings>>>,
}

impl Worker {
    /// Reads the `old` rings to their end, one by one, and then those that programs write to; as long as there is a
    /// reader, since without one rings keep their records.
    pub(super) fn rings(
        name: &str,
        readers: Arc<Readers>,
        mut old: Vec<Rings>,
        mut now: Rings,
    ) -> Result<Self, RuntimeError> {
        let waker = now.reader.waker();
        let room = old.iter().map(Rings::room).sum::<u64>() + now.room();
        Self::start(name, readers, waker.clone(), room, move |readers, stop, room| {
            let ended = read_rings(&mut old, &mut now, readers, &waker, stop, room);
            (old, ended)
        })
    }

    /// Reads a perf buffer, which has no memory of its own: from now on, with or without a reader, by what `decodings` are
    /// at that moment.
    pub(super) fn perf(
        name: &str,
        readers: Arc<Readers>,
        map: MapHandle,
        decodings: Arc<Mutex<Decodings>>,
    ) -> Result<Self, RuntimeError> {
        let reader = perf::Reader::new(&map, perf::Reader::PAGES)?;
        let mut perf = Perf { reader, map, decodings, sorted: Sorted::default() };
        let (waker, room) = (perf.reader.waker(), perf.reader.room());
        Self::start(name, readers, waker, room, move |readers, stop, _| {
            (Vec::new(), perf.read_until(readers, stop))
        })
    }

    /// `work` gives the old rings that it did not read to their end.
    fn start(
        name: &str,
        readers: Arc<Readers>,
        waker: Waker,
        room: u64,
        work: impl FnOnce(&Readers, &AtomicBool, &AtomicU64) -> (Vec<Rings>, Result<(), KernelError>)
        + Send
        + 'static,
    ) -> Result<Self, RuntimeError> {
        let (stop, room) = (Arc::<AtomicBool>::default(), Arc::new(AtomicU64::new(room)));
        let (stopped, to, left) = (stop.clone(), readers.clone(), room.clone());
        let read = move || {
            let (rest, ended) = work(&to, &stopped, &left);
            if let Err(error) = ended {
                tracing::error!("reading events ended: {error}");
                to.end();
            }
            rest
        };
        let failed = |source| RuntimeError::Thread { name: name.to_owned(), source };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(read).map_err(failed)?;
        Ok(Self { stop, waker, readers, room, thread: Some(thread) })
    }

    /// Whether it reads, or waits to: what is no ring any more ends it.
    pub(super) fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Bytes that can wait in its buffers.
    pub(super) fn room(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }

    /// Makes it look at its buffers.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Ends it; gives the old rings that it did not read to their end. Whoever calls waits for one batch at most, or for a
    /// perf buffer's last ones: the thread waits for nobody but the readers' own short locks.
    pub(super) fn stop(&mut self) -> Vec<Rings> {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.readers.wake();
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read_rings(
    old: &mut Vec<Rings>,
    now: &mut Rings,
    readers: &Readers,
    waker: &Waker,
    stop: &AtomicBool,
    room: &AtomicU64,
) -> Result<(), KernelError> {
    while let Some(first) = old.first_mut() {
        if !readers.wait(waker, stop) {
            return Ok(());
        }
        let ended = first.read_old(readers);
        if !matches!(ended, Ok(false)) {
            room.fetch_sub(first.room(), Ordering::Relaxed);
            old.remove(0); // what can't be read is not tried again
        }
        ended?;
    }
    while readers.wait(waker, stop) {
        now.read(readers)?;
    }
    Ok(())
}

/// Rings that are read together.
#[derive(Debug)]
pub(super) struct Rings {
    reader: ring::Reader,
    sources: Vec<Source>,
    sorted: Sorted,
}

impl Rings {
    pub(super) fn new(sources: Vec<Source>) -> Result<Self, KernelError> {
        let mut reader = ring::Reader::new()?;
        for source in &sources {
            reader.add(&source.map)?;
        }
        Ok(Self { reader, sources, sorted: Sorted::default() })
    }

    /// Whether one of these maps is among them.
    pub(super) fn any_of(&self, maps: &[u32]) -> bool {
        self.sources.iter().any(|source| maps.contains(&source.map.info().id))
    }

    /// Reads rings that nobody writes to any more, for the readers or the backlog.
    pub(super) fn read_to_end(&mut self, readers: &Readers) -> Result<(), KernelError> {
        while !self.read_old(readers)? {}
        Ok(())
    }

    fn room(&self) -> u64 {
        self.sources.iter().map(|source| u64::from(source.map.info().max_entries)).sum()
    }

    /// A batch of what is there, or of what comes in a while.
    fn read(&mut self, readers: &Readers) -> Result<(), KernelError> {
        let (batch, polled) = self.poll(readers, WAIT)?;
        readers.publish(RINGS, batch, polled);
        Ok(())
    }

    /// A batch of what is there; says whether that was the end, behind which the rings that are written to come.
    fn read_old(&mut self, readers: &Readers) -> Result<bool, KernelError> {
        let (batch, polled) = self.poll(readers, Duration::ZERO)?;
        readers.publish(RINGS, batch, Polled { emptied: false, ..polled });
        Ok(polled.emptied)
    }

    fn poll(
        &mut self,
        readers: &Readers,
        timeout: Duration,
    ) -> Result<(Batch, Polled), KernelError> {
        let (sources, reader) = (&self.sources, &mut self.reader);
        let mut poll = |timeout, batch: &mut Batch| {
            reader.poll(Some(timeout), BATCH, |number, data| {
                if let Some(source) = sources.get(number) {
                    batch.add(data, &source.decodings);
                    batch.hand_on(RINGS, readers);
                }
            })
        };
        if sources.len() > 1 {
            return self.sorted.read(timeout, poll);
        }
        let mut batch = Batch::default();
        let polled = poll(timeout, &mut batch)?; // one ring is in order by itself
        Ok((batch, polled))
    }
}

struct Perf {
    reader: perf::Reader,
    /// The kernel takes the buffers out again when this handle goes.
    map: MapHandle,
    decodings: Arc<Mutex<Decodings>>,
    sorted: Sorted,
}

impl Perf {
    fn read_until(&mut self, readers: &Readers, stop: &AtomicBool) -> Result<(), KernelError> {
        while !stop.load(Ordering::Acquire) {
            self.read(readers, WAIT)?;
        }
        // What is unread goes with the reader. Programs may still write, so that there need not be an end.
        for _ in 0..LAST_BATCHES {
            if self.read(readers, Duration::ZERO)? {
                break;
            }
        }
        Ok(())
    }

    /// A batch of what is there, or of what comes in a while. Says whether nothing is left.
    fn read(&mut self, readers: &Readers, timeout: Duration) -> Result<bool, KernelError> {
        let mut lost = 0;
        // As they are when the first record comes, and not when the wait for it begins.
        let now = || self.decodings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (decodings, id) = (OnceCell::new(), self.map.info().id);
        let (batch, polled) = self.sorted.read(timeout, |timeout, batch| {
            self.reader.poll(Some(timeout), BATCH, |_, record| match record {
                perf::Record::Sample(data) => {
                    batch.add(data, decodings.get_or_init(now));
                    batch.hand_on(id, readers);
                }
                perf::Record::Lost(more) => lost += more,
            })
        })?;
        readers.lost(lost);
        readers.publish(id, batch, polled);
        Ok(polled.emptied)
    }
}
