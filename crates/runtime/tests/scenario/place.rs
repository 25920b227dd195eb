//! One test's own folders, pins and packages, and the child processes that are the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::{Deserialize, Serialize};
use skep_kernel::program::LoadKind;
use skep_kernel::{MapHandle, Program, bpffs};
use skep_runtime::{Cause, Detail, Dirs, Faults, Packages, Recovery, Request, Runtime};
use skep_spec::{Digest, ServiceName};
use skep_trust::{Package, Verified};

use crate::equal::{equal, text};
use crate::holder::Keeper;
use crate::objects::{Objects, verified};
use crate::tally::{Seen, Tally};

/// Where one test works. Everything goes with it.
pub struct Place {
    /// Ends before its folder goes.
    _keeper: Option<Keeper>,
    folder: tempfile::TempDir,
    bpffs: PathBuf,
    pub set: String,
    pub target: Option<String>,
    objects: PathBuf,
}

/// What a child needs to know.
#[derive(Clone, Serialize, Deserialize)]
pub struct Job {
    pub state: PathBuf,
    pub bpffs: PathBuf,
    pub objects: PathBuf,
    pub set: String,
    pub target: Option<String>,
    /// Of the process that makes the events.
    pub pid: u32,
    /// "install", "upgrade", "rollback", "remove", "open", "events".
    pub op: String,
    pub fault: Option<String>,
}

/// How a child ended.
#[derive(Debug)]
pub enum Ended {
    Done(Box<Reply>),
    Failed(String),
    Killed,
}

/// What a child says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    pub detail: Option<Detail>,
    /// "finished" or "undone", of an operation that was interrupted.
    pub interrupted: Option<String>,
    /// Numbers of the events that were read, in order.
    pub events: Vec<u64>,
}

pub struct Shelf(BTreeMap<Digest, Package>);

impl Shelf {
    pub fn of(packages: Vec<Package>) -> Self {
        Self(packages.into_iter().map(|package| (package.index, package)).collect())
    }
}

impl Packages for Shelf {
    fn package(&self, index: &Digest) -> Result<Verified<Package>, Cause> {
        self.0.get(index).cloned().map(verified).ok_or_else(|| "it is not there".into())
    }
}

impl Place {
    pub fn new(objects: &Objects, set: &str, target: Option<String>) -> Result<Self, String> {
        let mut place = Self::without_holder(objects, set, target)?;
        let keeper = Keeper::start(&place.dirs().state).map_err(text)?;
        place._keeper = Some(keeper);
        Ok(place)
    }

    /// For hooks that need no holder: sockets to it would keep a network namespace.
    pub fn without_holder(
        objects: &Objects,
        set: &str,
        target: Option<String>,
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(text)?;
        let unique = folder.path().file_name().unwrap_or_default().to_string_lossy();
        let name = bpffs::escape(&format!("skep-test-{unique}"));
        let bpffs = Path::new(bpffs::DEFAULT).join(name);
        let objects = objects.folder().to_path_buf();
        Ok(Self { folder, bpffs, set: set.to_owned(), target, objects, _keeper: None })
    }

    pub fn dirs(&self) -> Dirs {
        Dirs { state: self.folder.path().join("state"), bpffs: self.bpffs.clone(), btf: None }
    }

    /// A job for this process itself.
    pub fn here(&self) -> Job {
        self.job("in this process", None)
    }

    /// The same with its runtime open.
    pub fn opened(&self) -> Result<(Job, Runtime), String> {
        let job = self.here();
        let (runtime, _) = job.open().map_err(text)?;
        Ok((job, runtime))
    }

    /// The same where the first version is installed.
    pub fn installed(&self) -> Result<(Job, Runtime), String> {
        let (job, mut runtime) = self.opened()?;
        runtime.install(&job.package(1)?, &job.install()).map_err(text)?;
        Ok((job, runtime))
    }

    fn job(&self, op: &str, fault: Option<&str>) -> Job {
        let Dirs { state, bpffs, .. } = self.dirs();
        Job {
            state,
            bpffs,
            objects: self.objects.clone(),
            set: self.set.clone(),
            target: self.target.clone(),
            pid: std::process::id(),
            op: op.to_owned(),
            fault: fault.map(str::to_owned),
        }
    }

    /// Runs `op` in a child, which the fault kills.
    pub fn child(&self, op: &str, fault: Option<&str>) -> Result<Ended, String> {
        let job = serde_json::to_string(&self.job(op, fault)).map_err(text)?;
        let me = std::env::current_exe().map_err(text)?;
        let Output { status, stdout, stderr } =
            Command::new(me).args(["child", &job]).output().map_err(text)?;
        let said = || String::from_utf8_lossy(&stderr).trim().to_owned();
        match status.code() {
            Some(0) => {
                let reply = serde_json::from_slice(&stdout);
                Ok(Ended::Done(reply.map(Box::new).map_err(|e| format!("{e}: {}", said()))?))
            }
            Some(_) => Ok(Ended::Failed(said())),
            None => Ok(Ended::Killed),
        }
    }

    /// Runs `op` in a child, which must do it.
    pub fn does(&self, op: &str) -> Result<Box<Reply>, String> {
        match self.child(op, None)? {
            Ended::Done(reply) => Ok(reply),
            Ended::Failed(why) => Err(format!("{op}: {why}")),
            Ended::Killed => Err(format!("{op}: killed")),
        }
    }

    /// That each number from 1 to `end` was seen once by one of `maps`, but for those that the kernel says it kept from the
    /// stubs; gives those seen.
    pub fn seen_once(&self, maps: &[&MapHandle], end: u64) -> Result<Tally, String> {
        let detail = self.does("open")?.detail.ok_or("the service is gone")?;
        Seen::new(maps)?.once(end, detail.hooks.iter().map(|hook| hook.missed).sum())
    }

    /// That the rings hold these numbers, each once and in order.
    pub fn events_are_in_order(&self, numbers: &[u64]) -> Result<(), String> {
        let events = self.does(&format!("events {}", numbers.len()))?.events;
        let wrong = numbers.iter().zip(&events).find(|(number, event)| number != event);
        equal("first wrong event", wrong, None)?;
        equal("events", events.len(), numbers.len())
    }

    /// A map of a generation, by its pin.
    pub fn map(&self, map: &str, made_by: u64) -> Result<MapHandle, String> {
        let pins = skep_runtime::pins::Pins::new(&self.bpffs, &Job::service());
        MapHandle::open_pinned(&pins.map(map, made_by)).map_err(text)
    }

    /// The ids of a generation's programs, by their pins.
    pub fn programs(&self, generation: u64) -> Result<Vec<u32>, String> {
        let pins = skep_runtime::pins::Pins::new(&self.bpffs, &Job::service());
        let id = |pin: &PathBuf| Program::open_pinned(pin, LoadKind::default())?.id();
        let programs = bpffs::pins(&pins.programs(generation)).map_err(text)?;
        programs.iter().map(id).collect::<Result<_, _>>().map_err(text)
    }

    /// All pins that are there.
    pub fn pins(&self) -> Vec<PathBuf> {
        bpffs::pins(&self.bpffs).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = crate::hurt::unblock(self);
        let _ = bpffs::unpin_tree(&self.bpffs);
    }
}

impl Job {
    pub fn service() -> ServiceName {
        "numbered".parse().expect("a name")
    }

    pub fn open(&self) -> Result<(Runtime, Reply), Box<dyn Error>> {
        let (runtime, recovery) = self.recover(&[1, 2])?;
        let interrupted = recovery.interrupted.first().map(|interrupted| {
            if interrupted.finished { "finished".to_owned() } else { "undone".to_owned() }
        });
        Ok((runtime, Reply { interrupted, ..Reply::default() }))
    }

    /// Opens the runtime where the store has these versions.
    pub fn recover(&self, versions: &[u32]) -> Result<(Runtime, Recovery), Box<dyn Error>> {
        let packages = versions.iter().map(|version| Ok(self.package(*version)?.into_inner()));
        self.recover_with(packages.collect::<Result<_, String>>()?)
    }

    /// Opens the runtime where the store has these packages.
    pub fn recover_with(
        &self,
        packages: Vec<Package>,
    ) -> Result<(Runtime, Recovery), Box<dyn Error>> {
        self.recover_from(Shelf::of(packages))
    }

    /// Opens the runtime with a store.
    pub fn recover_from(
        &self,
        store: impl Packages + 'static,
    ) -> Result<(Runtime, Recovery), Box<dyn Error>> {
        let faults = self.fault.as_deref().map_or(Ok(Faults::none()), Faults::arm)?;
        let dirs = Dirs { state: self.state.clone(), bpffs: self.bpffs.clone(), btf: None };
        let holder = crate::holder::connect(&self.state)?;
        Ok(Runtime::open(dirs, Box::new(store), holder, faults)?)
    }

    pub fn package(&self, version: u32) -> Result<Verified<Package>, String> {
        let objects = Objects::at(&self.objects);
        objects.package(&self.set, version, self.target.as_deref()).map(verified)
    }

    pub fn install(&self) -> Request {
        let params = BTreeMap::from([("pid".to_owned(), self.pid.to_string())]);
        Request { service: Self::service(), params, unset: BTreeSet::new() }
    }

    /// The same in another spelling, which is another configuration.
    pub fn install_again(&self) -> Request {
        let params = BTreeMap::from([("pid".to_owned(), format!("{:#x}", self.pid))]);
        Request { service: Self::service(), params, unset: BTreeSet::new() }
    }
}
