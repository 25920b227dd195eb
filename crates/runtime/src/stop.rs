//! Stopping a service and starting it again: its hooks go and come back, its programs, maps and generations stay.
//!
//! While it is stopped the slots that the switch word picks are empty, and its programs wait in the idle ones: all hooks with a stub
//! fall silent by one store, and run again by one.

use std::collections::{BTreeMap, BTreeSet};

use skep_kernel::MapHandle;
use skep_kernel::attach::{file_of, is_known};
use skep_kernel::maps::prog_array;
use skep_kernel::stub::slot_of;
use skep_spec::{ServiceName, Site, Target, chain};

use crate::at_map::interface;
use crate::error::RuntimeError;
use crate::failure::Failure;
use crate::runtime::Runtime;
use crate::state::{Attachment, Generation, Hook, Mechanism, Op, Outcome, Pending, Record, Then};
use crate::trampoline::is_once_only;

impl Runtime {
    /// Detaches a service and keeps what it holds. It stays stopped, over restarts and reboots, until it is started. Says whether it
    /// was not stopped already.
    ///
    /// # Errors
    /// Others that run need it, unless `force`; a hook of it could not be attached again. The kernel refuses: then the next operation
    /// on it, or start, goes on.
    pub fn stop(&mut self, service: &ServiceName, force: bool) -> Result<bool, RuntimeError> {
        self.end_what_began()?;
        self.take_up(service)?;
        let state = self.service_state(service)?;
        let (from, was_stopped) = (Some(state.active), state.stopped);
        // One that a restart left stopped is to be started, unless somebody stops it.
        if was_stopped && (self.restarts || !state.restarts) {
            return Ok(false);
        }
        if !force {
            self.nobody_runs_on(service, &BTreeSet::new())?;
        }
        self.hooks_come_back(service)?;
        let then = self.restarts.then_some(Then::Started);
        self.begin(Op::Stop, service, (from, None), (BTreeMap::new(), then))?;
        self.failures.remove(service);
        let stopped = self.finish_stop();
        self.or_set_aside(stopped).map_err(|source| RuntimeError::Stuck {
            service: service.clone(),
            op: Op::Stop,
            source: Box::new(source),
        })?;
        Ok(!was_stopped)
    }

    /// That a service could be stopped once others are.
    ///
    /// # Errors
    /// As [`Self::stop`], but for what only the kernel can say.
    pub fn can_stop(
        &self,
        service: &ServiceName,
        others: &BTreeSet<ServiceName>,
    ) -> Result<(), RuntimeError> {
        self.nobody_runs_on(service, others)?;
        self.hooks_come_back(service)
    }

    /// That what is attached of a service can be attached again.
    fn hooks_come_back(&self, service: &ServiceName) -> Result<(), RuntimeError> {
        let state = self.service_state(service)?;
        let hooks = || state.hooks.values();
        comes_back(service, hooks().map(|hook| &hook.target))?;
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let once = hooks().find(|hook| is_once_only(hook, &release));
        once.map_or(Ok(()), |hook| {
            let (service, target) = (service.clone(), hook.target.clone());
            Err(RuntimeError::NeverBack { service, target })
        })
    }

    /// Ends the stop under way. May be done again from anywhere.
    pub(crate) fn finish_stop(&mut self) -> Result<(), RuntimeError> {
        let Some(pending) = self.state.pending.clone() else { return Ok(()) };
        if !pending.progress.switched {
            self.silence(&pending)?;
        }
        self.quiesce(&pending)?;
        self.converge(&pending.service)?;
        self.end(Outcome::Done)
    }

    /// Makes the switch word pick slots with nothing in them.
    fn silence(&mut self, pending: &Pending) -> Result<(), RuntimeError> {
        let service = &pending.service;
        let word = self.state.services.get(service).and_then(|state| state.switch);
        if let Some(word) = word {
            self.clear_slots(service, slot_of(word + 1))?;
        }
        let value = word.map(|word| word + 1);
        if pending.switching.is_none() {
            self.record(Record::Switching { value })?;
        }
        self.store_word(service, value)?;
        self.record(Record::Switched {})
    }

    fn clear_slots(&self, service: &ServiceName, slot: u32) -> Result<(), RuntimeError> {
        let Some(state) = self.state.services.get(service) else { return Ok(()) };
        let stubs = state.hooks.iter().filter(|(_, hook)| hook.mechanism == Mechanism::Stub);
        for (hook, _) in stubs {
            let slots = MapHandle::open_pinned(&self.pins(service).slots(hook))?;
            self.call("fill", || prog_array::clear(&slots, slot))?;
        }
        Ok(())
    }

    fn store_word(&self, service: &ServiceName, value: Option<u64>) -> Result<(), RuntimeError> {
        let Some(value) = value else { return Ok(()) };
        let word = MapHandle::open_pinned(&self.pins(service).switch())?.mmap()?;
        self.call("switch", || word.store(0, value));
        Ok(())
    }

    /// Attaches a stopped service again, as it was; after a reboot it is loaded first. Who could not be loaded without it is loaded
    /// behind it. Says whether it was stopped.
    ///
    /// # Errors
    /// What it needs does not run; a place that it is attached to is not there any more; the kernel refuses. It is stopped then as
    /// before.
    pub fn start(&mut self, service: &ServiceName) -> Result<bool, RuntimeError> {
        self.end_what_began()?;
        self.take_up(service)?;
        let state = self.service_state(service)?;
        if !state.stopped {
            return Ok(false);
        }
        self.start_stopped(service)?;
        self.start_users(service);
        Ok(true)
    }

    /// The same of one that is stopped, and of no other.
    pub(crate) fn start_stopped(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        let active = self.service_state(service)?.active().cloned();
        let active = active.ok_or_else(|| RuntimeError::NotRunning {
            service: service.clone(),
            why: "its generation is gone".to_owned(),
        })?;
        self.what_it_needs_runs(service, &active)?;
        self.failures.remove(service);
        if active.incarnation.is_none() {
            self.op = Op::Recover;
            self.converge(service)?; // what is still attached of it would be doubled
            return self.activate(service, &active, None);
        }
        let to = (Some(active.number), Some(active.clone()));
        self.begin(Op::Start, service, to, Default::default())?;
        if let Err(error) = self.attach_all(service, &active) {
            return Err(self.undo_or(error));
        }
        self.finish_or_set_aside(service)
    }

    /// Detaches a service and attaches it again; others that need it run on. One that is stopped is started. Where this process ends
    /// in between, the next one starts it.
    ///
    /// # Errors
    /// As [`Self::start`], and as [`Self::stop`]: what the kernel does not attach again is failed, and each start tries again until
    /// somebody stops it.
    pub fn restart(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        let active = self.service_state(service)?.active().cloned();
        active.iter().try_for_each(|active| self.what_it_needs_runs(service, active))?;
        self.restarts = true;
        let restarted = self.stop(service, true).and_then(|_| self.start(service).map(drop));
        self.restarts = false;
        if let Err(error) = &restarted
            && self.restarts(service)
        {
            self.failures.insert(service.clone(), Failure::Down(chain(error)));
        }
        restarted
    }

    /// Whether a service is stopped for a restart that has not ended.
    pub(crate) fn restarts(&self, service: &ServiceName) -> bool {
        self.state.services.get(service).is_some_and(|service| service.stopped && service.restarts)
    }

    fn attach_all(
        &mut self,
        service: &ServiceName,
        active: &Generation,
    ) -> Result<(), RuntimeError> {
        let state = self.service_state(service)?.clone();
        self.read_perfs_of(service, active)?;
        for (name, hook) in state.hooks {
            let file = file_of(&hook.target);
            let hook = Hook { attachment: Attachment::Intended, file, ..hook };
            let (owner, named) = (service.clone(), name.clone());
            self.record(Record::Attach { service: owner, name: named, hook: hook.clone() })?;
            self.attach_anew(service, &name, hook)?;
        }
        let value = state.switch.map(|word| word + 1);
        self.record(Record::Switching { value })?;
        self.store_word(service, value)?;
        self.record(Record::Switched {})
    }
}

/// That what a service has at these places can be attached by what is pinned alone.
pub(crate) fn comes_back<'a>(
    service: &ServiceName,
    mut targets: impl Iterator<Item = &'a Target>,
) -> Result<(), RuntimeError> {
    // The kernel attaches an extension once, to the program that it was loaded for.
    let is_extension = |target: &Target| target.site() == Some(Site::Program);
    let never =
        targets.find(|t| !is_known(t) || interface(t).is_some() || is_extension(t)).cloned();
    never.map_or(Ok(()), |target| Err(RuntimeError::NeverBack { service: service.clone(), target }))
}
