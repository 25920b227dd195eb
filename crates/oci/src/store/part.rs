//! Blobs that come in pieces: a large one is written and hashed while it comes, and what came of it stays, so that the next
//! pull goes on from there.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use skep_spec::{Digest, Digesting};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use super::{Store, StoreError, io_error};
use crate::regular;

/// How the name of such a file begins, before the digest.
pub(super) const PART: &str = ".part-";
/// How many pieces wait for the disk before the network waits, too.
const WAITING: usize = 16;
/// Bytes of a file that are hashed at once.
const CHUNK: u64 = 1 << 20;

/// What has come of a document or blob. Nobody checked it.
#[derive(Debug)]
pub(crate) enum Received {
    /// In memory.
    Memory(Vec<u8>),
    /// In a file, which one process at a time has.
    File(Writer),
}

impl Default for Received {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Received {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(writer) => writer.len,
        }
    }

    /// What came into memory.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Memory(bytes) => bytes,
            Self::File(_) => Vec::new(),
        }
    }

    pub(crate) async fn push(&mut self, piece: Bytes) -> Result<(), StoreError> {
        match self {
            Self::Memory(bytes) => bytes.extend_from_slice(&piece),
            Self::File(writer) => {
                let size = piece.len() as u64;
                writer.send(Order::Take(piece)).await?;
                writer.len += size;
            }
        }
        Ok(())
    }

    /// Begins anew.
    pub(crate) async fn restart(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Memory(bytes) => bytes.clear(),
            Self::File(writer) => {
                writer.send(Order::Restart).await?;
                writer.len = 0;
            }
        }
        Ok(())
    }

    /// All that came, and its digest.
    pub(crate) async fn whole(self) -> Result<Whole, StoreError> {
        match self {
            Self::Memory(bytes) => {
                Ok(Whole { digest: Digest::of(&bytes), content: Content::Memory(bytes) })
            }
            Self::File(Writer { orders, part, .. }) => {
                drop(orders); // which ends it
                let part = joined(part).await?;
                let digest = part.digesting.clone().digest();
                Ok(Whole { digest, content: Content::File(part) })
            }
        }
    }
}

/// Writes and hashes what comes, on a thread of its own: meanwhile the network is read.
#[derive(Debug)]
pub(crate) struct Writer {
    orders: mpsc::Sender<Order>,
    part: JoinHandle<Result<Part, StoreError>>,
    /// Bytes that are in the file, or on the way there.
    len: u64,
}

#[derive(Debug)]
enum Order {
    Take(Bytes),
    Restart,
}

impl Writer {
    /// Goes on behind the bytes that a file holds.
    fn of(part: Part, held: u64) -> Self {
        let (orders, taken) = mpsc::channel(WAITING);
        let part = tokio::task::spawn_blocking(move || part.write(held, taken));
        Self { orders, part, len: held }
    }

    async fn send(&mut self, order: Order) -> Result<(), StoreError> {
        match self.orders.send(order).await {
            Ok(()) => Ok(()),
            // It takes orders until it fails.
            Err(_) => joined(&mut self.part).await.map(drop),
        }
    }
}

async fn joined<T>(task: impl Future<Output = Result<T, tokio::task::JoinError>>) -> T {
    task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// The file of a blob that is on its way.
#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
    digesting: Digesting,
    /// Given back when the file is closed.
    _place: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// Goes on behind the bytes that the file holds. Not for a thread that others wait for.
    fn write(mut self, held: u64, mut orders: mpsc::Receiver<Order>) -> Result<Self, StoreError> {
        self.hash(held).map_err(io_error("read", &self.path))?;
        while let Some(order) = orders.blocking_recv() {
            let done = match order {
                Order::Take(piece) => self.take(&piece),
                Order::Restart => self.restart(),
            };
            done.map_err(io_error("write", &self.path))?;
        }
        Ok(self)
    }

    fn hash(&mut self, held: u64) -> io::Result<()> {
        let mut rest = (&self.file).take(held);
        let mut chunk = Vec::new();
        while rest.by_ref().take(CHUNK).read_to_end(&mut chunk)? > 0 {
            self.digesting.update(&chunk);
            chunk.clear();
        }
        Ok(())
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.digesting.update(piece);
        self.file.write_all(piece)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.digesting = Digesting::default();
        self.file.set_len(0)
    }
}

/// A blob that came to its end, under no name yet.
#[derive(Debug)]
pub(crate) struct Whole {
    /// Of its bytes.
    pub(crate) digest: Digest,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory(Vec<u8>),
    File(Part),
}

impl Whole {
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self.content, Content::File(_))
    }
}

impl Store {
    /// What has come of a blob of so many bytes, to go on with. `place` is held as long as the file is open.
    pub(crate) fn received(
        &self,
        digest: &Digest,
        size: u64,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Received, StoreError> {
        let path = self.blobs().join(format!("{PART}{}", digest.hex()));
        let failed = || io_error("open", &path);
        let Some(file) = alone(&path).map_err(failed())? else {
            return Ok(Received::default()); // another process is at it: each has its own
        };
        let mut len = file.metadata().map_err(failed())?.len();
        if len > size {
            file.set_len(0).map_err(failed())?; // it is the beginning of something else
            len = 0;
        }
        let part = Part { file, path, digesting: Digesting::default(), _place: place };
        Ok(Received::File(Writer::of(part, len)))
    }

    /// Keeps a blob under the name of its digest; its bytes are on the disk before this returns, its name when the store is
    /// [`settle`](Self::settle)d.
    pub(crate) fn keep(&self, whole: Whole) -> Result<(), StoreError> {
        let Whole { digest, content } = whole;
        let part = match content {
            Content::Memory(bytes) => return self.put_checked(&digest, &bytes),
            Content::File(part) => part,
        };
        let blob = self.path(&digest);
        let synced = match self.passing {
            true => Ok(()),
            false => part.file.sync_all(),
        };
        synced.and_then(|()| fs::rename(&part.path, &blob)).map_err(io_error("write", &blob))
    }

    /// Removes what came of a blob and is something else.
    pub(crate) fn discard(&self, whole: &Whole) -> Result<(), StoreError> {
        match &whole.content {
            Content::Memory(_) => Ok(()),
            Content::File(Part { path, .. }) => {
                fs::remove_file(path).map_err(io_error("remove", path))
            }
        }
    }
}

/// The file, if no other process has it. What somebody else put in its place, such as a link, is removed and not looked at.
fn alone(path: &Path) -> io::Result<Option<File>> {
    let file = match regular::append(path) {
        Err(_) if is_planted(path) => fs::remove_file(path).and_then(|()| regular::append(path)),
        file => file,
    }?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    // Whoever had it may have made the blob of it meanwhile.
    let is_it = fs::symlink_metadata(path).is_ok_and(|there| {
        file.metadata().is_ok_and(|ours| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
    });
    Ok(is_it.then_some(file))
}

/// Whether what lies there is none that a pull makes: a link, a file with other names, a pipe or a device.
fn is_planted(path: &Path) -> bool {
    let there = fs::symlink_metadata(path);
    there.is_ok_and(|there| !there.is_dir() && (!there.is_file() || there.nlink() > 1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    const BLOB: &[u8] = b"hello world";

    fn received(store: &Store) -> Received {
        store.received(&Digest::of(BLOB), BLOB.len() as u64, None).unwrap()
    }

    /// What is given up has its file until all that came is in it.
    async fn given_up(received: Received) {
        received.whole().await.unwrap();
    }

    #[tokio::test]
    async fn a_blob_in_pieces_goes_on_where_it_ended() {
        let (_folder, store) = store();
        let digest = Digest::of(BLOB);
        let mut first = received(&store);
        first.push(Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(received(&store).len(), 0, "one at a time has the file");
        given_up(first).await;
        let mut second = received(&store);
        assert_eq!(second.len(), 5);
        second.push(Bytes::from_static(b" there")).await.unwrap();
        let other = second.whole().await.unwrap();
        assert_eq!(other.digest, Digest::of(b"hello there"), "also of what was there before");
        store.discard(&other).unwrap();
        drop(other);
        assert!(!store.has(&digest));
        let mut third = received(&store);
        assert_eq!(third.len(), 0, "what was wrong is gone");
        third.push(Bytes::from_static(b"junk")).await.unwrap();
        third.restart().await.unwrap();
        third.push(Bytes::from_static(BLOB)).await.unwrap();
        let whole = third.whole().await.unwrap();
        assert_eq!(whole.digest, digest);
        store.keep(whole).unwrap();
        assert_eq!(store.require(&digest, 11).unwrap(), BLOB);
        assert_eq!(fs::read_dir(store.blobs()).unwrap().count(), 1);
        let mut more = received(&store);
        more.push(Bytes::from_static(b"hello world and more")).await.unwrap();
        given_up(more).await;
        assert_eq!(received(&store).len(), 0, "more than the blob has is no beginning of it");
        store.collect(&Default::default()).unwrap();
        assert_eq!(fs::read_dir(store.blobs()).unwrap().count(), 0);
    }

    /// `/dev/full` takes nothing, as a full disk does.
    #[tokio::test]
    async fn a_disk_that_takes_no_more_ends_it_with_its_own_error() {
        let path = PathBuf::from("/dev/full");
        let file = File::options().append(true).open(&path).unwrap();
        let part = Part { file, path, digesting: Digesting::default(), _place: None };
        let mut received = Received::File(Writer::of(part, 0));
        let mut pushed = Ok(());
        while pushed.is_ok() {
            pushed = received.push(Bytes::from_static(b"x")).await;
        }
        let error = pushed.unwrap_err().to_string();
        assert!(error.contains("free some space"), "{error}");
    }

    /// A layout may be a stranger's, who knows what comes into it.
    #[tokio::test]
    async fn what_somebody_put_in_its_place_is_neither_written_nor_gone_on_with() {
        let (folder, store) = store();
        let path = store.blobs().join(format!("{PART}{}", Digest::of(BLOB).hex()));
        let elsewhere = folder.path().join("elsewhere");
        let absent = folder.path().join("absent");
        for held in ["hello", "longer than the blob is"] {
            fs::write(&elsewhere, held).unwrap();
            let plants: [&dyn Fn(); 4] = [
                &|| std::os::unix::fs::symlink(&elsewhere, &path).unwrap(),
                &|| fs::hard_link(&elsewhere, &path).unwrap(),
                &|| std::os::unix::fs::symlink(&absent, &path).unwrap(),
                &|| std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
            ];
            for plant in plants {
                plant();
                let mut came = received(&store);
                assert_eq!(came.len(), 0);
                came.push(Bytes::from_static(BLOB)).await.unwrap();
                store.keep(came.whole().await.unwrap()).unwrap();
                assert_eq!(fs::read_to_string(&elsewhere).unwrap(), held);
                assert!(!absent.exists());
                let blob = store.path(&Digest::of(BLOB));
                assert!(blob.symlink_metadata().unwrap().is_file());
                fs::remove_file(blob).unwrap();
            }
        }
        fs::create_dir(&path).unwrap();
        let error = store.received(&Digest::of(BLOB), 11, None).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("directory"));
    }
}
