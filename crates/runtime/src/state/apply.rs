//! How each record changes the state.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use skep_spec::ServiceName;
use skep_spec::life::Interrupted;

use super::{
    Aside, Attachment, DeadHook, Generation, Hook, Incarnation, Op, Pending, PreviousLost, Record,
    Service, Settings, State, Then, Way,
};
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
        self.forgive_changed();
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
            Record::Begin { txn, service, op, from, to, changes, then } => {
                self.begin(txn, service, op, (from, to), (changes, then));
            }
            Record::Loaded { incarnation } => self.loaded(incarnation),
            Record::Attach { service, name, hook } | Record::Attached { service, name, hook } => {
                self.hook(service, name, hook);
            }
            Record::Switching { value } => self.with_pending(|p| p.switching = Some(value)),
            Record::Switched {} => self.switched(),
            Record::Quiesced {} => self.with_pending(|p| p.quiesced = true),
            Record::Merged { map, batch, last, no_room } => {
                self.merged(map, batch == 0, last, no_room);
            }
            Record::Committed { generation, lost } => self.committed(generation, lost),
            Record::RolledBack { .. } => self.rolled_back(),
            Record::Detached { service, name } => self.detached(&service, &name),
            Record::Checkpoint { state } => *self = state,
            Record::Lost { service, why } => self.lost(&service, why),
            Record::LostGeneration { service, generation, why } => {
                self.lost_generation(&service, generation, why);
            }
            Record::SetAside { why } => self.set_aside(why),
            Record::SetBegan { members, way } => (self.set, self.way) = (members, way),
            Record::SetEnded {} => (self.set, self.way) = (Vec::new(), Way::There),
            Record::SetOwes { members } => self.owed = members,
            Record::Held { service, held } => {
                self.services.entry(service).and_modify(|service| service.held = held);
            }
            Record::Setting { service, settings, with_switch } => {
                self.setting(service, settings, with_switch);
            }
            Record::TakeUp { service } => {
                self.set_aside_for(&service);
                self.pending = self.aside.remove(&service).map(|aside| aside.pending);
            }
            Record::SlotsFilled { .. }
            | Record::SoakUntil { .. }
            | Record::End { .. }
            | Record::Precopied { .. }
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
            let retired = begun.retiring.filter(|_| begun.progress.switched);
            dead.push(begun.hooks);
            dead.extend(retired.map(|gone| service.forget(gone, None)));
        }
        dead.push(service.cool());
        dead.into_iter().for_each(|hooks| self.bury(name, hooks));
    }

    fn lost(&mut self, name: &ServiceName, why: String) {
        self.cold(name);
        if let Some(service) = self.services.get_mut(name) {
            service.lost = Some(why);
        }
    }

    /// A hook that nobody wants is off, or one of a service that is stopped.
    fn detached(&mut self, service: &ServiceName, name: &str) {
        self.dead.retain(|dead| dead.service != *service || dead.name != name);
        let stopped = self.services.get_mut(service).filter(|service| service.stopped);
        if let Some(hook) = stopped.and_then(|service| service.hooks.get_mut(name)) {
            hook.attachment = Attachment::Off;
        }
    }

    fn set_aside(&mut self, why: String) {
        if let Some(pending) = self.pending.take() {
            self.aside.insert(pending.service.clone(), Aside { pending, why });
        }
    }

    /// What is under way waits for an operation on another service.
    fn set_aside_for(&mut self, service: &ServiceName) {
        if self.pending.as_ref().is_some_and(|pending| pending.service != *service) {
            self.set_aside(format!("an operation on {service} came between"));
        }
    }

    fn loaded(&mut self, incarnation: Incarnation) {
        if let Some(to) = self.pending.as_mut().and_then(|p| p.to.as_mut()) {
            to.incarnation = Some(incarnation);
        }
    }

    fn begin(
        &mut self,
        txn: u64,
        service: ServiceName,
        op: Op,
        (from, to): (Option<u64>, Option<Generation>),
        (changes, then): (BTreeMap<String, MapChange>, Option<Then>),
    ) {
        self.last_txn = txn;
        self.set_aside_for(&service);
        let previous = self.services.get(&service).and_then(|s| s.previous);
        let retiring = match op {
            // A commit gives the way back up.
            Op::Upgrade | Op::Commit => previous,
            Op::Rollback => from,
            _ => None,
        };
        let to = if op == Op::Remove { self.removed(&service) } else { to };
        if op == Op::Stop {
            self.services.entry(service.clone()).and_modify(|service| {
                (service.stopped, service.restarts) = (true, then == Some(Then::Started));
            });
        }
        self.pending = Some(Pending {
            txn,
            service,
            op,
            from,
            to,
            changes,
            then,
            hooks: BTreeMap::new(),
            switching: None,
            progress: Interrupted::default(),
            quiesced: false,
            merged: BTreeSet::new(),
            retiring,
            settings: None,
        });
    }

    fn setting(&mut self, service: ServiceName, settings: Settings, with_switch: bool) {
        match with_switch {
            true => self.with_pending(|pending| pending.settings = Some(settings)),
            false => drop(self.services.entry(service).and_modify(|s| s.settings = settings)),
        }
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
        let Some(pending) = &self.pending else { return };
        if pending.op == Op::Stop {
            let service = self.services.get_mut(&pending.service);
            service.zip(pending.switching).into_iter().for_each(|(s, word)| s.switch = word);
            return;
        }
        let (op, Some(to)) = (pending.op, pending.to.clone()) else { return };
        self.forgive_needed(op, &to);
        let Some(pending) = &mut self.pending else { return };
        let service = self.services.entry(pending.service.clone()).or_default();
        service.stopped = pending.then == Some(Then::Stopped);
        service.restarts = false;
        service.switch = pending.switching.flatten();
        if pending.op == Op::Start {
            return; // the same generation, at the same hooks
        }
        service.settings =
            pending.settings.take().unwrap_or_else(|| mem::take(&mut service.settings));
        service.active = to.number;
        service.last_generation = service.last_generation.max(to.number);
        service.hooks.append(&mut pending.hooks);
        service.no_room.clear();
        service.change_previous(pending, to.number);
        service.generations.insert(to.number, to);
    }

    /// A move that was cut off begins with the first batch again.
    fn merged(&mut self, map: String, first: bool, last: bool, no_room: u64) {
        self.with_service(|service| {
            let before = service.no_room.remove(&map).filter(|_| !first).unwrap_or(0);
            if before + no_room > 0 {
                service.no_room.insert(map.clone(), before + no_room);
            }
        });
        if last {
            self.with_pending(|pending| {
                pending.merged.insert(map);
            });
        }
    }

    fn committed(&mut self, generation: u64, lost: BTreeMap<String, u64>) {
        let Some(name) = self.pending.as_ref().map(|p| p.service.clone()) else { return };
        let Some(service) = self.services.get_mut(&name) else { return };
        if service.previous == Some(generation) {
            service.changes.clear();
        }
        for (function, events) in lost {
            *service.lost_events.entry(function).or_default() += events;
        }
        let unwanted = service.forget(generation, None);
        self.bury(&name, unwanted);
    }

    /// A generation that does not run is gone; a hook that an operation under way wants stays for it.
    fn lost_generation(&mut self, name: &ServiceName, generation: u64, why: String) {
        let coming = self.begun(name).and_then(|begun| begun.to.clone());
        let Some(service) = self.services.get_mut(name) else { return };
        let lost = service.generations.get(&generation);
        if let Some(lost) = lost.filter(|_| service.previous == Some(generation)) {
            let version = lost.version.clone();
            service.previous_lost = Some(PreviousLost { generation, version, why });
            service.changes.clear();
        }
        let unwanted = service.forget(generation, coming.as_ref());
        self.bury(name, unwanted);
    }

    fn rolled_back(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        let (name, hooks) = (pending.service.clone(), mem::take(&mut pending.hooks));
        let unwanted = self.services.get_mut(&name).map(|service| service.unwanted_hooks(None));
        self.bury(&name, hooks);
        self.bury(&name, unwanted.unwrap_or_default());
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
    /// What a rollback returns to once the operation has switched to a generation.
    fn change_previous(&mut self, pending: &Pending, to: u64) {
        match pending.op {
            Op::Upgrade => {
                self.previous = pending.from;
                self.previous_lost = None;
                self.changes = pending.changes.clone();
            }
            Op::Rollback => {
                self.previous = None;
                self.changes.clear();
                // After a reboot the one before is loaded as a new one.
                self.generations.retain(|number, _| Some(*number) == pending.from || *number == to);
            }
            // After a reboot the active generation did not start, the one before did.
            Op::Activate if self.previous == Some(to) => {
                self.previous = None;
                self.generations.clear();
            }
            _ => {}
        }
    }

    /// Forgets what the kernel had of it, and gives back its hooks.
    fn cool(&mut self) -> BTreeMap<String, Hook> {
        self.changes.clear();
        self.no_room.clear();
        self.lost_events.clear();
        self.switch = None;
        for generation in self.generations.values_mut() {
            generation.incarnation = None;
        }
        mem::take(&mut self.hooks)
    }

    /// Drops a generation and gives back the hooks that none of the others has a program on, nor the one that is coming.
    fn forget(&mut self, generation: u64, coming: Option<&Generation>) -> BTreeMap<String, Hook> {
        self.generations.remove(&generation);
        if self.previous == Some(generation) {
            self.previous = None;
        }
        self.unwanted_hooks(coming)
    }

    /// Takes out the hooks that no generation has a program on.
    fn unwanted_hooks(&mut self, coming: Option<&Generation>) -> BTreeMap<String, Hook> {
        let generations = &self.generations;
        let wanted =
            |name: &str| generations.values().chain(coming).any(|g| g.program_on(name).is_some());
        let (kept, unwanted) =
            mem::take(&mut self.hooks).into_iter().partition(|(name, _)| wanted(name));
        self.hooks = kept;
        unwanted
    }
}

#[cfg(test)]
mod tests;
