//! docs/guide/by-hand.md, typed where neither skep nor any other program of ours is: cosign, oras and what each Linux has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hub;
#[path = "../../../testkit/tests/page/mod.rs"]
mod page;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;

use support::{DockerRegistry, OciRegistry, run, tool};
use typed::skep;

const PAGE: &str = include_str!("../../../docs/guide/by-hand.md");

/// A folder with only the programs that the page asks for.
fn only_theirs(folder: &Path) -> String {
    for name in ["cosign", "oras"] {
        std::os::unix::fs::symlink(tool(name), folder.join(name)).unwrap();
    }
    format!("{}:/usr/bin:/bin", folder.display())
}

#[test]
fn packages_are_verified_copied_and_unpacked_by_hand_as_the_page_says() {
    let (registry, mirror) = (DockerRegistry::start(), OciRegistry::start());
    let own =
        PAGE.replace("127.0.0.1:5000", &registry.host).replace("127.0.0.1:5001", &mirror.host);
    let typed = page::commands(&own);
    assert!(typed.len() > 15, "the page shows commands");

    let fixture = hub::readable("1.0.0");
    let publisher = fixture.folder.path();
    let to = registry.reference("1.0.0").to_string();
    let skep = |args: &[&str]| run(skep(publisher).args(args));
    skep(&["key", "new", "-o", "acme"]);
    skep(&["push", "layout", &to]);
    skep(&["sign", "--key", "acme.key", &to]);
    let report = publisher.join("report.json");
    std::fs::write(&report, r#"{"result":"PASSED","configuration":[{"name":"kernel"}]}"#).unwrap();
    let of_type = ["--type", "https://in-toto.io/attestation/test-result/v0.1"];
    let attest = ["attest", "--key", "acme.key", "--predicate", "report.json"];
    skep(&[&attest[..], &of_type, &[&to]].concat());
    skep(&["channel", "move", "--key", "acme.key", &to, "stable"]);
    skep(&["bundle", &to, "-o", "site.skep"]);

    let folder = tempfile::tempdir().unwrap();
    for name in ["acme.pub", "site.skep"] {
        std::fs::copy(publisher.join(name), folder.path().join(name)).unwrap();
    }
    let programs = tempfile::tempdir().unwrap();
    let path = only_theirs(programs.path());
    page::follow(&typed, "export HOME=$PWD\n", folder.path(), &path);
}
