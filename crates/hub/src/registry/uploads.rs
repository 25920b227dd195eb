//! Uploads: in one request, in a session of chunks, or mounted from another repository.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;

use super::error::{Code, OciError};
use super::{CONTENT_DIGEST, build, empty, query};
use crate::Hub;
use crate::digest::Digest;
use crate::name::Repository;
use crate::store::Lease;

/// `POST …/blobs/uploads/`: a mount, a whole blob, or a new session.
pub async fn begin(
    hub: &Hub,
    repository: &Repository,
    parts: &Parts,
    body: Body,
) -> Result<Response, OciError> {
    if let Some(mounted) = mount(hub, repository, parts).await? {
        return Ok(mounted);
    }
    let digest: Option<Digest> = query(parts, "digest")?.map(|text| text.parse()).transpose()?;
    let lease = hub.uploads.begin(repository)?;
    match digest {
        Some(digest) => complete(hub, repository, lease, &digest, parts, body).await,
        None => session(repository, &lease, StatusCode::ACCEPTED),
    }
}

/// `PATCH`: the next chunk.
pub async fn append(
    hub: &Hub,
    repository: &Repository,
    id: &str,
    parts: &Parts,
    body: Body,
) -> Result<Response, OciError> {
    let mut lease = hub.uploads.take(repository, id)?;
    let said = chunk_length(&lease, &parts.headers)?;
    lease.append(body, said).await?;
    session(repository, &lease, StatusCode::ACCEPTED)
}

/// `PUT …?digest=`: the last chunk, or none, and the digest of it all.
pub async fn finish(
    hub: &Hub,
    repository: &Repository,
    id: &str,
    parts: &Parts,
    body: Body,
) -> Result<Response, OciError> {
    let digest = query(parts, "digest")?
        .ok_or_else(|| {
            OciError::new(Code::DigestInvalid, "say the blob's digest: ?digest=sha256:…")
        })?
        .parse()?;
    let lease = hub.uploads.take(repository, id)?;
    complete(hub, repository, lease, &digest, parts, body).await
}

/// `GET`: how far the session is.
pub fn status(hub: &Hub, repository: &Repository, id: &str) -> Result<Response, OciError> {
    session(repository, &hub.uploads.take(repository, id)?, StatusCode::NO_CONTENT)
}

/// `DELETE`: ends the session.
pub fn cancel(hub: &Hub, repository: &Repository, id: &str) -> Result<Response, OciError> {
    hub.uploads.take(repository, id)?.end();
    build(Response::builder().status(StatusCode::NO_CONTENT), Body::empty())
}

async fn mount(
    hub: &Hub,
    repository: &Repository,
    parts: &Parts,
) -> Result<Option<Response>, OciError> {
    let Some(digest) = query(parts, "mount")? else { return Ok(None) };
    let digest: Digest = digest.parse()?;
    let from: Option<Repository> = query(parts, "from")?.map(|text| text.parse()).transpose()?;
    if !hub.store.mount_blob(repository, &digest, from.as_ref()).await? {
        return Ok(None);
    }
    created(repository, &digest).map(Some)
}

async fn complete(
    hub: &Hub,
    repository: &Repository,
    mut lease: Lease,
    digest: &Digest,
    parts: &Parts,
    body: Body,
) -> Result<Response, OciError> {
    let said = chunk_length(&lease, &parts.headers)?;
    let stored = async {
        lease.append(body, said).await?;
        lease.verify(digest).await?;
        hub.store.adopt_blob(repository, digest, &lease.path(), lease.size()).await?;
        Ok::<_, OciError>(())
    };
    let stored = stored.await;
    lease.end();
    stored?;
    created(repository, digest)
}

/// How long the chunk says that it is; refuses one that does not begin where the last ended.
fn chunk_length(lease: &Lease, headers: &HeaderMap) -> Result<Option<u64>, OciError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let Some(range) = text(header::CONTENT_RANGE) else { return Ok(length) };
    let invalid = |message: String| {
        OciError::new(Code::BlobUploadInvalid, message)
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
    };
    let numbers = range.strip_prefix("bytes ").unwrap_or(range).split_once('-');
    let Some((Ok(first), Ok(last))) =
        numbers.map(|(first, last)| (first.parse::<u64>(), last.parse::<u64>()))
    else {
        return Err(invalid(format!("Content-Range '{range}' should be FIRST-LAST, in bytes")));
    };
    if first != lease.size() || last < first || last == u64::MAX {
        let size = lease.size();
        return Err(invalid(format!("Content-Range is {range}, the next byte is number {size}")));
    }
    match length {
        Some(length) if length != last - first + 1 => {
            Err(invalid(format!("Content-Range is {range}, Content-Length {length}")))
        }
        _ => Ok(Some(last - first + 1)),
    }
}

fn session(
    repository: &Repository,
    lease: &Lease,
    status: StatusCode,
) -> Result<Response, OciError> {
    let location = format!("/v2/{repository}/blobs/uploads/{}", lease.id);
    let mut builder = Response::builder()
        .status(status)
        .header(header::LOCATION, location)
        .header(header::RANGE, format!("0-{}", lease.size().saturating_sub(1)))
        .header("docker-upload-uuid", &lease.id);
    if status != StatusCode::NO_CONTENT {
        builder = builder.header(header::CONTENT_LENGTH, 0);
    }
    build(builder, Body::empty())
}

fn created(repository: &Repository, digest: &Digest) -> Result<Response, OciError> {
    let builder = empty(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .header(CONTENT_DIGEST, digest.as_str());
    build(builder, Body::empty())
}
