//! Paths below `/v2/`. Names hold slashes, so a path is read from its end.

use crate::digest::Digest;
use crate::name::{Reference, Repository};

use super::error::{Code, OciError};

/// What a path below `/v2/` means.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Ping,
    /// `/v2/<name>/blobs/<digest>`
    Blob(Repository, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(Repository, String),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(Repository, Reference),
    /// `/v2/<name>/tags/list`
    Tags(Repository),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(Repository, Digest),
}

impl Route {
    /// Reads a request's path.
    ///
    /// # Errors
    /// When it is no path of the API, or a name or digest in it is not one.
    pub fn parse(path: &str) -> Result<Self, OciError> {
        let path = path.strip_prefix("/v2").unwrap_or(path);
        let path = path.replace("%3A", ":").replace("%3a", ":"); // all that a client may escape
        let mut ends = path.trim_start_matches('/').rsplitn(4, '/');
        let (last, second, third, rest) =
            (ends.next().unwrap_or(""), ends.next(), ends.next(), ends.next());
        let name = |parts: &[Option<&str>]| -> Result<Repository, OciError> {
            let parts: Vec<&str> = parts.iter().flatten().copied().collect();
            Ok(parts.join("/").parse()?)
        };
        match (third, second, last) {
            (None, None, "") => Ok(Self::Ping),
            (Some("blobs"), Some("uploads"), "") => Ok(Self::Uploads(name(&[rest])?)),
            (Some("blobs"), Some("uploads"), id) => Ok(Self::Upload(name(&[rest])?, id.to_owned())),
            (_, Some("blobs"), "uploads") => Ok(Self::Uploads(name(&[rest, third])?)),
            (_, Some("blobs"), digest) => Ok(Self::Blob(name(&[rest, third])?, digest.parse()?)),
            (_, Some("manifests"), reference) => {
                Ok(Self::Manifest(name(&[rest, third])?, reference_of(reference)?))
            }
            (_, Some("tags"), "list") => Ok(Self::Tags(name(&[rest, third])?)),
            (_, Some("referrers"), digest) => {
                Ok(Self::Referrers(name(&[rest, third])?, digest.parse()?))
            }
            _ => Err(OciError::new(Code::NameUnknown, "this is no path of the OCI registry API")
                .with_status(axum::http::StatusCode::NOT_FOUND)),
        }
    }
}

/// A text with a colon is meant as a digest: say what is wrong with it as one.
fn reference_of(text: &str) -> Result<Reference, OciError> {
    if text.contains(':') {
        return Ok(Reference::Digest(text.parse()?));
    }
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_end() {
        let hex = "0".repeat(64);
        let repository = |text: &str| text.parse::<Repository>().unwrap();
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        let cases = [
            ("/v2/".to_owned(), Route::Ping),
            ("/v2".to_owned(), Route::Ping),
            (format!("/v2/a/b/blobs/sha256:{hex}"), Route::Blob(repository("a/b"), digest.clone())),
            (
                format!("/v2/a/b/blobs/sha256%3A{hex}"),
                Route::Blob(repository("a/b"), digest.clone()),
            ),
            ("/v2/a/b/blobs/uploads/".into(), Route::Uploads(repository("a/b"))),
            ("/v2/a/b/c/blobs/uploads".into(), Route::Uploads(repository("a/b/c"))),
            ("/v2/a/b/blobs/uploads/x".into(), Route::Upload(repository("a/b"), "x".into())),
            ("/v2/a/tags/tags/list".into(), Route::Tags(repository("a/tags"))),
            (
                "/v2/a/manifests/manifests/1.0.0".into(),
                Route::Manifest(repository("a/manifests"), "1.0.0".parse().unwrap()),
            ),
            (
                format!("/v2/a/b/referrers/sha256:{hex}"),
                Route::Referrers(repository("a/b"), digest),
            ),
        ];
        for (path, route) in cases {
            assert_eq!(Route::parse(&path).unwrap(), route, "{path}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "/v2/a/b",
            "/v2/_catalog",
            "/v2/a/b/blobs/sha256:12",
            "/v2/../etc/blobs/uploads/",
            "/v2/a/%2e%2e/manifests/x",
            "/v2/a/b/manifests/",
            "/v2/a/b/manifests/a b",
            "/v2//manifests/x",
            "/v2/a/b/manifests/sha256:../../x",
            "/v2/a/b/tags/all",
            "/v2/a/manifests/x",
        ] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
    }
}
