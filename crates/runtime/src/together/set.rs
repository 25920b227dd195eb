//! Sets: services that are installed and upgraded as a whole, or not at all.

use skep_spec::{ServiceName, chain};
use skep_trust::{Package, Verified};

use crate::error::RuntimeError;
use crate::install::Request;
use crate::plan::Plan;
use crate::recover::{Interrupted, Recovery, Unended, of_one};
use crate::runtime::Runtime;
use crate::state::{Op, Owed, Record, SetMember, Way};
use crate::status::Detail;
use crate::upgrade::Direction;

/// One service of a set.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// What it is to run.
    pub package: &'a Verified<Package>,
    /// Its name and parameters.
    pub request: &'a Request,
    /// The generation that is upgraded; none where there was no such service when this was planned.
    pub from: Option<u64>,
}

/// The members of a set that did not go back, and why.
pub(crate) type Left = Vec<(ServiceName, String)>;

/// What became of one service of a set.
#[derive(Clone, Debug)]
pub struct Together {
    /// What was planned; none for an install.
    pub plan: Option<Plan>,
    /// The service now.
    pub detail: Detail,
}

impl Runtime {
    /// Installs and upgrades services in their order. Where one fails, what was done to those before it is undone.
    ///
    /// # Errors
    /// As [`Self::install`] and [`Self::upgrade`]; one of them is not what it was when this was planned.
    pub fn together(&mut self, members: &[Member<'_>]) -> Result<Vec<Together>, RuntimeError> {
        self.end_what_began()?;
        if let [one] = members {
            self.is_as_planned(one)?;
            return Ok(vec![self.one(*one)?]);
        }
        members.iter().try_for_each(|member| self.is_as_planned(member))?;
        let begun = members.iter().map(|member| SetMember {
            service: member.request.service.clone(),
            before: member.from,
        });
        self.record(Record::SetBegan { members: begun.collect(), way: Way::There })?;
        let mut done = Vec::new();
        for member in members {
            match self.one(*member) {
                Ok(one) => done.push(one),
                Err(error) => return Err(self.set_failed(&member.request.service, error)),
            }
        }
        self.record(Record::SetEnded {})?;
        self.checkpoint()?;
        Ok(done)
    }

    /// Between the plan and the lock under which it is done, others may have changed the service.
    pub(super) fn is_as_planned(&self, member: &Member<'_>) -> Result<(), RuntimeError> {
        let service = member.request.service.clone();
        match (member.from, self.runs(&service).map(|active| active.number)) {
            (None, None) => Ok(()),
            (Some(from), Some(now)) if from == now => Ok(()),
            (None, Some(_)) => Err(RuntimeError::Exists { service }),
            (Some(from), now) => Err(RuntimeError::Changed { service, from, now }),
        }
    }

    fn one(&mut self, member: Member<'_>) -> Result<Together, RuntimeError> {
        let Member { package, request, from } = member;
        if from.is_some() {
            let upgraded = self.upgrade_to(package, request, Direction::Forward)?;
            return Ok(Together { plan: Some(upgraded.plan), detail: upgraded.detail });
        }
        Ok(Together { plan: None, detail: self.install_one(package, request)? })
    }

    /// Undoes the set, and gives the error of the member that failed.
    fn set_failed(&mut self, service: &ServiceName, error: RuntimeError) -> RuntimeError {
        let mut recovery = Recovery::default();
        let settled = self.settle_set(&mut recovery);
        let undone = recovery.interrupted.into_iter().map(|one| one.service).collect();
        RuntimeError::Together {
            service: service.clone(),
            undone,
            left: settled.map_err(|error| chain(&error)),
            source: Box::new(error),
        }
    }

    /// Ends a set that was begun: if every member is what it was to be, it is done, otherwise what was done to them is undone, the
    /// last first. What went back is not undone: the others go back, too. What does not is given with the reason and owed from
    /// then on, and the set is in nobody's way: only what the journal cannot take is an error.
    pub(crate) fn settle_set(&mut self, recovery: &mut Recovery) -> Result<Left, RuntimeError> {
        let members = self.state.set.clone();
        let done: Vec<&SetMember> = members.iter().filter(|member| self.is_done(member)).collect();
        let (mut left, mut owed) = (Left::new(), Vec::new());
        if members.is_empty() {
            return Ok(left);
        }
        if self.state.way == Way::Back && !done.is_empty() {
            let back = self.all_back(recovery);
            return of_one(back).map(|_| left);
        }
        if done.len() < members.len() {
            for member in done.into_iter().rev() {
                let from = self.standing(&member.service);
                let undone = self.undo_member(member);
                if let Err(error) = of_one(undone)?
                    && self.is_done(member)
                {
                    let why = chain(&error);
                    owed.extend(self.owed_by(member, &why));
                    left.push((member.service.clone(), why));
                    continue;
                }
                let op = if member.before.is_none() { Op::Install } else { Op::Upgrade };
                let (service, unended) = (member.service.clone(), Unended::Set);
                let one = Interrupted { service, op, from, unended, finished: false };
                recovery.interrupted.push(one);
            }
        }
        self.end_set(owed)?;
        Ok(left)
    }

    fn undo_member(&mut self, member: &SetMember) -> Result<(), RuntimeError> {
        if member.before.is_none() {
            return self.remove_one(&member.service).map(drop);
        }
        match self.roll_back(&member.service) {
            Err(RuntimeError::NoPrevious { .. }) => Ok(()), // an earlier start was there already
            other => other.map(drop),
        }
    }

    /// Ends the set under way but for these members, which are to go back in this order.
    pub(super) fn end_set(&mut self, owed: Vec<Owed>) -> Result<(), RuntimeError> {
        if !owed.is_empty() {
            // Where a start goes on with a set that was to end, some of it is owed already.
            let is_other = |known: &&Owed| !owed.iter().any(|one| one.service == known.service);
            let known: Vec<Owed> = self.state.owed.iter().filter(is_other).cloned().collect();
            let members = [known, owed].concat();
            self.record(Record::SetOwes { members })?;
        }
        self.record(Record::SetEnded {})?;
        self.checkpoint()
    }

    /// Whether a service is of the set under way, or of those that are put back, and the way back has yet to come to it.
    pub(crate) fn goes_back(&self, service: &ServiceName) -> bool {
        let undone = self.state.way == Way::There;
        let member = self.state.set.iter().find(|member| member.service == *service);
        member.is_some_and(|member| self.is_done(member) == undone)
            || self.puts_back && self.state.owed(service).is_some()
    }

    /// Whether a service is of the set under way, and not what it is to be yet.
    pub(crate) fn changes_yet(&self, service: &ServiceName) -> bool {
        self.state.set.iter().any(|member| member.service == *service && !self.is_done(member))
    }

    pub(crate) fn is_done(&self, member: &SetMember) -> bool {
        let now = self.runs(&member.service).map(|active| active.number);
        now.is_some() && now != member.before
    }
}
