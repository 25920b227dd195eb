//! Sets: services that are installed and upgraded as a whole, or not at all.

use skep_spec::{ServiceName, chain};
use skep_trust::{Package, Verified};

use crate::error::RuntimeError;
use crate::install::Request;
use crate::plan::Plan;
use crate::recover::{Interrupted, Recovery, of_one};
use crate::runtime::Runtime;
use crate::state::{Op, Record, SetMember, Way};
use crate::status::Detail;

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
        if let [one] = members {
            self.is_as_planned(one)?;
            return Ok(vec![self.one(*one)?]);
        }
        self.mend_journal()?;
        self.settle_set(&mut Recovery::default())?;
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
    fn is_as_planned(&self, member: &Member<'_>) -> Result<(), RuntimeError> {
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
            let upgraded = self.upgrade(package, request)?;
            return Ok(Together { plan: Some(upgraded.plan), detail: upgraded.detail });
        }
        Ok(Together { plan: None, detail: self.install(package, request)? })
    }

    /// Undoes the set, and gives the error of the member that failed.
    fn set_failed(&mut self, service: &ServiceName, error: RuntimeError) -> RuntimeError {
        let mut recovery = Recovery::default();
        let undone = self.settle_set(&mut recovery);
        let undone =
            undone.map(|()| recovery.interrupted.into_iter().map(|one| one.service).collect());
        RuntimeError::Together {
            service: service.clone(),
            undone: undone.map_err(|undo| chain(&undo)),
            source: Box::new(error),
        }
    }

    /// Ends a set that was begun: if every member is what it was to be, it is done, otherwise what was done to them is undone, the
    /// last first. What went back is not undone: the others go back, too.
    pub(crate) fn settle_set(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let members = self.state.set.clone();
        if members.is_empty() {
            return Ok(());
        }
        if self.state.way == Way::Back && members.iter().any(|member| self.is_done(member)) {
            return self.all_back(recovery);
        }
        if !members.iter().all(|member| self.is_done(member)) {
            for member in
                members.iter().rev().filter(|member| self.is_done(member)).collect::<Vec<_>>()
            {
                let service = member.service.clone();
                let op = match member.before {
                    None => self.remove(&service).map(|_| Op::Install)?,
                    Some(_) => self.undo_upgrade(&service).map(|()| Op::Upgrade)?,
                };
                recovery.interrupted.push(Interrupted { service, op, finished: false });
            }
        }
        self.record(Record::SetEnded {})?;
        self.checkpoint()
    }

    /// Back to the generation before the set, unless an earlier start was there already.
    fn undo_upgrade(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        match self.roll_back(service) {
            Err(RuntimeError::NoPrevious { .. }) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The same at a start, where what cannot be undone now waits for the next one.
    pub(crate) fn settle_set_again(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let services: Vec<ServiceName> =
            self.state.set.iter().map(|member| member.service.clone()).collect();
        let settled = self.settle_set(recovery);
        if let Err(error) = of_one(settled)? {
            let what = match self.state.way {
                Way::There => "what was installed with it could not be undone",
                Way::Back => "it did not go back with others that it goes with",
            };
            let why = format!("{what} ({})", chain(&error));
            recovery.aside.extend(services.last().map(|service| (service.clone(), why)));
        }
        Ok(())
    }

    /// Whether a service is of the set under way, and the way back has yet to come to it.
    pub(crate) fn goes_back(&self, service: &ServiceName) -> bool {
        let undone = self.state.way == Way::There;
        let member = self.state.set.iter().find(|member| member.service == *service);
        member.is_some_and(|member| self.is_done(member) == undone)
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
