//! The kernel's types for `vmlinux.h`: from a stock kernel, a file, or this kernel; never silently from this one.

use std::io;
use std::path::{Path, PathBuf};

use skep_kernel::KernelError;
use skep_kernel::kit::{self, BtfSource};
use skep_oci::{durable, regular};
use skep_spec::{Arch, Digest};

use super::Options;
use super::lock::{Lock, LockError, Pin};
use crate::kernels::{self, KernelsError};

const HOST: &str = "/sys/kernel/btf/vmlinux";

/// Why there are no types.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// Nothing says where from.
    #[error(
        "skep.toml does not say where the kernel's types for {0} come from: add [build] btf = {{ {0} = \"debian:6.12\" }}, or give --btf host or --btf FILE"
    )]
    Unnamed(Arch),
    /// A source that is none.
    #[error("'{0}' is no source of kernel types: use debian:SERIES, a file, or host")]
    Source(String),
    /// A file.
    #[error("can't read kernel types from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of something else.
    #[error("{} holds no kernel types", path.display())]
    NoTypes {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KernelError,
    },
    /// A stock kernel.
    #[error("can't get the kernel types of {0}")]
    Kernel(String, #[source] KernelsError),
    /// What is pinned is gone.
    #[error(
        "skep.lock pins kernel types with the {pinned} from {from}, where there is now {found}: give the pinned ones with --btf FILE, or remove skep.lock to pin the new ones"
    )]
    Gone {
        /// The pinned digest.
        pinned: Digest,
        /// Where it came from.
        from: String,
        /// What is there now.
        found: Digest,
    },
    /// The lock refuses.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No BTF.
    #[error("these are no kernel types")]
    Btf(#[source] KernelError),
}

impl TypesError {
    /// Whether it is about this machine, which knows no Debian.
    pub(super) fn is_without_mirror(&self) -> bool {
        matches!(self, Self::Kernel(_, KernelsError::NoMirror))
    }
}

/// The raw BTF for `arch`, pinned in `lock` unless the command line gave it.
pub(super) fn find(
    folder: &Path,
    arch: Arch,
    named: Option<&str>,
    options: &Options,
    lock: &mut Lock,
) -> Result<Vec<u8>, TypesError> {
    if let Some(given) = &options.btf {
        let btf = read(if given == Path::new("host") { Path::new(HOST) } else { given })?;
        lock.allow_pin(arch, Digest::of(&btf))?;
        return Ok(btf);
    }
    let named = named.ok_or(TypesError::Unnamed(arch))?;
    let pinned = lock.pin(arch).filter(|pin| pin.source == named).map(|pin| pin.digest);
    if let Some(btf) = pinned.and_then(|digest| cached(&options.cache, digest)) {
        return Ok(btf);
    }
    let (btf, release) = fetch(folder, arch, named, &options.cache)?;
    let digest = Digest::of(&btf);
    if let Some(pinned) = pinned.filter(|pinned| *pinned != digest) {
        return Err(TypesError::Gone { pinned, from: named.to_owned(), found: digest });
    }
    keep(&options.cache, digest, &btf);
    lock.set_pin(arch, Pin { source: named.to_owned(), release, digest })?;
    Ok(btf)
}

/// The raw BTF for `arch` from a source as `[build] btf` names one, and the kernel's release where the source says it. Files are
/// found from `folder` on.
///
/// # Errors
/// There is no such source, or it has none.
pub fn fetch(
    folder: &Path,
    arch: Arch,
    named: &str,
    cache: &Path,
) -> Result<(Vec<u8>, Option<String>), TypesError> {
    if let Some(series) = named.strip_prefix("debian:") {
        let failed = |error| TypesError::Kernel(named.to_owned(), error);
        let kernel = kernels::fetch(cache, arch, series).map_err(failed)?;
        let btf = kernels::btf(&kernel.image).map_err(failed)?;
        return Ok((btf, Some(kernel.release)));
    }
    if named == "host" {
        return Ok((read(Path::new(HOST))?, None));
    }
    if named.contains(':') {
        return Err(TypesError::Source(named.to_owned()));
    }
    Ok((read(&folder.join(named))?, None))
}

fn read(path: &Path) -> Result<Vec<u8>, TypesError> {
    let bytes = regular::bytes(path)
        .map_err(|source| TypesError::Read { path: path.to_owned(), source })?;
    let none = |source| TypesError::NoTypes { path: path.to_owned(), source };
    Ok(kit::kernel_btf(&bytes).map_err(none)?.to_vec())
}

/// `vmlinux.h`, made once for each BTF.
pub(super) fn header(btf: &[u8], cache: &Path) -> Result<String, TypesError> {
    let path = cache.join("vmlinux.h").join(Digest::of(btf).hex());
    if let Ok(header) = std::fs::read_to_string(&path) {
        return Ok(header);
    }
    let header = kit::vmlinux_header(BtfSource::Bytes(btf)).map_err(TypesError::Btf)?;
    store(&path, header.as_bytes());
    Ok(header)
}

fn cached(cache: &Path, digest: Digest) -> Option<Vec<u8>> {
    let btf = std::fs::read(cache.join("btf").join(digest.hex())).ok()?;
    (Digest::of(&btf) == digest).then_some(btf)
}

fn keep(cache: &Path, digest: Digest, btf: &[u8]) {
    store(&cache.join("btf").join(digest.hex()), btf);
}

/// A cache that cannot be written is no reason to fail: the next build makes the same again.
fn store(path: &Path, bytes: &[u8]) {
    if let Err(error) = durable::pass_in_folders(path, bytes) {
        tracing::debug!(path = %path.display(), %error, "not cached");
    }
}
