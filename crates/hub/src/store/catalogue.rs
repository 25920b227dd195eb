//! What the catalogue kept: releases and the signatures on them.

use sqlx::{Sqlite, SqliteConnection};

use super::{Store, StoreError, database, now};
use crate::digest::Digest;
use crate::listing::Listing;
use crate::name::{Repository, Tag};

/// A release without its listing.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Release {
    /// The repository.
    pub repository: String,
    /// The tag: the version with `_` for `+`.
    pub tag: String,
    /// The index, `sha256:…`.
    pub digest: String,
    /// SPDX.
    pub license: String,
    /// One line, or nothing.
    pub summary: String,
    /// Such as `x86_64 aarch64`.
    pub architectures: String,
    /// Bytes of its objects on one architecture, at most.
    pub size: i64,
    /// When it was pushed first, `YYYY-MM-DDTHH:MM:SSZ`.
    pub published: String,
    /// How many signatures are on it.
    pub signatures: i64,
}

impl Release {
    /// The version that its tag spells.
    #[must_use]
    pub fn version(&self) -> String {
        let version = skep_spec::Version::from_tag(&self.tag);
        version.map_or_else(|_| self.tag.clone(), |version| version.to_string())
    }
}

/// A signature on a release: who says that it is theirs.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Signature {
    /// The SHA-256 of the key that the signature names, in hex.
    pub key_id: String,
    /// What is signed for.
    pub predicate_type: String,
    /// The manifest that carries it.
    pub manifest: String,
}

/// What a signature says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The SHA-256 of the key that it names, in hex.
    pub key_id: String,
    /// What is signed for.
    pub predicate_type: String,
}

const RELEASE: &str = "repository, tag, digest, license, summary, architectures, size,
    strftime('%Y-%m-%dT%H:%M:%SZ', pushed, 'unixepoch') AS published,
    (SELECT count(*) FROM signature WHERE signature.repository = release.repository
     AND subject = release.digest
     AND predicate_type = 'https://sigstore.dev/cosign/sign/v1') AS signatures";

impl Store {
    /// Names of the packages in which each word of `query` is found, the newest release first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find_packages(
        &self,
        query: &str,
        skip: usize,
        most: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut sql =
            sqlx::QueryBuilder::<Sqlite>::new("SELECT repository FROM release WHERE TRUE");
        for word in query.split_whitespace().take(8) {
            sql.push(" AND instr(words, ").push_bind(word.to_lowercase()).push(") > 0");
        }
        sql.push(" GROUP BY repository ORDER BY max(pushed) DESC, repository LIMIT ");
        sql.push_bind(i64::try_from(most).unwrap_or(i64::MAX)).push(" OFFSET ");
        sql.push_bind(i64::try_from(skip).unwrap_or(i64::MAX));
        sql.build_query_scalar()
            .fetch_all(&self.read)
            .await
            .map_err(database(|| "search the packages"))
    }

    /// How many packages there are.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn count_packages(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT count(DISTINCT repository) FROM release")
            .fetch_one(&self.read)
            .await
            .map_err(database(|| "count the packages"))
    }

    /// The releases of a package, in no order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn releases(&self, repository: &Repository) -> Result<Vec<Release>, StoreError> {
        sqlx::QueryBuilder::<Sqlite>::new("SELECT ")
            .push(RELEASE)
            .push(" FROM release WHERE repository = ")
            .push_bind(repository.as_str())
            .build_query_as()
            .fetch_all(&self.read)
            .await
            .map_err(database(|| format!("read the releases of {repository}")))
    }

    /// What the hub read in a release.
    ///
    /// # Errors
    /// When the database cannot be read, or a newer hub wrote the listing.
    pub async fn listing(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Listing>, StoreError> {
        let action = || format!("read what is in {repository} {tag}");
        let json: Option<String> =
            sqlx::query_scalar("SELECT listing FROM release WHERE repository = ? AND tag = ?")
                .bind(repository.as_str())
                .bind(tag.as_str())
                .fetch_optional(&self.read)
                .await
                .map_err(database(action))?;
        let parse = |json: String| serde_json::from_str(&json);
        let decode = |error| database(action)(sqlx::Error::Decode(Box::new(error)));
        json.map(parse).transpose().map_err(decode)
    }

    /// The signatures that admit a package, on the manifest `subject`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn signatures(
        &self,
        repository: &Repository,
        subject: &str,
    ) -> Result<Vec<Signature>, StoreError> {
        sqlx::query_as(
            "SELECT key_id, predicate_type, manifest FROM signature
             WHERE repository = ? AND subject = ? AND predicate_type = ? ORDER BY key_id, manifest",
        )
        .bind(repository.as_str())
        .bind(subject)
        .bind(skep_spec::media::PREDICATE_SIGN)
        .fetch_all(&self.read)
        .await
        .map_err(database(|| format!("read the signatures of {subject}")))
    }
}

/// Records what is in a package, in the change that makes it visible.
pub(super) async fn insert_release(
    change: &mut SqliteConnection,
    repository: &Repository,
    tag: &Tag,
    digest: &Digest,
    listing: &Listing,
) -> Result<(), StoreError> {
    let action = || format!("list {repository} {tag}");
    let encode = |error| database(action)(sqlx::Error::Encode(Box::new(error)));
    let architectures: Vec<&str> =
        listing.architectures().into_iter().map(skep_spec::Arch::as_str).collect();
    sqlx::query(
        "INSERT INTO release
         (repository, tag, digest, license, summary, architectures, size, words, listing, pushed)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET listing = excluded.listing",
    )
    .bind(repository.as_str())
    .bind(tag.as_str())
    .bind(digest.as_str())
    .bind(&listing.license)
    .bind(listing.summary.as_deref().unwrap_or_default())
    .bind(architectures.join(" "))
    .bind(i64::try_from(listing.size()).unwrap_or(i64::MAX))
    .bind(listing.words(repository.as_str()))
    .bind(serde_json::to_string(listing).map_err(encode)?)
    .bind(now())
    .execute(change)
    .await
    .map(drop)
    .map_err(database(action))
}

/// Records who signed `subject`, in the change that stores the signature.
pub(super) async fn insert_signature(
    change: &mut SqliteConnection,
    repository: &Repository,
    manifest: &Digest,
    subject: &Digest,
    signed: &Signed,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO signature (repository, manifest, subject, key_id, predicate_type)
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(repository.as_str())
    .bind(manifest.as_str())
    .bind(subject.as_str())
    .bind(&signed.key_id)
    .bind(&signed.predicate_type)
    .execute(change)
    .await
    .map(drop)
    .map_err(database(|| format!("record the signature {manifest}")))
}
