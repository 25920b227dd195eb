//! Blobs: read whole or in part, and delete.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::BytesMut;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::error::{Code, OciError};
use super::{CONTENT_DIGEST, build, empty};
use crate::Hub;
use crate::digest::Digest;
use crate::name::Repository;
use crate::store::{BlobFile, StoreError};

/// Bytes read from a file at once.
const CHUNK: usize = 256 << 10;

/// `GET` and `HEAD`.
pub async fn read(
    hub: &Hub,
    repository: &Repository,
    digest: &Digest,
    parts: &Parts,
) -> Result<Response, OciError> {
    let blob = hub.store.blob(repository, digest).await?.ok_or_else(|| unknown(digest))?;
    let range = match parts.headers.get(header::RANGE) {
        Some(value) => range(value.to_str().unwrap_or(""), blob.size)?,
        None => None,
    };
    let (status, from, length) = match range {
        Some((from, length)) => (StatusCode::PARTIAL_CONTENT, from, length),
        None => (StatusCode::OK, 0, blob.size),
    };
    let mut builder = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, length)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, format!("\"{digest}\""))
        .header(header::CACHE_CONTROL, "max-age=31536000, immutable")
        .header(CONTENT_DIGEST, digest.as_str());
    if status == StatusCode::PARTIAL_CONTENT {
        let last = from + length - 1;
        builder =
            builder.header(header::CONTENT_RANGE, format!("bytes {from}-{last}/{}", blob.size));
    }
    let head = parts.method == axum::http::Method::HEAD;
    build(builder, if head { Body::empty() } else { body(&blob, from, length).await? })
}

/// `DELETE`.
pub async fn delete(
    hub: &Hub,
    repository: &Repository,
    digest: &Digest,
) -> Result<Response, OciError> {
    if !hub.store.delete_blob(repository, digest).await? {
        return Err(unknown(digest));
    }
    build(empty(StatusCode::ACCEPTED), Body::empty())
}

fn unknown(digest: &Digest) -> OciError {
    OciError::new(Code::BlobUnknown, format!("{digest} is not in this repository"))
}

async fn body(blob: &BlobFile, from: u64, length: u64) -> Result<Body, OciError> {
    let at = |action| move |source| StoreError::File { action, path: blob.path.clone(), source };
    let mut file = tokio::fs::File::open(&blob.path).await.map_err(at("open"))?;
    file.seek(std::io::SeekFrom::Start(from)).await.map_err(at("seek in"))?;
    let chunks = stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = BytesMut::with_capacity(most);
        if (&mut file).take(most as u64).read_buf(&mut chunk).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let left = left - chunk.len() as u64;
        Ok(Some((chunk.freeze(), (file, left))))
    });
    Ok(Body::from_stream(chunks))
}

/// The first byte and the length that a `Range` asks for; none if it is not one range of bytes.
fn range(value: &str, size: u64) -> Result<Option<(u64, u64)>, OciError> {
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Ok(None); // RFC 9110 14.2: an unknown unit is ignored
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.min(size.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, size.saturating_sub(1)),
        (Err(_), Ok(suffix)) if first.is_empty() => {
            (size.saturating_sub(suffix), size.saturating_sub(u64::from(suffix > 0)))
        }
        _ => return Ok(None),
    };
    if first > last || first >= size {
        let message = format!("the blob has {size} bytes: '{value}' is outside of it");
        return Err(OciError::new(Code::SizeInvalid, message)
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE));
    }
    Ok(Some((first, last - first + 1)))
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges() {
        let asked = |value| range(value, 10).ok();
        assert_eq!(asked("bytes=0-3"), Some(Some((0, 4))));
        assert_eq!(asked("bytes=4-"), Some(Some((4, 6))));
        assert_eq!(asked("bytes=-3"), Some(Some((7, 3))));
        assert_eq!(asked("bytes=-99"), Some(Some((0, 10))));
        assert_eq!(asked("bytes=5-99"), Some(Some((5, 5))));
        for whole in ["lines=1-2", "bytes=a-b", "bytes=0-1,4-5", "bytes=", "bytes=-", "x"] {
            assert_eq!(asked(whole), Some(None), "{whole}");
        }
        for outside in ["bytes=10-", "bytes=7-3", "bytes=99-100", "bytes=-0"] {
            assert_eq!(asked(outside), None, "{outside}");
        }
        assert!(range("bytes=0-0", 0).is_err());
        assert!(range("bytes=18446744073709551615-", u64::MAX).is_err());
    }
}
