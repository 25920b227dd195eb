//! A content-addressed store in the form of an OCI image layout (image-spec, image-layout.md).
//!
//! Two processes may use one store at once: blobs appear by rename, and `index.json` is replaced under a lock. After
//! a crash each blob is whole or absent; a temporary file may stay, and the next [`Store::create`] removes it.

mod collect;
mod copy;
mod index;
mod part;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use skep_spec::Digest;
use skep_spec::oci::{Descriptor, Layout};
use skep_trust::Blobs;

pub use self::collect::Collected;
pub(crate) use self::index::{choose, package_entry, packages_of, referrer_entry};
pub(crate) use self::part::{Received, Whole};
pub use crate::error::StoreError;
pub(crate) use crate::error::io_error;
use crate::{durable, regular};

/// A store in a folder.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    /// Whether what is written need not outlive this process.
    passing: bool,
}

impl Store {
    /// Opens the store in `root`, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made or holds something else.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        Self::made(root, false)
    }

    /// A store that goes with this process: nothing is waited for until it is on the disk.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub fn passing(root: &Path) -> Result<Self, StoreError> {
        Self::made(root, true)
    }

    fn made(root: &Path, passing: bool) -> Result<Self, StoreError> {
        let store = Self { root: root.to_owned(), passing };
        let blobs = store.blobs();
        fs::create_dir_all(&blobs).map_err(io_error("make the folder", &blobs))?;
        let marker = root.join(Layout::FILE);
        if !marker.exists() {
            store.place(&marker, Layout::BYTES)?; // settled with index.json, which is beside it
        }
        let store = Self { passing, ..Self::open(root)? };
        store.change_index(|_| ())?;
        durable::remove_leftovers(root)?;
        durable::remove_leftovers(&blobs)?;
        Ok(store)
    }

    /// The files and folders that [`Store::create`] would make in `root`, the uppermost ones: what to remove where a new
    /// store came to nothing. None where there is a store.
    #[must_use]
    pub fn would_make(root: &Path) -> Vec<PathBuf> {
        let is_absent = |path: &Path| path.symlink_metadata().is_err();
        let folders = root.ancestors().filter(|path| !path.as_os_str().is_empty());
        if let Some(folder) = folders.take_while(|path| is_absent(path)).last() {
            return vec![folder.to_owned()];
        }
        let made = [Layout::FILE, "blobs", index::FILE, index::LOCK].map(|name| root.join(name));
        match is_absent(&made[0]) {
            true => made.into_iter().filter(|path| is_absent(path)).collect(),
            false => Vec::new(),
        }
    }

    /// Opens a store that is there.
    ///
    /// # Errors
    /// When `root` is not an OCI layout.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let marker = root.join(Layout::FILE);
        let mut bytes = Vec::new();
        let most = Layout::MAX as u64 + 1;
        match regular::open(&marker).and_then(|file| file.take(most).read_to_end(&mut bytes)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("read", &marker)(e)),
            _ if Layout::read(&bytes).is_ok_and(|layout| layout.is_known()) => {
                Ok(Self { root: root.to_owned(), passing: false })
            }
            _ => Err(StoreError::NotALayout(root.to_owned())),
        }
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

    /// Whether the blob that a descriptor points at is there, undamaged and with the size that it says.
    #[must_use]
    pub fn holds(&self, entry: &Descriptor) -> bool {
        let read = self.read(&entry.digest, entry.size);
        read.is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes.len() as u64 == entry.size))
    }

    /// Keeps `bytes`, on disk before this returns, and tells their digest.
    ///
    /// # Errors
    /// When they cannot be written: nothing is kept then.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        self.put_checked(&digest, bytes)?;
        self.settle()?;
        Ok(digest)
    }

    /// Keeps a blob whose digest the caller has checked: its bytes are on the disk before this returns, its name when
    /// the store is [`settle`](Self::settle)d, which many blobs can wait for at once.
    pub(crate) fn put_checked(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        // A blob of this name that is damaged heals here.
        let there = self.read(digest, bytes.len() as u64);
        match there.is_ok_and(|there| there.is_some()) {
            true => Ok(()),
            false => self.place(&self.path(digest), bytes),
        }
    }

    /// Waits until the names of all blobs are on the disk, before they are listed.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        match self.passing {
            true => Ok(()),
            false => durable::settle(&self.blobs()),
        }
    }

    /// A blob of at most `limit` bytes, its digest checked; `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is damaged.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(bytes) = self.unchecked(digest, limit)? else { return Ok(None) };
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(StoreError::Damaged { root: self.root.clone(), digest: *digest, found });
        }
        Ok(Some(bytes))
    }

    /// A blob of at most `limit` bytes, whose digest the caller checks; `None` if it is not there.
    fn unchecked(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(digest);
        let file = match regular::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(io_error("read", &path))?,
        };
        let size = file.metadata().map_err(io_error("read", &path))?.len();
        if size > limit {
            return Err(StoreError::TooLarge { digest: *digest, size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut file = file.take(limit.saturating_add(1)); // it may grow meanwhile
        file.read_to_end(&mut bytes).map_err(io_error("read", &path))?;
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
        let read = regular::open(&path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
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

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        match self.passing {
            true => durable::pass(path, bytes).map_err(io_error("write", path)),
            false => durable::write(path, bytes),
        }
    }

    /// As [`Store::write`], but for its name, which has to be settled.
    fn place(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        match self.passing {
            true => durable::pass(path, bytes).map_err(io_error("write", path)),
            false => durable::place(path, bytes),
        }
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }
}

impl Blobs for Store {
    /// Not hashed here: who follows digests does that.
    fn blob(&self, digest: &Digest, limit: u64) -> io::Result<Option<Vec<u8>>> {
        self.unchecked(digest, limit).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::TEMPORARY;

    pub(super) fn store() -> (tempfile::TempDir, Store) {
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
        let entry = Descriptor::of("", b"hello");
        for damaged in ["hel", "hullo", "hello again"] {
            fs::write(store.path(&digest), damaged).unwrap();
            assert!(!store.holds(&entry));
            store.put(b"hello").unwrap();
            assert!(store.holds(&entry), "'{damaged}' is written again");
        }
        store.remove(&digest).unwrap();
        store.remove(&digest).unwrap();
        assert!(!store.has(&digest));
    }

    /// A layout may be a stranger's: nobody writes to its pipes.
    #[test]
    fn a_pipe_in_a_files_place_is_refused_and_not_waited_for() {
        let (folder, store) = store();
        let digest = store.put(b"hello").unwrap();
        let files = [Layout::FILE, index::FILE, index::LOCK].map(|name| folder.path().join(name));
        for path in files.into_iter().chain([store.path(&digest)]) {
            let good = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.unwrap().success());
            let all = Store::open(folder.path())
                .and_then(|store| store.index())
                .and_then(|_| store.unlist(|_| true))
                .and_then(|()| store.require(&digest, 5));
            let error = all.unwrap_err();
            let said = std::error::Error::source(&error).unwrap().to_string();
            assert!(matches!(error, StoreError::Io { .. }), "{error}: {said}");
            assert!(!store.holds(&Descriptor { size: 0, ..Descriptor::of("", b"hello") }));
            fs::remove_file(&path).unwrap();
            fs::write(&path, good).unwrap();
        }
        assert_eq!(store.require(&digest, 5).unwrap(), b"hello");
    }

    /// Nothing outside of the layout is made, nor held up.
    #[test]
    fn a_link_in_the_locks_place_is_refused() {
        let (folder, store) = store();
        let elsewhere = tempfile::tempdir().unwrap();
        let (there, absent) = (elsewhere.path().join("there"), elsewhere.path().join("absent"));
        fs::write(&there, "").unwrap();
        let lock = folder.path().join(index::LOCK);
        let links: [(&str, &dyn Fn()); 2] = [
            ("it is a link", &|| std::os::unix::fs::symlink(&absent, &lock).unwrap()),
            ("hard links", &|| fs::hard_link(&there, &lock).unwrap()),
        ];
        for (words, link) in links {
            fs::remove_file(&lock).unwrap();
            link();
            let error = store.unlist(|_| true).unwrap_err();
            let said = std::error::Error::source(&error).unwrap().to_string();
            assert!(said.contains(words) && said.ends_with("remove it"), "{said}");
            assert!(!absent.exists());
        }
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
        fs::write(folder.path().join(Layout::FILE), Layout::BYTES).unwrap();
        open().unwrap();
    }
}
