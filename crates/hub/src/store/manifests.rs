//! Manifests, with what they need, what they are about and the tag that names them: one change each.

use sqlx::{Sqlite, SqliteConnection};

use super::catalogue::{Signed, insert_release, insert_signature};
use super::{Store, StoreError, database, now};
use crate::digest::Digest;
use crate::document::{Document, Parts};
use crate::listing::Listing;
use crate::name::{Reference, Repository, Tag};

/// A manifest to store.
pub struct Push<'a> {
    /// Where.
    pub repository: &'a Repository,
    /// Under which tag, if any.
    pub tag: Option<&'a Tag>,
    /// The digest of `content`.
    pub digest: &'a Digest,
    /// The bytes.
    pub content: &'a [u8],
    /// What they say.
    pub document: &'a Document,
    /// What is in it, if it is a package.
    pub listing: Option<&'a Listing>,
    /// Who signed, if it is a signature.
    pub signed: Option<&'a Signed>,
}

/// Why a manifest was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The tag is a version, and means another manifest already.
    #[error(
        "version {tag} of {repository} is {digest} and stays so: publish the change under a new version"
    )]
    VersionTaken {
        /// The repository.
        repository: Repository,
        /// The version.
        tag: Tag,
        /// What it means.
        digest: String,
    },
    /// Parts that the repository does not have.
    #[error("{0} is not in this repository: push it before the manifest that lists it")]
    Missing(Digest),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a manifest or blob was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// A manifest needs it.
    #[error("{by} is made of it: delete that manifest first")]
    InUse {
        /// The manifest.
        by: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A manifest as it came.
#[derive(Debug, sqlx::FromRow)]
pub struct StoredManifest {
    /// `sha256:…`.
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl Store {
    /// Stores a manifest, and moves its tag, in one change.
    ///
    /// # Errors
    /// When a part is missing, the tag is a version of another manifest, or the database refuses.
    pub async fn push(&self, push: &Push<'_>) -> Result<(), PushError> {
        let (repository, digest) = (push.repository, push.digest);
        let mut change = self.begin().await?;
        if let Some(tag) = push.tag {
            keep_version(&mut change, push, tag).await?;
        }
        for part in push.document.required() {
            if !has_part(&mut change, push, part).await? {
                return Err(PushError::Missing(part.clone()));
            }
        }
        insert_manifest(&mut change, push).await?;
        if let Some(tag) = push.tag {
            set_tag(&mut change, push, tag).await?;
        }
        if let (Some(tag), Some(listing)) = (push.tag, push.listing) {
            insert_release(&mut change, repository, tag, digest, listing).await?;
        }
        if let (Some(subject), Some(signed)) = (&push.document.subject, push.signed) {
            insert_signature(&mut change, repository, digest, subject, signed).await?;
        }
        let committed = change.commit().await;
        Ok(committed.map_err(database(|| format!("store the manifest {digest}")))?)
    }

    /// The manifest that `reference` means in `repository`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<StoredManifest>, StoreError> {
        let query = match reference {
            Reference::Digest(digest) => sqlx::query_as::<Sqlite, _>(
                "SELECT digest, media_type, content FROM manifest WHERE repository = ? AND digest = ?",
            )
            .bind(repository.as_str())
            .bind(digest.as_str()),
            Reference::Tag(tag) => sqlx::query_as(
                "SELECT digest, media_type, content FROM manifest JOIN tag USING (repository, digest)
                 WHERE repository = ? AND tag.name = ?",
            )
            .bind(repository.as_str())
            .bind(tag.as_str()),
        };
        query
            .fetch_optional(&self.read)
            .await
            .map_err(database(|| format!("read {repository} {reference}")))
    }

    /// Deletes a manifest with its tags; false if there is none.
    ///
    /// # Errors
    /// When an index lists it, or the database refuses.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, DeleteError> {
        let mut change = self.begin().await?;
        refuse_in_use(&mut change, repository, digest).await?;
        let gone = sqlx::query("DELETE FROM manifest WHERE repository = ? AND digest = ?")
            .bind(repository.as_str())
            .bind(digest.as_str())
            .execute(&mut *change)
            .await
            .map_err(database(|| format!("delete the manifest {digest}")))?;
        change.commit().await.map_err(database(|| format!("delete the manifest {digest}")))?;
        Ok(gone.rows_affected() > 0)
    }
}

/// Refuses if a manifest of `repository` is made of `digest`.
pub(super) async fn refuse_in_use(
    change: &mut SqliteConnection,
    repository: &Repository,
    digest: &Digest,
) -> Result<(), DeleteError> {
    let by: Option<String> =
        sqlx::query_scalar("SELECT manifest FROM reference WHERE repository = ? AND digest = ?")
            .bind(repository.as_str())
            .bind(digest.as_str())
            .fetch_optional(change)
            .await
            .map_err(database(|| format!("look who needs {digest}")))?;
    by.map_or(Ok(()), |by| Err(DeleteError::InUse { by }))
}

/// Writes down what a version means, or refuses if it means something else.
async fn keep_version(
    change: &mut SqliteConnection,
    push: &Push<'_>,
    tag: &Tag,
) -> Result<(), PushError> {
    if tag.version().is_none() {
        return Ok(());
    }
    let kept: String = sqlx::query_scalar(
        "INSERT INTO version_digest (repository, tag, digest) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET digest = digest RETURNING digest",
    )
    .bind(push.repository.as_str())
    .bind(tag.as_str())
    .bind(push.digest.as_str())
    .fetch_one(change)
    .await
    .map_err(database(|| format!("keep what version {tag} means")))?;
    if kept == push.digest.as_str() {
        return Ok(());
    }
    let (repository, tag) = (push.repository.clone(), tag.clone());
    Err(PushError::VersionTaken { repository, tag, digest: kept })
}

async fn has_part(
    change: &mut SqliteConnection,
    push: &Push<'_>,
    part: &Digest,
) -> Result<bool, StoreError> {
    let query = match push.document.parts {
        Parts::Blobs { .. } => "SELECT 1 FROM blob WHERE repository = ? AND digest = ?",
        Parts::Manifests(_) => "SELECT 1 FROM manifest WHERE repository = ? AND digest = ?",
    };
    let row = sqlx::query(query)
        .bind(push.repository.as_str())
        .bind(part.as_str())
        .fetch_optional(change)
        .await
        .map_err(database(|| format!("look for {part}")))?;
    Ok(row.is_some())
}

async fn insert_manifest(change: &mut SqliteConnection, push: &Push<'_>) -> Result<(), StoreError> {
    let action = || format!("store the manifest {}", push.digest);
    let (repository, digest) = (push.repository.as_str(), push.digest.as_str());
    let document = push.document;
    sqlx::query(
        "INSERT INTO manifest
         (repository, digest, media_type, artifact_type, subject, annotations, content, pushed)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(repository)
    .bind(digest)
    .bind(&document.media_type)
    .bind(&document.artifact_type)
    .bind(document.subject.as_ref().map(Digest::as_str))
    .bind(serde_json::json!(document.annotations).to_string())
    .bind(push.content)
    .bind(now())
    .execute(&mut *change)
    .await
    .map_err(database(action))?;
    for part in document.references() {
        sqlx::query(
            "INSERT INTO reference (repository, manifest, digest) VALUES (?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(repository)
        .bind(digest)
        .bind(part.as_str())
        .execute(&mut *change)
        .await
        .map_err(database(action))?;
    }
    Ok(())
}

async fn set_tag(
    change: &mut SqliteConnection,
    push: &Push<'_>,
    tag: &Tag,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tag (repository, name, digest, pushed) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET digest = excluded.digest, pushed = excluded.pushed
         WHERE digest <> excluded.digest",
    )
    .bind(push.repository.as_str())
    .bind(tag.as_str())
    .bind(push.digest.as_str())
    .bind(now())
    .execute(change)
    .await
    .map(drop)
    .map_err(database(|| format!("set the tag {tag}")))
}
