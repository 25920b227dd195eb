//! Giving the way back up: the generation before the last upgrade goes, and with it what only that one had.

use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Op, Service};
use crate::status::Previous;

impl Runtime {
    /// Frees the generation that a rollback would return to, and gives it; none where nothing is kept.
    ///
    /// # Errors
    /// The service does not run. The kernel refuses: then the next operation on it, or start, goes on.
    pub fn commit(&mut self, service: &ServiceName) -> Result<Option<Previous>, RuntimeError> {
        self.end_what_began()?;
        self.take_up(service)?;
        let state: &Service = self.running(service)?;
        let active = state.active;
        let Some(previous) = state.previous() else { return Ok(None) };
        let (generation, version) = (previous.number, previous.version.clone());
        self.begin(Op::Commit, service, (Some(active), None), Default::default())?;
        let committed = self.finish();
        self.or_set_aside(committed).map_err(|source| RuntimeError::Stuck {
            service: service.clone(),
            op: Op::Commit,
            source: Box::new(source),
        })?;
        Ok(Some(Previous { generation, version }))
    }
}
