//! Work that waits for others: done to its end, or till a signal comes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Context as _, Error, INTERRUPTED, Kind, Result, failed};

/// How much waits for its end or a signal.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The signal that came.
type Caught = watch::Receiver<Option<&'static str>>;

/// Does it to its end.
///
/// # Errors
/// As `work`, or when the machine gives no threads.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(work)
}

/// The same of what a registry is asked for: a signal ends it as an error, so that what was begun for it goes too.
///
/// # Errors
/// As [`block_on`], or a signal came.
pub fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut caught = caught()?;
    WAITING.fetch_add(1, Ordering::SeqCst);
    let done = block_on(async {
        tokio::select! {
            biased;
            done = work => done,
            name = caught.wait_for(Option::is_some) => {
                let name = name.ok().and_then(|name| *name).unwrap_or("a signal");
                Err(Error::new(Kind::Interrupted, format!("stopped by {name}")))
            }
        }
    });
    WAITING.fetch_sub(1, Ordering::SeqCst);
    done
}

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(failed)
}

/// Signals, from the first call on.
fn caught() -> Result<Caught> {
    static CAUGHT: Mutex<Option<Caught>> = Mutex::new(None);
    let mut caught = CAUGHT.lock().unwrap_or_else(PoisonError::into_inner);
    match &*caught {
        Some(caught) => Ok(caught.clone()),
        None => Ok(caught.insert(catch()?).clone()),
    }
}

/// Catches signals for as long as this process lives: the system is never given them back, so one that comes while nothing
/// waits ends the process here.
fn catch() -> Result<Caught> {
    let (said, caught) = watch::channel(None);
    let runtime = runtime()?;
    let inside = runtime.enter();
    let on = |kind| signal(kind).context(|| "can't catch signals");
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    drop(inside);
    let wait = async move {
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
                _ = hangup.recv() => "SIGHUP",
            };
            said.send_replace(Some(name));
            if WAITING.load(Ordering::SeqCst) == 0 {
                std::process::exit(INTERRUPTED.into());
            }
        }
    };
    let thread = thread::Builder::new().spawn(move || runtime.block_on(wait));
    thread.context(|| "can't catch signals")?;
    Ok(caught)
}
