//! The one data folder: SQLite for what is known, files for blobs.
//!
//! `hub.sqlite` (WAL, fully synchronous), `blobs/<algorithm>/<hex>`, `uploads/<id>`, `lock`. A row is written
//! after the bytes that it speaks of are durable, so a process killed at any point leaves nothing half
//! visible; bytes without a row are swept at the next start.

mod blobs;
mod catalogue;
mod manifests;
mod referrers;
mod tags;
mod tokens;
mod uploads;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlitePool};

pub use blobs::BlobFile;
pub use catalogue::{Release, Signature, Signed};
pub use manifests::{DeleteError, Push, PushError, StoredManifest};
pub use referrers::{Part, Referrer};
pub use tokens::{Secret, Token};
pub use uploads::{Lease, UploadError, Uploads};

const DATABASE: &str = "hub.sqlite";

/// The data folder, opened.
pub struct Store {
    folder: PathBuf,
    read: SqlitePool,
    /// One connection: SQLite has one writer, and waiting here is fairer than its busy loop.
    write: SqlitePool,
    /// Held while a blob's file and its row change together.
    blob_files: tokio::sync::Mutex<()>,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried, such as `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody ever served it.
    #[error(
        "there is no hub in {path}: name its folder with --data, or make one with `skep-hub serve --data {path}`", path = .0.display()
    )]
    NoHub(PathBuf),
    /// Another process serves this folder.
    #[error("{0} is in use by another skep-hub: stop that one first, or choose another folder")]
    Locked(PathBuf),
    /// SQLite refused.
    #[error("cannot {action} in the database")]
    Database {
        /// What was tried, such as `read the tags of acme/exec`.
        action: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The database was made by a newer version, or a migration failed.
    #[error("cannot bring the database up to date: was it made by a newer skep-hub?")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// Whether the cause is a full disk or quota.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::File { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            ),
            Self::Database { source: sqlx::Error::Database(error), .. } => {
                error.code().as_deref() == Some("13") // SQLITE_FULL
            }
            _ => false,
        }
    }

    /// What to do about it, where the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            _ if self.is_disk_full() => Some("make room there, or name another folder with --data"),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run it as a user who may write there, or name another folder with --data")
            }
            _ => None,
        }
    }
}

impl Store {
    /// Opens `folder`, creating it and bringing its database up to date.
    ///
    /// # Errors
    /// When the folder cannot be written or the database is newer than this program.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        for part in ["blobs/sha256", "blobs/sha512", "uploads"] {
            make_folder(&folder.join(part))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(folder.join(DATABASE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let opened = |source| StoreError::Database { action: "open hub.sqlite".into(), source };
        let pool = |most| SqlitePoolOptions::new().min_connections(0).max_connections(most);
        // On a full disk SQLite itself takes a change back, and sqlx goes on to count the connection as one within it:
        // such a one refuses every later change, so that it is given up.
        let write = pool(1).before_acquire(|connection, _| {
            let is_free = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_free) })
        });
        let write = write.connect_with(options.clone()).await.map_err(opened)?;
        {
            let _alone = migrating(folder)?; // SQLite has no lock that spans several statements of sqlx
            sqlx::migrate!().run(&write).await.map_err(StoreError::Migrate)?;
        }
        let read = pool(4).connect_with(options.read_only(true)).await.map_err(opened)?;
        Ok(Self { folder: folder.to_owned(), read, write, blob_files: tokio::sync::Mutex::new(()) })
    }

    /// The same of a folder in which a hub was served.
    ///
    /// # Errors
    /// As [`Store::open`], and when there is none.
    pub async fn open_existing(folder: &Path) -> Result<Self, StoreError> {
        if !folder.join(DATABASE).is_file() {
            return Err(StoreError::NoHub(folder.to_owned()));
        }
        Self::open(folder).await
    }

    /// Takes the folder for this process alone, until the returned file is dropped.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it.
    pub fn lock(&self) -> Result<std::fs::File, StoreError> {
        let path = self.folder.join("lock");
        let file = std::fs::File::create(&path).map_err(|source| StoreError::File {
            action: "create",
            path: path.clone(),
            source,
        })?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked(self.folder.clone())),
            Err(std::fs::TryLockError::Error(source)) => {
                Err(StoreError::File { action: "lock", path, source })
            }
        }
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let answer = sqlx::query("SELECT 1").execute(&self.read).await;
        answer.map(drop).map_err(database(|| "ask for nothing"))
    }

    /// Closes the database, which also folds its log into the main file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        self.write.begin_with("BEGIN IMMEDIATE").await.map_err(database(|| "begin a change"))
    }
}

/// Wraps an error of SQLite with what was being done.
fn database<S: Into<String>>(action: impl FnOnce() -> S) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { action: action().into(), source }
}

/// Held by the process that brings the database up to date; others wait.
fn migrating(folder: &Path) -> Result<std::fs::File, StoreError> {
    let path = folder.join("migrating");
    let at = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::File { action, path, source }
    };
    let file = std::fs::File::create(&path).map_err(at("create", &path))?;
    file.lock().map_err(at("lock", &path))?;
    Ok(file)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(|source| StoreError::File {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
