//! The switch: all hooks of a service run another generation, or none does.

use skep_kernel::attach::Standing;
use skep_kernel::{KernelError, Link, MapHandle, Program, stub};
use skep_spec::ServiceName;

use crate::at_map::{interface, map_at};
use crate::attached::is_cut_off;
use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Generation, Hook, Mechanism, Pending, Record};

/// A hook that switches by itself, and what it is to run.
struct Update {
    attached: Attached,
    payload: Payload,
}

enum Payload {
    Program(Program),
    /// The functions of a kernel interface.
    Functions(MapHandle),
}

enum Attached {
    Link(Link),
    Standing(Standing),
}

impl Runtime {
    /// Makes a generation run. Where that fails, [`Self::undo`] puts back what was replaced.
    pub(crate) fn switch(
        &mut self,
        service: &ServiceName,
        to: &Generation,
    ) -> Result<(), RuntimeError> {
        let value = self.next_word(service);
        self.record(Record::Switching { value })?;
        self.flip(service, to, value)?;
        self.record(Record::Switched {})
    }

    /// Takes a generation for the active one whose programs all wait, so that the word stays what it is.
    pub(crate) fn switch_nothing(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        let value = self.next_word(service).map(|word| word - 1);
        self.record(Record::Switching { value })?;
        self.record(Record::Switched {})
    }

    /// Replaces the programs of hooks that switch by themselves, which the kernel may refuse, and then stores the switch
    /// word, which nobody can. May be done again.
    pub(crate) fn flip(
        &self,
        service: &ServiceName,
        to: &Generation,
        value: Option<u64>,
    ) -> Result<(), RuntimeError> {
        let open = |_| MapHandle::open_pinned(&self.pins(service).switch())?.mmap();
        let word = value.map(open).transpose()?;
        let mut updates = Vec::new();
        for (name, hook) in self.update_hooks(service, to) {
            match to.program_on(&name) {
                None if self.is_unplugged(service, &name, &hook)? => {} // nothing of ours runs there
                _ => updates.extend(self.update_of(service, &name, &hook, to)?),
            }
        }
        for update in &mut updates {
            self.replace(update)?;
        }
        if let (Some(word), Some(value)) = (word, value) {
            self.call("switch", || word.store(0, value));
        }
        Ok(())
    }

    /// Gives hooks that switch by themselves the active generation's programs back, where a switch that failed or was cut
    /// off replaced them. One that is not attached any more has nothing to put back.
    pub(crate) fn put_links_back(&self, pending: &Pending) -> Result<(), RuntimeError> {
        let service = &pending.service;
        let active = self.state.services.get(service).and_then(|service| service.active());
        let Some(active) = active.filter(|_| pending.switching.is_some()) else { return Ok(()) };
        let Some(to) = &pending.to else { return Ok(()) };
        for (name, hook) in self.update_hooks(service, to) {
            if self.is_unplugged(service, &name, &hook)? {
                continue;
            }
            if let Some(mut update) = self.update_of(service, &name, &hook, active)? {
                self.replace(&mut update)?;
            }
        }
        Ok(())
    }

    /// Whether the kernel runs the new generation, or began to: the pinned switch word says it, or the program of a hook that
    /// switches by itself. What is not there has not switched.
    pub(crate) fn has_switched(&self, pending: &Pending) -> Result<bool, RuntimeError> {
        let Some((_, to)) = pending.switching.zip(pending.to.as_ref()) else { return Ok(false) };
        if self.has_stored(pending)? {
            return Ok(true);
        }
        let Some(service) = self.state.services.get(&pending.service) else { return Ok(false) };
        for (name, hook) in self.update_hooks(&pending.service, to) {
            let Some(runs) = self.runs_now(&pending.service, &name, &hook)? else { continue };
            let active = service.active();
            let old = active.and_then(|active| payload_id(active, &name, &hook));
            let new = payload_id(to, &name, &hook);
            // What runs for a generation that has no program there is told by what it is not.
            let switched = match (old, new) {
                (_, Some(new)) => old != Some(new) && runs == new,
                (Some(old), None) => runs != old,
                (None, None) => false,
            };
            if switched {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the pinned switch word has the new value. It is stored last: then all hooks have switched.
    pub(crate) fn has_stored(&self, pending: &Pending) -> Result<bool, RuntimeError> {
        let Some(Some(value)) = pending.switching else { return Ok(false) };
        let path = self.pins(&pending.service).switch();
        Ok(path.exists() && MapHandle::open_pinned(&path)?.mmap()?.load(0) == value)
    }

    /// The switch word's next value; none where no hook has a stub.
    fn next_word(&self, service: &ServiceName) -> Option<u64> {
        let known = self.state.services.get(service);
        let pending = self.state.pending.iter().flat_map(|p| p.hooks.values());
        let mut hooks = known.iter().flat_map(|s| s.hooks.values()).chain(pending);
        let stubbed = hooks.any(|hook| hook.mechanism == Mechanism::Stub);
        let word = known.and_then(|s| s.switch).unwrap_or(0);
        stubbed.then(|| word + 1)
    }

    /// The hooks that switch by themselves and that the running generation or `to` has a program for.
    fn update_hooks(&self, name: &ServiceName, to: &Generation) -> Vec<(String, Hook)> {
        let Some(service) = self.state.services.get(name) else { return Vec::new() };
        let wanted = |hook: &str| {
            service.program_on(service.active, hook).is_some() || to.program_on(hook).is_some()
        };
        let switches = |(name, hook): &(&String, &Hook)| hook.is_replaced() && wanted(name);
        let hooks = service.hooks.iter().filter(switches);
        hooks.map(|(name, hook)| (name.clone(), hook.clone())).collect()
    }

    /// What it takes to make a hook run its program of `to`, or none where that has none for it.
    fn update_of(
        &self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
        to: &Generation,
    ) -> Result<Option<Update>, RuntimeError> {
        let attached = self.attached(service, name, hook)?;
        let payload = match (to.program_on(name), interface(&hook.target)) {
            // A hook that runs it already stays as it is.
            (Some(_), _) if attached.runs(hook)? == payload_id(to, name, hook) => return Ok(None),
            (Some(_), Some(symbol)) => {
                let name = map_at(to, name, &hook.target).map_or(symbol, |(name, _)| name);
                Payload::Functions(self.open_map(service, to, name)?)
            }
            (Some((program, record)), None) => {
                let path = self.pins(service).program(to.number, program);
                Payload::Program(Program::open_pinned(&path, record.kind.clone())?)
            }
            (None, _) => Payload::Program(stub::idle(&hook.kind)?),
        };
        Ok(Some(Update { attached, payload }))
    }

    /// Whether a hook has nothing attached that could be replaced.
    fn is_unplugged(
        &self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<bool, RuntimeError> {
        Ok(self.runs_now(service, name, hook)?.is_none())
    }

    /// What a hook runs, as [`payload_id`] numbers it; none where nothing is attached any more.
    fn runs_now(
        &self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<Option<u32>, RuntimeError> {
        let attached = match self.attached(service, name, hook) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        if attached.is_cut_off(hook) {
            return Ok(None);
        }
        attached.runs(hook).map_err(Into::into)
    }

    fn attached(
        &self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<Attached, KernelError> {
        match hook.standing() {
            Some(standing) => Ok(Attached::Standing(standing)),
            None => Link::open_pinned(&self.pins(service).link(name)).map(Attached::Link),
        }
    }

    fn replace(&self, update: &mut Update) -> Result<(), KernelError> {
        self.call("update", || match (&mut update.attached, &update.payload) {
            (Attached::Link(link), Payload::Program(program)) => link.update(program),
            (Attached::Link(link), Payload::Functions(map)) => link.update_map(map),
            (Attached::Standing(standing), Payload::Program(program)) => standing.replace(program),
            (Attached::Standing(_), Payload::Functions(_)) => Ok(()), // none is at such a target
        })
    }
}

/// The id of a generation's program on a hook, or of the map that holds the functions of its interface.
fn payload_id(generation: &Generation, name: &str, hook: &Hook) -> Option<u32> {
    let (_, program) = generation.program_on(name)?;
    match interface(&hook.target) {
        Some(_) => map_at(generation, name, &hook.target).map(|(_, map)| map.id),
        None => Some(program.id),
    }
}

impl Attached {
    fn runs(&self, hook: &Hook) -> Result<Option<u32>, KernelError> {
        match self {
            Self::Link(link) if interface(&hook.target).is_some() => Ok(link.map_id()),
            Self::Link(link) => Ok(link.program_id()),
            Self::Standing(standing) => standing.program_id(),
        }
    }

    fn is_cut_off(&self, hook: &Hook) -> bool {
        matches!(self, Self::Link(link) if is_cut_off(link, hook))
    }
}
