//! What may pass is tried again: a registry that is busy or starts again says not when it is back.

use std::time::Duration;

use super::error::RegistryError;

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
        if self.failed == MOST || !error.is_passing() {
            return Err(error);
        }
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        Ok(())
    }
}
