//! How each record changes the state.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use skep_spec::ServiceName;
use skep_spec::life::Interrupted;

use super::{Aside, DeadHook, Generation, Hook, Op, Pending, Record, Service, State};
use crate::plan::MapChange;

impl State {
    /// Takes one record into account. Records come from a journal that was checked, in its order.
    pub fn apply(&mut self, record: Record) {
        let step = match &record {
            Record::Boot { boot_id } if *boot_id == self.boot => None,
            record => record.step(),
        };
        let before = self.pending.as_ref().map(|pending| pending.progress);
        self.take(record);
        let Some(step) = step else { return };
        let progress = Interrupted::after(before, step);
        self.pending = self
            .pending
            .take()
            .zip(progress)
            .map(|(pending, progress)| Pending { progress, ..pending });
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Boot { boot_id } => self.boot(boot_id),
            Record::Begin { txn, service, op, from, to, changes } => {
                self.begin(txn, service, op, (from, to), changes);
            }
            Record::Loaded { incarnation } => {
                if let Some(to) = self.pending.as_mut().and_then(|p| p.to.as_mut()) {
                    to.incarnation = Some(incarnation);
                }
            }
            Record::Attach { service, name, hook } | Record::Attached { service, name, hook } => {
                self.hook(service, name, hook);
            }
            Record::Switching { value } => self.with_pending(|p| p.switching = Some(value)),
            Record::Switched {} => self.switched(),
            Record::Quiesced {} => self.with_pending(|p| p.quiesced = true),
            Record::Merged { map, last: true, .. } => {
                self.with_pending(|p| {
                    p.merged.insert(map);
                });
            }
            Record::SoakUntil { unix_seconds } => {
                self.with_service(|service| service.soak_until = Some(unix_seconds));
            }
            Record::Committed { generation } => self.committed(generation),
            Record::RolledBack { .. } => self.rolled_back(),
            Record::Detached { service, name } => {
                self.dead.retain(|dead| dead.service != service || dead.name != name);
            }
            Record::Checkpoint { state } => *self = state,
            Record::Lost { service, why } => {
                self.cold(&service);
                if let Some(service) = self.services.get_mut(&service) {
                    service.lost = Some(why);
                }
            }
            Record::SetAside { why } => {
                if let Some(pending) = self.pending.take() {
                    self.aside.insert(pending.service.clone(), Aside { pending, why });
                }
            }
            Record::TakeUp { service } => {
                self.pending = self.aside.remove(&service).map(|aside| aside.pending);
            }
            Record::SlotsFilled { .. }
            | Record::End { .. }
            | Record::Precopied { .. }
            | Record::Merged { .. }
            | Record::Freed { .. } => {}
        }
    }

    /// Pins, ids and hooks of another boot are gone.
    fn boot(&mut self, boot_id: String) {
        if boot_id == self.boot {
            return;
        }
        self.boot = boot_id;
        for name in self.services.keys().cloned().collect::<Vec<_>>() {
            self.cold(&name);
        }
        self.services.values_mut().for_each(|service| service.lost = None);
        (self.pending, self.aside, self.dead) = (None, BTreeMap::new(), Vec::new());
    }

    /// The kernel has nothing of a service that can be used: what had not switched never will, and what may still be
    /// attached is dead.
    fn cold(&mut self, name: &ServiceName) {
        let pending = self.pending.take_if(|pending| pending.service == *name);
        let begun = pending.or_else(|| Some(self.aside.remove(name)?.pending));
        let Some(service) = self.services.get_mut(name) else { return };
        let mut dead = Vec::new();
        if let Some(begun) = begun {
            dead.push(begun.hooks);
            dead.extend(
                begun.retiring.filter(|_| begun.progress.switched).map(|gone| service.forget(gone)),
            );
        }
        dead.push(mem::take(&mut service.hooks));
        service.changes.clear();
        service.switch = None;
        for generation in service.generations.values_mut() {
            generation.incarnation = None;
        }
        dead.into_iter().for_each(|hooks| self.bury(name, hooks));
    }

    fn begin(
        &mut self,
        txn: u64,
        service: ServiceName,
        op: Op,
        (from, to): (Option<u64>, Option<Generation>),
        changes: BTreeMap<String, MapChange>,
    ) {
        self.last_txn = txn;
        let previous = self.services.get(&service).and_then(|s| s.previous);
        let retiring = match op {
            Op::Upgrade | Op::Commit => previous,
            Op::Rollback => from,
            _ => None,
        };
        let to = if op == Op::Remove { self.removed(&service) } else { to };
        self.pending = Some(Pending {
            txn,
            service,
            op,
            from,
            to,
            changes,
            hooks: BTreeMap::new(),
            switching: None,
            progress: Interrupted::default(),
            quiesced: false,
            merged: BTreeSet::new(),
            retiring,
        });
    }

    /// A service goes, with an operation on it that waited. Gives the generation that people know it by.
    fn removed(&mut self, name: &ServiceName) -> Option<Generation> {
        let service = self.services.remove(name);
        let begun = self.aside.remove(name).map(|aside| aside.pending);
        let known = service.as_ref().and_then(|service| service.active().cloned());
        let known = known.or_else(|| begun.as_ref()?.to.clone());
        let hooks = begun.map(|begun| begun.hooks);
        let hooks = hooks.into_iter().chain(service.map(|service| service.hooks));
        hooks.for_each(|hooks| self.bury(name, hooks));
        known
    }

    /// A hook that the service has already changes there; any other belongs to the operation until the switch.
    fn hook(&mut self, service: ServiceName, name: String, hook: Hook) {
        let known = self.services.get_mut(&service).and_then(|s| s.hooks.get_mut(&name));
        match (known, &mut self.pending) {
            (Some(known), _) => *known = hook,
            (None, Some(pending)) => {
                pending.hooks.insert(name, hook);
            }
            (None, None) => {}
        }
    }

    fn switched(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        let Some(to) = pending.to.clone() else { return };
        let service = self.services.entry(pending.service.clone()).or_default();
        service.switch = pending.switching.flatten();
        service.active = to.number;
        service.last_generation = service.last_generation.max(to.number);
        service.hooks.append(&mut pending.hooks);
        match pending.op {
            Op::Upgrade => {
                service.previous = pending.from;
                service.changes = pending.changes.clone();
            }
            Op::Rollback => {
                service.previous = None;
                service.soak_until = None;
                service.changes.clear();
            }
            // After a reboot the active generation did not start, the one before did.
            Op::Activate if service.previous == Some(to.number) => {
                service.previous = None;
                service.generations.clear();
            }
            _ => {}
        }
        service.generations.insert(to.number, to);
    }

    fn committed(&mut self, generation: u64) {
        let Some(name) = self.pending.as_ref().map(|p| p.service.clone()) else { return };
        let Some(service) = self.services.get_mut(&name) else { return };
        if service.previous == Some(generation) {
            service.soak_until = None;
            service.changes.clear();
        }
        let unwanted = service.forget(generation);
        self.bury(&name, unwanted);
    }

    fn rolled_back(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        let (name, hooks) = (pending.service.clone(), mem::take(&mut pending.hooks));
        self.bury(&name, hooks);
    }

    fn bury(&mut self, service: &ServiceName, hooks: BTreeMap<String, Hook>) {
        let dead = |(name, hook)| DeadHook { service: service.clone(), name, hook };
        self.dead.extend(hooks.into_iter().map(dead));
    }

    fn with_pending(&mut self, change: impl FnOnce(&mut Pending)) {
        if let Some(pending) = &mut self.pending {
            change(pending);
        }
    }

    fn with_service(&mut self, change: impl FnOnce(&mut Service)) {
        let Some(name) = self.pending.as_ref().map(|p| &p.service) else { return };
        if let Some(service) = self.services.get_mut(name) {
            change(service);
        }
    }
}

impl Service {
    /// Drops a generation and gives back the hooks that none of the others has a program on.
    fn forget(&mut self, generation: u64) -> BTreeMap<String, Hook> {
        self.generations.remove(&generation);
        if self.previous == Some(generation) {
            self.previous = None;
        }
        let generations = &self.generations;
        let wanted = |name: &str| generations.values().any(|g| g.program_on(name).is_some());
        let (kept, unwanted) =
            mem::take(&mut self.hooks).into_iter().partition(|(name, _)| wanted(name));
        self.hooks = kept;
        unwanted
    }
}
