//! What may pass is tried again: after a time of our own, or the one that a busy registry asks for.

use std::time::Duration;

use super::error::RegistryError;

/// The longest time that a registry may ask for: who asks for more is not asked again.
pub(super) const AFTER_MAX: Duration = Duration::from_secs(30);
/// How often a request is sent that brings nothing.
const MOST: u32 = 3;
/// What a request brings at least that counts as more than nothing, in bytes.
const MUCH: u64 = 64 * 1024;

/// The tries of one request.
pub(super) struct Tries {
    failed: u32,
    /// Before the second of those that bring nothing.
    first: Duration,
    pause: Duration,
}

impl Tries {
    /// With this pause before the second; each one after it has twice the time.
    pub(super) const fn new(pause: Duration) -> Self {
        Self { failed: 0, first: pause, pause }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The same, where there is none: it does not pass, or that try was the last.
    pub(super) async fn again(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        let after = error.retry_after().unwrap_or_default();
        match error.is_passing() && after <= AFTER_MAX {
            true => self.wait(error, after).await,
            false => Err(error),
        }
    }

    /// Waits before one goes on behind the bytes that came before an answer broke off.
    ///
    /// # Errors
    /// The same, where little came, and that try was the last.
    pub(super) async fn go_on(
        &mut self,
        error: RegistryError,
        came: u64,
    ) -> Result<(), RegistryError> {
        if came >= MUCH {
            *self = Self::new(self.first);
        }
        self.wait(error, Duration::ZERO).await
    }

    async fn wait(&mut self, error: RegistryError, least: Duration) -> Result<(), RegistryError> {
        self.failed += 1;
        if self.failed == MOST {
            return Err(error);
        }
        // Nothing tells when a registry can answer again but itself, by `least`.
        tokio::time::sleep(self.pause.max(least)).await;
        self.pause *= 2;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut() -> RegistryError {
        let (action, registry) = ("pull".to_owned(), "hub.test".to_owned());
        RegistryError::Length { action, registry, expected: 1 << 30, found: 1 }
    }

    /// A line that breaks off often brings a large layer all the same.
    #[tokio::test]
    async fn who_brings_much_is_asked_again_and_who_brings_little_three_times() {
        let pause = Duration::from_millis(1);
        let mut tries = Tries::new(pause);
        for _ in 0..20 {
            tries.go_on(cut(), MUCH).await.unwrap();
            assert_eq!(tries.pause, 2 * pause, "it is waited for, and no longer each time");
        }
        tries.go_on(cut(), 22).await.unwrap();
        assert_eq!(tries.pause, 4 * pause);
        tries.go_on(cut(), 22).await.unwrap_err();
    }
}
