//! What may pass is tried again: after a time of our own, or the one that a busy registry asks for.

use std::time::Duration;

use super::error::RegistryError;

/// The longest time that a registry may ask for: who asks for more is not asked again.
pub(super) const AFTER_MAX: Duration = Duration::from_secs(30);
/// How often a request is sent that brings nothing.
const MOST: u32 = 3;

/// The tries of one request.
pub(super) struct Tries {
    failed: u32,
    pause: Duration,
}

impl Tries {
    /// With this pause before the second; each one after it has twice the time.
    pub(super) const fn new(pause: Duration) -> Self {
        Self { failed: 0, pause }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The same, where there is none: it does not pass, or that try was the last.
    pub(super) async fn again(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.failed += 1;
        let after = error.retry_after().unwrap_or_default();
        if self.failed == MOST || !error.is_passing() || after > AFTER_MAX {
            return Err(error);
        }
        tokio::time::sleep(self.pause.max(after)).await;
        self.pause *= 2;
        Ok(())
    }
}
