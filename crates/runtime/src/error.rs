//! Why an operation of the runtime failed.

mod hint;
mod words;

use std::path::Path;

use skep_kernel::{KernelError, LoadError};
use skep_object::ObjectError;
use skep_spec::{Digest, PackageName, Range, ServiceName, Target, Version};

use crate::choose::ChooseError;
use crate::journal::JournalError;
use crate::migrate::MigrateError;
use crate::params::ParamsError;
use crate::state::{Op, PreviousLost};
use crate::together::{GivenBack, Left, Sharing};
use words::{known, names, version_there, what_of_the_others};

/// An error of another crate behind one of our seams.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Another daemon works on the state folder.
    #[error("another skepd{} works on {folder}: two at once would undo each other's work", pid.map_or(String::new(), |pid| format!(" (process {pid})")))]
    Busy {
        /// The state folder.
        folder: String,
        /// The other process, where it said.
        pid: Option<u32>,
    },
    /// The folder of pins holds what this state folder knows nothing of.
    #[error(
        "{folder} holds pins that are not of this state folder: skepd removes what it does not know there"
    )]
    NotOurs {
        /// The folder of pins.
        folder: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    File {
        /// Such as "make the folder".
        action: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread that reads events cannot be made.
    #[error("cannot start the thread '{name}'")]
    Thread {
        /// What it is for.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An object was not loaded.
    #[error("object '{object}' of {service} was not loaded")]
    Load {
        /// Whose.
        service: String,
        /// The object.
        object: String,
        /// Why.
        source: Box<LoadError>,
    },
    /// A program was not attached.
    #[error("program '{program}' of {service} was not attached")]
    Attach {
        /// Whose.
        service: ServiceName,
        /// The program.
        program: String,
        /// Why.
        source: Box<KernelError>,
    },
    /// What a program is to attach to is not there.
    #[error(
        "program '{program}' of {service} finds nothing to attach to at {target}: nothing was loaded"
    )]
    NoHook {
        /// Whose.
        service: ServiceName,
        /// The program.
        program: String,
        /// Where.
        target: Target,
        /// Why.
        source: Box<KernelError>,
    },
    /// An object cannot be read.
    #[error("object '{object}' cannot be read")]
    Object {
        /// The object.
        object: String,
        /// Why.
        source: ObjectError,
    },
    /// No set of programs can be chosen.
    #[error(transparent)]
    Choose(#[from] ChooseError),
    /// A parameter is wrong.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// An upgrade would lose state.
    #[error("{service} cannot be upgraded as it is")]
    Migrate {
        /// The service.
        service: ServiceName,
        /// Why.
        source: MigrateError,
    },
    /// An upgrade cannot replace a program without a gap.
    #[error("{service} cannot be upgraded warm: {why}")]
    Hooks {
        /// The service.
        service: ServiceName,
        /// Why.
        why: String,
    },
    /// The running version does things that no switch ends.
    #[error(
        "{service} cannot be upgraded warm: its program '{program}' calls {by}, and what that armed would run on beside the new version"
    )]
    Timers {
        /// The service.
        service: ServiceName,
        /// Which of its programs.
        program: String,
        /// The helper or kernel function.
        by: &'static str,
    },
    /// There is such a service.
    #[error(
        "there is a service {service} already: upgrade it, or install under another name with --as"
    )]
    Exists {
        /// The service.
        service: ServiceName,
    },
    /// It is not what it was when its upgrade was planned.
    #[error("{service} was changed by somebody else meanwhile: generation {from} ran when this was planned, and {} now", now.map_or("it is gone".to_owned(), |now| format!("{now} runs")))]
    Changed {
        /// The service.
        service: ServiceName,
        /// The generation that was to be upgraded.
        from: u64,
        /// The one that runs.
        now: Option<u64>,
    },
    /// There is no such service.
    #[error("there is no service {service}{}", known(there))]
    NoService {
        /// The service.
        service: ServiceName,
        /// Those that there are.
        there: Vec<ServiceName>,
    },
    /// Nothing to return to.
    #[error(
        "{service} has no generation to roll back to: only the one before the last upgrade is kept"
    )]
    NoPrevious {
        /// The service.
        service: ServiceName,
    },
    /// What it could return to is gone.
    #[error(
        "{service} has nothing to roll back to: {lost}; skep upgrade to that version leads back to it"
    )]
    PreviousLost {
        /// The service.
        service: ServiceName,
        /// What is gone, and why.
        lost: PreviousLost,
    },
    /// Something of the service is missing, and each start tries to put it back.
    #[error("{service} runs, but not as a whole, so that it cannot be changed: {why}")]
    Partly {
        /// The service.
        service: ServiceName,
        /// What is missing.
        why: String,
    },
    /// The service could not be started: after a reboot, or after the kernel lost it.
    #[error("{service} does not run, so that it cannot be changed: {why}")]
    NotRunning {
        /// The service.
        service: ServiceName,
        /// Why not.
        why: String,
    },
    /// Somebody stopped it.
    #[error("{service} is stopped, so that it cannot be changed")]
    Stopped {
        /// The service.
        service: ServiceName,
    },
    /// Somebody holds it at its version.
    #[error("{service} is held at {version}")]
    Held {
        /// The service.
        service: ServiceName,
        /// The version that runs.
        version: Version,
    },
    /// A service that it needs is stopped.
    #[error("{service} needs {needed}, which is stopped")]
    NeedsStopped {
        /// The service.
        service: ServiceName,
        /// What it needs.
        needed: ServiceName,
    },
    /// The kernel has nothing of a service whose maps it needs.
    #[error("{service} needs {needed}, of which the kernel has nothing: skep {} {needed} loads both", if *stopped { "start" } else { "restart" })]
    NeedsLoaded {
        /// The service.
        service: ServiceName,
        /// What it needs.
        needed: ServiceName,
        /// Whether that one is stopped.
        stopped: bool,
    },
    /// Others that run need it.
    #[error("{service} cannot be stopped: {} {} it", names(by), if by.len() == 1 { "needs" } else { "need" })]
    RunsOn {
        /// The service.
        service: ServiceName,
        /// Who.
        by: Vec<ServiceName>,
    },
    /// What it is attached by goes with its object.
    #[error(
        "{service} cannot be stopped and keep its state: what is attached at {target} cannot be attached again without loading it anew"
    )]
    NeverBack {
        /// The service.
        service: ServiceName,
        /// Where.
        target: Target,
    },
    /// A package's bytes are gone.
    #[error("the package {index} is not in the store any more")]
    Package {
        /// Its index.
        index: Digest,
        /// Why.
        source: Cause,
    },
    /// The holder failed.
    #[error("the holder (skepd --hold) cannot {action} '{key}'")]
    Holder {
        /// Such as "keep".
        action: &'static str,
        /// The attachment.
        key: String,
        /// Why.
        source: std::io::Error,
    },
    /// The new generation runs, but its state is not all there yet.
    #[error(
        "{service} runs its new generation, but moving its state did not end; it is taken up again by the next operation on it, and at skepd's next start"
    )]
    Unfinished {
        /// The service.
        service: ServiceName,
        /// Why.
        #[source]
        source: Box<RuntimeError>,
    },
    /// An operation failed, and so did undoing it.
    #[error("the {op} of {service} failed and could not be undone ({undo})")]
    NotUndone {
        /// The service.
        service: ServiceName,
        /// What failed.
        op: Op,
        /// Why it could not be undone.
        undo: String,
        /// Why it failed.
        source: Box<RuntimeError>,
    },
    /// An operation was begun, and is in the way of others on the service.
    #[error("the {op} of {service} is half done, and can be neither finished nor undone now")]
    Stuck {
        /// The service.
        service: ServiceName,
        /// What was begun.
        op: Op,
        /// Why it can't be ended.
        source: Box<RuntimeError>,
    },
    /// Something that was pinned is gone.
    #[error("what was pinned at {path} is gone from the kernel")]
    Gone {
        /// The pin.
        path: String,
    },
    /// A package that it needs does not run, or in another version.
    #[error("{service} needs {package} {range}, and {}", version_there(package, there.as_ref()))]
    Missing {
        /// The service.
        service: ServiceName,
        /// What it needs.
        package: PackageName,
        /// In these versions.
        range: Range,
        /// What runs.
        there: Option<Version>,
    },
    /// A package that needs others is to run by itself.
    #[error("{package} needs {needed}, and what is not installed runs alone")]
    Alone {
        /// It.
        package: PackageName,
        /// The first that it needs.
        needed: PackageName,
    },
    /// A map of another service cannot be used.
    #[error(transparent)]
    Sharing(Box<Sharing>),
    /// A map that its user still has cannot be had back.
    #[error(transparent)]
    GivenBack(Box<GivenBack>),
    /// Others need it.
    #[error("{service} cannot be removed: {} {} it", names(by), if by.len() == 1 { "needs" } else { "need" })]
    Needed {
        /// The service.
        service: ServiceName,
        /// Who.
        by: Vec<ServiceName>,
    },
    /// Another service could not do with the version.
    #[error("{service} cannot change as {by} needs it: {why}")]
    InUse {
        /// The service.
        service: ServiceName,
        /// Who needs it.
        by: ServiceName,
        /// What for.
        why: String,
    },
    /// What a kept generation shared is not there any more.
    #[error("{service} cannot be rolled back: a map that another service gave it is gone")]
    OtherMaps {
        /// The service.
        service: ServiceName,
    },
    /// A service of a set was not installed or upgraded.
    #[error("{service} failed, {}", what_of_the_others(undone, left))]
    Together {
        /// Which.
        service: ServiceName,
        /// Those before it that were undone.
        undone: Vec<ServiceName>,
        /// Those that could not be, each with the reason; or why that could not be written down.
        left: Result<Left, String>,
        /// Why.
        source: Box<RuntimeError>,
    },
    /// A service of several was not rolled back, and others were.
    #[error("{service} could not be rolled back, and what goes back with it was: {}", names(done))]
    HalfBack {
        /// Which.
        service: ServiceName,
        /// Those that were.
        done: Vec<ServiceName>,
        /// Why.
        source: Box<RuntimeError>,
    },
    /// A group that a map is exported to.
    #[error(
        "{service} exports the map '{map}' to the group '{group}', which this machine does not have"
    )]
    NoGroup {
        /// The service.
        service: ServiceName,
        /// The map.
        map: String,
        /// The group.
        group: String,
    },
    /// A map or output that the service does not have.
    #[error("{service} has no {what} '{name}'{}; it has: {there}", near.as_ref().map(|near| format!(", did you mean '{near}'?")).unwrap_or_default())]
    NoSuch {
        /// The service.
        service: ServiceName,
        /// "map", "output".
        what: &'static str,
        /// What was asked for.
        name: String,
        /// The nearest that there is.
        near: Option<String>,
        /// What there is.
        there: String,
    },
    /// The kernel has nothing of that number.
    #[error("there is no {what} with id {id} on this machine")]
    NoId {
        /// "map", "program".
        what: &'static str,
        /// The number.
        id: u32,
    },
    /// The service has no events.
    #[error("{service} has no event output: its objects hold no ring or perf buffer")]
    NoEvents {
        /// The service.
        service: ServiceName,
    },
}

impl RuntimeError {
    /// What was pinned at `path` is gone: people know it by its pin rather than by its number.
    pub(crate) fn gone(path: &Path) -> Self {
        Self::Gone { path: path.display().to_string() }
    }

    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::NotOurs { .. } => "not-ours",
            Self::File { .. } => "file",
            Self::Thread { .. } => "internal",
            Self::Journal(_) => "journal",
            Self::Kernel(_) => "kernel",
            Self::Load { .. } => "load",
            Self::Attach { .. } | Self::NoHook { .. } => "attach",
            Self::Object { .. } => "object",
            Self::Choose(error) => error.code(),
            Self::Params(_) => "parameter",
            Self::Migrate { .. } => "state-would-be-lost",
            Self::Hooks { .. } => "hooks-differ",
            Self::Timers { .. } => "arms-timers",
            Self::Exists { .. } => "service-exists",
            Self::Changed { .. } => "changed",
            Self::NoService { .. } => "no-service",
            Self::NoPrevious { .. } | Self::PreviousLost { .. } => "no-previous-generation",
            Self::Partly { .. } => "runs-partly",
            Self::NotRunning { .. } | Self::NeedsLoaded { .. } => "not-running",
            Self::Stopped { .. } | Self::NeedsStopped { .. } => "stopped",
            Self::NeverBack { .. } => "cannot-stop",
            Self::Held { .. } => "held",
            Self::Package { .. } => "package-gone",
            Self::Holder { .. } => "holder",
            Self::Unfinished { .. } | Self::HalfBack { .. } => "unfinished",
            Self::NotUndone { .. } => "not-undone",
            Self::Stuck { .. } => "stuck",
            Self::Gone { .. } => "pin-gone",
            Self::Missing { .. } | Self::Alone { .. } => "dependency-missing",
            Self::Sharing(_) | Self::GivenBack(_) => "not-shared",
            Self::Needed { .. } | Self::RunsOn { .. } | Self::InUse { .. } => "in-use",
            Self::OtherMaps { .. } => "no-previous-generation",
            Self::Together { source, .. } => source.code(),
            Self::NoGroup { .. } => "no-group",
            Self::NoSuch { .. } | Self::NoId { .. } => "no-such",
            Self::NoEvents { .. } => "no-events",
        }
    }
}

#[cfg(test)]
mod tests;
