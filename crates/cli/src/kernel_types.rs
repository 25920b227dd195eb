//! Kernel types that travel in bundles: from this machine, a file or a stock kernel, into the files that nodes look for.

use std::fs;
use std::path::{Path, PathBuf};

use skep_kit::build::kernel_types;
use skep_object::Btf;
use skep_oci::{KernelTypes, Store, durable};
use skep_spec::Arch;

use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result, failed};

/// Most kernels of a bundle that are written: each may have 64 MiB.
const KERNELS_MAX: usize = 64;

/// What `--btf` says: the types of which kernels.
///
/// # Errors
/// It is no kernel and no file, or has no types.
pub fn named(what: &str, arches: &[Arch], config: &Config) -> Result<Vec<KernelTypes>> {
    let here = Path::new(".");
    let found = |arch, source: &str| {
        kernel_types(here, arch, source, &config.cache_dir).map_err(|error| {
            Error::caused(Kind::Failed, format!("can't bundle the kernel types of {what}"), &error)
        })
    };
    if what == "host" {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease");
        let release = release.context(|| "can't tell which kernel runs here")?;
        let (btf, _) = found(host()?, what)?;
        return Ok(vec![of(release.trim(), host()?, btf)?]);
    }
    if what.starts_with("debian:") {
        let all = if arches.is_empty() { &[Arch::X86_64, Arch::Aarch64] } else { arches };
        let of_arch = |arch: &Arch| {
            let (btf, release) = found(*arch, what)?;
            of(&release.unwrap_or_default(), *arch, btf)
        };
        return all.iter().map(of_arch).collect();
    }
    let unclear = || {
        Error::usage(format!("--btf {what} does not say of which kernel")).hint(
            "give host, debian:SERIES, or RELEASE=FILE with what `uname -r` says there; RELEASE/ARCH=FILE for another architecture than this one",
        )
    };
    let (kernel, file) = what.split_once('=').ok_or_else(unclear)?;
    let (release, arch) = match kernel.split_once('/') {
        Some((release, arch)) => (release, arch.parse().map_err(|_| unclear())?),
        None => (kernel, host()?),
    };
    let file = here.join(file); // no name of another source
    let (btf, _) = found(arch, &file.to_string_lossy())?;
    Ok(vec![of(release, arch, btf)?])
}

/// Writes those that a layout holds into `folder`, each as the file that skepd looks for on such a kernel.
///
/// # Errors
/// The layout cannot be read, holds none, or a file cannot be written.
pub fn write(store: &Store, folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = |path: &Path| format!("can't write {}", path.display());
    fs::create_dir_all(folder).context(|| cannot(folder))?;
    let mut written = Vec::new();
    for types in KernelTypes::kept(store).map_err(failed)? {
        let (release, path) =
            (types.release(), folder.join(KernelTypes::file_name(types.release(), types.arch())));
        let refused = |why: String| Err(Error::new(Kind::Refused, why));
        if written.len() == KERNELS_MAX {
            return refused(format!("it has the types of more than {KERNELS_MAX} kernels"));
        }
        if written.contains(&path) {
            return refused(format!("it has the types of {release} ({}) twice", types.arch()));
        }
        if let Err(error) = Btf::parse(&types.btf) {
            return refused(format!("what it has as the types of {release} is none: {error}"));
        }
        durable::write(&path, &types.btf).context(|| cannot(&path))?;
        written.push(path);
    }
    if written.is_empty() {
        return Err(Error::new(Kind::Failed, "there are no kernel types in it")
            .hint("skep bundle --btf puts them there"));
    }
    Ok(written)
}

fn of(release: &str, arch: Arch, btf: Vec<u8>) -> Result<KernelTypes> {
    KernelTypes::new(release, arch, btf)
        .ok_or_else(|| Error::usage(format!("'{release}' is not what `uname -r` says anywhere")))
}

fn host() -> Result<Arch> {
    Arch::host().ok_or_else(|| Error::usage("skep does not know this machine's architecture"))
}
