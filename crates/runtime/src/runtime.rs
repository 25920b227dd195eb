//! The runtime: one state folder, one folder of pins, the services in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use skep_kernel::bpffs;
use skep_object::Facts;
use skep_spec::{Digest, ServiceName};
use skep_trust::{Package, Verified};

use crate::choose::Objects;
use crate::error::{Cause, RuntimeError};
use crate::events::Consumers;
use crate::failure::Failure;
use crate::faults::{Faults, Side};
use crate::held::{Held, Holder};
use crate::journal::Journal;
use crate::maps::Memories;
use crate::pins::Pins;
use crate::plan::MapChange;
use crate::recover::Recovery;
use crate::state::{Generation, Op, Outcome, Record, Service, State, Then};

/// Where the runtime keeps what outlives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// The journal and the lock, such as `/var/lib/skep`.
    pub state: PathBuf,
    /// Pins, such as `/sys/fs/bpf/skep`; nothing else may lie there.
    pub bpffs: PathBuf,
    /// The types of this kernel, where its operator has them for it: objects are made to fit them.
    pub btf: Option<PathBuf>,
}

/// Where the bytes of verified packages come from: the agent's store.
pub trait Packages: Send {
    /// The package of an index digest, checked again as at its import.
    ///
    /// # Errors
    /// It is not there, or not trusted any more.
    fn package(&self, index: &Digest) -> Result<Verified<Package>, Cause>;
}

/// The life of services on this kernel.
///
/// One at a time may work on a state folder. Everything that it does is journaled first, so that it may be killed
/// at any point: the next [`Runtime::open`] finishes or undoes what was under way.
pub struct Runtime {
    pub(crate) dirs: Dirs,
    pub(crate) packages: Box<dyn Packages>,
    pub(crate) held: Held,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) state: State,
    pub(crate) consumers: Consumers,
    pub(crate) memories: Memories,
    /// Services that do not run, or not as a whole. Each start tries again.
    pub(crate) failures: BTreeMap<ServiceName, Failure>,
    /// What fault points are named by.
    pub(crate) op: Op,
    /// Whether that is one half of a restart.
    pub(crate) restarts: bool,
    /// Whether what sets left is put back: who needs who goes back, too, can wait for that.
    pub(crate) puts_back: bool,
    _locks: [File; 2],
}

impl Runtime {
    /// Opens the state folder and brings the kernel and the journal to one state: what runs is adopted, what was
    /// half done is finished or undone, and after a reboot the active generations are loaded again.
    ///
    /// # Errors
    /// Another process has the folder open; no bpffs; the journal is damaged; the kernel refuses.
    pub fn open(
        dirs: Dirs,
        packages: Box<dyn Packages>,
        holder: Option<Box<dyn Holder>>,
        faults: Faults,
    ) -> Result<(Self, Recovery), RuntimeError> {
        let failed = |action, path: &Path| {
            let path = path.display().to_string();
            move |source| RuntimeError::File { action, path, source }
        };
        fs::create_dir_all(&dirs.state).map_err(failed("make the folder", &dirs.state))?;
        let lock = lock(&dirs.state)?;
        let mounted = bpffs::ensure_mounted(&dirs.bpffs)?;
        let pins_lock = lock_pins(&dirs.bpffs)?;
        let (journal, state) = Journal::open(&dirs.state.join("journal"))?;
        if state.boot.is_empty() && !bpffs::pins(&dirs.bpffs)?.is_empty() {
            // Recovery removes what no record names: of a new state folder that would be all of it.
            return Err(RuntimeError::NotOurs { folder: dirs.bpffs.display().to_string() });
        }
        let mut runtime = Self {
            dirs,
            packages,
            held: Held::new(holder),
            faults,
            journal,
            state,
            consumers: Consumers::default(),
            memories: Memories::default(),
            failures: BTreeMap::new(),
            op: Op::Recover,
            restarts: false,
            puts_back: false,
            _locks: [lock, pins_lock],
        };
        let recovery = Recovery { mounted, ..runtime.recover()? };
        Ok((runtime, recovery))
    }

    /// Names of all services.
    #[must_use]
    pub fn names(&self) -> Vec<ServiceName> {
        self.state.services.keys().cloned().collect()
    }

    /// The indexes of all packages that a generation is made of, or will be once what waits is ended.
    #[must_use]
    pub fn packages_in_use(&self) -> BTreeSet<Digest> {
        let generations = self.state.services.values().flat_map(|s| s.generations.values());
        let aside = self.state.aside.values().map(|aside| &aside.pending);
        let begun = self.state.pending.iter().chain(aside).filter_map(|p| p.to.as_ref());
        generations.chain(begun).map(|generation| generation.index).collect()
    }

    pub(crate) fn pins(&self, service: &ServiceName) -> Pins {
        Pins::new(&self.dirs.bpffs, service)
    }

    pub(crate) fn service_state(&self, name: &ServiceName) -> Result<&Service, RuntimeError> {
        self.state
            .services
            .get(name)
            .ok_or_else(|| RuntimeError::NoService { service: name.clone(), there: self.names() })
    }

    /// Writes a record and takes it into account.
    pub(crate) fn record(&mut self, record: Record) -> Result<(), RuntimeError> {
        let op = match record {
            Record::SetBegan { .. } | Record::SetOwes { .. } | Record::SetEnded {} => "set",
            Record::Held { .. } => "hold",
            Record::Setting { .. } => "setting",
            _ => self.at(),
        };
        self.faults.point(op, record.name(), Side::Before);
        self.journal.append(&record)?;
        self.faults.point(op, record.name(), Side::After);
        self.state.apply(record);
        Ok(())
    }

    /// Begins an operation, from a generation to another; what becomes of maps, and of the service behind it.
    pub(crate) fn begin(
        &mut self,
        op: Op,
        service: &ServiceName,
        (from, to): (Option<u64>, Option<Generation>),
        (changes, then): (BTreeMap<String, MapChange>, Option<Then>),
    ) -> Result<(), RuntimeError> {
        self.op = op;
        let (txn, service) = (self.state.last_txn + 1, service.clone());
        self.record(Record::Begin { txn, service, op, from, to, changes, then })
    }

    /// Ends the operation under way.
    pub(crate) fn end(&mut self, result: Outcome) -> Result<(), RuntimeError> {
        self.record(Record::End { result })?;
        self.checkpoint()
    }

    /// Begins a new journal with a checkpoint, where the old one has grown long.
    pub(crate) fn checkpoint(&mut self) -> Result<(), RuntimeError> {
        if self.journal.wants_checkpoint() {
            self.begin_journal_anew()?;
        }
        Ok(())
    }

    pub(crate) fn begin_journal_anew(&mut self) -> Result<(), RuntimeError> {
        self.faults.point(self.at(), "Checkpoint", Side::Before);
        self.journal.checkpoint(&self.state)?;
        self.faults.point(self.at(), "Checkpoint", Side::After);
        Ok(())
    }

    /// The operation that fault points are named by.
    pub(crate) fn at(&self) -> &'static str {
        match self.op {
            Op::Stop | Op::Start if self.restarts => "restart",
            op => op.name(),
        }
    }

    /// Does something in the kernel, between its two fault points.
    pub(crate) fn call<T>(&self, step: &str, call: impl FnOnce() -> T) -> T {
        self.faults.point(self.at(), step, Side::Before);
        let result = call();
        self.faults.point(self.at(), step, Side::After);
        result
    }

    pub(crate) fn package(&self, index: &Digest) -> Result<Verified<Package>, RuntimeError> {
        let gone = |source| RuntimeError::Package { index: *index, source };
        self.packages.package(index).map_err(gone)
    }
}

/// Reads the objects of a package.
///
/// # Errors
/// One of them is none.
pub fn facts_of(package: &Package) -> Result<Objects, RuntimeError> {
    let read = |(name, bytes): (&String, &Vec<u8>)| {
        let bad = |source| RuntimeError::Object { object: name.clone(), source };
        Ok((name.clone(), Facts::parse(bytes).map_err(bad)?))
    };
    package.objects.iter().map(read).collect()
}

/// Takes the lock of the folder of pins, which two state folders may share by mistake.
fn lock_pins(folder: &Path) -> Result<File, RuntimeError> {
    let opened = File::open(folder).map_err(not_locked(folder))?;
    locked(opened, folder, folder)
}

/// Takes the lock of the state folder; its file says who has it.
fn lock(folder: &Path) -> Result<File, RuntimeError> {
    let path = folder.join("lock");
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut lock = locked(options.open(&path).map_err(not_locked(&path))?, &path, folder)?;
    let pid = std::process::id().to_string();
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| lock.write_all(pid.as_bytes()))
        .map_err(not_locked(&path))?;
    Ok(lock)
}

/// Takes the lock of `file` at `path`; where another process has it, that one works on `folder`.
fn locked(file: File, path: &Path, folder: &Path) -> Result<File, RuntimeError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(not_locked(path)(error)),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = (&file).take(20).read_to_string(&mut text); // only for the message; a folder says nothing
            let folder = folder.display().to_string();
            Err(RuntimeError::Busy { folder, pid: text.trim().parse().ok() })
        }
    }
}

fn not_locked(path: &Path) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let path = path.display().to_string();
    move |source| RuntimeError::File { action: "lock", path, source }
}
