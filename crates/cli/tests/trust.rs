//! The commands around trust, as they are typed: key, sign, verify, push, pull.
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

fn refused(command: &mut Command, status: i32, words: &str) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_package_is_signed_pushed_pulled_and_verified() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let skep = || skep(folder);
    let reference = registry.reference("1.0.0").to_string();
    run(skep().args(["key", "new", "-o", "a"]));
    run(skep().args(["key", "new", "-o", "b", "--type", "p256"]));
    let rule = run(skep().args(["key", "trust", "--packages", "acme/*", "a.pub"]));
    std::fs::write(folder.join("trust.toml"), rule).unwrap();

    refused(skep().args(["verify", "layout"]), 4, "it is unsigned");
    run(skep().args(["sign", "--key", "a.key", "layout"]));
    let text = run(skep().args(["verify", "layout"]));
    assert!(text.contains("by the rule for 'acme/*'"), "{text}");
    refused(skep().args(["verify", "--key", "b.pub", "layout"]), 4, "by another key");

    let text = run(skep().args(["push", "layout", &reference]));
    assert!(text.contains("1 signature"), "{text}");
    run(skep().args(["sign", "--key", "b.key", &reference]));
    run(skep().args(["verify", "--key", "b.pub", &reference]));
    run(skep().args(["pull", &reference, "-o", "copy"]));
    for key in ["a.pub", "b.pub"] {
        run(skep().args(["verify", "--key", key, "copy"]));
    }
    let hub = run(skep().env("SKEP_HUB", &registry.host).args(["verify", "acme/exec:1.0.0"]));
    assert!(hub.contains(&fixture.index.to_string()), "{hub}");
    let json = run(skep().args(["verify", "copy", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["digest"], fixture.index.to_string());
    assert_eq!(json["origin"]["rule"], "acme/*");
    assert_eq!(json["platforms"][0]["arch"], "x86_64");

    refused(skep().args(["verify", "acme/exec:1.0.0"]), 2, "no hub is set");
    refused(skep().args(["verify", "nothing"]), 2, "there is no folder 'nothing'");
    let missing = registry.reference("2.0.0").to_string();
    refused(skep().args(["pull", &missing, "-o", "none"]), 1, "does not have it (404)");
}

#[test]
fn an_altered_package_is_refused() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    run(skep(folder).args(["key", "new", "-o", "a"]));
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
    // Every blob in turn: whatever was altered, it is not verified. Configs are in no digest that a node follows.
    for name in support::blobs(fixture.store.root()) {
        let path = fixture.store.root().join("blobs/sha256").join(name);
        let good = std::fs::read(&path).unwrap();
        if good == b"{}" || String::from_utf8_lossy(&good).contains("diff_ids") {
            continue;
        }
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let (ok, text) = try_run(skep(folder).args(["verify", "--key", "a.pub", "layout"]));
        let of_another_subject = text.contains("Verified") && {
            // The referrers of platform manifests are not asked for when the index is.
            String::from_utf8_lossy(&good).contains("\"subject\"")
        };
        assert!(!ok || of_another_subject, "{text}");
        std::fs::write(&path, good).unwrap();
    }
    run(skep(folder).args(["verify", "--key", "a.pub", "layout"]));
}

/// The one that is damaged is refused as a signature, and the other one counts.
#[test]
fn a_damaged_signature_spoils_no_other() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let before = support::blobs(fixture.store.root());
    for key in ["a", "b"] {
        run(skep(folder).args(["key", "new", "-o", key]));
        run(skep(folder).args(["sign", "--key", &format!("{key}.key"), "layout"]));
    }
    let mut spoilt = 0;
    for name in support::blobs(fixture.store.root()).into_iter().filter(|b| !before.contains(b)) {
        let path = fixture.store.root().join("blobs/sha256").join(name);
        let good = std::fs::read(&path).unwrap();
        for bad in [good[..good.len() / 2].to_vec(), Vec::new(), vec![b'x'; 100_000]] {
            std::fs::write(&path, bad).unwrap();
            let verified = |key| {
                let output = skep(folder).args(["verify", "--key", key, "layout"]).output();
                let output = output.unwrap();
                let said = String::from_utf8(output.stderr).unwrap();
                assert!(matches!(output.status.code(), Some(0 | 4)), "{said}");
                assert!(output.status.success() || said.contains("could not be read"), "{said}");
                output.status.success()
            };
            let good_ones =
                [verified("a.pub"), verified("b.pub")].into_iter().filter(|v| *v).count();
            assert!(good_ones >= 1);
            spoilt += 2 - good_ones;
        }
        std::fs::write(&path, good).unwrap();
    }
    // For each key its bundle and the referrer of the index, each in three ways: those of platforms are not asked for.
    assert_eq!(spoilt, 2 * 2 * 3);
}

#[test]
fn a_key_is_never_written_over_and_a_private_one_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    run(skep(folder.path()).args(["key", "new"]));
    let mode =
        |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("skep.key"), 0o600);
    refused(skep(folder.path()).args(["key", "new"]), 1, "never written over");
    refused(
        skep(folder.path()).args(["sign", "--key", "skep.pub", "."]),
        1,
        "this is a public key",
    );
    refused(
        skep(folder.path()).args(["verify", "--key", "skep.key", "."]),
        1,
        "this is a private key",
    );
}

/// A real full disk: a tiny tmpfs in a mount namespace of its own, which goes with the process.
fn pull_onto_a_full_disk(folder: &Path, prepare: &str, reference: &str) -> String {
    std::fs::create_dir_all(folder.join("small")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k small small && {prepare} '{}' pull '{reference}' -o small/new/out; status=$?; find small; exit $status",
        env!("CARGO_BIN_EXE_skep")
    );
    let mut command = Command::new(tool("unshare"));
    command.current_dir(folder).args(["--mount", "sh", "-c", &script]);
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("free some space"), "{err}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_full_disk_ends_a_pull_with_a_hint_and_nothing_is_left() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let reference = registry.reference("1.0.0").to_string();
    run(skep(folder).args(["push", "layout", &reference]));
    assert_eq!(pull_onto_a_full_disk(folder, "", &reference), "small\n");
    let own = "mkdir -p small/new/out && echo mine > small/new/out/notes &&";
    let left = pull_onto_a_full_disk(folder, own, &reference);
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["small", "small/new", "small/new/out", "small/new/out/notes"]);
    let layout = "mkdir -p small/new/out/blobs/sha256 && cp layout/*.json layout/oci-layout small/new/out &&";
    let left = pull_onto_a_full_disk(folder, layout, &reference);
    assert!(left.contains("small/new/out/index.json"), "the layout that was there stays: {left}");
}
