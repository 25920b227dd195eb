//! Services that stay at their version: upgrades of them are refused until somebody lets go.

use skep_spec::{Digest, ServiceName};

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Generation, Record};

impl Runtime {
    /// Has upgrades of a service refused from now on, or not any more. Says whether that changed.
    ///
    /// # Errors
    /// There is no such service; the journal cannot be written.
    pub fn hold(&mut self, service: &ServiceName, held: bool) -> Result<bool, RuntimeError> {
        self.end_what_began()?;
        self.take_up(service)?;
        if self.service_state(service)?.held == held {
            return Ok(false);
        }
        self.record(Record::Held { service: service.clone(), held })?;
        self.checkpoint()?;
        Ok(true)
    }

    /// Whether upgrades of a service are refused.
    #[must_use]
    pub fn is_held(&self, service: &ServiceName) -> bool {
        self.state.services.get(service).is_some_and(|service| service.held)
    }

    /// That a service is not held where another package is to run; other settings of the same one are let through.
    pub(crate) fn is_let_go(
        &self,
        service: &ServiceName,
        from: &Generation,
        to: &Digest,
    ) -> Result<(), RuntimeError> {
        if from.index == *to || !self.is_held(service) {
            return Ok(());
        }
        let (service, version) = (service.clone(), from.version.clone());
        Err(RuntimeError::Held { service, version })
    }
}
