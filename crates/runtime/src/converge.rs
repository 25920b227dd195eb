//! Making the kernel what the state says: hooks that nobody wants are detached, idle slots hold the generation
//! that a rollback returns to, and what lies under our pins and no record names goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use skep_kernel::bpffs;
use skep_kernel::maps::prog_array;
use skep_kernel::stub::slot_of;
use skep_kernel::{KernelError, Link, MapHandle, Program};
use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Attachment, DeadHook, Mechanism, Op, Outcome, Record};

impl Runtime {
    /// Undoes the operation under way, which has not switched, or not wholly.
    pub(crate) fn undo(&mut self, cause: &str) -> Result<(), RuntimeError> {
        let Some(pending) = self.state.pending.clone() else { return Ok(()) };
        self.op = Op::Recover;
        self.record(Record::RolledBack { cause: cause.to_owned() })?;
        self.put_links_back(&pending)?;
        self.stop_reading_unknown(&pending.service);
        self.converge(&pending.service)?;
        self.end(Outcome::Undone)
    }

    /// Makes the kernel what the state says of one service.
    pub(crate) fn converge(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        let dead = self.state.dead.iter().filter(|dead| dead.service == *service).cloned();
        for hook in &dead.chain(self.stopped_hooks(service)).collect::<Vec<_>>() {
            self.detach_hook(hook)?;
        }
        self.settle_slots(service)?;
        self.settle_exports(service)?;
        let folder = self.pins(service).folder().to_path_buf();
        self.unpin_unknown(&folder)
    }

    /// Hooks of a stopped service that may still be attached.
    fn stopped_hooks(&self, name: &ServiceName) -> Vec<DeadHook> {
        let service = self.state.services.get(name).filter(|service| service.stopped);
        let hooks = service.into_iter().flat_map(|service| &service.hooks);
        let attached = hooks.filter(|(_, hook)| hook.attachment != Attachment::Off);
        let dead = attached.map(|(hook_name, hook)| DeadHook {
            service: name.clone(),
            name: hook_name.clone(),
            hook: hook.clone(),
        });
        dead.collect()
    }

    /// Puts the programs of the generation that waits into the idle slots, and empties those that it has none for: of the one that a
    /// rollback returns to, or, while the service is stopped, of the one that a start attaches.
    pub(crate) fn settle_slots(&self, name: &ServiceName) -> Result<(), RuntimeError> {
        let Some(service) = self.state.services.get(name) else { return Ok(()) };
        let Some(word) = service.switch else { return Ok(()) };
        let idle = slot_of(word + 1);
        let pins = self.pins(name);
        let stubs = service.hooks.iter().filter(|(_, hook)| hook.mechanism == Mechanism::Stub);
        for (hook, _) in stubs {
            let slots = MapHandle::open_pinned(&pins.slots(hook))?;
            let waiting = service.waiting().and_then(|n| Some((n, service.program_on(n, hook)?)));
            let now = prog_array::program_id(&slots, idle)?;
            match waiting {
                Some((_, (_, record))) if now == Some(record.id) => {}
                Some((number, (program, record))) => {
                    let path = pins.program(number, program);
                    let program = Program::open_pinned(&path, record.kind.clone())?;
                    self.call("fill", || prog_array::set(&slots, idle, &program))?;
                }
                None if now.is_some() => {
                    self.call("fill", || prog_array::clear(&slots, idle))?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Removes every pin under `folder` that no record names, then empty folders.
    pub(crate) fn unpin_unknown(&self, folder: &Path) -> Result<(), RuntimeError> {
        let known = self.state.pins(&self.dirs.bpffs);
        let links = self.state.links(&self.dirs.bpffs);
        let (links, others): (Vec<PathBuf>, Vec<PathBuf>) = bpffs::pins(folder)?
            .into_iter()
            .filter(|pin| !known.contains(pin) && !links.contains(&Link::first_pin(pin)))
            .partition(|pin| pin.file_name().is_some_and(|name| name == "link"));
        for pin in &links {
            self.call("unpin", || Link::take_off(pin))?;
        }
        for pin in &others {
            self.call("unpin", || bpffs::unpin(pin))?;
        }
        remove_empty(folder, &folders_of(&known))?;
        Ok(())
    }

    /// Lets the holder forget what no record names.
    pub(crate) fn release_unknown(&mut self) -> Result<(), RuntimeError> {
        let known = self.state.held_keys();
        for key in self.held.keys()? {
            if !known.contains(&key) {
                self.held.release(&key)?;
            }
        }
        Ok(())
    }
}

/// All folders that lead to one of the pins.
fn folders_of(pins: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    pins.iter().flat_map(|pin| pin.ancestors().skip(1)).map(Path::to_path_buf).collect()
}

/// Removes `folder` and the folders in it, deepest first, but for those that are needed.
fn remove_empty(folder: &Path, needed: &BTreeSet<PathBuf>) -> Result<(), KernelError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path(), needed)?;
        }
    }
    if needed.contains(folder) {
        return Ok(());
    }
    fs::remove_dir(folder)
        .map_err(|e| KernelError::new("remove the folder", folder.display().to_string(), e))
}
