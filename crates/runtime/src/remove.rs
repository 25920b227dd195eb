//! Removing a service: its hooks, pins and records.

use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Op, Outcome};

impl Runtime {
    /// Detaches everything of a service and keeps nothing of it, nor of an operation on it that waits. Says whether there
    /// was one: doing it again is no error.
    ///
    /// # Errors
    /// Another service needs it, and nothing was done. The kernel refuses; then the next removal or start goes on.
    pub fn remove(&mut self, service: &ServiceName) -> Result<bool, RuntimeError> {
        self.end_what_began()?;
        self.remove_one(service)
    }

    /// The same within a set.
    pub(crate) fn remove_one(&mut self, service: &ServiceName) -> Result<bool, RuntimeError> {
        let active = self.state.service(service).map(|state| state.active);
        let Some(from) = active else { return Ok(false) };
        self.nobody_needs(service)?;
        self.consumers.forget(service);
        self.failures.remove(service);
        self.begin(Op::Remove, service, (Some(from), None), Default::default())?;
        let gone = self.converge(service);
        self.or_set_aside(gone).map_err(|source| RuntimeError::Stuck {
            service: service.clone(),
            op: Op::Remove,
            source: Box::new(source),
        })?;
        self.end(Outcome::Done)?;
        Ok(true)
    }
}
