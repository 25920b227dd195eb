//! Blobs: a file per content, a row per repository that shows it.

use std::path::{Path, PathBuf};

use sqlx::Row as _;

use super::manifests::{DeleteError, refuse_in_use};
use super::{Store, StoreError, database, now};
use crate::digest::{Algorithm, Digest};
use crate::name::Repository;

/// A blob that a repository shows.
#[derive(Debug)]
pub struct BlobFile {
    /// Where its bytes are.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
}

impl BlobFile {
    /// Its bytes; none if there are more than `most`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn read(&self, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if self.size > most {
            return Ok(None);
        }
        let path = self.path.clone();
        let at = |source| StoreError::File { action: "read", path: self.path.clone(), source };
        tokio::fs::read(path).await.map(Some).map_err(at)
    }
}

impl Store {
    /// The blob `digest` of `repository`, if it shows one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobFile>, StoreError> {
        let row = sqlx::query("SELECT size FROM blob WHERE repository = ? AND digest = ?")
            .bind(repository.as_str())
            .bind(digest.as_str())
            .fetch_optional(&self.read)
            .await
            .map_err(database(|| format!("look for the blob {digest}")))?;
        Ok(row.map(|row| BlobFile {
            path: self.blob_path(digest),
            size: row.get::<i64, _>(0).unsigned_abs(),
        }))
    }

    /// Moves a complete, verified file into the store and shows it in `repository`.
    ///
    /// # Errors
    /// When the file cannot be made durable or the database cannot be written.
    pub async fn adopt_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        file: &Path,
        size: u64,
    ) -> Result<(), StoreError> {
        let _files = self.blob_files.lock().await;
        let (from, to) = (file.to_owned(), self.blob_path(digest));
        blocking(move || rename_durably(&from, &to)).await?;
        self.show_blob(repository, digest, size).await
    }

    /// Shows in `repository` a blob that `from` has, or any repository where none is named; false if none has.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn mount_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: Option<&Repository>,
    ) -> Result<bool, StoreError> {
        let _files = self.blob_files.lock().await;
        let size: Option<i64> = sqlx::query_scalar(
            "SELECT size FROM blob WHERE digest = ?1 AND (?2 IS NULL OR repository = ?2) LIMIT 1",
        )
        .bind(digest.as_str())
        .bind(from.map(Repository::as_str))
        .fetch_optional(&self.read)
        .await
        .map_err(database(|| format!("look for the blob {digest}")))?;
        let Some(size) = size else { return Ok(false) };
        self.show_blob(repository, digest, size.unsigned_abs()).await?;
        Ok(true)
    }

    /// Takes the blob out of `repository`, and its file away if no other repository shows it.
    ///
    /// False if the repository has no such blob.
    ///
    /// # Errors
    /// When a manifest needs it, or the database or the file cannot be changed.
    pub async fn delete_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, DeleteError> {
        let _files = self.blob_files.lock().await;
        let action = || format!("delete the blob {digest}");
        let mut change = self.begin().await?;
        refuse_in_use(&mut change, repository, digest).await?;
        let gone = sqlx::query("DELETE FROM blob WHERE repository = ? AND digest = ?")
            .bind(repository.as_str())
            .bind(digest.as_str())
            .execute(&mut *change)
            .await
            .map_err(database(action))?;
        change.commit().await.map_err(database(action))?;
        if gone.rows_affected() == 0 {
            return Ok(false);
        }
        if !self.is_shown(digest).await? {
            remove(&self.blob_path(digest))?;
        }
        Ok(true)
    }

    /// Removes what a killed process left: unfinished uploads, and blob files that no repository shows.
    ///
    /// # Errors
    /// When a folder cannot be read or a file not removed.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        for upload in files_of(&self.folder.join("uploads"))? {
            remove(&upload)?;
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.folder.join("blobs").join(algorithm.as_str());
            for path in files_of(&folder)? {
                self.sweep_blob(algorithm, &path).await?;
            }
        }
        Ok(())
    }

    async fn sweep_blob(&self, algorithm: Algorithm, path: &Path) -> Result<(), StoreError> {
        let hex = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let shown = match format!("{}:{hex}", algorithm.as_str()).parse() {
            Ok(digest) => self.is_shown(&digest).await?,
            Err(_) => false,
        };
        if shown { Ok(()) } else { remove(path) }
    }

    async fn show_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO blob (repository, digest, size, pushed) VALUES (?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(repository.as_str())
        .bind(digest.as_str())
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(now())
        .execute(&self.write)
        .await
        .map(drop)
        .map_err(database(|| format!("record the blob {digest}")))
    }

    async fn is_shown(&self, digest: &Digest) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM blob WHERE digest = ? LIMIT 1")
            .bind(digest.as_str())
            .fetch_optional(&self.write)
            .await
            .map_err(database(|| format!("look for the blob {digest}")))?;
        Ok(row.is_some())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }
}

/// Runs file work on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

/// Renames so that after a power cut the new name holds all bytes or does not exist.
fn rename_durably(from: &Path, to: &Path) -> Result<(), StoreError> {
    let at = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::File { action, path, source }
    };
    let file = std::fs::File::open(from).map_err(at("open", from))?;
    file.sync_all().map_err(at("write out", from))?;
    std::fs::rename(from, to).map_err(at("rename to", to))?;
    let folder = to.parent().unwrap_or(to);
    let folder_file = std::fs::File::open(folder).map_err(at("open", folder))?;
    folder_file.sync_all().map_err(at("write out", folder))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::File { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let at = |source| StoreError::File { action: "read", path: folder.to_owned(), source };
    std::fs::read_dir(folder)
        .map_err(at)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(at))
        .collect()
}
