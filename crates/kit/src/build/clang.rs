//! Finds clang and calls it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_spec::Arch;

use crate::project::BUILD;

/// The oldest clang whose BPF back end has what CO-RE needs.
const OLDEST: u32 = 14;
/// The newest whose name is looked for; a newer `clang` is found by that name.
const NEWEST: u32 = 25;

/// Beside an object, with this at its name's end, lies what clang read for it.
pub(super) const RULE: &str = "d";

/// A clang with a BPF back end.
#[derive(Clone, Debug)]
pub struct Clang {
    path: PathBuf,
    /// Such as `14.0.6`.
    pub version: String,
}

/// Why there is no usable clang.
#[derive(Debug, thiserror::Error)]
pub enum ClangError {
    /// None in PATH.
    #[error(
        "no clang {OLDEST} or later in PATH: install one (Debian and Ubuntu: apt install clang; Fedora: dnf install clang)"
    )]
    None,
    /// Too old.
    #[error("{} is version {version}, {OLDEST} or later is needed", path.display())]
    Old {
        /// The binary.
        path: PathBuf,
        /// Its version.
        version: String,
    },
    /// It does not run.
    #[error("can't run {}", path.display())]
    Run {
        /// The binary.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else.
    #[error("{} is no clang: {why}", path.display())]
    NotClang {
        /// The binary.
        path: PathBuf,
        /// What `--version` came to.
        why: String,
    },
}

impl Clang {
    /// The clang at `path`, or the newest in PATH.
    ///
    /// # Errors
    /// None, or one that is too old or does not run.
    pub fn find(path: Option<&Path>) -> Result<Self, ClangError> {
        if let Some(path) = path {
            return Self::at(path);
        }
        let names = std::iter::once("clang".to_owned())
            .chain((OLDEST..=NEWEST).map(|version| format!("clang-{version}")));
        let found = names.filter_map(|name| Self::at(Path::new(&name)).ok());
        found.max_by_key(|clang| clang.major()).ok_or(ClangError::None)
    }

    fn at(path: &Path) -> Result<Self, ClangError> {
        let run = |source| ClangError::Run { path: path.to_owned(), source };
        let output = Command::new(path).arg("--version").output().map_err(run)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text
            .split_once("clang version ")
            .and_then(|(_, rest)| rest.split([' ', '\n', '-', '(']).next());
        let not_clang = || ClangError::NotClang {
            path: path.to_owned(),
            why: match output.status.success() {
                true => "its --version names no clang".to_owned(),
                false => format!("its --version ended with {}", output.status),
            },
        };
        let version = version.filter(|_| output.status.success()).ok_or_else(not_clang)?;
        let clang = Self { path: path.to_owned(), version: version.to_owned() };
        if clang.major() < OLDEST {
            return Err(ClangError::Old { path: clang.path, version: clang.version });
        }
        Ok(clang)
    }

    fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }

    /// Arguments that every object is compiled with, whatever the project adds.
    pub(super) fn flags(arch: Arch) -> Vec<String> {
        let endian = if arch.is_big_endian() { "bpfeb" } else { "bpfel" };
        let define = match arch {
            Arch::X86_64 => "-D__TARGET_ARCH_x86",
            Arch::Aarch64 => "-D__TARGET_ARCH_arm64",
            Arch::Riscv64 => "-D__TARGET_ARCH_riscv",
            Arch::S390x => "-D__TARGET_ARCH_s390",
        };
        let flags = [
            "-g",
            "-O2",
            "-target",
            endian,
            "-mcpu=v3",
            define,
            "-Wall",
            "-Wno-missing-declarations",
        ];
        let types = ["-fms-extensions", "-Wno-microsoft-anon-tag"]; // headers of Linux 7 need them
        flags.into_iter().chain(types).map(str::to_owned).collect()
    }

    /// Compiles `source`, a path in the project's folder. The inner result is what clang printed: warnings or errors.
    ///
    /// # Errors
    /// When clang does not run.
    pub(super) fn compile(
        &self,
        source: &str,
        arch: Arch,
        cflags: &[String],
        paths: &Paths<'_>,
    ) -> Result<Result<String, String>, ClangError> {
        let run = |source| ClangError::Run { path: self.path.clone(), source };
        let here = std::path::absolute(paths.folder).map_err(run)?;
        let elsewhere = paths.elsewhere.map(std::path::absolute).transpose().map_err(run)?;
        let out = std::path::absolute(paths.out).map_err(run)?;
        let output = Command::new(&self.path)
            .current_dir(&here)
            .args(Self::flags(arch))
            // No path of this machine gets into the object.
            .arg(mapped(&here, "."))
            .args(elsewhere.map(|folder| mapped(&folder, BUILD)))
            .arg("-fdebug-compilation-dir=.")
            .arg("-fno-ident")
            .arg("-I")
            .arg(paths.include)
            .args(cflags)
            .args(["-c", source, "-o"])
            .arg(&out)
            .args(["-MD", "-MT", "o", "-MF"])
            .arg(out.with_extension(RULE))
            .env("LC_ALL", "C")
            .output()
            .map_err(run)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(if output.status.success() { Ok(said) } else { Err(said) })
    }
}

/// Where a source is, and where things of it go.
pub(super) struct Paths<'a> {
    /// The project's folder.
    pub folder: &'a Path,
    /// The folder of all that a build makes, where that is not the project's own.
    pub elsewhere: Option<&'a Path>,
    /// Headers that a build makes.
    pub include: &'a Path,
    /// The object.
    pub out: &'a Path,
}

/// Puts `to` in the place of a path of this machine, wherever clang writes it down.
fn mapped(from: &Path, to: &str) -> OsString {
    let mut argument = OsString::from("-ffile-prefix-map=");
    argument.push(from);
    argument.push(format!("={to}"));
    argument
}
