//! The list of tags.

use axum::Json;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::error::{Code, OciError};
use super::{number, query};
use crate::Hub;
use crate::name::Repository;

/// `GET …/tags/list?n=&last=`.
pub async fn list(hub: &Hub, repository: &Repository, parts: &Parts) -> Result<Response, OciError> {
    let most = number(parts, "n")?.map_or(hub.limits.page, |n: usize| n.min(hub.limits.page));
    let last = query(parts, "last")?.unwrap_or_default();
    let mut tags = hub
        .store
        .tags(repository, &last, most.saturating_add(1))
        .await?
        .ok_or_else(|| OciError::new(Code::NameUnknown, format!("there is no {repository}")))?;
    let more = tags.len() > most;
    tags.truncate(most);
    let link = tags.last().filter(|_| more).map(|last| next(repository, most, last));
    let mut response = Json(json!({ "name": repository.as_str(), "tags": tags })).into_response();
    if let Some(link) = link.and_then(|link| link.parse().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn next(repository: &Repository, most: usize, last: &str) -> String {
    format!("</v2/{repository}/tags/list?n={most}&last={last}>; rel=\"next\"")
}
