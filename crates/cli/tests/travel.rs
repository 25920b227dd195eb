//! The commands by which packages travel, as they are typed: copy, tags.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use support::{DockerRegistry, Fixture, run, tool, try_run};

fn skep(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.current_dir(folder).env_clear().env("SKEP_CONFIG_DIR", folder).env("HOME", folder);
    command
}

fn cosign(folder: &Path) -> Command {
    let mut command = Command::new(tool("cosign"));
    command.current_dir(folder).env("HOME", folder).env("COSIGN_PASSWORD", "");
    command
}

fn refused(command: &mut Command, status: i32, words: &str) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(words), "{text}");
}

/// A package that two tools signed goes from one registry to another: both signatures stay good for both tools.
#[test]
fn a_package_is_promoted_with_every_signature() {
    let (here, there) = (DockerRegistry::start(), DockerRegistry::start());
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let from = here.reference("1.0.0").to_string();
    let to = format!("{}/mirror/acme/exec", there.host);
    run(skep(folder).args(["key", "new", "-o", "ours"]));
    run(skep(folder).args(["sign", "--key", "ours.key", "layout"]));
    run(skep(folder).args(["push", "layout", &from]));
    run(cosign(folder).arg("generate-key-pair"));
    let by_digest = |place: &str| format!("{place}@{}", fixture.index);
    let (name, _) = from.rsplit_once(':').unwrap();
    let config = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
    std::fs::write(folder.join("signing.json"), config).unwrap();
    let sign = ["sign", "--yes", "--allow-http-registry", "--signing-config", "signing.json"];
    run(cosign(folder).args(sign).args(["--key", "cosign.key", &by_digest(name)]));

    let text = run(skep(folder).args(["copy", &from, &to]));
    let words = format!("Copied {from} to {to}:1.0.0\n{}\n", fixture.index);
    assert!(text.starts_with(&words) && text.ends_with("2 signatures\n"), "{text}");
    for key in ["ours.pub", "cosign.pub"] {
        run(skep(folder).args(["verify", "--key", key, &format!("{to}:1.0.0")]));
        let verify = ["verify", "--allow-http-registry", "--insecure-ignore-tlog", "--key", key];
        let (ok, text) = try_run(cosign(folder).args(verify).arg(by_digest(&to)));
        assert!(ok, "{key}: {text}");
    }
    // The same again costs nothing, from a layout too, and back.
    let again = run(skep(folder).args(["copy", &from, &to]));
    assert!(again.contains("0 new blobs, 0 B, 2 signatures"), "{again}");
    run(skep(folder).args(["pull", &format!("{to}:1.0.0"), "-o", "back"]));
    let json = run(skep(folder).args(["copy", "back", &from, "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["digest"], &json["blobs"]), (&fixture.index.to_string().into(), &0.into()));

    refused(skep(folder).args(["copy", &from, &format!("{to}:2.0.0")]), 1, "never renames");
    refused(skep(folder).args(["copy", &from, &by_digest(&to)]), 2, "is no place to copy to");
    refused(skep(folder).args(["copy", "layout", "acme/exec"]), 2, "no hub is set");
    let absent = here.reference("3.0.0").to_string();
    refused(skep(folder).args(["copy", &absent, &to]), 1, "does not have it (404)");
}

#[test]
fn versions_are_listed_for_people_and_programs() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let name = format!("{}/acme/exec", registry.host);
    refused(skep(folder).args(["tags", &name]), 1, "does not have it (404)");
    run(skep(folder).args(["push", "layout", &format!("{name}:1.0.0")]));
    assert_eq!(run(skep(folder).args(["tags", &name])), "1.0.0\n");
    let json = run(skep(folder).env("SKEP_HUB", &registry.host).args([
        "tags",
        "acme/exec",
        "--output",
        "json",
    ]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["versions"], serde_json::json!(["1.0.0"]));
    refused(skep(folder).args(["tags", &format!("{name}:1.0.0")]), 2, "names a version already");
}
