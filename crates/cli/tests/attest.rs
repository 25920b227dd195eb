//! `skep attest` as it is typed: what a package is made of, and how it was built, signed beside it.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use skep_oci::{Store, signatures};
use skep_spec::Digest;
use skep_trust::PublicKey;
use skep_trust::attestation::{Said, read};
use support::{DockerRegistry, run};
use typed::refused;

fn skep(folder: &Path) -> Command {
    let mut command = typed::skep(folder);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// A folder with a package of the project `opens` in `layout`, and a key.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(skep(path).args(["new", "acme/opens"]));
    let toml = fs::read_to_string(path.join("opens/skep.toml")).unwrap();
    fs::write(path.join("opens/skep.toml"), toml.replace("debian:6.12", "host")).unwrap();
    run(skep(path).args(["pack", "opens", "-o", "layout"]));
    run(skep(path).args(["key", "new", "-o", "key"]));
    folder
}

/// What the key has attested of the only package in a layout.
fn attested(folder: &Path, layout: &str) -> Vec<(Said, Value)> {
    let store = Store::open(&folder.join(layout)).unwrap();
    let (_, index) = store.packages().unwrap().remove(0);
    let key = PublicKey::from_pem(&fs::read_to_string(folder.join("key.pub")).unwrap()).unwrap();
    let bundles = signatures::bundles(&store, index).unwrap();
    let read = bundles.iter().map(|bundle| read(bundle, index, std::slice::from_ref(&key)));
    read.map(|read| read.unwrap()).map(|read| (read.said, read.predicate)).collect()
}

#[test]
fn a_package_says_what_it_is_made_of_and_how_it_was_built() {
    let folder = folder();
    let folder = folder.path();
    let attest = ["attest", "layout", "--key", "key.key", "--project", "opens"];
    let text = run(skep(folder).args(attest).args(["--builder", "https://ci.test/1"]));
    assert!(text.starts_with("Attested acme/opens:0.1.0\nsha256:"), "{text}");
    let all = attested(folder, "layout");
    let (_, sbom) = all.iter().find(|(said, _)| *said == Said::Sbom).unwrap();
    assert_eq!(sbom["metadata"]["component"]["name"], "acme/opens", "{sbom}");
    let components = sbom["components"].as_array().unwrap();
    let component = |name: &str| {
        let is_it = |one: &&Value| one["name"].as_str().unwrap().starts_with(name);
        components.iter().find(is_it).unwrap_or_else(|| panic!("no {name} in {sbom}"))
    };
    let source = fs::read(folder.join("opens/src/opens.bpf.c")).unwrap();
    let hex = Digest::of(&source).hex();
    assert_eq!(component("src/opens.bpf.c")["hashes"][0]["content"], hex.as_str());
    assert!(component("clang")["version"].is_string() && component("Linux BTF").is_object());
    component("x86_64/opens.bpf.o");
    let (_, provenance) = all.iter().find(|(said, _)| *said == Said::Provenance).unwrap();
    assert_eq!(provenance["runDetails"]["builder"]["id"], "https://ci.test/1", "{provenance}");
    let materials = provenance["buildDefinition"]["resolvedDependencies"].to_string();
    assert!(materials.contains("skep.lock") && materials.contains(&hex), "{materials}");

    // None of it is a signature; and it travels.
    let verify = ["verify", "--key", "key.pub", "layout"];
    refused(skep(folder).args(verify), 4, "which is no signature of a package");
    run(skep(folder).args(["sign", "--key", "key.key", "layout"]));
    run(skep(folder).args(verify));
    let registry = DockerRegistry::start();
    let reference = format!("{}/acme/opens:0.1.0", registry.host);
    run(skep(folder).args(["push", "layout", &reference]));
    run(skep(folder).args(["pull", &reference, "-o", "back", "--key", "key.pub"]));
    let back = Store::open(&folder.join("back")).unwrap();
    let (_, index) = back.packages().unwrap().remove(0);
    assert_eq!(signatures::bundles(&back, index).unwrap().len(), 3);
}

#[test]
fn only_the_project_that_it_was_built_from_attests_a_package() {
    let folder = folder();
    let folder = folder.path();
    run(skep(folder).args(["new", "acme/other"]));
    let attest = |more: &[&str]| {
        let mut command = skep(folder);
        command.args(["attest", "layout", "--key", "key.key"]).args(more);
        command
    };
    let other = "the project is acme/other:0.1.0, and the package is acme/opens:0.1.0";
    refused(&mut attest(&["--project", "other"]), 1, other);
    let object = Path::new("opens/build").join(std::env::consts::ARCH).join("opens.bpf.o");
    fs::write(folder.join(object), "another").unwrap();
    refused(&mut attest(&["--project", "opens"]), 1, "is not what the project was built into");
    // A statement of one's own, but no signature in its clothes.
    let kind = "https://in-toto.io/attestation/test-result/v0.1";
    fs::write(folder.join("list.json"), "[]").unwrap();
    let report = r#"{"result":"PASSED","configuration":[{"name":"kernel","annotations":{"release":"6.1","arch":"x86_64"}}]}"#;
    fs::write(folder.join("report.json"), report).unwrap();
    let own = |file: &'static str, kind: &'static str| {
        ["--predicate", file, "--type", kind].map(str::to_owned)
    };
    refused(attest(&[]).args(own("list.json", kind)), 2, "is no JSON object");
    let sign = "https://sigstore.dev/cosign/sign/v1";
    refused(attest(&[]).args(own("report.json", sign)), 2, "that is a signature");
    run(attest(&[]).args(own("report.json", kind)));
    let all = attested(folder, "layout");
    assert!(matches!(&all[..], [(Said::Report(_), _)]), "{all:?}");
}
