//! Manifests: read, push and delete, by tag or digest.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::error::{Code, OciError};
use super::{CONTENT_DIGEST, build, empty};
use crate::Hub;
use crate::catalogue;
use crate::digest::{Algorithm, Digest};
use crate::document::Document;
use crate::drain::drain;
use crate::name::{Reference, Repository};
use crate::store::Push;

/// Says that the registry keeps what a pushed manifest is about (OCI distribution-spec 1.1).
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// `GET` and `HEAD`.
pub async fn read(
    hub: &Hub,
    repository: &Repository,
    reference: &Reference,
) -> Result<Response, OciError> {
    let manifest = hub
        .store
        .manifest(repository, reference)
        .await?
        .ok_or_else(|| unknown(repository, reference))?;
    let builder = Response::builder()
        .header(header::CONTENT_TYPE, manifest.media_type)
        .header(header::CONTENT_LENGTH, manifest.content.len())
        .header(header::ETAG, format!("\"{}\"", manifest.digest))
        .header(CONTENT_DIGEST, manifest.digest);
    build(builder, manifest.content.into())
}

/// `PUT`.
pub async fn put(
    hub: &Hub,
    repository: &Repository,
    reference: &Reference,
    parts: &Parts,
    body: Body,
) -> Result<Response, OciError> {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content = received(hub, parts, body).await?;
    let digest = verified_digest(reference, &content)?;
    let document = Document::parse(&content, content_type.and_then(|value| value.to_str().ok()))?;
    let tag = match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    };
    let listing = {
        let _one = hub.reading.lock().await;
        catalogue::read(&hub.store, repository, tag, &document).await?
    };
    let signed = catalogue::signed(&hub.store, repository, &document).await?;
    hub.store
        .push(&Push {
            repository,
            tag,
            digest: &digest,
            content: &content,
            document: &document,
            listing: listing.as_ref(),
            signed: signed.as_ref(),
        })
        .await?;
    tracing::info!(%repository, %reference, %digest, "pushed");
    let mut builder = empty(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{repository}/manifests/{digest}"))
        .header(CONTENT_DIGEST, digest.as_str());
    if let Some(subject) = &document.subject {
        builder = builder.header(OCI_SUBJECT, subject.as_str());
    }
    build(builder, Body::empty())
}

/// `DELETE`: a tag alone, or a manifest with its tags.
pub async fn delete(
    hub: &Hub,
    repository: &Repository,
    reference: &Reference,
) -> Result<Response, OciError> {
    let existed = match reference {
        Reference::Tag(tag) => hub.store.delete_tag(repository, tag).await?,
        Reference::Digest(digest) => hub.store.delete_manifest(repository, digest).await?,
    };
    if !existed {
        return Err(unknown(repository, reference));
    }
    tracing::info!(%repository, %reference, "deleted");
    build(empty(StatusCode::ACCEPTED), Body::empty())
}

fn unknown(repository: &Repository, reference: &Reference) -> OciError {
    OciError::new(Code::ManifestUnknown, format!("{repository} has no {reference}"))
}

fn verified_digest(reference: &Reference, content: &[u8]) -> Result<Digest, OciError> {
    let Reference::Digest(said) = reference else {
        return Ok(Algorithm::default().digest(content));
    };
    let is = said.algorithm().digest(content);
    if is == *said {
        return Ok(is);
    }
    Err(OciError::new(Code::DigestInvalid, format!("the manifest has the digest {is}, not {said}")))
}

async fn received(hub: &Hub, parts: &Parts, body: Body) -> Result<Bytes, OciError> {
    let most = hub.limits.manifest;
    let too_large = || {
        OciError::new(Code::SizeInvalid, format!("a manifest has at most {most} bytes here"))
            .with_status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    let said = parts.headers.get(header::CONTENT_LENGTH);
    let said = said.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > most as u64) {
        drain(body.into_data_stream()).await;
        return Err(too_large());
    }
    let read = axum::body::to_bytes(body, most);
    match tokio::time::timeout(hub.limits.body_idle, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(error)) => {
            Err(OciError::new(Code::ManifestInvalid, format!("the body broke off: {error}")))
        }
        Err(_) => Err(OciError::new(Code::ManifestInvalid, "the body did not come in time")
            .with_status(StatusCode::REQUEST_TIMEOUT)),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
