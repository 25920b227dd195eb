//! The types of the kernel that runs, where its operator has them: for services and for `skep run`.

use std::path::{Path, PathBuf};

use skep_oci::KernelTypes;
use skep_spec::Arch;

/// The kernel types that lie in the folder of settings for the kernel that runs: root put them there, for one that carries none.
#[must_use]
pub fn own(config_dir: &Path) -> Option<PathBuf> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let name = KernelTypes::file_name(release.trim(), Arch::host()?);
    let file = Some(config_dir.join("btf").join(name)).filter(|file| file.exists())?;
    tracing::info!(file = %file.display(), "objects are made to fit these kernel types");
    Some(file)
}
