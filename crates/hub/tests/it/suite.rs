//! The distribution-spec's own conformance suite against the hub: all that it asks for, and what it leaves to be enabled.

use std::process::Command;

use super::server::{Server, token};
use super::support::tool;

#[test]
fn the_conformance_suite_of_the_distribution_spec_passes() {
    let folder = tempfile::tempdir().unwrap();
    let secret = token(folder.path(), "conformance");
    let server = Server::start(folder.path());
    let results = folder.path().join("results");
    let out = Command::new(tool("oci-conformance"))
        .current_dir(folder.path())
        .env("OCI_VERSION", "1.1")
        .env("OCI_REGISTRY", &server.address)
        .env("OCI_TLS", "disabled")
        .env("OCI_USERNAME", "anybody")
        .env("OCI_PASSWORD", secret)
        .env("OCI_API_BLOBS_UPLOAD_CANCEL", "true")
        .env("OCI_API_BLOBS_DIGEST_HEADER", "true")
        .env("OCI_API_MANIFESTS_DIGEST_HEADER", "true")
        .env("OCI_RESULTS_DIR", &results)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}");
    let junit = std::fs::read_to_string(results.join("junit.xml")).unwrap();
    let count = |name: &str| -> usize {
        let (_, rest) = junit.split_once(&format!(" {name}=\"")).unwrap_or_default();
        rest.split('"').next().unwrap().parse().unwrap_or(0)
    };
    assert!(count("tests") > 800, "{text}");
    assert_eq!((count("failures"), count("errors"), count("skipped")), (0, 0, 0), "{text}");
}
