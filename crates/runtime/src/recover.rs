//! Recovery: after a crash, a restart or a reboot, the kernel and the journal come to one state.
//!
//! What is wrong with one service stops no other: only what the journal or the holder cannot do ends it.

use std::fs;
use std::path::PathBuf;

use skep_spec::life::{self, Way};
use skep_spec::{ServiceName, Version, chain};

use crate::error::RuntimeError;
use crate::runtime::Runtime;
use crate::state::{Op, Outcome, Pending, Record};

/// What [`Runtime::open`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether there was no bpffs, and one was mounted.
    pub mounted: bool,
    /// Services that ran on and were adopted.
    pub adopted: Vec<ServiceName>,
    /// Services whose active generation was loaded again, after a reboot or since they were lost.
    pub started: Vec<ServiceName>,
    /// Services that somebody stopped: they wait to be started.
    pub stopped: Vec<ServiceName>,
    /// Services that do not run, with the reason.
    pub failed: Vec<(ServiceName, String)>,
    /// Services that run but for what is said here.
    pub partly: Vec<(ServiceName, String)>,
    /// Services that the kernel had no more, with what was gone: their maps began empty.
    pub lost: Vec<(ServiceName, String)>,
    /// Generations that did not run and that the kernel had no more: there is no way back to them.
    pub generations_lost: Vec<(ServiceName, String)>,
    /// Operations that had begun and not ended.
    pub interrupted: Vec<Interrupted>,
    /// Operations that had begun and could not be ended, with the reason.
    pub aside: Vec<(ServiceName, String)>,
    /// Hooks that were lost while nobody held them, and are attached again.
    pub reattached: Vec<String>,
    /// Pins that somebody removed, and that are back: nothing of what they name was lost.
    pub pinned_again: Vec<PathBuf>,
}

/// An operation that another process began and did not end, or that belonged to what it did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// On which service.
    pub service: ServiceName,
    /// What it was.
    pub op: Op,
    /// The generation that ran before it was ended, and its version.
    pub from: Option<(u64, Version)>,
    /// What was not ended.
    pub unended: Unended,
    /// Whether it was finished (the new state holds) or undone (the old one does).
    pub finished: bool,
}

/// What another process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unended {
    /// The operation itself.
    Operation,
    /// The set that it belonged to.
    Set,
    /// What a set owed that was over.
    Owed,
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
            self.take_up_all(&mut recovery)?;
            self.adopt(&mut recovery)?;
        } else {
            self.record(Record::Boot { boot_id: boot })?;
        }
        self.remove_unknown()?;
        self.release_unknown()?;
        self.start_all(&mut recovery)?;
        self.finish_settings()?;
        self.settle_set(&mut recovery)?;
        self.put_back_owed(&mut recovery)?;
        self.op = Op::Recover;
        self.checkpoint()?;
        Ok(recovery)
    }

    /// Takes up every operation that has not ended.
    fn take_up_all(&mut self, recovery: &mut Recovery) -> Result<(), RuntimeError> {
        let pending = self.state.pending.iter().map(|pending| pending.service.clone());
        let begun: Vec<ServiceName> = pending.chain(self.state.aside.keys().cloned()).collect();
        for name in begun {
            // What a service lost, its operation lost too.
            if !self.is_idle(&name) && !self.mend_or_lose(&name, recovery)? {
                self.leave_waiting(&name, recovery)?;
                continue;
            }
            let ended = self.take_up_again(&name);
            match of_one(ended)? {
                Ok(interrupted) => recovery.interrupted.extend(interrupted),
                Err(error) => recovery.aside.push((name, chain(&error))),
            }
        }
        Ok(())
    }

    /// Sets the operation under way on a service aside that could not be mended, so that it is not forgotten when the next
    /// one begins.
    fn leave_waiting(
        &mut self,
        name: &ServiceName,
        recovery: &mut Recovery,
    ) -> Result<(), RuntimeError> {
        let is_its = |pending: &Pending| pending.service == *name;
        if self.state.pending.as_ref().is_some_and(is_its) {
            let why = self.failures.get(name).map_or_else(String::new, |f| f.why().to_owned());
            self.record(Record::SetAside { why: why.clone() })?;
            recovery.aside.push((name.clone(), why));
        }
        Ok(())
    }

    /// Finishes the operation under way if it has switched, and undoes it otherwise.
    pub(crate) fn resume(&mut self) -> Result<Option<Interrupted>, RuntimeError> {
        let Some(pending) = self.state.pending.clone() else { return Ok(None) };
        let (service, op) = (pending.service.clone(), pending.op);
        let from = self.runs_before(&pending);
        let known =
            pending.progress.undoing || life::after_crash(pending.progress, false) == Way::Finish;
        let way = life::after_crash(pending.progress, !known && self.has_switched(&pending)?);
        let finished = match (way, op) {
            (Way::Finish, Op::Remove) => {
                self.converge(&service)?;
                self.end(Outcome::Done)?;
                true
            }
            (Way::Finish, Op::Stop) => {
                self.finish_stop()?;
                true
            }
            (Way::Finish, _) if known => {
                self.finish()?;
                true
            }
            (Way::Finish, _) => self.go_forward(&pending)?,
            (Way::Undo, _) => {
                self.undo("the process ended before the switch")?;
                false
            }
        };
        let unended = Unended::Operation;
        Ok(Some(Interrupted { service, op, from, unended, finished }))
    }

    /// The generation that ran when an operation began.
    fn runs_before(&self, pending: &Pending) -> Option<(u64, Version)> {
        let state = self.state.services.get(&pending.service);
        let from = state.and_then(|state| state.generations.get(&pending.from?));
        let from = from.or_else(|| pending.to.as_ref().filter(|_| pending.op == Op::Remove));
        from.map(|from| (from.number, from.version.clone()))
    }

    /// Ends the switch and finishes, and says so; undoes it where the kernel refuses to replace the rest.
    fn go_forward(&mut self, pending: &Pending) -> Result<bool, RuntimeError> {
        if let Some(to) = &pending.to
            && !self.has_stored(pending)?
            && let Err(error) = self.flip(&pending.service, to, pending.switching.flatten())
        {
            self.undo(&chain(&error))?;
            return Ok(false);
        }
        self.record(Record::Switched {})?;
        self.finish()?;
        Ok(true)
    }

    /// Removes what nobody wrote down, but for what an operation that waits may still want.
    fn remove_unknown(&mut self) -> Result<(), RuntimeError> {
        let waits = |name: &str| self.state.aside.keys().any(|service| service.as_str() == name);
        let dead = self.state.dead.iter().filter(|dead| !waits(dead.service.as_str()));
        let dead: Vec<_> = dead.cloned().collect();
        let entries = fs::read_dir(&self.dirs.bpffs).into_iter().flatten().flatten();
        let folders: Vec<PathBuf> = entries
            .filter(|entry| !waits(&entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect();
        for hook in &dead {
            let detached = self.detach_hook(hook);
            if let Err(error) = of_one(detached)? {
                tracing::warn!(service = %hook.service, hook = hook.name, "not detached: {}", chain(&error));
            }
        }
        for folder in folders {
            if let Err(error) = self.unpin_unknown(&folder) {
                tracing::warn!(folder = %folder.display(), "not removed: {}", chain(&error));
            }
        }
        Ok(())
    }
}

/// Takes an error apart: what the journal cannot take concerns every service, all else the one that was worked on.
pub(crate) fn of_one<T>(
    result: Result<T, RuntimeError>,
) -> Result<Result<T, RuntimeError>, RuntimeError> {
    match result {
        Err(error @ RuntimeError::Journal(_)) => Err(error),
        other => Ok(other),
    }
}

fn boot_id() -> Result<String, RuntimeError> {
    let failed = |source| RuntimeError::File { action: "read", path: BOOT_ID.to_owned(), source };
    Ok(fs::read_to_string(BOOT_ID).map_err(failed)?.trim().to_owned())
}
