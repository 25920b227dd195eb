//! The end of skepd: what it does in the kernel is finished, what it waits for in the network is given up.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::NodeError;

/// Whether skepd ends, for all who work in it.
#[derive(Clone, Debug)]
pub struct Ending(Arc<watch::Sender<bool>>);

/// Somebody at work, whom the end waits for.
#[derive(Debug)]
pub struct AtWork(#[allow(dead_code, reason = "it counts while it lives")] watch::Receiver<bool>);

impl Default for Ending {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Ending {
    /// Begins work.
    ///
    /// # Errors
    /// skepd ends.
    pub fn at_work(&self) -> Result<AtWork, NodeError> {
        let at_work = self.0.subscribe(); // first: who sees that it does not end is waited for
        let ends = *at_work.borrow();
        match ends {
            true => Err(Self::ended()),
            false => Ok(AtWork(at_work)),
        }
    }

    /// Waits for what comes over the network, from a thread that may wait; gives it up when skepd ends.
    ///
    /// # Errors
    /// As `answer`, or when skepd ends.
    pub fn or_answer<T, E>(
        &self,
        network: &Handle,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, NodeError>
    where
        NodeError: From<E>,
    {
        let mut end = self.0.subscribe();
        network.block_on(async {
            tokio::select! {
                biased;
                _ = end.wait_for(|ends| *ends) => {
                    Err(NodeError::Ends("what it waited for was given up"))
                }
                answer = answer => answer.map_err(NodeError::from),
            }
        })
    }

    /// What is said of work that was not begun.
    #[must_use]
    pub const fn ended() -> NodeError {
        NodeError::Ends("the operation was not begun")
    }

    /// Ends: nobody begins work any more, and who is at work has done it when this returns.
    pub async fn come(&self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

/// Ends at SIGTERM, SIGHUP or Ctrl-C, also at one that came before it was waited for.
///
/// # Errors
/// The kernel refuses.
pub fn stopped() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_begun_has_a_code_of_its_own() {
        let error = Ending::ended();
        assert_eq!((error.status(), error.code()), (503, "ends"));
    }
}
