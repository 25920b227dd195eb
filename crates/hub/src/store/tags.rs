//! Tags.

use super::{Store, StoreError, database};
use crate::name::{Repository, Tag};

impl Store {
    /// Up to `most` tags of `repository` in ASCII order, after `last`; none if there is no such repository.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tags(
        &self,
        repository: &Repository,
        last: &str,
        most: usize,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let action = || format!("read the tags of {repository}");
        let tags: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM tag WHERE repository = ? AND name > ? ORDER BY name LIMIT ?",
        )
        .bind(repository.as_str())
        .bind(last)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.read)
        .await
        .map_err(database(action))?;
        if !tags.is_empty() {
            return Ok(Some(tags));
        }
        let known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM manifest WHERE repository = ?1)
                 OR EXISTS (SELECT 1 FROM blob WHERE repository = ?1)",
        )
        .bind(repository.as_str())
        .fetch_one(&self.read)
        .await
        .map_err(database(action))?;
        Ok(known.then_some(tags))
    }

    /// Deletes a tag, not what it means; false if there is none.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool, StoreError> {
        let gone = sqlx::query("DELETE FROM tag WHERE repository = ? AND name = ?")
            .bind(repository.as_str())
            .bind(tag.as_str())
            .execute(&self.write)
            .await
            .map_err(database(|| format!("delete the tag {tag}")))?;
        Ok(gone.rows_affected() > 0)
    }
}
