//! Waiting until no program that started before is still running.

use std::os::fd::{AsFd, AsRawFd};

use super::elements::Update;
use super::{MapHandle, MapSpec, kind};
use crate::error::KernelError;

/// A wait for running (non-sleepable) programs, by updating an array of maps: the kernel calls synchronize_rcu
/// before it returns (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
///
/// Never membarrier(2): with one online CPU that returns at once, while a preempted program still runs.
#[derive(Debug)]
pub struct Wait {
    outer: MapHandle,
    inner: MapHandle,
}

impl Wait {
    /// Makes the two small maps.
    ///
    /// # Errors
    /// As [`MapHandle::create`].
    pub fn new() -> Result<Self, KernelError> {
        let spec = MapSpec {
            name: "skep_wait".to_owned(),
            kind: kind::ARRAY,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
        };
        let inner = MapHandle::create(&spec)?;
        let outer = MapSpec { kind: kind::ARRAY_OF_MAPS, ..spec };
        Ok(Self { outer: MapHandle::create_outer(&outer, &inner)?, inner })
    }

    /// Returns when every program run that began before the call has ended.
    ///
    /// # Errors
    /// The update failed; then nothing was waited for.
    pub fn wait(&self) -> Result<(), KernelError> {
        let fd = self.inner.as_fd().as_raw_fd();
        self.outer.update(&0u32.to_ne_bytes(), &fd.to_ne_bytes(), Update::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_again_and_again() {
        let wait = Wait::new().unwrap();
        wait.wait().unwrap();
        wait.wait().unwrap();
    }
}
