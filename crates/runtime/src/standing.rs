//! How services stand, for who compares before and after.

use skep_spec::{ServiceName, Version};

use crate::runtime::Runtime;

impl Runtime {
    /// The active generation of a service and its version.
    #[must_use]
    pub fn standing(&self, service: &ServiceName) -> Option<(u64, Version)> {
        self.runs(service).map(|active| (active.number, active.version.clone()))
    }
}
