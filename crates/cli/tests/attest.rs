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
use skep_trust::attestation::{Outcome, Said, read};
use support::{DockerRegistry, Fixture, run, try_run};
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
    fs::create_dir(path.join("opens/include")).unwrap();
    fs::write(path.join("opens/include/used.h"), "#include <float.h>\n").unwrap();
    fs::write(path.join("opens/src/unused.h"), "").unwrap();
    edit(&path.join("opens/src/opens.bpf.c"), |text| {
        format!("{text}\n#include \"../include/used.h\"\n")
    });
    run(skep(path).args(["pack", "opens", "-o", "layout"]));
    run(skep(path).args(["key", "new", "-o", "key"]));
    folder
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = change(fs::read_to_string(path).unwrap());
    fs::write(path, text).unwrap();
}

fn key_id(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("key.pub")).unwrap();
    PublicKey::from_pem(&text).unwrap().id().to_string()
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
    // What lies there now was not compiled.
    let source = fs::read(folder.join("opens/src/opens.bpf.c")).unwrap();
    fs::write(folder.join("opens/src/opens.bpf.c"), "int other;").unwrap();
    fs::remove_file(folder.join("opens/skep.lock")).unwrap();
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
    let hex = Digest::of(&source).hex();
    assert_eq!(component("src/opens.bpf.c")["hashes"][0]["content"], hex.as_str());
    assert!(component("clang")["version"].is_string() && component("Linux BTF").is_object());
    component("x86_64/opens.bpf.o");
    let all_names: Vec<_> = components.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(all_names.contains(&"include/used.h") && !all_names.contains(&"src/unused.h"));
    assert!(all_names.iter().any(|name| name.starts_with('/') && name.ends_with("/float.h")));
    assert!(!all_names.iter().any(|name| name.ends_with("vmlinux.h")), "{all_names:?}");
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
    let shown = run(skep(folder).args(["inspect", &reference]));
    let id = key_id(folder);
    for line in ["signed         ", "attested       provenance, by ", "attested       sbom, by "] {
        assert!(shown.contains(&format!("\n{line}{id}")), "{shown}");
    }
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
    let source = folder.join("opens/src/opens.bpf.c");
    edit(&source, |text| format!("{text}\nint more;\n"));
    run(skep(folder).args(["build", "opens"]));
    refused(&mut attest(&["--project", "opens"]), 1, "is not what the project was built into last");
    let elsewhere = ["--project", "opens", "--build", "elsewhere"];
    refused(&mut attest(&elsewhere), 1, "nothing says what the object 'opens' for");
    edit(&source, |text| text.replace("\nint more;\n", ""));
    run(skep(folder).args(["build", "opens", "--out", "elsewhere"]));
    run(attest(&elsewhere).args(["--only", "sbom", "--out", "sbom.jsonl"]));
    let bundles = fs::read_to_string(folder.join("sbom.jsonl")).unwrap();
    assert_eq!(bundles.lines().count(), 1);
    assert!(attested(folder, "layout").is_empty(), "nowhere else");
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

#[test]
fn a_report_is_made_of_kernels_and_results() {
    let folder = folder();
    let folder = folder.path();
    let attest = |said: &str| {
        fs::write(folder.join("kernels.json"), said).unwrap();
        let mut command = skep(folder);
        command.args(["attest", "layout", "--key", "key.key", "--report", "kernels.json"]);
        command
    };
    let one = r#"{"release":"6.12.48","arch":"x86_64","result":"PASSED"}"#;
    for (said, why) in [
        (r#"{"kernels":[]}"#.to_owned(), "it names no kernel"),
        (format!(r#"{{"kernels":[{one},{one}]}}"#), "is there twice"),
        (format!(r#"{{"kernels":[{}]}}"#, one.replace("PASSED", "FINE")), "unknown variant"),
        (format!(r#"{{"kernels":[{}]}}"#, one.replace("6.12.48", "")), "has no whole name"),
        (format!("[{one}]"), "is no list of kernels and results"),
    ] {
        refused(&mut attest(&said), 2, why);
    }
    let other = one.replace("PASSED", "WARNED").replace("6.12.48", "5.10.0");
    run(&mut attest(&format!(r#"{{"kernels":[{one},{other}]}}"#)));
    let all = attested(folder, "layout");
    let [(Said::Report(report), predicate)] = &all[..] else { panic!("{all:?}") };
    assert_eq!((report.outcome, report.kernels.len()), (Outcome::Warned, 2));
    assert_eq!(predicate["warnedTests"][0], "5.10.0 x86_64", "{predicate}");
}

/// A package whose rule asks for a report, signed by key a; key b is nobody's.
fn asked_for(folder: &Path) {
    for name in ["a", "b"] {
        run(skep(folder).args(["key", "new", "-o", name]));
    }
    let rule = run(skep(folder).args(["key", "trust", "--packages", "acme/*", "a.pub"]));
    fs::write(folder.join("trust.toml"), rule + "attestations = [\"compatibility\"]\n").unwrap();
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
}

fn report(folder: &Path, key: &str, result: &str) {
    let kernel = format!(r#"{{"release":"6.12.48","arch":"x86_64","result":"{result}"}}"#);
    fs::write(folder.join("kernels.json"), format!(r#"{{"kernels":[{kernel}]}}"#)).unwrap();
    let attest = ["attest", "layout", "--key", key, "--report", "kernels.json"];
    run(skep(folder).args(attest));
}

#[test]
fn a_rule_asks_for_attestations_by_its_keys() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    asked_for(folder);
    let none = "asks for an attestation of the kind 'compatibility' by one of its keys";
    refused(skep(folder).args(["verify", "layout"]), 4, none);
    report(folder, "b.key", "PASSED");
    report(folder, "a.key", "FAILED");
    refused(skep(folder).args(["verify", "layout"]), 4, none);
    let (ok, text) = try_run(skep(folder).args(["verify", "layout", "--explain"]));
    assert!(!ok && text.contains("and attested by one of them: compatibility"), "{text}");
    assert!(
        text.contains(
            "does not count: an attestation, compatibility: a signature is by another key"
        ),
        "{text}"
    );
    assert!(
        text.contains("counts: an attestation, compatibility (FAILED on 6.12.48 x86_64)"),
        "{text}"
    );
    let reference = registry.reference("1.0.0").to_string();
    run(skep(folder).args(["push", "layout", &reference]));
    refused(skep(folder).args(["pull", "--verify", &reference, "-o", "back"]), 4, none);
    run(skep(folder).args(["bundle", "layout", "-o", "before.skep"]));
    refused(skep(folder).args(["verify", "before.skep"]), 4, none);
    let (ok, text) = try_run(skep(folder).args(["trust", "test", "layout"]));
    assert!(!ok && text.contains(none), "{text}");

    report(folder, "a.key", "WARNED");
    let text = run(skep(folder).args(["verify", "layout"]));
    let key = PublicKey::from_pem(&fs::read_to_string(folder.join("a.pub")).unwrap()).unwrap();
    let counts = format!(
        "an attestation, compatibility (WARNED on 6.12.48 x86_64), by the key {}",
        key.id()
    );
    assert!(text.contains(&format!("\n{counts}\n")), "{text}");
    assert!(
        text.contains("\nnot counted: an attestation, compatibility: a signature is by another")
    );
    assert!(text.contains("\nnot checked: whether it is true what attestations say"), "{text}");
    run(skep(folder).args(["push", "layout", &reference]));
    run(skep(folder).args(["pull", "--verify", &reference, "-o", "back"]));
    run(skep(folder).args(["bundle", "layout", "-o", "after.skep"]));
    run(skep(folder).args(["verify", "after.skep"]));
    let steps = run(skep(folder).args(["verify", "after.skep", "--explain"]));
    assert!(
        steps.contains("\ncounts: a signature by the key ")
            && steps.contains("it would be let in\n\nVerified "),
        "{steps}"
    );
}

#[test]
fn attestations_are_listed_and_read() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    asked_for(folder);
    report(folder, "b.key", "PASSED");
    report(folder, "a.key", "WARNED");
    let json = run(skep(folder).args(["verify", "layout", "--output", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let listed = json["attestations"].as_array().unwrap();
    let found: Vec<_> = listed.iter().map(|one| (&one["kind"], &one["counts"])).collect();
    let kind = Value::from("compatibility");
    assert_eq!(found, [(&kind, &Value::from(false)), (&kind, &Value::from(true))]);
    let read = |kind: &str| {
        let mut command = skep(folder);
        command.args(["verify", "layout", "--attestation", kind]);
        command
    };
    let text = run(&mut read("compatibility"));
    assert_eq!(text.lines().count(), 1, "what a stranger says is not read: {text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["result"], "WARNED");
    let whole = "https://in-toto.io/attestation/test-result/v0.1";
    assert_eq!(run(&mut read(whole)), text);
    refused(&mut read("sbom"), 4, "no key of its rule has signed an attestation 'sbom'");
}
