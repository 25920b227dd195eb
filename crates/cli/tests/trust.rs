//! The commands around trust, as they are typed: key, sign, verify, push, pull.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;
use std::process::Command;

use support::{DockerRegistry, Fixture, run, tool, try_run};
use typed::{refused, skep};

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

/// `--package` is for what holds several: each command says so, before it asks anybody.
#[test]
fn nothing_is_chosen_of_what_is_one_package() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(skep(folder).args(["key", "new", "-o", "a"]));
    let reference = "hub.test/acme/exec:1.0.0";
    let commands: [&[&str]; 9] = [
        &["verify", "--key", "a.pub", reference],
        &["sign", "--key", "a.key", reference],
        &["inspect", reference],
        &["run", reference],
        &["copy", reference, "other.test/acme/exec"],
        &["install", reference],
        &["upgrade", "exec", reference],
        &["trust", "test", reference],
        &["trust", "test", "hub.test/acme/exec"],
    ];
    let words = "--package is for layouts and bundles: a reference names its package";
    for command in commands {
        refused(skep(folder).args(command).args(["--package", "acme/exec:1.0.0"]), 2, words);
    }
    let diff = ["diff", "a.pub", reference, "--new-package", "acme/exec:1.0.0"];
    refused(skep(folder).args(diff), 2, words);
    std::fs::write(folder.join("skep.toml"), "").unwrap();
    for (what, words) in
        [(".", "a project is one package"), ("a.pub", "an object is in no package")]
    {
        for command in ["inspect", "run"] {
            refused(skep(folder).args([command, what, "--package", "acme/exec:1.0.0"]), 2, words);
        }
    }
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
                let output = wait::output(skep(folder).args(["verify", "--key", key, "layout"]));
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
        2,
        "this is a public key",
    );
    refused(
        skep(folder.path()).args(["verify", "--key", "skep.key", "."]),
        2,
        "this is a private key",
    );
}

/// Each in the place of a file that is read: nobody writes to them, so whoever waits would wait for ever.
#[test]
fn pipes_and_devices_are_no_files() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    run(skep(folder).args(["key", "new", "-o", "a"]));
    run(Command::new("mkfifo").current_dir(folder).arg("pipe"));
    let pipe = "it is a pipe, not a file";
    refused(skep(folder).args(["sign", "--key", "pipe", "layout"]), 2, pipe);
    refused(skep(folder).args(["verify", "--key", "pipe", "layout"]), 2, pipe);
    refused(skep(folder).args(["verify", "--policy", "pipe", "layout"]), 2, pipe);
    let device = "it is a device, not a file";
    refused(skep(folder).args(["verify", "--key", "/dev/zero", "layout"]), 2, device);
    std::fs::rename(folder.join("pipe"), folder.join("trust.toml")).unwrap();
    refused(skep(folder).args(["verify", "layout"]), 2, pipe);
    refused(skep(folder).args(["run", "layout", "--allow-unsigned"]), 2, pipe);
    let index = folder.join("layout/index.json");
    std::fs::rename(folder.join("trust.toml"), &index).unwrap();
    let key = ["--key", "a.pub", "layout"];
    refused(skep(folder).arg("verify").args(key), 1, pipe);
    refused(skep(folder).args(["inspect", "layout"]), 1, pipe);
}

/// One status, whichever command sees it.
#[test]
fn an_altered_package_ends_every_command_with_the_same_status() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    run(skep(folder).args(["key", "new", "-o", "a"]));
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
    let rule = run(skep(folder).args(["key", "trust", "a.pub"]));
    std::fs::write(folder.join("trust.toml"), rule).unwrap();
    let index = fixture.store.path(&fixture.index);
    let good = std::fs::read(&index).unwrap();
    for bad in [Some(&good[1..]), None] {
        match bad {
            Some(bytes) => std::fs::write(&index, bytes).unwrap(),
            None => std::fs::remove_file(&index).unwrap(),
        }
        for args in [
            &["inspect", "layout"][..],
            &["verify", "layout"],
            &["run", "layout"],
            &["sign", "--key", "a.key", "layout"],
            &["push", "layout", "127.0.0.1:1/acme/exec:1.0.0"],
        ] {
            refused(skep(folder).args(args), 4, &fixture.index.to_string());
        }
    }
}

#[test]
fn what_is_revoked_has_no_hint_to_let_it_in() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    run(skep(folder).args(["key", "new", "-o", "a"]));
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
    let rule = run(skep(folder).args(["key", "trust", "a.pub"]));
    let json = run(skep(folder).args(["key", "trust", "a.pub", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let key = format!("[revoked]\nkeys = [{}]\n", json["id"]);
    let digest = format!("[revoked]\ndigests = [\"{}\"]\n", fixture.index);
    for policy in [format!("{rule}{key}"), key, digest] {
        std::fs::write(folder.join("trust.toml"), policy).unwrap();
        for args in [&["run", "layout"][..], &["run", "layout", "--allow-unsigned"]] {
            let output = wait::output(skep(folder).args(args));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(4), "{said}");
            assert!(said.contains("revoked") && said.contains("hint: nothing lets in"), "{said}");
            assert!(!said.contains("take the risk"), "{said}");
        }
    }
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let holds = "holds no 127.0.0.1:1/acme/other:1.0.0; it holds acme/exec:1.0.0";
    refused(skep(folder).args(["push", "layout", "127.0.0.1:1/acme/other:1.0.0"]), 2, holds);
    for command in ["run", "inspect"] {
        for path in ["/none.o", "./none.o", "../none.o", "build/none.bpf.o"] {
            let words = format!("error: there is no file or folder '{path}'\n");
            refused(skep(folder).args([command, path]), 2, &words);
        }
    }
    std::fs::write(folder.join("trust.toml"), "").unwrap();
    refused(skep(folder).args(["verify", "./none"]), 2, "there is no folder './none'\n");
    refused(skep(folder).args(["install", "/none"]), 2, "there is no folder '/none'\n");
    // Of the form of a reference, but no server is called so.
    let words = "there is no folder 'exec-1.0.0/build/package', and 'exec-1.0.0' is no registry\n";
    refused(skep(folder).args(["verify", "exec-1.0.0/build/package"]), 2, words);
}

/// A limit of the file's size stands for a full disk.
#[test]
fn a_key_that_cannot_be_written_is_not_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" key new";
    let mut command = Command::new("sh");
    command.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_skep")]);
    refused(&mut command, 1, "can't write the key 'skep.key'");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
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
    let output = wait::output(&mut command);
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

/// What another tool signed is put beside the package it is of, and beside no other; who signed it is asked afterwards.
#[test]
fn a_signature_that_another_tool_made_is_put_beside_its_package_only() {
    let (fixture, other) = (Fixture::new("1.0.0"), Fixture::new("2.0.0"));
    let folder = fixture.folder.path();
    let statement = folder.join("statement.json");
    run(skep(folder).args(["sign", "--statement", "statement.json", "layout"]));
    let said = std::fs::read_to_string(&statement).unwrap();
    assert!(said.contains(&fixture.index.hex()) && said.contains("linux/amd64"), "{said}");
    let sign = |bundle: &str, layout: &Path| {
        let mut command = skep(folder);
        command.args(["sign", "--bundle", bundle]).arg(layout);
        command
    };
    // By key, as cosign does it.
    let cosign = || {
        let mut cosign = Command::new(tool("cosign"));
        cosign.current_dir(folder).env("HOME", folder).env("COSIGN_PASSWORD", "");
        cosign
    };
    run(cosign().args(["generate-key-pair", "--output-key-prefix", "cosign"]));
    let none = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}"#;
    std::fs::write(folder.join("no-log.json"), none).unwrap();
    run(cosign()
        .args(["attest-blob", "--yes", "--key", "cosign.key", "--signing-config", "no-log.json"])
        .args(["--statement", "statement.json", "--bundle", "by-key.json"]));
    let layout = fixture.store.root();
    refused(skep(folder).args(["verify", "--key", "cosign.pub", "layout"]), 4, "it is unsigned");
    let text = run(&mut sign("by-key.json", layout));
    assert!(text.contains(", as it says; nobody checked that: skep verify does"), "{text}");
    run(skep(folder).args(["verify", "--key", "cosign.pub", "layout"]));
    let words = "(trust.another-digest)";
    refused(&mut sign("by-key.json", other.store.root()), 4, words);
    // By identity.
    let told: [&str; 0] = [];
    support::keyless(folder, fixture.index, skep_spec::media::PREDICATE_SIGN, &told);
    let text = run(&mut sign("bundle.json", layout));
    assert!(text.contains("by certificate; nobody checked that"), "{text}");
    run(skep(folder).args(["trust", "add", "acme/*", "--trusted-root", "trusted_root.json"]).args(
        ["--identity", "https://ci.example/acme/release", "--issuer", "https://accounts.example"],
    ));
    let text = run(skep(folder).args(["verify", "layout"]));
    assert!(text.contains("signed by https://ci.example/acme/release"), "{text}");
    support::keyless(folder, fixture.index, "https://slsa.dev/provenance/v1", &told);
    refused(&mut sign("bundle.json", layout), 4, "(trust.another-predicate)");
    refused(&mut sign("statement.json", layout), 2, "is no signature (trust.malformed)");
    assert_eq!(
        support::blobs(other.store.root()).len(),
        support::blobs(Fixture::new("2.0.0").store.root()).len()
    );
}
