//! Work that waits for others: done to its end, or till a signal comes.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Context as _, Error, Kind, Result, failed};

/// Does it to its end.
///
/// # Errors
/// As `work`, or when the machine gives no threads.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(work)
}

/// The same of what may fill a temporary folder: a signal ends it as an error, so that the folder goes too.
///
/// # Errors
/// As [`block_on`], or a signal came.
pub fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    block_on(async {
        let caught = |kind| signal(kind).context(|| "can't catch signals");
        let mut interrupt = caught(SignalKind::interrupt())?;
        let mut terminate = caught(SignalKind::terminate())?;
        let mut hangup = caught(SignalKind::hangup())?;
        let stopped = |name| Err(Error::new(Kind::Interrupted, format!("stopped by {name}")));
        tokio::select! {
            biased;
            done = work => done,
            _ = interrupt.recv() => stopped("SIGINT"),
            _ = terminate.recv() => stopped("SIGTERM"),
            _ = hangup.recv() => stopped("SIGHUP"),
        }
    })
}
