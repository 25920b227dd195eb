//! What a command makes and would leave behind: temporary folders and files, layouts that are not whole yet, processes. Each
//! goes with its value, and with a signal that ends the command.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{process, thread};

use skep_conformance::Group;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::error::{Context as _, Error, INTERRUPTED, Kind, Result, failed};
use crate::output;
use crate::waiting::block_on;

/// What is to go, of this process.
static MADE: Mutex<Made> =
    Mutex::new(Made { paths: Vec::new(), groups: Vec::new(), watched: false, work: None });

struct Made {
    paths: Vec<PathBuf>,
    /// What the signals of a terminal do not reach.
    groups: Vec<Group>,
    /// Whether a thread waits for signals.
    watched: bool,
    /// Work that ends by itself when it hears of a signal.
    work: Option<oneshot::Sender<Signal>>,
}

/// Such as `SIGINT`.
type Signal = &'static str;

/// Paths that go with this value.
#[derive(Debug)]
pub struct Passing(Vec<PathBuf>);

impl Passing {
    /// A temporary folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder() -> Result<Self> {
        let mut made = watched()?;
        let within = std::env::temp_dir();
        let folder = tempfile::tempdir_in(&within);
        let folder = folder.context(|| no_temporary("folder", &within)).map_err(elsewhere)?;
        Ok(made.add(vec![folder.keep()]))
    }

    /// A temporary file in a folder, with the permissions of any file; `what` could not be done where that fails.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file<M: Display>(folder: &Path, what: impl Fn() -> M) -> Result<(Self, File)> {
        let mut made = watched()?;
        let mut file = tempfile::Builder::new();
        file.permissions(Permissions::from_mode(0o666)); // less the umask
        let (file, path) = file.tempfile_in(folder).context(&what)?.keep().context(&what)?;
        Ok((made.add(vec![path]), file))
    }

    /// What is about to be made.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub fn of(paths: Vec<PathBuf>) -> Result<Self> {
        Ok(watched()?.add(paths))
    }

    /// The first path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// It is whole, and stays.
    pub fn keep(mut self) {
        let kept = std::mem::take(&mut self.0);
        made().paths.retain(|path| !kept.contains(path));
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut made = made();
        self.0.iter().for_each(|path| remove(path));
        made.paths.retain(|path| !self.0.contains(path));
    }
}

/// What could not be made.
pub fn no_temporary(what: &str, within: &Path) -> String {
    format!("can't make a temporary {what} in '{}'", within.display())
}

/// What to do about that.
pub fn elsewhere(error: Error) -> Error {
    error.hint("TMPDIR names the folder for what is temporary: one that is there, with room, that you may write")
}

fn made() -> MutexGuard<'static, Made> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, while a thread waits for signals. None ends this process as long as it is held: what is made meanwhile is known
/// before.
fn watched() -> Result<MutexGuard<'static, Made>> {
    let mut made = made();
    made.watch()?;
    Ok(made)
}

/// Processes that a signal ends with this one, as long as this value is.
#[derive(Debug)]
pub struct Started(Group);

impl Started {
    /// Starts them.
    ///
    /// # Errors
    /// As `start`, or signals cannot be caught.
    pub fn by<T>(
        start: impl FnOnce() -> Result<T>,
        group: impl Fn(&T) -> Group,
    ) -> Result<(Self, T)> {
        let mut made = watched()?;
        let started = start()?;
        let group = group(&started);
        made.groups.push(group);
        Ok((Self(group), started))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        made().groups.retain(|group| *group != self.0);
    }
}

/// Runs what may fill a store: a signal ends it as an error.
///
/// # Errors
/// As the work, and when a signal came.
pub fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let stopped = hear()?;
    let done = block_on(async {
        tokio::select! {
            biased;
            Ok(signal) = stopped => Err(stopped_by(signal)),
            done = work => done,
        }
    });
    made().work = None;
    done
}

/// The same of work that reads a file: its next read fails.
///
/// # Errors
/// As the work, and when a signal came before it was done.
pub fn reading<T>(from: File, work: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
    let came = Cell::new(None);
    let mut from = Interruptible { from, stopped: hear()?, came: &came };
    let done = work(&mut from);
    made().work = None;
    match came.get() {
        Some(signal) if done.is_err() => Err(stopped_by(signal)),
        _ => done,
    }
}

struct Interruptible<'a> {
    from: File,
    stopped: oneshot::Receiver<Signal>,
    came: &'a Cell<Option<Signal>>,
}

impl Read for Interruptible<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Ok(signal) = self.stopped.try_recv() {
            self.came.set(Some(signal));
        }
        match self.came.get() {
            Some(_) => Err(io::Error::other("stopped")),
            None => self.from.read(buffer),
        }
    }
}

/// What hears of the next signal.
fn hear() -> Result<oneshot::Receiver<Signal>> {
    let (work, stopped) = oneshot::channel();
    watched()?.work = Some(work);
    Ok(stopped)
}

fn stopped_by(signal: Signal) -> Error {
    Error::new(Kind::Interrupted, format!("stopped by {signal}"))
}

impl Made {
    fn add(&mut self, paths: Vec<PathBuf>) -> Passing {
        self.paths.extend(paths.iter().cloned());
        Passing(paths)
    }

    /// Has a thread wait for signals, from now on.
    fn watch(&mut self) -> Result<()> {
        if self.watched {
            return Ok(());
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let entered = runtime.enter();
        let mut signals = Vec::new();
        for (kind, name) in [
            (SignalKind::interrupt(), "SIGINT"),
            (SignalKind::terminate(), "SIGTERM"),
            (SignalKind::hangup(), "SIGHUP"),
        ] {
            signals.push((signal(kind).context(|| "can't catch signals")?, name));
        }
        drop(entered);
        let wait = move || wait(&runtime, signals);
        let started = thread::Builder::new().name("signals".to_owned()).spawn(wait);
        started.context(|| "can't wait for signals")?;
        self.watched = true;
        Ok(())
    }
}

fn wait(runtime: &Runtime, signals: Vec<(tokio::signal::unix::Signal, Signal)>) {
    let (sender, mut came) = tokio::sync::mpsc::unbounded_channel();
    for (mut signal, name) in signals {
        let sender = sender.clone();
        runtime.spawn(async move {
            while signal.recv().await.is_some() && sender.send(name).is_ok() {}
        });
    }
    while let Some(signal) = runtime.block_on(came.recv()) {
        let mut made = made();
        // Work that hears of it takes back what it made; whoever sends a second one does not want to wait.
        let heard = made.work.take().is_some_and(|work| work.send(signal).is_ok());
        if !heard {
            end(&made, signal);
        }
    }
}

/// Ends the process with all that it made. Nobody drops a [`Passing`], or makes one, meanwhile: its lock is held.
fn end(made: &Made, signal: Signal) -> ! {
    made.groups.iter().for_each(|group| group.kill());
    made.paths.iter().for_each(|path| remove(path));
    output::error(&stopped_by(signal));
    process::exit(INTERRUPTED.into())
}

/// A command that failed or was ended tells of that alone.
fn remove(path: &Path) {
    /// Other threads may still write into a folder that goes.
    const TRIES: usize = 100;
    let is_there = |_: &usize| path.symlink_metadata().is_ok();
    (0..TRIES).take_while(is_there).for_each(|_| {
        let _ = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
    });
}
