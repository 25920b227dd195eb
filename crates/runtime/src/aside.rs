//! Operations that can be neither finished nor undone now: they are set aside, so that they stop no other service.
//! The next operation on the same service takes them up first, and so does each start; a removal does without.

use skep_spec::{ServiceName, chain};

use crate::error::RuntimeError;
use crate::recover::{Interrupted, Recovery, of_one};
use crate::runtime::Runtime;
use crate::state::{Op, Record};

impl Runtime {
    /// Ends what an earlier operation on this service left, before another one begins.
    pub(crate) fn take_up(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        let Some(aside) = self.state.aside.get(service) else { return Ok(()) };
        let op = aside.pending.op;
        let stuck = |source| RuntimeError::Stuck { service: service.clone(), op, source };
        self.take_up_again(service).map(drop).map_err(|error| stuck(Box::new(error)))
    }

    /// Ends what was under way when the journal could not be written, a set too, before somebody's next operation begins.
    pub(crate) fn end_what_began(&mut self) -> Result<(), RuntimeError> {
        self.mend_journal()?;
        self.settle_set(&mut Recovery::default()).map(drop)
    }

    /// Writes a journal anew that could not be written, and ends or sets aside what was under way then, on whatever service.
    fn mend_journal(&mut self) -> Result<(), RuntimeError> {
        if self.journal.broken().is_some() {
            self.op = Op::Recover;
            self.begin_journal_anew()?;
        }
        let Some(service) = self.state.pending.as_ref().map(|pending| pending.service.clone())
        else {
            return Ok(());
        };
        let ended = self.take_up_again(&service);
        drop(of_one(ended)?); // what waits is for the next operation on its service to say
        Ok(())
    }

    /// Ends the operation under way on a service, or the one that was set aside.
    pub(crate) fn take_up_again(
        &mut self,
        service: &ServiceName,
    ) -> Result<Option<Interrupted>, RuntimeError> {
        self.op = Op::Recover;
        if self.state.aside.contains_key(service) {
            self.record(Record::TakeUp { service: service.clone() })?;
        }
        let ended = self.resume();
        self.or_set_aside(ended)
    }

    /// Sets the operation under way aside where ending it failed, and gives the result back.
    pub(crate) fn or_set_aside<T>(
        &mut self,
        ended: Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        // Where the journal cannot be written, the operation stays under way, and the next one begins with it.
        if let Err(error) = &ended
            && self.journal.broken().is_none()
            && let Some(pending) = &self.state.pending
        {
            let why = chain(error);
            tracing::error!(service = %pending.service, op = %pending.op, "set aside: {why}");
            self.op = Op::Recover;
            self.record(Record::SetAside { why })?;
            self.checkpoint()?; // what is tried again and again never comes to its end
        }
        ended
    }

    /// Undoes the operation under way and gives its error back, with what kept it from being undone if so.
    pub(crate) fn undo_or(&mut self, error: RuntimeError) -> RuntimeError {
        let Some(pending) = &self.state.pending else { return error };
        let (service, op) = (pending.service.clone(), pending.op);
        let undone = self.undo(&chain(&error));
        match self.or_set_aside(undone) {
            Ok(()) => error,
            Err(undo) => {
                let (undo, source) = (chain(&undo), Box::new(error));
                RuntimeError::NotUndone { service, op, undo, source }
            }
        }
    }
}
