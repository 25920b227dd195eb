//! Push tokens. The store knows only their SHA-256, so that a stolen database pushes nothing.

use sha2::Digest as _;
use sqlx::Sqlite;

use super::{Store, StoreError, database, now};

/// A token's secret, shown once: `skep_` and 64 hex digits, 256 random bits.
pub struct Secret(String);

/// What is known of a token.
#[derive(Debug, sqlx::FromRow)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// Below whose name it may push.
    pub publisher: String,
    /// What it is for.
    pub label: String,
    /// When it was made, `YYYY-MM-DD HH:MM:SS` UTC.
    pub created: String,
    /// Whether it counts no more.
    pub revoked: bool,
}

impl Secret {
    /// The text to give to a client as password.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn new() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(format!("skep_{}", hex::encode(bytes))))
    }
}

impl Store {
    /// Makes a token for `publisher`.
    ///
    /// # Errors
    /// When there is no randomness or the database refuses.
    pub async fn new_token(&self, publisher: &str, label: &str) -> Result<Secret, StoreError> {
        let secret = Secret::new().map_err(|source| StoreError::File {
            action: "read",
            path: "/dev/urandom".into(),
            source,
        })?;
        sqlx::query("INSERT INTO token (publisher, label, sha256, created) VALUES (?, ?, ?, ?)")
            .bind(publisher)
            .bind(label)
            .bind(sha256(&secret.0))
            .bind(now())
            .execute(&self.write)
            .await
            .map_err(database(|| format!("store a token for {publisher}")))?;
        Ok(secret)
    }

    /// The publisher that `secret` speaks for, unless it is unknown or revoked.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn publisher_of(&self, secret: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT publisher FROM token WHERE sha256 = ? AND revoked IS NULL")
            .bind(sha256(secret))
            .fetch_optional(&self.read)
            .await
            .map_err(database(|| "look for a token"))
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        sqlx::query_as::<Sqlite, _>(
            "SELECT id, publisher, label, datetime(created, 'unixepoch') AS created,
                    revoked IS NOT NULL AS revoked FROM token ORDER BY id",
        )
        .fetch_all(&self.read)
        .await
        .map_err(database(|| "list the tokens"))
    }

    /// Makes a token count no more, at once; false if there is none that counts.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn revoke_token(&self, id: i64) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE token SET revoked = ? WHERE id = ? AND revoked IS NULL")
            .bind(now())
            .bind(id)
            .execute(&self.write)
            .await
            .map_err(database(|| format!("revoke token {id}")))?;
        Ok(done.rows_affected() > 0)
    }
}

fn sha256(secret: &str) -> Vec<u8> {
    sha2::Sha256::digest(secret.as_bytes()).to_vec()
}
