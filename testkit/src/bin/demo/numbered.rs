//! A known number of events, each with a number: programs started, numbered by their process ids.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};

/// The name of the thread that starts them, which the example counts by.
pub const PARENT: &str = "numbered";

/// A thread that starts programs until it is told to stop or has started enough.
pub struct Generator {
    thread: Option<JoinHandle<Result<BTreeSet<u32>>>>,
    started: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Generator {
    /// Starts `count` programs, one after the other.
    pub fn start(count: usize) -> Result<Self> {
        let started = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, stopped) = (Arc::clone(&started), Arc::clone(&stop));
        let run = move || run(count, &seen, &stopped);
        let thread =
            std::thread::Builder::new().name(PARENT.into()).spawn(run).context("start a thread")?;
        Ok(Self { thread: Some(thread), started, stop })
    }

    /// How many have started so far.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// Whether it still works: false too when it failed.
    pub fn running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits for the rest and gives every process id.
    pub fn finish(mut self) -> Result<BTreeSet<u32>> {
        let thread = self.thread.take().context("the generator ran already")?;
        thread.join().map_err(|_| anyhow!("the generator panicked"))?
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(count: usize, started: &AtomicUsize, stop: &AtomicBool) -> Result<BTreeSet<u32>> {
    let mut pids = BTreeSet::new();
    while pids.len() < count && !stop.load(Ordering::Relaxed) {
        let mut child =
            Command::new("/bin/true").stdin(Stdio::null()).spawn().context("start /bin/true")?;
        let pid = child.id();
        child.wait().context("wait for /bin/true")?;
        if !pids.insert(pid) {
            bail!(
                "process id {pid} came up twice: the kernel's pid_max is too small for {count} numbers"
            );
        }
        started.store(pids.len(), Ordering::Relaxed);
    }
    Ok(pids)
}
