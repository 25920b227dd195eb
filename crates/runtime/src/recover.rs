//! Recovery: after a crash, a restart or a reboot, the kernel and the journal come to one state.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use skep_kernel::{AttachPlan, Link, MapHandle, Program, attach};
use skep_spec::ServiceName;
use skep_spec::life::{self, Way};

use crate::bring_up::BringUp;
use crate::error::{RuntimeError, chain};
use crate::runtime::Runtime;
use crate::state::{Attachment, Generation, Hook, Mechanism, Op, Outcome, Pending, Record};

/// What [`Runtime::open`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Services that ran on and were adopted.
    pub adopted: Vec<ServiceName>,
    /// Services whose active generation was loaded again after a reboot.
    pub started: Vec<ServiceName>,
    /// Services of which nothing runs, with the reason.
    pub failed: Vec<(ServiceName, String)>,
    /// The operation that had begun and not ended.
    pub interrupted: Option<Interrupted>,
    /// Hooks that were lost while nobody held them, and are attached again.
    pub reattached: Vec<String>,
}

/// An operation that another process began and did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// On which service.
    pub service: ServiceName,
    /// What it was.
    pub op: Op,
    /// Whether it was finished (the new state holds) or undone (the old one does).
    pub finished: bool,
}

/// The kernel's name for this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl Runtime {
    /// Brings kernel and journal to one state; see [`Runtime::open`].
    pub(crate) fn recover(&mut self) -> Result<Recovery, RuntimeError> {
        self.op = Op::Recover;
        let mut recovery = Recovery::default();
        let boot = boot_id()?;
        if boot == self.state.boot {
            recovery.interrupted = self.resume()?;
            self.adopt(&mut recovery)?;
        } else {
            self.record(Record::Boot { boot_id: boot })?;
        }
        let root = self.dirs.bpffs.clone();
        self.unpin_all_unknown(&root)?;
        self.release_unknown()?;
        self.start_all(&mut recovery)?;
        self.op = Op::Recover;
        self.checkpoint()?;
        Ok(recovery)
    }

    /// Takes up what an operation of this process left unfinished.
    pub(crate) fn take_up(&mut self) -> Result<(), RuntimeError> {
        if self.state.pending.is_some() {
            self.op = Op::Recover;
            self.resume()?;
        }
        Ok(())
    }

    /// Finishes the operation under way if it has switched, and undoes it otherwise.
    fn resume(&mut self) -> Result<Option<Interrupted>, RuntimeError> {
        let Some(pending) = self.state.pending.clone() else { return Ok(None) };
        let (service, op) = (pending.service.clone(), pending.op);
        let only_forward = matches!(op, Op::Remove | Op::Commit);
        let left = life::Interrupted { only_forward, switched: pending.switched };
        let known = life::after_crash(left, false) == Way::Finish;
        let way = life::after_crash(left, !known && self.has_switched(&pending)?);
        match (way, op) {
            (Way::Finish, Op::Remove) => {
                self.converge(&service)?;
                self.end(Outcome::Done)?;
            }
            (Way::Finish, _) if known => self.finish()?,
            (Way::Finish, _) => self.go_forward(&pending)?,
            (Way::Undo, _) => self.undo("the process ended before the switch")?,
        }
        Ok(Some(Interrupted { service, op, finished: way == Way::Finish }))
    }

    /// Whether the kernel runs the new generation: the pinned switch word says it; without one, the program
    /// behind the first link that switches by itself.
    fn has_switched(&self, pending: &Pending) -> Result<bool, RuntimeError> {
        match pending.switching {
            None => Ok(false),
            Some(Some(value)) => {
                let switch = MapHandle::open_pinned(&self.pins(&pending.service).switch())?;
                Ok(switch.mmap()?.load(0) == value)
            }
            Some(None) => self.link_has_switched(pending),
        }
    }

    fn link_has_switched(&self, pending: &Pending) -> Result<bool, RuntimeError> {
        let (Some(to), Some(service)) = (&pending.to, self.state.services.get(&pending.service))
        else {
            return Ok(false); // an install: what was attached goes again
        };
        for (name, hook) in &service.hooks {
            let Some((_, record)) = to.program_on(name) else { continue };
            let now = match hook.attachment.filter() {
                Some(filter) => filter.program_id()?,
                None => Link::open_pinned(&self.pins(&pending.service).link(name))?.program_id(),
            };
            return Ok(now == Some(record.id));
        }
        Ok(false)
    }

    fn go_forward(&mut self, pending: &Pending) -> Result<(), RuntimeError> {
        if let Some(to) = &pending.to {
            self.update_links(&pending.service, to)?;
        }
        self.record(Record::Switched {})?;
        self.finish()
    }

    /// Adopts what runs; a hook that went while nobody held it is attached again.
    fn adopt(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let held = self.held.keys()?;
        for (name, service) in self.state.services.clone() {
            if service.active().is_none_or(|g| g.incarnation.is_none()) {
                continue;
            }
            for (hook_name, hook) in &service.hooks {
                let gone = match &hook.attachment {
                    Attachment::Held { key } => !held.contains(key),
                    Attachment::Link { .. } => !self.pins(&name).link(hook_name).exists(),
                    Attachment::Tc { .. } => self.filter_is_gone(hook)?,
                    Attachment::Intended => false,
                };
                if gone && service.active().is_some_and(|g| g.program_on(hook_name).is_some()) {
                    self.attach_again(&name, hook_name, hook)?;
                    recovery.reattached.push(format!("{name}/{hook_name}"));
                }
            }
            recovery.adopted.push(name);
        }
        Ok(())
    }

    fn filter_is_gone(&self, hook: &Hook) -> Result<bool, RuntimeError> {
        let filter = hook.attachment.filter();
        Ok(filter.map(|filter| filter.program_id()).transpose()?.flatten().is_none())
    }

    /// Attaches the stub, or the active program, of a hook that was lost.
    fn attach_again(
        &mut self,
        service: &ServiceName,
        name: &str,
        hook: &Hook,
    ) -> Result<(), RuntimeError> {
        let pins = self.pins(service);
        let active = self.active(service)?;
        let path = match (hook.mechanism, active.program_on(name)) {
            (Mechanism::Stub, _) | (_, None) => pins.stub(name),
            (_, Some((program, _))) => pins.program(active.number, program),
        };
        let program = Program::open_pinned(&path, (&hook.kind).into())?;
        let mut hook = hook.clone();
        let link = self
            .call("attach", || attach::attach(&program, &AttachPlan::new(hook.target.clone())))?;
        let mut report = crate::plan::Report::default();
        self.settle(service, name, &mut hook, link, &mut report)?;
        let (service, name) = (service.clone(), name.to_owned());
        self.record(Record::Attached { service, name, hook })
    }

    fn unpin_all_unknown(&mut self, root: &Path) -> Result<(), RuntimeError> {
        let dead: Vec<_> = self.state.dead.clone();
        for hook in &dead {
            self.detach_hook(hook)?;
        }
        let Ok(entries) = fs::read_dir(root) else { return Ok(()) };
        for entry in entries.flatten() {
            self.unpin_unknown(&entry.path())?;
        }
        Ok(())
    }

    /// After a reboot: loads the active generation of every service again, or the one before it.
    fn start_all(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        for (name, service) in self.state.services.clone() {
            let idle = service.active().is_some_and(|g| g.incarnation.is_none());
            if !idle {
                continue;
            }
            let candidates = [Some(service.active), service.previous];
            let candidates = candidates.into_iter().flatten();
            let generations: Vec<&Generation> =
                candidates.filter_map(|n| service.generations.get(&n)).collect();
            match self.start_first(&name, &generations) {
                Ok(()) => recovery.started.push(name),
                Err(why) => {
                    tracing::error!(service = %name, "not started: {why}");
                    self.failures.insert(name.clone(), why.clone());
                    recovery.failed.push((name, why));
                }
            }
        }
        Ok(())
    }

    fn start_first(
        &mut self,
        service: &ServiceName,
        generations: &[&Generation],
    ) -> Result<(), String> {
        let mut reasons = Vec::new();
        for generation in generations {
            match self.start(service, generation) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let (version, why) = (&generation.version, chain(&error));
                    reasons.push(format!("generation {} ({version}): {why}", generation.number));
                }
            }
        }
        Err(reasons.join("; "))
    }

    fn start(
        &mut self,
        service: &ServiceName,
        generation: &Generation,
    ) -> Result<(), RuntimeError> {
        let package = self.package(&generation.index)?;
        let up = BringUp {
            op: Op::Activate,
            service: service.clone(),
            package: &package,
            generation: generation.clone(),
            from: None,
            changes: BTreeMap::new(),
        };
        self.bring_up(&up).map(drop)
    }

    fn checkpoint(&mut self) -> Result<(), RuntimeError> {
        if self.journal.wants_checkpoint() {
            use crate::faults::Side;
            self.faults.point(self.op, "Checkpoint", Side::Before);
            self.journal.checkpoint(&self.state)?;
            self.faults.point(self.op, "Checkpoint", Side::After);
        }
        Ok(())
    }
}

fn boot_id() -> Result<String, RuntimeError> {
    let failed = |source| RuntimeError::File { action: "read", path: BOOT_ID.to_owned(), source };
    Ok(fs::read_to_string(BOOT_ID).map_err(failed)?.trim().to_owned())
}
