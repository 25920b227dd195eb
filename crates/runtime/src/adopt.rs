//! Adopting what ran on: what went of it is mended, and hooks that went are attached again.

use std::mem;

use skep_kernel::attach::file_of;
use skep_kernel::maps::prog_array;
use skep_kernel::stub::{self, slot_of};
use skep_kernel::{Link, MapHandle, Program, bpffs};
use skep_spec::{ServiceName, chain};

use crate::attached::{is_cut_off, not_attached};
use crate::error::RuntimeError;
use crate::failure::Failure;
use crate::mend::maps_of;
use crate::plan::Report;
use crate::recover::{Recovery, of_one};
use crate::runtime::Runtime;
use crate::state::{Attachment, Hook, Mechanism, Op, Record, Service};
use crate::trampoline::is_at_trampoline;

impl Runtime {
    /// Adopts every service that ran.
    pub(crate) fn adopt(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let held = self.held.keys()?;
        for name in self.names() {
            let known = self.failures.contains_key(&name); // its operation was not taken up for it
            if known || self.is_idle(&name) || !self.mend_or_lose(&name, recovery)? {
                continue;
            }
            if self.is_stopped(&name) {
                self.adopt_stopped(&name, recovery)?;
                continue;
            }
            self.read_perfs_again(&name);
            let attached = self.attach_lost(&name, &held, recovery);
            let missing = match of_one(attached)? {
                Ok(missing) => missing,
                Err(error) => vec![chain(&error)],
            };
            match missing.is_empty() {
                true => recovery.adopted.push(name),
                false => self.fail(&name, Failure::Partly(missing.join("; ")), recovery),
            }
        }
        Ok(())
    }

    /// Sees to it that nothing of a stopped service is attached, and that its stubs are there for its start.
    fn adopt_stopped(
        &mut self,
        name: &ServiceName,
        recovery: &mut Recovery,
    ) -> Result<(), RuntimeError> {
        if self.state.aside.contains_key(name) {
            return Ok(()); // what waits says more
        }
        let ready = self.ready_stopped(name);
        if let Err(error) = of_one(ready)? {
            self.fail(name, Failure::Partly(chain(&error)), recovery);
        }
        Ok(())
    }

    fn ready_stopped(&mut self, name: &ServiceName) -> Result<(), RuntimeError> {
        let hooks = self.service_state(name)?.hooks.clone();
        for (hook_name, hook) in &hooks {
            if hook.mechanism == Mechanism::Stub && !self.has_stub(name, hook_name) {
                self.make_stub_again(name, hook_name, hook)?;
            }
        }
        self.converge(name)
    }

    /// Attaches the hooks of a service that went, or whose stub did, and gives those that could not be, with the reason.
    fn attach_lost(
        &mut self,
        name: &ServiceName,
        held: &[String],
        recovery: &mut Recovery,
    ) -> Result<Vec<String>, RuntimeError> {
        let service = self.service_state(name)?.clone();
        let mut missing = Vec::new();
        for (hook_name, hook) in &service.hooks {
            let attached = self.attach_if_lost(name, &service, (hook_name, hook), held);
            match of_one(attached)? {
                Ok(false) => {}
                Ok(true) => recovery.reattached.push(format!("{name}/{hook_name}")),
                Err(error) => {
                    let why = not_attached(hook_name, &hook.target, &chain(&error));
                    match service.program_on(service.active, hook_name) {
                        Some(_) => missing.push(why),
                        None => tracing::warn!(service = %name, "{why}; a rollback would miss it"),
                    }
                }
            }
        }
        // Which slot is idle is for an operation that waits to say.
        if missing.is_empty() && !self.state.aside.contains_key(name) {
            let settled = self.settle_slots(name).and_then(|()| self.settle_exports(name));
            missing.extend(of_one(settled)?.err().map(|error| chain(&error)));
        }
        Ok(missing)
    }

    /// Says whether a hook, its stub or its program had gone.
    fn attach_if_lost(
        &mut self,
        name: &ServiceName,
        service: &Service,
        (hook_name, hook): (&str, &Hook),
        held: &[String],
    ) -> Result<bool, RuntimeError> {
        let runs = service.program_on(service.active, hook_name).is_some();
        let stub = hook.mechanism == Mechanism::Stub;
        let no_stub = stub && !self.has_stub(name, hook_name);
        if no_stub {
            self.make_stub_again(name, hook_name, hook)?;
        }
        let waits = stub || hook.is_replaced(); // for a rollback
        let gone = no_stub || (runs || waits) && !self.is_attached(name, hook_name, hook, held)?;
        if gone {
            self.attach_again(name, hook_name, hook)?;
        }
        let emptied = stub && self.refill(name, service, hook_name)?;
        Ok(gone || emptied)
    }

    /// Puts the active program back into its slot, where somebody emptied it.
    fn refill(
        &self,
        name: &ServiceName,
        service: &Service,
        hook_name: &str,
    ) -> Result<bool, RuntimeError> {
        let running = service.switch.zip(service.program_on(service.active, hook_name));
        let Some((word, (program, record))) = running else { return Ok(false) };
        let slots = MapHandle::open_pinned(&self.pins(name).slots(hook_name))?;
        if prog_array::program_id(&slots, slot_of(word))? == Some(record.id) {
            return Ok(false);
        }
        let path = self.pins(name).program(service.active, program);
        let program = Program::open_pinned(&path, record.kind.clone())?;
        self.call("fill", || prog_array::set(&slots, slot_of(word), &program))?;
        Ok(true)
    }

    /// Whether a hook's stub is there, and its slots are those that it calls.
    fn has_stub(&self, name: &ServiceName, hook_name: &str) -> bool {
        let pins = self.pins(name);
        let slots = maps_of(&pins.stub(hook_name)).map(|(slots, _)| slots);
        let pinned = MapHandle::open_pinned(&pins.slots(hook_name)).map(|map| map.info().id);
        slots.is_some_and(|slots| slots == pinned.ok())
    }

    /// Whether what a hook is to have attached is attached. A link that a process made and died before it could say so
    /// counts, and is written down.
    fn is_attached(
        &mut self,
        name: &ServiceName,
        hook_name: &str,
        hook: &Hook,
        held: &[String],
    ) -> Result<bool, RuntimeError> {
        let known = match &hook.attachment {
            Attachment::Intended => return Ok(true),
            Attachment::Off => return Ok(false),
            Attachment::Held { key } => return Ok(held.contains(key)),
            Attachment::Tc { .. }
            | Attachment::Action { .. }
            | Attachment::Route { .. }
            | Attachment::Group { .. } => {
                return standing_is_there(hook);
            }
            Attachment::Link { id } => *id,
        };
        let Ok(link) = Link::open_pinned(&self.pins(name).link(hook_name)) else {
            return Ok(false);
        };
        if is_cut_off(&link, hook) {
            return Ok(false);
        }
        let id = link.id().unwrap_or(0);
        if id == known {
            return Ok(true);
        }
        let program = self.attached_program(name, hook_name, hook)?.id()?;
        let ours = link.program_id() == Some(program);
        if ours {
            let hook = Hook { attachment: Attachment::Link { id }, ..hook.clone() };
            let (service, name) = (name.clone(), hook_name.to_owned());
            self.record(Record::Attached { service, name, hook })?;
        }
        Ok(ours)
    }

    /// The program that a hook has attached: its stub, the active program, or one that does nothing.
    fn attached_program(
        &self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<Program, RuntimeError> {
        let pins = self.pins(service);
        let active = self.active(service)?;
        let path = match (hook.mechanism, active.program_on(name)) {
            (Mechanism::Stub, _) => pins.stub(name),
            (_, Some((program, _))) => pins.program(active.number, program),
            (_, None) => return Ok(stub::idle(&hook.kind)?),
        };
        Ok(Program::open_pinned(&path, hook.kind.clone())?)
    }

    /// Attaches the stub, or the active program, of a hook that was lost, in place of what may be left of it.
    fn attach_again(
        &mut self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<(), RuntimeError> {
        self.attached_program(service, name, hook)?; // else what is left stays
        let hook = Hook { file: file_of(&hook.target), ..hook.clone() };
        self.take_off(service, name, hook.standing())?;
        self.attach_anew(service, name, hook)
    }

    /// Attaches the stub, or the active program, of a hook that has nothing attached.
    pub(crate) fn attach_anew(
        &mut self,
        service: &ServiceName,
        name: &str,
        mut hook: Hook,
    ) -> Result<(), RuntimeError> {
        let program = self.attached_program(service, name, &hook)?;
        let link = match self.attach(service, name, &program, &hook) {
            Err(error) if is_spent(&error, &hook) => {
                let op = mem::replace(&mut self.op, Op::Recover);
                self.make_stub_again(service, name, &hook)?;
                self.op = op;
                let program = self.attached_program(service, name, &hook)?;
                self.attach(service, name, &program, &hook)
            }
            link => link,
        }?;
        self.settle(service, name, &mut hook, link, &mut Report::default())?;
        let (service, name) = (service.clone(), name.to_owned());
        self.record(Record::Attached { service, name, hook })
    }

    /// A stub like the one that was lost, with the program that runs on the hook, or waits for a rollback, in its slot.
    fn make_stub_again(
        &self,
        name: &ServiceName,
        hook_name: &str,
        hook: &Hook,
    ) -> Result<(), RuntimeError> {
        let (service, pins) = (self.service_state(name)?, self.pins(name));
        let word = service.switch.unwrap_or(0);
        let runs = (!service.stopped).then_some(service.active);
        let slots = [(runs, word), (service.waiting(), word + 1)];
        let mut programs = slots.into_iter().filter_map(|(number, word)| {
            let (program, _) = service.program_on(number?, hook_name)?;
            Some((pins.program(number?, program), slot_of(word)))
        });
        let (path, slot) =
            programs.next().ok_or_else(|| RuntimeError::gone(&pins.stub(hook_name)))?;
        let program = Program::open_pinned(&path, hook.kind.clone())?;
        let switch = MapHandle::open_pinned(&pins.switch())?;
        bpffs::unpin(&pins.slots(hook_name)).and_then(|()| bpffs::unpin(&pins.stub(hook_name)))?;
        let made = self.make_stub(name, hook_name, &program, hook.func_ip, (&switch, slot))?;
        self.pin_stub(name, hook_name, &made)
    }
}

/// Whether a stub was attached once, and its kernel attaches none a second time: it has forgotten what for (ENOENT).
fn is_spent(error: &RuntimeError, hook: &Hook) -> bool {
    let has_forgotten =
        matches!(error, RuntimeError::Attach { source, .. } if source.is_not_found());
    has_forgotten && hook.mechanism == Mechanism::Stub && is_at_trampoline(&hook.target)
}

fn standing_is_there(hook: &Hook) -> Result<bool, RuntimeError> {
    let standing = hook.standing();
    Ok(standing.map(|standing| standing.program_id()).transpose()?.flatten().is_some())
}
