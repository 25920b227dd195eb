//! What was downloaded and can be had again: packages in a store that all commands share, kernel types, kernels.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use skep_oci::{Collected, Store};
use skep_spec::{Digest, PackageRef};

use crate::config::Config;
use crate::error::{Context as _, Result, failed};

/// Held for reading by whoever uses the store, alone by whoever removes from it.
const IN_USE: &str = ".in-use";

/// The folder of downloads.
pub struct Cache {
    folder: PathBuf,
}

/// The store, as long as nobody may remove from it.
pub struct Used {
    /// It.
    pub store: Store,
    _in_use: File,
}

/// A package in the store.
pub struct Cached {
    /// Its name and version.
    pub package: PackageRef,
    /// Of its index.
    pub digest: Digest,
    /// When a command last used it.
    pub used: SystemTime,
}

impl Cache {
    /// As the environment says.
    pub fn of(config: &Config) -> Self {
        Self { folder: config.cache_dir.clone() }
    }

    /// Where packages lie.
    pub fn packages_folder(&self) -> PathBuf {
        self.folder.join("packages")
    }

    /// The folders of what builds download, and what each holds: kinds that are there.
    pub fn downloads(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let kinds = [
            ("kernel types", "btf"),
            ("kernel headers", "vmlinux.h"),
            ("kernels", "kernel"),
            ("kernel packages", "deb"),
            ("package lists", "index"),
        ];
        let folder = self.folder.clone();
        let folders = kinds.into_iter().map(move |(kind, name)| (kind, folder.join(name)));
        folders.filter(|(_, folder)| folder.is_dir())
    }

    /// The store, to pull into and to read from.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn used(&self) -> Result<Used> {
        let folder = self.packages_folder();
        let store = Store::create(&folder).map_err(failed)?;
        let in_use = self.in_use()?;
        in_use.lock_shared().context(|| format!("can't lock '{}'", folder.display()))?;
        Ok(Used { store, _in_use: in_use })
    }

    /// The packages of the store; none where there is no store.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn packages(&self) -> Result<Vec<Cached>> {
        let folder = self.packages_folder();
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let store = Store::open(&folder).map_err(failed)?;
        let cached = |(package, digest): (PackageRef, Digest)| {
            let metadata = fs::metadata(store.path(&digest)).ok()?;
            Some(Cached { package, digest, used: metadata.modified().ok()? })
        };
        let listed = store.packages().map_err(failed)?;
        Ok(listed.into_iter().filter_map(cached).collect())
    }

    /// Removes the packages that no command has used since a moment, with all that only they need. Waits for commands that are
    /// at work with the store.
    ///
    /// # Errors
    /// It cannot be read or written; the next time goes on.
    pub fn prune(&self, unused_since: Option<SystemTime>) -> Result<Collected> {
        let folder = self.packages_folder();
        if !folder.is_dir() {
            return Ok(Collected::default());
        }
        let store = Store::create(&folder).map_err(failed)?;
        let alone = self.in_use()?;
        alone.lock().context(|| format!("can't lock '{}'", folder.display()))?;
        let stays = |cached: &Cached| unused_since.is_some_and(|since| cached.used >= since);
        let kept: BTreeSet<Digest> =
            self.packages()?.iter().filter(|cached| stays(cached)).map(|c| c.digest).collect();
        store.collect(&kept).map_err(failed)
    }

    fn in_use(&self) -> Result<File> {
        let path = self.packages_folder().join(IN_USE);
        let file = File::options().create(true).append(true).open(&path);
        file.context(|| format!("can't open '{}'", path.display()))
    }
}

impl Used {
    /// Notes that a package was used now.
    pub fn touch(&self, digest: &Digest) {
        let file = File::options().append(true).open(self.store.path(digest));
        // One that cannot be noted is pruned the sooner.
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
    }
}

/// Bytes and files below a folder.
pub fn size(folder: &Path) -> (u64, usize) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => (metadata.len(), 1),
        Err(_) => (0, 0),
    });
    sizes.fold((0, 0), |(bytes, files), (more, one)| (bytes + more, files + one))
}
