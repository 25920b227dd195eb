//! Records of several CPUs or rings in the order of their times: what one of them gives may be newer than what another one has
//! still, so that the newest wait until all were looked at again.

use std::time::{Duration, Instant};

use skep_kernel::KernelError;
use skep_kernel::ring::Polled;

use super::readers::Batch;
use super::source::Moment;

/// What waits for those that are older.
#[derive(Default)]
pub(super) struct Sorted {
    held: Batch,
}

/// Polls of one batch, and the time that they may take.
const TOGETHER: usize = 16;
const MERGED: Duration = Duration::from_millis(20);
/// How long held records wait at most for the next look.
pub(crate) const HELD: Duration = Duration::from_millis(2);

impl std::fmt::Debug for Sorted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sorted")
    }
}

impl Sorted {
    /// A batch of what `poll` reads until all is empty, or for a while, and of what was held; what is newer than the beginning is
    /// held for the next one. Without an end of what comes nothing is.
    pub(super) fn read(
        &mut self,
        timeout: Duration,
        mut poll: impl FnMut(Duration, &mut Batch) -> Result<Polled, KernelError>,
    ) -> Result<(Batch, Polled), KernelError> {
        let mut batch = std::mem::take(&mut self.held).begun_again();
        let timeout = if batch.is_empty() { timeout } else { timeout.min(HELD) };
        let (began, since) = (Moment::now().unix_ns, Instant::now());
        let mut polled = poll(timeout, &mut batch)?;
        let waited = since.elapsed();
        for _ in 1..TOGETHER {
            if polled.emptied || polled.woken || since.elapsed() > waited + MERGED {
                break;
            }
            let more = poll(Duration::ZERO, &mut batch)?;
            let (records, bytes) = (polled.records + more.records, polled.bytes + more.bytes);
            polled = Polled { records, bytes, ..more };
        }
        if polled.emptied {
            self.held = batch.later_than(began);
            polled.emptied = self.held.is_empty();
        }
        Ok((batch, polled))
    }
}
