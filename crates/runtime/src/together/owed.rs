//! What sets that are over left where it is: each start tries again to put it back, and nothing else.

use skep_spec::{ServiceName, chain};

use crate::error::RuntimeError;
use crate::recover::{Interrupted, Recovery, Unended, of_one};
use crate::runtime::Runtime;
use crate::state::{Op, Owed, Record, SetMember, Way};

impl Runtime {
    /// What the set under way leaves of a member that did not go back; nothing where there is no way back.
    pub(super) fn owed_by(&self, member: &SetMember, why: &str) -> Option<Owed> {
        let SetMember { service, before } = member;
        let (way, from) = (self.state.way, self.generation(service)?);
        if (way == Way::Back) != (*before == Some(from)) {
            return None; // it is back, if not wholly
        }
        let kept = self.kept(service).map(|kept| kept.number);
        let is_new = way == Way::There && before.is_none();
        if kept.is_none() && !is_new {
            tracing::error!(%service, why, "stays as it is: nothing is kept that it could go back to");
            return None;
        }
        let (service, to) = (service.clone(), kept.filter(|_| !is_new));
        Some(Owed { service, from, to, way, why: why.to_owned() })
    }

    /// Tries what is owed, after what is under way has ended. What cannot be put back now waits for the next start.
    pub(crate) fn put_back_owed(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        self.puts_back = true;
        let tried = self.try_owed(recovery);
        self.puts_back = false;
        tried
    }

    fn try_owed(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let mut left = Vec::new();
        for owed in self.state.owed.clone() {
            let service = owed.service.clone();
            let from = self.standing(&service);
            let paid = self.pay(&owed);
            match of_one(paid)? {
                Ok(Some((op, finished))) => {
                    let unended = Unended::Owed;
                    recovery.interrupted.push(Interrupted { service, op, from, unended, finished });
                }
                Ok(None) => {}
                Err(error) => left.push(Owed { why: chain(&error), ..owed }),
            }
        }
        // One that switched is back: what is left of that waits by itself.
        left.retain(|one| self.state.owed(&one.service).is_some());
        recovery.aside.extend(left.iter().map(|one| (one.service.clone(), one.to_string())));
        self.owe(left)
    }

    /// Puts one service back, and says which operation that undid or finished; none where there is nothing to go back to.
    fn pay(&mut self, owed: &Owed) -> Result<Option<(Op, bool)>, RuntimeError> {
        let service = &owed.service;
        let Some(to) = owed.to else {
            return self.remove_one(service).map(|_| Some((Op::Install, false)));
        };
        if self.kept(service).is_none_or(|kept| kept.number != to) {
            tracing::warn!(%service, "stays as it is: generation {to}, which it was to go back to, is gone");
            return Ok(None);
        }
        self.roll_back(service)?;
        Ok(Some(match owed.way {
            Way::There => (Op::Upgrade, false),
            Way::Back => (Op::Rollback, true),
        }))
    }

    /// Somebody asked for what runs of a service: it stays, and what it needs.
    pub(crate) fn keep_what_runs(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        self.owe(self.state.owed_but(vec![service.clone()]))
    }

    fn owe(&mut self, members: Vec<Owed>) -> Result<(), RuntimeError> {
        if members == self.state.owed {
            return Ok(());
        }
        self.record(Record::SetOwes { members })
    }
}
