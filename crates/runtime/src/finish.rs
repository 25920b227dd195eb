//! After the switch: wait until the old generation is quiet, move its state, free what is not kept.
//!
//! Everything here may be done twice, by this process or the next: it works from the journal's state alone.

use skep_kernel::maps::rcu;
use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Generation, Op, Outcome, Pending, Record};

impl Runtime {
    /// Finishes the operation under way, which has switched.
    pub(crate) fn finish(&mut self) -> Result<(), RuntimeError> {
        let Some(pending) = self.state.pending.clone() else { return Ok(()) };
        self.quiesce(&pending)?;
        self.change_rings(&pending.service)?;
        if let Some((from, to)) = self.both_generations(&pending) {
            self.move_entries(&pending.service, &from, &to, &pending.changes)?;
        }
        self.settle_exports(&pending.service)?;
        if pending.op == Op::Start {
            self.settle_slots(&pending.service)?; // the generation before waits there again
        }
        self.retire(&pending)?;
        self.end(Outcome::Done)
    }

    /// The same for an operation of this process; one that does not end waits for the next on the same service.
    pub(crate) fn finish_or_set_aside(
        &mut self,
        service: &ServiceName,
    ) -> Result<(), RuntimeError> {
        let finished = self.finish();
        let unfinished = |source| RuntimeError::Unfinished {
            service: service.clone(),
            source: Box::new(source),
        };
        self.or_set_aside(finished).map_err(unfinished)
    }

    /// Waits until no run of the old generation is left.
    pub(crate) fn quiesce(&mut self, pending: &Pending) -> Result<(), RuntimeError> {
        if pending.from.is_none() || pending.quiesced {
            return Ok(());
        }
        self.call("wait", || rcu::Wait::new().and_then(|wait| wait.wait()))?;
        self.record(Record::Quiesced {})
    }

    fn both_generations(&self, pending: &Pending) -> Option<(Generation, Generation)> {
        let service = self.state.services.get(&pending.service)?;
        let from = service.generations.get(&pending.from?)?.clone();
        let to = service.generations.get(&pending.to.as_ref()?.number)?.clone();
        (from.number != to.number).then_some((from, to))
    }

    /// Frees the generation that the operation ends.
    fn retire(&mut self, pending: &Pending) -> Result<(), RuntimeError> {
        let Some(generation) = pending.retiring else { return Ok(()) };
        let service = self.state.services.get(&pending.service);
        let retiring = service.and_then(|service| service.generations.get(&generation));
        let lost = retiring.map(|retiring| self.lost_by(&pending.service, retiring));
        self.record(Record::Committed { generation, lost: lost.unwrap_or_default() })?;
        self.converge(&pending.service)?;
        self.record(Record::Freed { generation })
    }
}
