//! Adopting what ran on: pins that went are put back where the kernel still has what they named, hooks that went are
//! attached again, and a service of which more is gone is given up, to be loaded again from its package.

use std::path::{Path, PathBuf};

use skep_kernel::attach::{self, AttachPlan};
use skep_kernel::maps::MapInfo;
use skep_kernel::maps::kind;
use skep_kernel::program::ProgramKind;
use skep_kernel::stub::slot_of;
use skep_kernel::{KernelError, Link, MapHandle, Program, bpffs};
use skep_spec::ServiceName;

use crate::error::{RuntimeError, chain};
use crate::hooks::make_folder;
use crate::plan::Report;
use crate::recover::{Recovery, of_one};
use crate::runtime::Runtime;
use crate::state::{Attachment, Hook, Mechanism, Op, Record};

impl Runtime {
    /// Adopts every service that ran.
    pub(crate) fn adopt(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let held = self.held.keys()?;
        for name in self.names() {
            let known = self.failures.contains_key(&name); // its operation was not taken up for it
            if known || self.is_idle(&name) || !self.mend_or_lose(&name, recovery)? {
                continue;
            }
            let attached = self.attach_lost(&name, &held, recovery);
            match of_one(attached)? {
                Ok(()) => recovery.adopted.push(name),
                Err(error) => self.fail(&name, chain(&error), recovery),
            }
        }
        Ok(())
    }

    /// Puts a service's pins back, or writes down that what they named is gone, which the kernel alone can say. Says whether it
    /// is whole but for hooks.
    pub(crate) fn mend_or_lose(
        &mut self,
        name: &ServiceName,
        recovery: &mut Recovery,
    ) -> Result<bool, RuntimeError> {
        self.op = Op::Recover;
        let mended = self.mend(name, &mut recovery.pinned_again);
        let Err(error) = of_one(mended)? else { return Ok(true) };
        let why = chain(&error);
        if !matches!(error, RuntimeError::Gone { .. }) {
            self.fail(name, why, recovery); // it may pass: what runs is left as it is
            return Ok(false);
        }
        self.record(Record::Lost { service: name.clone(), why: why.clone() })?;
        recovery.lost.push((name.clone(), why));
        Ok(false)
    }

    /// Puts back the pins of programs and maps that went, or that name something else now.
    fn mend(&self, name: &ServiceName, again: &mut Vec<PathBuf>) -> Result<(), RuntimeError> {
        let service = self.service_state(name)?;
        let pins = self.pins(name);
        for (number, generation) in &service.generations {
            let Some(incarnation) = &generation.incarnation else { continue };
            for (program, record) in &incarnation.programs {
                let path = pins.program(*number, program);
                let opened = Program::open_pinned(&path, (&record.kind).into());
                if !opened.is_ok_and(|program| program.id().is_ok_and(|id| id == record.id)) {
                    let program =
                        Program::by_id(record.id).map_err(|e| gone_if_absent(e, &path))?;
                    self.put_back(&path, again, |path| program.pin(path))?;
                }
            }
            for (map, record) in &incarnation.maps {
                self.mend_map(&pins.map(map, record.made_by), record.id, again)?;
            }
        }
        if service.switch.is_some() {
            let path = pins.switch();
            let mut stubs = service.hooks.keys().map(|hook| pins.stub(hook));
            match stubs.find_map(|stub| maps_of(&stub)?.1) {
                Some(switch) => self.mend_map(&path, switch, again)?,
                None => drop(MapHandle::open_pinned(&path).map_err(|e| gone_if_absent(e, &path))?),
            }
        }
        Ok(())
    }

    fn mend_map(&self, path: &Path, id: u32, again: &mut Vec<PathBuf>) -> Result<(), RuntimeError> {
        if MapHandle::open_pinned(path).is_ok_and(|map| map.info().id == id) {
            return Ok(());
        }
        let map = MapHandle::by_id(id).map_err(|e| gone_if_absent(e, path))?;
        if map.info().kind == kind::PROG_ARRAY {
            return Err(gone(path)); // the kernel empties it with its last pin
        }
        self.put_back(path, again, |path| map.pin(path))
    }

    fn put_back(
        &self,
        path: &Path,
        again: &mut Vec<PathBuf>,
        pin: impl FnOnce(&Path) -> Result<(), KernelError>,
    ) -> Result<(), RuntimeError> {
        path.parent().map_or(Ok(()), make_folder)?;
        self.call("pin", || bpffs::unpin(path).and_then(|()| pin(path)))?;
        again.push(path.to_owned());
        Ok(())
    }

    /// Attaches the hooks of a service that went, or whose stub did.
    fn attach_lost(
        &mut self,
        name: &ServiceName,
        held: &[String],
        recovery: &mut Recovery,
    ) -> Result<(), RuntimeError> {
        let service = self.service_state(name)?.clone();
        for (hook_name, hook) in &service.hooks {
            let runs = service.program_on(service.active, hook_name).is_some();
            let stub = hook.mechanism == Mechanism::Stub;
            if stub && !self.has_stub(name, hook_name) {
                self.make_stub_again(name, hook_name, hook)?;
            } else if !(runs || stub) || self.is_attached(name, hook_name, hook, held)? {
                continue;
            }
            self.attach_again(name, hook_name, hook)?;
            recovery.reattached.push(format!("{name}/{hook_name}"));
        }
        match self.state.aside.contains_key(name) {
            true => Ok(()), // which slot is idle is for the operation to say
            false => self.settle_slots(name),
        }
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
            Attachment::Held { key } => return Ok(held.contains(key)),
            Attachment::Tc { .. } => return filter_is_there(hook),
            Attachment::Link { id } => *id,
        };
        let Ok(link) = Link::open_pinned(&self.pins(name).link(hook_name)) else {
            return Ok(false);
        };
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

    /// The program that a hook has attached: its stub, or the active program.
    fn attached_program(
        &self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<Program, RuntimeError> {
        let pins = self.pins(service);
        let active = self.active(service)?;
        let path = match (hook.mechanism, active.program_on(name)) {
            (Mechanism::Stub, _) | (_, None) => pins.stub(name),
            (_, Some((program, _))) => pins.program(active.number, program),
        };
        Ok(Program::open_pinned(&path, (&hook.kind).into())?)
    }

    /// Attaches the stub, or the active program, of a hook that was lost, in place of what may be left of it.
    fn attach_again(
        &mut self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<(), RuntimeError> {
        let program = self.attached_program(service, name, hook)?;
        let mut hook = hook.clone();
        self.take_off(service, name, hook.attachment.filter())?;
        let plan = AttachPlan::new(hook.target.clone());
        let link = self.call("attach", || attach::attach_when_free(&program, &plan));
        let link = link.map_err(|source| RuntimeError::Attach {
            service: service.clone(),
            program: name.to_owned(),
            source: Box::new(source),
        })?;
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
        let slots = [(Some(service.active), word), (service.previous, word + 1)];
        let mut programs = slots.into_iter().filter_map(|(number, word)| {
            let (program, _) = service.program_on(number?, hook_name)?;
            Some((pins.program(number?, program), slot_of(word)))
        });
        let (path, slot) = programs.next().ok_or_else(|| gone(&pins.stub(hook_name)))?;
        let program = Program::open_pinned(&path, (&hook.kind).into())?;
        let switch = MapHandle::open_pinned(&pins.switch())?;
        bpffs::unpin(&pins.slots(hook_name)).and_then(|()| bpffs::unpin(&pins.stub(hook_name)))?;
        let made = self.make_stub(name, hook_name, &program, hook.func_ip, (&switch, slot))?;
        self.pin_stub(name, hook_name, &made)
    }
}

/// The maps of a pinned stub by id: its slots and the switch word.
fn maps_of(stub: &Path) -> Option<(Option<u32>, Option<u32>)> {
    let stub = Program::open_pinned(stub, ProgramKind::default()).ok()?;
    let maps = stub.info().ok()?.map_ids.into_iter().filter_map(|id| MapHandle::by_id(id).ok());
    let (slots, switch): (Vec<_>, Vec<_>) =
        maps.map(|map| map.info().clone()).partition(|map| map.kind == kind::PROG_ARRAY);
    let first = |maps: &[MapInfo]| maps.first().map(|map| map.id);
    Some((first(&slots), first(&switch)))
}

fn filter_is_there(hook: &Hook) -> Result<bool, RuntimeError> {
    let filter = hook.attachment.filter();
    Ok(filter.map(|filter| filter.program_id()).transpose()?.flatten().is_some())
}

/// What is gone is better named by its pin than by its number.
fn gone(path: &Path) -> RuntimeError {
    RuntimeError::Gone { path: path.display().to_string() }
}

/// What could not be opened for another reason than that it is gone, may be there.
fn gone_if_absent(error: KernelError, path: &Path) -> RuntimeError {
    if error.is_not_found() { gone(path) } else { error.into() }
}
