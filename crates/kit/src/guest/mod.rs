//! Guests: a stock kernel under QEMU with an initramfs of given files, for what only that kernel can prove.
//!
//! The guest's init is the caller's own static program. It finds what to do in [`MODULES`] and [`COMMAND`], says
//! [`STARTED`] and [`ended`] on the second serial port around the command's output, and powers off.

mod cpio;
mod modules;
mod qemu;
mod splat;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kernels::{Kernel, KernelsError};

/// The file of the guest that lists the modules to load, a path a line, in order.
pub const MODULES: &str = "guest/modules";
/// The file of the guest that holds the command, a word a line.
pub const COMMAND: &str = "guest/command";
/// The line that init prints, on the console too, before the command runs.
pub const STARTED: &str = "@@STARTED@@";

/// The line that init prints when the command has ended.
#[must_use]
pub fn ended(status: i32) -> String {
    format!("@@ENDED {status}@@")
}

/// A guest to boot.
#[derive(Clone, Debug)]
pub struct Guest {
    /// With its modules.
    pub kernel: Kernel,
    /// A static program: mounts, loads [`MODULES`], runs [`COMMAND`], powers off.
    pub init: PathBuf,
    /// From where, to where in the guest (no slash in front); a folder comes whole.
    pub files: Vec<(PathBuf, String)>,
    /// Modules to load with what they need; those that the kernel has built in or does not know are left out.
    pub modules: Vec<String>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// More of the kernel's command line, such as `preempt=full`.
    pub append: String,
    /// From power-on; past it the guest is ended.
    pub limit: Duration,
    /// Where the kernel's console goes; it is kept.
    pub console: PathBuf,
}

/// How a guest went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The command's exit status, or none if the guest died.
    pub status: Option<i32>,
    /// What the command printed.
    pub output: String,
    /// Splats of the kernel, each with the lines that follow it.
    pub splats: Vec<String>,
    /// How often it was booted again, because QEMU's threads raced with the kernel's patching of its own code.
    pub retries: u32,
    /// Until the command began.
    pub boot: Duration,
    /// From there to the end.
    pub run: Duration,
}

/// Why a guest could not be booted.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The kernel cannot be had.
    #[error("no kernel for the guest")]
    Kernel(#[from] KernelsError),
    /// A file.
    #[error("can't {action} {} for the guest", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A module that does not unpack.
    #[error("can't unpack the kernel module {}", .0.display())]
    Module(PathBuf),
    /// A file that the archive's format has no room for.
    #[error("{} does not fit into an initramfs (4 GiB a file)", .0.display())]
    TooLarge(PathBuf),
    /// No QEMU.
    #[error(
        "can't run {program}: install qemu-system-x86 (10 or later; 7.2 crashes guests at random)"
    )]
    Qemu {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It ended before the command began, each time.
    #[error("the guest {release} did not come up in {tries} tries; its console ends with:\n{tail}")]
    NeverStarted {
        /// The kernel.
        release: String,
        /// How often it was tried.
        tries: u32,
        /// The last lines.
        tail: String,
    },
}

impl Guest {
    /// Boots it, waits until it is off, and ends it at its time limit.
    ///
    /// # Errors
    /// A file is missing, there is no QEMU, or it never came up. A command that fails is no error but an [`Outcome`].
    pub fn boot(&self) -> Result<Outcome, GuestError> {
        let work = self.console.with_extension("work");
        std::fs::create_dir_all(&work).map_err(|source| file("make", &work, source))?;
        let initramfs = work.join("initramfs");
        let archive = self.archive()?;
        std::fs::write(&initramfs, archive).map_err(|source| file("write", &initramfs, source))?;
        let outcome = qemu::boot(self, &initramfs, &work.join("output"));
        let _ = std::fs::remove_dir_all(&work); // nothing in it is of use, whatever happened
        outcome
    }

    fn archive(&self) -> Result<Vec<u8>, GuestError> {
        let mut archive = cpio::Archive::new();
        for folder in ["proc", "sys", "dev", "run", "tmp", "var", "etc", "root"] {
            archive.folder(folder);
        }
        archive.copy(&self.init, "init")?;
        let mut loaded = String::new();
        for module in modules::needed(&self.kernel, &self.modules)? {
            let path = format!("modules/{}", module.name);
            archive.file(&path, 0o644, &modules::unpacked(&module.path)?)?;
            loaded += &format!("/{path}\n");
        }
        archive.file(MODULES, 0o644, loaded.as_bytes())?;
        archive.file(COMMAND, 0o644, self.command.join("\n").as_bytes())?;
        for (from, to) in &self.files {
            archive.copy(from, to)?;
        }
        Ok(archive.finish())
    }
}

fn file(action: &'static str, path: &Path, source: io::Error) -> GuestError {
    GuestError::File { action, path: path.to_owned(), source }
}
