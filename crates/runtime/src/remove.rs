//! Removing a service: its hooks, pins and records.

use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Op, Outcome, Record};

impl Runtime {
    /// Detaches everything of a service and keeps nothing of it. Says whether there was one: doing it again is no
    /// error.
    ///
    /// # Errors
    /// The kernel refuses; then the next start goes on.
    pub fn remove(&mut self, service: &ServiceName) -> Result<bool, RuntimeError> {
        self.take_up()?;
        let Some(state) = self.state.services.get(service) else { return Ok(false) };
        let from = Some(state.active);
        self.consumers.forget(service);
        self.failures.remove(service);
        self.op = Op::Remove;
        self.record(Record::Begin {
            txn: self.state.last_txn + 1,
            service: service.clone(),
            op: Op::Remove,
            from,
            to: None,
            changes: Default::default(),
        })?;
        self.converge(service)?;
        self.end(Outcome::Done)?;
        Ok(true)
    }
}
