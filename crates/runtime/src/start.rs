//! Loading services again: after a reboot, and where the kernel lost what they had.

use std::collections::BTreeMap;

use skep_spec::{ServiceName, chain, life};

use crate::bring_up::BringUp;
use crate::error::RuntimeError;
use crate::failure::Failure;
use crate::recover::{Interrupted, Recovery, Unended, of_one};
use crate::runtime::Runtime;
use crate::state::{Generation, Op, Record, Then};

impl Runtime {
    /// Loads the active generation of every service that has none in the kernel, or the one before it.
    pub(crate) fn start_all(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        for name in self.providers_first() {
            self.lose_without_its_maps(&name, recovery)?;
            if self.restarts(&name) {
                self.end_restart(&name, recovery)?;
                continue;
            }
            if self.is_stopped(&name) {
                self.load_for_users(&name, recovery);
                recovery.stopped.push(name);
                continue;
            }
            if !self.is_idle(&name) {
                continue;
            }
            match self.start_first(&name, None) {
                Ok(()) => recovery.started.push(name),
                Err(why) => self.fail(&name, Failure::Down(why), recovery),
            }
        }
        Ok(())
    }

    /// Starts a service whose restart was cut off, or failed.
    fn end_restart(
        &mut self,
        name: &ServiceName,
        recovery: &mut Recovery,
    ) -> Result<(), RuntimeError> {
        if self.is_idle(name) {
            match self.start_first(name, None) {
                Ok(()) => recovery.started.push(name.clone()),
                Err(why) => self.fail(name, Failure::Down(why), recovery),
            }
            return Ok(());
        }
        if let Some(aside) = self.state.aside.get(name) {
            let why = format!("its {} is half done: {}", aside.pending.op, aside.why);
            self.fail(name, Failure::Down(why), recovery);
            return Ok(());
        }
        let from = self.standing(name);
        let started = self.start_stopped(name);
        match of_one(started)? {
            Ok(()) => {
                recovery.interrupted.push(Interrupted {
                    service: name.clone(),
                    op: Op::Start,
                    from,
                    unended: Unended::Operation,
                    finished: true,
                });
            }
            Err(error) => self.fail(name, Failure::Down(chain(&error)), recovery),
        }
        Ok(())
    }

    /// Loads a stopped service, and attaches it to nothing, where one that is to run uses its maps.
    fn load_for_users(&mut self, name: &ServiceName, recovery: &mut Recovery) {
        if !self.is_idle(name) || !self.gives_maps(name) {
            return;
        }
        if let Err(why) = self.start_first(name, Some(Then::Stopped)) {
            let why =
                format!("it is stopped, and is not loaded for those that use its maps: {why}");
            recovery.failed.push((name.clone(), why));
        }
    }

    /// Loads who could not be, since this service was not there; and who needs those.
    pub(crate) fn start_users(&mut self, service: &ServiceName) {
        for user in self.needed_by(service) {
            if self.is_stopped(&user) || !self.is_idle(&user) {
                continue;
            }
            self.failures.remove(&user);
            match self.start_first(&user, None) {
                Ok(()) => self.start_users(&user),
                Err(why) => {
                    tracing::error!(service = %user, "not loaded: {why}");
                    self.failures.insert(user, Failure::Down(why));
                }
            }
        }
    }

    /// All services, each behind those that it needs.
    fn providers_first(&self) -> Vec<ServiceName> {
        let (mut order, mut open) = (Vec::new(), self.names());
        while !open.is_empty() {
            let waits =
                |name: &ServiceName| self.needs(name).iter().any(|need| open.contains(need));
            // Rings are never installed; were there one, its services would be started all the same.
            let at = open.iter().position(|name| !waits(name)).unwrap_or(0);
            order.push(open.remove(at));
        }
        order
    }

    /// Writes down that a service is lost whose maps are not the ones any more that another one gives it: it is loaded again. Where
    /// that one does not run, this one goes on with what it has.
    fn lose_without_its_maps(
        &mut self,
        name: &ServiceName,
        recovery: &mut Recovery,
    ) -> Result<(), RuntimeError> {
        let lost = self.runs(name).is_some_and(|active| !self.has_its_maps(active));
        if lost && !self.state.aside.contains_key(name) {
            self.op = Op::Recover;
            let why = "a map that another service gave it is gone".to_owned();
            self.record(Record::Lost { service: name.clone(), why: why.clone() })?;
            self.consumers.forget(name);
            recovery.adopted.retain(|adopted| adopted != name);
            recovery.lost.push((name.clone(), why));
        }
        Ok(())
    }

    /// Whether the kernel has nothing of a service.
    pub(crate) fn is_idle(&self, name: &ServiceName) -> bool {
        let active = self.state.services.get(name).and_then(|service| service.active());
        active.is_none_or(|generation| generation.incarnation.is_none())
    }

    /// Whether somebody stopped a service.
    #[must_use]
    pub fn is_stopped(&self, name: &ServiceName) -> bool {
        self.state.services.get(name).is_some_and(|service| service.stopped)
    }

    fn start_first(&mut self, name: &ServiceName, then: Option<Then>) -> Result<(), String> {
        self.op = Op::Recover;
        // Another start of it, begun at an earlier start of ours and not ended: what it left is not to be built upon.
        if let Some(aside) = self.state.aside.get(name) {
            return Err(format!("its {} is half done: {}", aside.pending.op, aside.why));
        }
        // What is still attached of it would be doubled.
        self.converge(name).map_err(|error| chain(&error))?;
        let Some(service) = self.state.services.get(name).cloned() else { return Ok(()) };
        let mut began = false;
        let start = |number| {
            let Some(generation) = service.generations.get(&number) else {
                return Err(format!("generation {number} is not kept"));
            };
            if began && self.state.aside.contains_key(name) {
                return Err(format!("generation {number} waits for what was begun before it"));
            }
            began = true;
            self.activate(name, generation, then).map_err(|error| {
                format!("generation {number} ({}): {}", generation.version, chain(&error))
            })
        };
        let lost = service.lost.iter().map(|why| format!("it was lost ({why})"));
        match life::after_reboot(false, service.active, service.previous, start) {
            Ok(_) => Ok(()),
            Err(reasons) => Err(lost.chain(reasons).collect::<Vec<_>>().join("; ")),
        }
    }

    /// Loads a generation that the kernel has nothing of.
    pub(crate) fn activate(
        &mut self,
        service: &ServiceName,
        generation: &Generation,
        then: Option<Then>,
    ) -> Result<(), RuntimeError> {
        let package = self.package(&generation.index)?;
        let up = BringUp {
            op: Op::Activate,
            service: service.clone(),
            package: &package,
            generation: generation.clone(),
            from: None,
            changes: BTreeMap::new(),
            then,
            settings: None,
        };
        self.bring_up(&up).map(drop)
    }
}
