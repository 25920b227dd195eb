//! A content-addressed store in the form of an OCI image layout (image-spec, image-layout.md).
//!
//! Two processes may use one store at once: blobs appear by rename, and `index.json` is replaced under a lock. After
//! a crash each blob is whole or absent; a temporary file may stay, and the next [`Store::create`] removes it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use skep_spec::oci::{Descriptor, DocumentError, Index};
use skep_spec::{Digest, PackageName, PackageRef, Version, media};
use skep_trust::Blobs;

/// Largest `index.json` that is read, in bytes.
const INDEX_MAX: u64 = 4 * 1024 * 1024;
/// The annotation by which layouts name their entries (image-spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const TEMPORARY: &str = ".tmp-";

/// A store in a folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// Why a store did not give or keep something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not a layout.
    #[error(
        "'{}' is not an OCI layout: it has no oci-layout file of version 1; 'skep pack' and 'skep pull' make layouts", .0.display()
    )]
    NotALayout(PathBuf),
    /// The file system.
    #[error("cannot {action} '{}'{}", path.display(), hint(source))]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A blob whose bytes are not what its name says.
    #[error(
        "the blob {digest} in '{}' is damaged: its bytes have the digest {found}; delete it and pull again", root.display()
    )]
    Damaged {
        /// The store.
        root: PathBuf,
        /// Its name.
        digest: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// A blob longer than the reader takes.
    #[error("the blob {digest} has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its name.
        digest: Digest,
        /// Bytes that it has.
        size: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// A blob that should be there.
    #[error("'{}' holds no blob {digest}: the layout is not whole; pull or pack it again", root.display())]
    Missing {
        /// The store.
        root: PathBuf,
        /// Its name.
        digest: Digest,
    },
    /// An `index.json` that is not one.
    #[error("'{}' is not an OCI index", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<DocumentError>,
    },
}

impl Store {
    /// Opens the store in `root`, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made or holds something else.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned() };
        let blobs = store.blobs();
        fs::create_dir_all(&blobs).map_err(io_error("make the folder", &blobs))?;
        let marker = root.join("oci-layout");
        if !marker.exists() {
            store.replace(&marker, LAYOUT.as_bytes())?;
        }
        let store = Self::open(root)?;
        store.change_index(|_| ())?;
        store.remove_leftovers()?;
        Ok(store)
    }

    /// Opens a store that is there.
    ///
    /// # Errors
    /// When `root` is not an OCI layout.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let marker = root.join("oci-layout");
        let mut text = String::new();
        let read = File::open(&marker).and_then(|file| file.take(4096).read_to_string(&mut text));
        match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotALayout(root.to_owned()));
            }
            Err(e) if e.kind() != io::ErrorKind::InvalidData => {
                return Err(io_error("read", &marker)(e));
            }
            _ => (),
        }
        let layout: Option<Layout> = serde_json::from_str(&text).ok();
        if layout.is_none_or(|layout| layout.image_layout_version != "1.0.0") {
            return Err(StoreError::NotALayout(root.to_owned()));
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The store's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Whether the blob that a descriptor points at is there with the size that it says.
    #[must_use]
    pub fn holds(&self, entry: &Descriptor) -> bool {
        fs::metadata(self.path(&entry.digest)).is_ok_and(|meta| meta.len() == entry.size)
    }

    /// Keeps `bytes`, on disk before this returns, and tells their digest.
    ///
    /// # Errors
    /// When they cannot be written: nothing is kept then.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let path = self.path(&digest);
        // A blob of this name but another length was cut by something else: write it again.
        let whole = fs::metadata(&path).is_ok_and(|meta| meta.len() == bytes.len() as u64);
        if !whole {
            self.replace(&path, bytes)?;
        }
        Ok(digest)
    }

    /// A blob of at most `limit` bytes, its digest checked; `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is damaged.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io_error("read", &path))?,
        };
        let size = file.metadata().map_err(io_error("read", &path))?.len();
        if size > limit {
            return Err(StoreError::TooLarge { digest: *digest, size, limit });
        }
        let mut bytes = Vec::new();
        let mut file = file.take(limit.saturating_add(1));
        file.read_to_end(&mut bytes).map_err(io_error("read", &path))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(StoreError::Damaged { root: self.root.clone(), digest: *digest, found });
        }
        Ok(Some(bytes))
    }

    /// A blob that must be there: [`Store::read`], with its absence an error.
    ///
    /// # Errors
    /// As [`Store::read`], and when it is not there.
    pub fn require(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let missing = || StoreError::Missing { root: self.root.clone(), digest: *digest };
        self.read(digest, limit)?.ok_or_else(missing)
    }

    /// Removes a blob, if it is there.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// `index.json`: the packages and signatures that the layout lists.
    ///
    /// # Errors
    /// When it cannot be read or is no index.
    pub fn index(&self) -> Result<Index, StoreError> {
        let path = self.index_path();
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(io_error("read", &path))?;
        file.take(INDEX_MAX + 1).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
        Index::parse(&bytes).map_err(|source| StoreError::Index { path, source: Box::new(source) })
    }

    /// Lists a package's index under `publisher/name:version`, in place of what had that name.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written.
    pub fn list_package(
        &self,
        name: &PackageName,
        version: &Version,
        index: Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        let ref_name = ref_name(name, version);
        let mut entry = descriptor(media::INDEX, index, size);
        entry.annotations.insert(REF_NAME.into(), ref_name.clone());
        self.change_index(|list| {
            list.manifests.retain(|other| other.annotations.get(REF_NAME) != Some(&ref_name));
            list.manifests.push(entry);
        })
    }

    /// Lists a referrer (a signature's manifest), once.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written.
    pub fn list_referrer(
        &self,
        artifact_type: &str,
        manifest: Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        let mut entry = descriptor(media::MANIFEST, manifest, size);
        entry.artifact_type = Some(artifact_type.to_owned());
        self.change_index(|list| {
            list.manifests.retain(|other| other.digest != manifest);
            list.manifests.push(entry);
        })
    }

    /// Takes entries off the list: `keep` says which stay. Blobs stay.
    ///
    /// # Errors
    /// When `index.json` cannot be read or written.
    pub fn unlist(&self, keep: impl Fn(&Descriptor) -> bool) -> Result<(), StoreError> {
        self.change_index(|list| list.manifests.retain(keep))
    }

    /// The packages that the layout lists, each with its name and version. What others listed under names that no
    /// package has is left out.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub fn packages(&self) -> Result<Vec<(PackageRef, Digest)>, StoreError> {
        let entries = self.index()?.manifests.into_iter();
        let indexes = entries.filter(|entry| entry.media_type == media::INDEX);
        let package =
            |entry: Descriptor| Some((listed_as(entry.annotations.get(REF_NAME)?)?, entry.digest));
        Ok(indexes.filter_map(package).collect())
    }

    /// The index digest that `reference` means in this layout, if it is listed.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub fn find(&self, reference: &PackageRef) -> Result<Option<Digest>, StoreError> {
        if let Some(digest) = reference.digest {
            return Ok(self.has(&digest).then_some(digest));
        }
        if reference.version.is_none() {
            return Ok(None);
        }
        let is_it = |listed: &PackageRef| {
            listed.name == reference.name && listed.version == reference.version
        };
        let packages = self.packages()?;
        Ok(packages.into_iter().find(|(listed, _)| is_it(listed)).map(|(_, digest)| digest))
    }

    fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), StoreError> {
        let lock_path = self.root.join(".index.lock");
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(io_error("open", &lock_path))?;
        lock.lock().map_err(io_error("lock", &lock_path))?; // until `lock` is dropped
        let path = self.index_path();
        let is_there = path.exists();
        let before = if is_there { self.index()? } else { empty_index() };
        let mut after = before.clone();
        change(&mut after);
        if is_there && after == before {
            return Ok(());
        }
        self.replace(&path, &after.to_bytes())
    }

    /// Writes a file so that others see all of it or nothing, also after a power cut.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let folder = path.parent().unwrap_or(&self.root);
        let temporary = folder.join(format!("{TEMPORARY}{}", unique()));
        let written = write_durably(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| File::open(folder)?.sync_all());
        written.map_err(|e| {
            let _ = fs::remove_file(&temporary); // it may never have been made
            io_error("write", path)(e)
        })
    }

    /// Removes temporary files of processes that are gone.
    fn remove_leftovers(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.blobs()] {
            let entries = fs::read_dir(&folder).map_err(io_error("list", &folder))?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)) else {
                    continue;
                };
                let writer = rest.split('-').next().unwrap_or_default();
                if !Path::new("/proc").join(writer).exists() {
                    let _ = fs::remove_file(entry.path()); // another process may have been faster
                }
            }
        }
        Ok(())
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }
}

impl Blobs for Store {
    fn blob(&self, digest: &Digest, limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.read(digest, limit).map_err(io::Error::other)
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor { digest, size, ..Descriptor::of(media_type, b"") }
}

fn empty_index() -> Index {
    Index::new(Vec::new(), BTreeMap::new())
}

fn ref_name(name: &PackageName, version: &Version) -> String {
    format!("{name}:{}", version.tag())
}

/// What [`ref_name`] wrote.
fn listed_as(ref_name: &str) -> Option<PackageRef> {
    let (name, tag) = ref_name.rsplit_once(':')?;
    let mut reference: PackageRef = name.parse().ok()?;
    reference.version = Some(Version::from_tag(tag).ok()?);
    Some(reference)
}

/// A name that no other writer has: its process, for the one that cleans up, and 64 random bits.
fn unique() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space and do it again: nothing half written was kept"
        }
        io::ErrorKind::PermissionDenied => "; run it as a user who may, or choose another folder",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        (folder, store)
    }

    fn package(store: &Store, version: &str, bytes: &[u8]) -> Digest {
        let digest = store.put(bytes).unwrap();
        let (name, version) = ("acme/exec".parse().unwrap(), version.parse().unwrap());
        store.list_package(&name, &version, digest, bytes.len() as u64).unwrap();
        digest
    }

    #[test]
    fn blobs_come_back_checked() {
        let (_folder, store) = store();
        let digest = store.put(b"hello").unwrap();
        assert!(store.has(&digest));
        assert_eq!(store.read(&digest, 5).unwrap().unwrap(), b"hello");
        assert!(matches!(store.read(&digest, 4), Err(StoreError::TooLarge { .. })));
        assert_eq!(store.read(&Digest::of(b"x"), 5).unwrap(), None);
        assert!(matches!(store.require(&Digest::of(b"x"), 5), Err(StoreError::Missing { .. })));
        fs::write(store.path(&digest), "hullo").unwrap();
        assert!(matches!(store.read(&digest, 5), Err(StoreError::Damaged { .. })));
        fs::write(store.path(&digest), "hel").unwrap();
        store.put(b"hello").unwrap(); // a cut blob is written again
        assert_eq!(store.require(&digest, 5).unwrap(), b"hello");
        store.remove(&digest).unwrap();
        store.remove(&digest).unwrap();
        assert!(!store.has(&digest));
    }

    #[test]
    fn the_list_names_each_version_once() {
        let (_folder, store) = store();
        package(&store, "1.0.0", b"old");
        let new = package(&store, "1.0.0", b"new");
        let plus = package(&store, "1.1.0+b.1", b"plus");
        store
            .change_index(|list| {
                let mut foreign = descriptor(media::INDEX, Digest::of(b"image"), 5);
                foreign.annotations.insert(REF_NAME.into(), "latest".into());
                list.manifests.push(foreign);
            })
            .unwrap();
        let packages = store.packages().unwrap();
        let names: Vec<String> = packages.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["acme/exec:1.0.0", "acme/exec:1.1.0+b.1"]);
        assert_eq!(store.find(&"acme/exec:1.0.0".parse().unwrap()).unwrap(), Some(new));
        assert_eq!(store.find(&"acme/exec:1.1.0+b.1".parse().unwrap()).unwrap(), Some(plus));
        assert_eq!(store.find(&"acme/exec:2.0.0".parse().unwrap()).unwrap(), None);
        store.list_referrer(media::BUNDLE, Digest::of(b"r"), 1).unwrap();
        store.list_referrer(media::BUNDLE, Digest::of(b"r"), 1).unwrap();
        assert_eq!(store.index().unwrap().manifests.len(), 4);
        store.unlist(|entry| entry.digest != new).unwrap();
        assert_eq!(store.index().unwrap().manifests.len(), 3);
    }

    #[test]
    fn many_writers_lose_nothing() {
        let (folder, _) = store();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let root = folder.path();
                scope.spawn(move || {
                    let store = Store::create(root).unwrap();
                    for number in 0..8 {
                        package(&store, &format!("{writer}.{number}.0"), b"same bytes from all");
                    }
                });
            }
        });
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.packages().unwrap().len(), 32);
        assert_eq!(fs::read_dir(store.blobs()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_dead_writer_left_is_removed_and_a_living_ones_stays() {
        let (folder, store) = store();
        let dead = store.blobs().join(format!("{TEMPORARY}4194304-x")); // above the largest pid
        let living = store.blobs().join(format!("{TEMPORARY}{}-x", std::process::id()));
        for file in [&dead, &living] {
            fs::write(file, "half").unwrap();
        }
        Store::create(folder.path()).unwrap();
        assert!(!dead.exists() && living.exists());
    }

    #[test]
    fn other_folders_are_no_stores() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(folder.path());
        assert!(matches!(open(), Err(StoreError::NotALayout(_))));
        fs::write(folder.path().join("oci-layout"), "\u{fffd}").unwrap();
        assert!(matches!(open(), Err(StoreError::NotALayout(_))));
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        assert!(matches!(open(), Err(StoreError::NotALayout(_))));
        fs::write(folder.path().join("oci-layout"), LAYOUT).unwrap();
        fs::write(folder.path().join("index.json"), "{").unwrap();
        assert!(matches!(open().unwrap().index(), Err(StoreError::Index { .. })));
    }

    /// `/dev/full` answers every write with ENOSPC, as a full disk does.
    #[test]
    fn a_full_disk_keeps_nothing_and_says_what_to_do() {
        let full = fs::write("/dev/full", "x").unwrap_err();
        let error = io_error("write", Path::new("/store/blob"))(full).to_string();
        assert!(error.contains("free some space"), "{error}");
    }
}
