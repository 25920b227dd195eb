//! Upload sessions: a file that grows until its digest is named.
//!
//! Sessions live in memory: a restart ends them, and clients begin again (OCI distribution-spec 1.1 lets a
//! registry end sessions). A chunk counts whole or not at all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::StoreError;
use super::blobs::blocking;
use crate::digest::{Digest, Hasher};
use crate::drain::drain;
use crate::limits::Limits;
use crate::name::Repository;

/// The open sessions.
#[derive(Clone)]
pub struct Uploads {
    folder: PathBuf,
    limits: Limits,
    open: Arc<Mutex<HashMap<String, State>>>,
}

/// Why an upload cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No such session in this repository.
    #[error("there is no such upload: it has ended or expired, begin again")]
    Unknown,
    /// Another request writes to it.
    #[error("another request is writing to this upload")]
    Busy,
    /// Too many sessions.
    #[error("{0} uploads are open: try again later")]
    TooMany(usize),
    /// Past the cap on blobs.
    #[error("the blob is larger than this hub's limit of {0} bytes")]
    TooLarge(u64),
    /// The body was not as long as it said.
    #[error("the request says {said} bytes and carries {came}")]
    Length {
        /// `Content-Length` or the length of `Content-Range`.
        said: u64,
        /// What came.
        came: u64,
    },
    /// The body broke off.
    #[error("the request's body broke off: {0}")]
    Body(String),
    /// The bytes have another digest than the client says.
    #[error("the bytes have the digest {is}, not {said}")]
    Digest {
        /// What the client says.
        said: Digest,
        /// What they are.
        is: Digest,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

enum State {
    Idle(Session),
    Busy,
}

struct Session {
    repository: Repository,
    size: u64,
    used: Instant,
}

/// A session that this request alone uses; it goes back to the open ones when dropped.
pub struct Lease {
    uploads: Uploads,
    /// The session's name, which only the client that began it learns.
    pub id: String,
    repository: Repository,
    size: u64,
    ended: bool,
}

impl Uploads {
    /// No sessions; files go to `folder`/uploads.
    #[must_use]
    pub fn new(folder: &Path, limits: Limits) -> Self {
        Self { folder: folder.join("uploads"), limits, open: Arc::default() }
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`UploadError::TooMany`], or a file that cannot be created.
    pub fn begin(&self, repository: &Repository) -> Result<Lease, UploadError> {
        self.expire();
        let mut open = self.open();
        if open.len() >= self.limits.uploads {
            return Err(UploadError::TooMany(open.len()));
        }
        let id = random_id().map_err(|source| self.file_error("name", "", source))?;
        let path = self.folder.join(&id);
        std::fs::File::create_new(&path)
            .map_err(|source| self.file_error("create", &id, source))?;
        open.insert(id.clone(), State::Busy);
        drop(open);
        Ok(self.lease(id, repository.clone(), 0))
    }

    /// Takes up the session `id` of `repository`.
    ///
    /// # Errors
    /// [`UploadError::Unknown`] or [`UploadError::Busy`].
    pub fn take(&self, repository: &Repository, id: &str) -> Result<Lease, UploadError> {
        self.expire();
        let mut open = self.open();
        let state = open.get_mut(id).ok_or(UploadError::Unknown)?;
        match state {
            State::Busy => return Err(UploadError::Busy),
            State::Idle(session) if session.repository != *repository => {
                return Err(UploadError::Unknown);
            }
            State::Idle(_) => (),
        }
        let State::Idle(session) = std::mem::replace(state, State::Busy) else {
            return Err(UploadError::Busy);
        };
        drop(open);
        Ok(self.lease(id.to_owned(), session.repository, session.size))
    }

    fn lease(&self, id: String, repository: Repository, size: u64) -> Lease {
        Lease { uploads: self.clone(), id, repository, size, ended: false }
    }

    fn expire(&self) {
        let lifetime = self.limits.upload_idle;
        self.open().retain(|id, state| {
            let stale = matches!(state, State::Idle(session) if session.used.elapsed() > lifetime);
            if stale {
                discard(&self.folder.join(id));
            }
            !stale
        });
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, State>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_error(&self, action: &'static str, id: &str, source: std::io::Error) -> StoreError {
        StoreError::File { action, path: self.folder.join(id), source }
    }
}

impl Lease {
    /// Bytes so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The file of the bytes so far.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.uploads.folder.join(&self.id)
    }

    /// Appends a whole body; on any error the session is as it was before.
    ///
    /// # Errors
    /// When the body is too large, breaks off or is not `said` bytes long, or the file cannot be written.
    pub async fn append(&mut self, body: Body, said: Option<u64>) -> Result<(), UploadError> {
        let room = self.uploads.limits.blob.saturating_sub(self.size);
        let mut chunks = body.into_data_stream();
        let written = match said {
            Some(said) if said > room => Err(UploadError::TooLarge(self.uploads.limits.blob)),
            _ => self.write(&mut chunks, room).await,
        };
        match written {
            Ok(came) if said.is_none_or(|said| said == came) => {
                self.size += came;
                Ok(())
            }
            Ok(came) => Err(UploadError::Length { said: said.unwrap_or(came), came }),
            Err(error @ UploadError::Body(_)) => Err(error),
            Err(error) => {
                drain(chunks).await;
                Err(error)
            }
        }
    }

    /// Checks that the bytes so far have the digest `said`.
    ///
    /// # Errors
    /// [`UploadError::Digest`] when they have not.
    pub async fn verify(&self, said: &Digest) -> Result<(), UploadError> {
        let (path, size, algorithm) = (self.path(), self.size, said.algorithm());
        let is = blocking(move || digest_of(&path, size, Hasher::new(algorithm))).await?;
        if is == *said { Ok(()) } else { Err(UploadError::Digest { said: said.clone(), is }) }
    }

    /// Ends the session; a file that is still there goes with it.
    pub fn end(mut self) {
        self.ended = true;
    }

    async fn write(&self, chunks: &mut BodyDataStream, room: u64) -> Result<u64, UploadError> {
        let at = |action| move |source| self.uploads.file_error(action, &self.id, source);
        let mut file = tokio::fs::OpenOptions::new()
            .write(true)
            .open(self.path())
            .await
            .map_err(at("open"))?;
        file.set_len(self.size).await.map_err(at("shorten"))?; // what a broken chunk left
        file.seek(std::io::SeekFrom::Start(self.size)).await.map_err(at("seek in"))?;
        let mut came = 0;
        while let Some(chunk) = self.next(chunks).await? {
            came += chunk.len() as u64;
            if came > room {
                return Err(UploadError::TooLarge(self.uploads.limits.blob));
            }
            file.write_all(&chunk).await.map_err(at("write"))?;
        }
        file.flush().await.map_err(at("write"))?;
        Ok(came)
    }

    async fn next(&self, chunks: &mut BodyDataStream) -> Result<Option<bytes::Bytes>, UploadError> {
        let wait: Duration = self.uploads.limits.body_idle;
        match tokio::time::timeout(wait, chunks.next()).await {
            Ok(chunk) => chunk.transpose().map_err(|error| UploadError::Body(error.to_string())),
            Err(_) => Err(UploadError::Body(format!("nothing came for {} s", wait.as_secs()))),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut open = self.uploads.open();
        if self.ended {
            open.remove(&self.id);
            discard(&self.uploads.folder.join(&self.id));
        } else {
            let repository = self.repository.clone();
            let session = Session { repository, size: self.size, used: Instant::now() };
            open.insert(self.id.clone(), State::Idle(session));
        }
    }
}

fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove an ended upload");
    }
}

fn random_id() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex::encode(bytes))
}

fn digest_of(path: &Path, size: u64, mut hasher: Hasher) -> Result<Digest, StoreError> {
    let at = |source| StoreError::File { action: "read", path: path.to_owned(), source };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(at)?;
    file.set_len(size).map_err(at)?; // what a broken chunk left
    std::io::copy(&mut std::io::BufReader::with_capacity(1 << 18, file), &mut hasher)
        .map_err(at)?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    fn uploads(folder: &Path, limits: Limits) -> Uploads {
        std::fs::create_dir_all(folder.join("uploads")).unwrap();
        Uploads::new(folder, limits)
    }

    fn repository() -> Repository {
        "acme/exec".parse().unwrap()
    }

    #[tokio::test]
    async fn limits_hold_and_a_refused_chunk_leaves_the_session_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { blob: 8, uploads: 1, ..Limits::default() };
        let uploads = uploads(folder.path(), limits);
        let mut lease = uploads.begin(&repository()).unwrap();
        assert!(matches!(uploads.begin(&repository()), Err(UploadError::TooMany(1))));
        assert!(matches!(uploads.take(&repository(), &lease.id), Err(UploadError::Busy)));

        lease.append("12345".into(), Some(5)).await.unwrap();
        let too_large = lease.append("6789".into(), None).await;
        assert!(matches!(too_large, Err(UploadError::TooLarge(8))));
        let short = lease.append("67".into(), Some(3)).await;
        assert!(matches!(short, Err(UploadError::Length { said: 3, came: 2 })));
        assert_eq!(lease.size(), 5);
        lease.append("678".into(), None).await.unwrap();
        lease.verify(&Algorithm::Sha512.digest(b"12345678")).await.unwrap();
        let wrong = lease.verify(&Algorithm::Sha256.digest(b"12345")).await;
        assert!(matches!(wrong, Err(UploadError::Digest { .. })));
        lease.end();
        assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn an_unused_session_expires_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { upload_idle: Duration::ZERO, ..Limits::default() };
        let uploads = uploads(folder.path(), limits);
        let id = uploads.begin(&repository()).unwrap().id.clone();
        assert!(matches!(uploads.take(&repository(), &id), Err(UploadError::Unknown)));
        assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_body_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { body_idle: Duration::from_millis(20), ..Limits::default() };
        let mut lease = uploads(folder.path(), limits).begin(&repository()).unwrap();
        let hanging = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
        let given_up = lease.append(Body::from_stream(hanging), None).await;
        assert!(matches!(given_up, Err(UploadError::Body(_))));
    }
}
