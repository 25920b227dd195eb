//! What refers to a manifest: signatures and the like.

use axum::Json;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use skep_spec::media;

use super::error::OciError;
use super::{number, query};
use crate::Hub;
use crate::digest::Digest;
use crate::name::Repository;
use crate::store::{Part, Referrer};

/// `GET …/referrers/<digest>?artifactType=&n=&last=`: an index, empty where nothing refers to it.
pub async fn list(
    hub: &Hub,
    repository: &Repository,
    subject: &Digest,
    parts: &Parts,
) -> Result<Response, OciError> {
    let kind = query(parts, "artifactType")?.filter(|kind| !kind.is_empty());
    let most = number(parts, "n")?.map_or(hub.limits.page, |n: usize| n.clamp(1, hub.limits.page));
    let after = number(parts, "last")?.unwrap_or(0);
    let part = Part { artifact_type: kind.as_deref(), after, most };
    let (referrers, more) = hub.store.referrers(repository, subject, part).await?;
    let manifests: Vec<Value> = referrers.iter().map(descriptor).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests });
    let mut response = Json(index).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media::INDEX));
    if kind.is_some() {
        let applied = header::HeaderValue::from_static("artifactType");
        headers.insert("oci-filters-applied", applied);
    }
    if let Some(last) = referrers.last().filter(|_| more) {
        let mut next =
            format!("</v2/{repository}/referrers/{subject}?n={most}&last={}", last.place);
        if let Some(kind) = &kind {
            next += &format!("&artifactType={}", escaped(kind));
        }
        headers.extend(format!("{next}>; rel=\"next\"").parse().map(|link| (header::LINK, link)));
    }
    Ok(response)
}

/// A text as the value of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one =
        |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
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
