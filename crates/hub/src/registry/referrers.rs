//! What refers to a manifest: signatures and the like.

use axum::Json;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use skep_spec::media;

use super::error::OciError;
use super::query;
use crate::Hub;
use crate::digest::Digest;
use crate::name::Repository;
use crate::store::Referrer;

/// `GET …/referrers/<digest>?artifactType=`: an index, empty where nothing refers to it.
pub async fn list(
    hub: &Hub,
    repository: &Repository,
    subject: &Digest,
    parts: &Parts,
) -> Result<Response, OciError> {
    let kind = query(parts, "artifactType")?.filter(|kind| !kind.is_empty());
    let referrers = hub.store.referrers(repository, subject).await?;
    let asked = |referrer: &&Referrer| kind.is_none() || referrer.artifact_type == kind;
    let manifests: Vec<Value> = referrers.iter().filter(asked).map(descriptor).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests });
    let mut response = Json(index).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media::INDEX));
    if kind.is_some() {
        let applied = header::HeaderValue::from_static("artifactType");
        headers.insert("oci-filters-applied", applied);
    }
    Ok(response)
}

fn descriptor(referrer: &Referrer) -> Value {
    let mut descriptor = json!({
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    });
    if let Some(kind) = &referrer.artifact_type {
        descriptor["artifactType"] = json!(kind);
    }
    if !referrer.annotations.is_empty() {
        descriptor["annotations"] = json!(referrer.annotations);
    }
    descriptor
}
