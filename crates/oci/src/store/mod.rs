//! A content-addressed store in the form of an OCI image layout (image-spec, image-layout.md).
//!
//! Two processes may use one store at once: blobs appear by rename, and `index.json` is replaced under a lock. After
//! a crash each blob is whole or absent; a temporary file may stay, and the next [`Store::create`] removes it.

mod error;
mod index;

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use skep_spec::Digest;
use skep_spec::oci::Descriptor;
use skep_trust::Blobs;

pub use self::error::StoreError;
use self::error::io_error;

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const TEMPORARY: &str = ".tmp-";

/// A store in a folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
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

    /// What lies in a blob's place, cut at `limit` and unchecked: for what proves itself. `None` if nothing does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn as_it_lies(
        &self,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(|_| Some(bytes)).map_err(io_error("read", &path)),
        }
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

/// A name that no other writer has: its process, for the one that cleans up, and 64 random bits.
fn unique() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        (folder, store)
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
        open().unwrap();
    }
}
