//! A project: a folder with a `skep.toml`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use skep_oci::regular;
use skep_spec::source::{self, Diagnostic, Source};

/// Where a build puts what it makes, in the project's folder.
pub const BUILD: &str = "build";

/// A project that was read and checked.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its folder.
    pub folder: PathBuf,
    /// Its `skep.toml`, as it stands there.
    pub text: String,
    /// The same, read.
    pub source: Source,
    /// Where a build puts what it makes: `build` in the folder, or elsewhere, where the lock is written then too.
    pub out: PathBuf,
}

/// Why a project could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No such file, or not readable.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not as it should be.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

/// Mistakes in a `skep.toml`, all of them.
#[derive(Debug, thiserror::Error)]
#[error("{} has {} mistake{}:\n{}", path.display(), list.len(), if list.len() == 1 { "" } else { "s" }, lines(path, list))]
pub struct Mistakes {
    /// The file.
    pub path: PathBuf,
    /// Each mistake.
    pub list: Vec<Diagnostic>,
}

impl Project {
    /// Reads `folder/skep.toml`.
    ///
    /// # Errors
    /// It cannot be read, or has mistakes.
    pub fn read(folder: &Path) -> Result<Self, ProjectError> {
        let path = source_of(folder);
        let text = regular::text(&path)
            .map_err(|source| ProjectError::Read { path: path.clone(), source })?;
        let source = source::parse(&text).map_err(|list| Mistakes { path, list })?;
        Ok(Self { folder: folder.to_owned(), text, source, out: folder.join(BUILD) })
    }

    /// Its `skep.toml`.
    #[must_use]
    pub fn file_of_source(&self) -> PathBuf {
        source_of(&self.folder)
    }

    /// The same, built elsewhere: its own folder is only read.
    #[must_use]
    pub fn built_in(self, out: PathBuf) -> Self {
        Self { out, ..self }
    }

    /// The folder of what a build writes beside objects.
    #[must_use]
    pub fn lock_folder(&self) -> &Path {
        if self.is_built_inside() { &self.folder } else { &self.out }
    }

    /// Whether a build writes into the project's own folder.
    #[must_use]
    pub fn is_built_inside(&self) -> bool {
        self.out == self.folder.join(BUILD)
    }

    /// A file that `skep.toml` names. A link may not lead out of the folder: what lies there is nobody's to publish.
    ///
    /// # Errors
    /// It is not there, or not below the folder.
    pub fn file(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        let (real, folder) = (path.canonicalize()?, self.folder.canonicalize()?);
        if real.starts_with(folder) {
            return Ok(path);
        }
        let why = format!("it leads out of the project's folder, to {}", real.display());
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// Where `skep build` puts an object.
    #[must_use]
    pub fn built(&self, object: &str, arch: skep_spec::Arch) -> PathBuf {
        self.out.join(arch.as_str()).join(format!("{object}.bpf.o"))
    }
}

fn source_of(folder: &Path) -> PathBuf {
    folder.join("skep.toml")
}

/// Most mistakes that are shown.
const SHOWN: usize = 100;

fn lines(path: &Path, list: &[Diagnostic]) -> String {
    let mut text = String::new();
    for mistake in list.iter().take(SHOWN) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}:{mistake} ({})", path.display(), mistake.code.as_str());
    }
    if let Some(more @ 1..) = list.len().checked_sub(SHOWN) {
        let _ = writeln!(text, "and {more} more");
    }
    text.trim_end().to_owned()
}
