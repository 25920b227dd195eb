//! Blobs that come in pieces: what came of a large one is kept, so that the next pull goes on from there.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use skep_spec::Digest;

use super::{Store, StoreError, io_error};

/// How the name of such a file begins, before the digest.
pub(super) const PART: &str = ".part-";

/// What has come of a blob, in memory, and of a large one in a file as well, which one process at a time has.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: Vec<u8>,
    part: Option<Part>,
}

#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
}

impl Received {
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        if let Some(Part { file, path }) = &mut self.part {
            file.write_all(piece).map_err(io_error("write", path))?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Begins anew.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        self.bytes.clear();
        match &self.part {
            Some(Part { file, path }) => file.set_len(0).map_err(io_error("write", path)),
            None => Ok(()),
        }
    }
}

impl Store {
    /// What has come of a blob, to go on with. Nobody checked it.
    pub(crate) fn received(&self, digest: &Digest, size: u64) -> Result<Received, StoreError> {
        let path = self.blobs().join(format!("{PART}{}", digest.hex()));
        let Some(file) = alone(&path).map_err(io_error("open", &path))? else {
            return Ok(Received::default()); // another process is at it: each has its own
        };
        let mut bytes = Vec::new();
        (&file).take(size + 1).read_to_end(&mut bytes).map_err(io_error("read", &path))?;
        let is_more = bytes.len() as u64 > size;
        let mut received = Received { bytes, part: Some(Part { file, path }) };
        if is_more {
            received.restart()?;
        }
        Ok(received)
    }

    /// Keeps what came as a blob, on disk before this returns; none if it has another digest, which is gone then.
    pub(crate) fn keep(
        &self,
        digest: &Digest,
        received: Received,
    ) -> Result<Result<(), Digest>, StoreError> {
        let found = Digest::of(&received.bytes);
        let Received { bytes, part } = received;
        let Some(Part { file, path }) = part else {
            return match found == *digest {
                true => self.put(&bytes).map(|_| Ok(())),
                false => Ok(Err(found)),
            };
        };
        if found != *digest {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
            return Ok(Err(found));
        }
        let blob = self.path(digest);
        let synced = || match self.passing {
            true => Ok(()),
            false => file.sync_all(),
        };
        let folder = || match self.passing {
            true => Ok(()),
            false => File::open(self.blobs())?.sync_all(),
        };
        let kept = synced().and_then(|()| fs::rename(&path, &blob)).and_then(|()| folder());
        kept.map(Ok).map_err(io_error("write", &blob))
    }
}

/// The file, if no other process has it.
fn alone(path: &Path) -> io::Result<Option<File>> {
    let file = File::options().read(true).append(true).create(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    // Whoever had it may have made the blob of it meanwhile.
    let is_it = fs::metadata(path).is_ok_and(|there| {
        file.metadata().is_ok_and(|ours| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
    });
    Ok(is_it.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    #[test]
    fn a_blob_in_pieces_goes_on_where_it_ended() {
        let (_folder, store) = store();
        let (blob, digest) = (b"hello world", Digest::of(b"hello world"));
        let received = || store.received(&digest, blob.len() as u64).unwrap();
        let mut first = received();
        first.push(b"hello").unwrap();
        assert_eq!(received().len(), 0, "one at a time has the file");
        drop(first);
        let mut second = received();
        assert_eq!(second.bytes, b"hello");
        second.push(b" there").unwrap();
        let other = Digest::of(b"hello there");
        assert_eq!(store.keep(&digest, second).unwrap(), Err(other));
        assert!(!store.has(&digest));
        let mut third = received();
        assert_eq!(third.len(), 0, "what was wrong is gone");
        third.push(b"junk").unwrap();
        third.restart().unwrap();
        third.push(blob).unwrap();
        assert_eq!(store.keep(&digest, third).unwrap(), Ok(()));
        assert_eq!(store.require(&digest, 11).unwrap(), blob);
        assert_eq!(fs::read_dir(store.blobs()).unwrap().count(), 1);
        let mut more = received();
        more.push(b"hello world and more").unwrap();
        drop(more);
        assert_eq!(received().len(), 0, "more than the blob has is no beginning of it");
        store.collect(&Default::default()).unwrap();
        assert_eq!(fs::read_dir(store.blobs()).unwrap().count(), 0);
    }
}
