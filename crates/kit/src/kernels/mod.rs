//! Stock kernels of Debian: found through its package indexes, kept outside the checkout, never installed.

mod archive;
mod image;
mod index;

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};

use skep_spec::Arch;

pub use image::btf;

use archive::Archive;
use index::Entry;

/// A stock kernel on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Such as `6.12`.
    pub series: String,
    /// Such as `6.12.107+deb13-amd64`: the name of its modules' folder.
    pub release: String,
    /// The packed kernel image.
    pub image: PathBuf,
    /// The folder that holds `lib/modules/RELEASE`, where modules were asked for.
    pub modules: Option<PathBuf>,
}

/// Why a kernel could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelsError {
    /// No Debian mirror is configured.
    #[error("apt knows no Debian mirror here: it needs a source for bookworm or trixie")]
    NoMirror,
    /// A program that does the work.
    #[error("can't run {program}")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed on {what}: {said}")]
    Failed {
        /// The program.
        program: &'static str,
        /// The file or address.
        what: String,
        /// What it printed.
        said: String,
    },
    /// A file.
    #[error("can't {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what the index says.
    #[error(
        "{0} has another checksum than the package index says: try again later, or another mirror"
    )]
    Checksum(String),
    /// No such series.
    #[error("Debian has no kernel {series} for {arch}; it has {}", if known.is_empty() { "none that could be listed".to_owned() } else { known.join(", ") })]
    NoSeries {
        /// What was asked for.
        series: String,
        /// For what.
        arch: Arch,
        /// What there is.
        known: Vec<String>,
    },
    /// A part of a kernel that the index does not list: it has no checksum.
    #[error("the package index does not list {0}, so that nothing says what it should be")]
    Unlisted(String),
    /// In the index, but gone from the mirror, or not whole there.
    #[error(
        "the kernels {0} are in the index, but none can be had whole: the mirror has lost them, or the index their modules; ask for another series"
    )]
    Lost(String),
    /// A package without an image.
    #[error("the package {0} holds no kernel image")]
    NoImage(String),
    /// No BTF in the image.
    #[error("{} holds no kernel types (BTF)", .0.display())]
    NoBtf(PathBuf),
}

/// The newest stock kernel of `series` (`6.12`, or `newest` in trixie-backports), its image only.
///
/// # Errors
/// No mirror, no such series, a download that fails.
pub fn fetch(cache: &Path, arch: Arch, series: &str) -> Result<Kernel, KernelsError> {
    find(cache, arch, series, false)
}

/// The same with its modules.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_with_modules(cache: &Path, arch: Arch, series: &str) -> Result<Kernel, KernelsError> {
    find(cache, arch, series, true)
}

/// What `program` (`xz`, `zstd`) unpacks `packed` to.
pub(crate) fn unpacked(program: &'static str, packed: &[u8]) -> Result<Vec<u8>, KernelsError> {
    archive::filter(program, packed)
}

fn find(cache: &Path, arch: Arch, series: &str, modules: bool) -> Result<Kernel, KernelsError> {
    let archive = Archive::find(cache)?;
    let mut entries = Vec::new();
    let mut known = Vec::new();
    for suite in index::suites(series) {
        let all = archive.index(suite, arch)?;
        known.extend(all.iter().filter(|entry| entry.is_image(arch)).map(Entry::series));
        entries.extend(all);
    }
    let wanted = if series == "newest" {
        known.iter().max_by_key(|s| number(s)).cloned()
    } else {
        Some(series.to_owned())
    };
    let wanted = wanted.unwrap_or_default();
    let mut images: Vec<&Entry> =
        entries.iter().filter(|entry| entry.is_image(arch) && entry.series() == wanted).collect();
    images.sort_by_key(|entry| Reverse(entry.order()));
    if images.is_empty() {
        known.sort_by_key(|s| number(s));
        known.dedup();
        return Err(KernelsError::NoSeries { series: series.to_owned(), arch, known });
    }
    for entry in &images {
        // An index may name a point release that the pool has lost: the next older one then.
        match archive.kernel(entry, &entries, modules) {
            Err(KernelsError::Failed { program: "curl", .. } | KernelsError::Unlisted(_)) => {}
            other => return other,
        }
    }
    Err(KernelsError::Lost(
        images.iter().map(|entry| entry.version.as_str()).collect::<Vec<_>>().join(", "),
    ))
}

fn number(series: &str) -> (u32, u32) {
    let (major, minor) = series.split_once('.').unwrap_or((series, ""));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}
