//! What refers to a manifest, a page at a time.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError, database};
use crate::digest::Digest;
use crate::name::Repository;

/// Most bytes of the annotations of one page, but for a single referrer that has more.
const ANNOTATIONS: usize = 2 << 20;

/// A manifest about another, as the referrers API lists it.
#[derive(Debug)]
pub struct Referrer {
    /// Where a list goes on after it.
    pub place: i64,
    /// `sha256:…`.
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// What kind of artifact it is.
    pub artifact_type: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What is asked for of a list.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Only of this artifact type.
    pub artifact_type: Option<&'a str>,
    /// Only what comes after this place.
    pub after: i64,
    /// How many.
    pub most: usize,
}

impl Store {
    /// Manifests whose subject is `subject`, oldest first; and whether there are more.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        part: Part<'_>,
    ) -> Result<(Vec<Referrer>, bool), StoreError> {
        let failed = || database(|| format!("read what refers to {subject}"));
        let mut rows = sqlx::query(
            "SELECT rowid, digest, media_type, length(content), artifact_type, annotations FROM manifest
             WHERE repository = ?1 AND subject = ?2 AND rowid > ?3 AND (?4 IS NULL OR artifact_type = ?4)
             ORDER BY rowid",
        )
        .bind(repository.as_str())
        .bind(subject.as_str())
        .bind(part.after)
        .bind(part.artifact_type)
        .fetch(&self.read);
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(failed())? {
            bytes += row.get::<&str, _>(5).len();
            if found.len() == part.most || (bytes > ANNOTATIONS && !found.is_empty()) {
                return Ok((found, true));
            }
            found.push(referrer(&row));
        }
        Ok((found, false))
    }
}

fn referrer(row: &SqliteRow) -> Referrer {
    Referrer {
        place: row.get(0),
        digest: row.get(1),
        media_type: row.get(2),
        size: row.get::<i64, _>(3).unsigned_abs(),
        artifact_type: row.get(4),
        annotations: serde_json::from_str(row.get(5)).unwrap_or_default(),
    }
}
