//! What registries and their clients say to each other.

use skep_hub::Route;
use skep_hub::document::Document;
use skep_oci::registry::challenge::Challenge;
use skep_spec::media;

/// Where these targets begin, beside the vectors.
pub(crate) const SEEDS: [(&str, &str); 8] = [
    ("hub_route", "/v2/"),
    ("hub_route", "/v2/acme/exec/tags/list"),
    ("hub_route", "/v2/acme/exec/manifests/1.2.0_b5"),
    ("hub_route", "/v2/acme/exec/blobs/uploads/0123456789abcdef"),
    (
        "hub_route",
        "/v2/a/b/referrers/sha256%3A0000000000000000000000000000000000000000000000000000000000000000",
    ),
    ("challenge", "Basic realm=\"x\""),
    ("challenge", "Bearer realm=\"https://hub.example/token\",service=\"hub\",scope=\"a:b:pull\""),
    ("challenge", "bearer service=x, realm=https://a/?b"),
];

/// A manifest or index of any kind that somebody pushes.
pub(crate) fn hub_document(data: &[u8]) {
    for kind in [None, Some(media::INDEX), Some(media::MANIFEST), Some("text/html")] {
        let Ok(document) = Document::parse(data, kind) else { continue };
        assert!(kind.is_none_or(|kind| kind == document.media_type));
        let again = Document::parse(data, Some(&document.media_type));
        assert_eq!(again.ok(), Some(document), "its own media type reads it");
    }
}

/// The path of a request.
pub(crate) fn hub_route(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let Ok(route) = Route::parse(path) else { return };
    let path = match &route {
        Route::Ping => "/v2/".to_owned(),
        Route::Blob(name, digest) => format!("/v2/{}/blobs/{digest}", name.as_str()),
        Route::Uploads(name) => format!("/v2/{}/blobs/uploads/", name.as_str()),
        Route::Upload(name, id) => format!("/v2/{}/blobs/uploads/{id}", name.as_str()),
        Route::Manifest(name, reference) => {
            format!("/v2/{}/manifests/{reference}", name.as_str())
        }
        Route::Tags(name) => format!("/v2/{}/tags/list", name.as_str()),
        Route::Referrers(name, digest) => format!("/v2/{}/referrers/{digest}", name.as_str()),
    };
    assert!(!path.contains("/../"), "no path leads out of a repository: {path}");
    assert_eq!(Route::parse(&path).ok(), Some(route), "{path}");
}

/// A `WWW-Authenticate` of a registry that is not ours.
pub(crate) fn challenge(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(Challenge::Bearer { realm, service }) = Challenge::parse(text) else { return };
    if !realm.contains('"') && !service.contains('"') {
        let written = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
        assert_eq!(Challenge::parse(&written), Some(Challenge::Bearer { realm, service }));
    }
}
