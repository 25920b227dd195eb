//! Keys as people keep them: under a passphrase, out of other tools and into them, in a list.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod wait;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{DockerRegistry, Fixture, run, tool};

const PASSPHRASE: &str = "correct horse";

fn skep(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.current_dir(folder).env_clear().env("SKEP_CONFIG_DIR", folder).env("HOME", folder);
    command.stdin(Stdio::null());
    command
}

/// With the passphrase.
fn with(folder: &Path) -> Command {
    let mut command = skep(folder);
    command.env("SKEP_KEY_PASSPHRASE", PASSPHRASE);
    command
}

fn openssl(folder: &Path) -> Command {
    let mut command = Command::new(tool("openssl"));
    command.current_dir(folder);
    command
}

fn refused(command: &mut Command, status: i32, words: &str) {
    let output = wait::output(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(words), "{text}");
}

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn a_key_under_a_passphrase_signs_with_it_alone() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let none = "needs a passphrase, and none is given";
    refused(skep(folder).args(["key", "new", "--passphrase"]), 2, none);
    assert!(!folder.join("skep.key").exists() && !folder.join("skep.pub").exists());
    for kind in ["ed25519", "p256"] {
        let key = format!("{kind}.key");
        run(with(folder).args(["key", "new", "--passphrase", "--type", kind, "-o", kind]));
        assert!(read(folder, &key).starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        let mode = folder.join(&key).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sign = ["sign", "--key", &key, "layout"];
        refused(skep(folder).args(sign), 2, none);
        let mut wrong = skep(folder);
        wrong.env("SKEP_KEY_PASSPHRASE", "another");
        refused(wrong.args(sign), 2, "this is not the passphrase of the key");
        run(with(folder).args(sign));
        run(skep(folder).args(["verify", "--key", &format!("{kind}.pub"), "layout"]));
        // What openssl reads with it is the same key.
        let pass = format!("pass:{PASSPHRASE}");
        let public = ["pkey", "-in", &key, "-passin", &pass, "-pubout"];
        assert_eq!(run(openssl(folder).args(public)), read(folder, &format!("{kind}.pub")));
    }
}

#[test]
fn keys_come_from_openssl_and_go_there() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let pass = format!("pass:{PASSPHRASE}");
    let new = ["genpkey", "-algorithm", "ed25519", "-out"];
    run(openssl(folder).args(new).arg("plain.pem"));
    run(openssl(folder).args(new).args(["secret.pem", "-aes-256-cbc", "-pass", &pass]));
    run(skep(folder).args(["key", "import", "plain.pem", "-o", "plain"]));
    assert!(read(folder, "plain.key").starts_with("-----BEGIN PRIVATE KEY-----\n"));
    run(with(folder).args(["key", "import", "secret.pem", "-o", "secret"]));
    let held = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n";
    assert!(read(folder, "secret.key").starts_with(held), "it stays under its passphrase");
    refused(skep(folder).args(["key", "import", "plain.pem", "-o", "plain"]), 1, "written over");
    for key in ["plain", "secret"] {
        run(with(folder).args(["sign", "--key", &format!("{key}.key"), "layout"]));
        run(skep(folder).args(["verify", "--key", &format!("{key}.pub"), "layout"]));
    }
    // Out again: the public half for everybody, the private one as it is asked for.
    let exported = run(with(folder).args(["key", "export", "secret.key"]));
    assert_eq!(exported, read(folder, "secret.pub"));
    let export = |more: &[&str]| {
        run(with(folder).args(["key", "export", "secret.key", "--private"]).args(more));
    };
    export(&["same.pem"]);
    export(&["open.pem", "--plain"]);
    assert!(read(folder, "same.pem").starts_with(held));
    let public = run(openssl(folder).args(["pkey", "-in", "open.pem", "-pubout"]));
    assert_eq!(public, read(folder, "secret.pub"));
    let mode = folder.join("open.pem").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    run(skep(folder).args(["key", "import", "secret.pub", "-o", "public"]));
    assert_eq!(read(folder, "public.pub"), read(folder, "secret.pub"));
    std::fs::write(folder.join("rsa.pem"), "-----BEGIN PRIVATE KEY-----\nMAA=\n").unwrap();
    refused(skep(folder).args(["key", "import", "rsa.pem", "-o", "x"]), 2, "Ed25519 or P-256");
}

#[test]
fn keys_are_listed_with_where_their_private_half_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let empty: Value =
        serde_json::from_str(&run(skep(folder).args(["key", "list", "--output", "json"]))).unwrap();
    assert_eq!(empty, serde_json::json!([]));
    run(skep(folder).args(["key", "new", "-o", "a.b"]));
    run(with(folder).args(["key", "new", "--passphrase", "--type", "p256", "-o", "held"]));
    run(skep(folder).args(["key", "new", "-o", "theirs"]));
    std::fs::remove_file(folder.join("theirs.key")).unwrap();
    std::fs::write(folder.join("note.pub"), "no key").unwrap();
    let listed: Value =
        serde_json::from_str(&run(skep(folder).args(["key", "list", "--output", "json"]))).unwrap();
    let shown =
        |key: &Value| ["name", "type", "private"].map(|f| key[f].as_str().unwrap().to_owned());
    let shown: Vec<_> = listed.as_array().unwrap().iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            ["a.b", "Ed25519", "here"],
            ["held", "P-256", "passphrase"],
            ["theirs", "Ed25519", "elsewhere"]
        ]
    );
    let text = run(skep(folder.parent().unwrap()).args(["key", "list"]).arg(folder));
    assert!(text.starts_with("NAME") && text.contains("under a passphrase"), "{text}");
    assert!(text.contains(listed[0]["id"].as_str().unwrap()), "{text}");
    refused(skep(folder).args(["key", "list", "nowhere"]), 2, "can't read 'nowhere'");
}

/// What an HSM or a key service does, openssl does here: the private half is in no file that skep is told of.
#[test]
fn a_command_signs_for_a_key_that_is_elsewhere() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let reference = registry.reference("1.0.0").to_string();
    run(skep(folder).args(["push", "layout", &reference]));
    let with = |signer: &str, args: &[&str]| {
        let mut command = skep(folder);
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.args(args).args(["--signer", signer]);
        command
    };
    // openssl hashes for P-256 what it is given; for Ed25519 it wants a file.
    let p256 = "openssl dgst -sha256 -sign p256.key";
    let ed25519 = "cat >message && openssl pkeyutl -sign -rawin -inkey ed25519.key -in message";
    for (kind, signer) in [("p256", p256), ("ed25519", ed25519)] {
        run(skep(folder).args(["key", "new", "--type", kind, "-o", kind]));
        let public = format!("{kind}.pub");
        let sign = ["sign", "--key", &public];
        refused(skep(folder).args(sign).arg("layout"), 2, "with --signer a command");
        run(with(signer, &sign).arg("layout"));
        run(with(signer, &sign).arg(&reference));
        run(skep(folder).args(["verify", "--key", &public, "layout"]));
        run(skep(folder).args(["verify", "--key", &public, &reference]));
    }
    // Its key is named to it, so that one command can serve many.
    let id = run(skep(folder).args(["key", "list", "--output", "json"]));
    let id: Value = serde_json::from_str(&id).unwrap();
    let id = id[1]["id"].as_str().unwrap();
    let named = format!("test $SKEP_KEY_ID = {id} && {p256}");
    let moving = ["channel", "move", &reference, "stable", "--key", "p256.pub"];
    run(with(&named, &moving).args(["--key", "ed25519.key"]));
    let sign = ["sign", "--key", "p256.pub", "layout"];
    refused(&mut with("false", &sign), 1, "'false' ended with exit status: 1");
    let another = "the answer is no signature by the key";
    refused(&mut with(ed25519, &sign), 1, another);
    refused(&mut with("cat", &sign), 1, another);
    refused(&mut with("true", &sign), 1, another);
    // With private keys alone nobody else is asked, who should have been.
    let sign = ["sign", "--key", "p256.key", "layout"];
    refused(&mut with("false", &sign), 2, "'p256.key' is a private key, for which --signer");
    let moving = ["channel", "move", &reference, "stable", "--key", "p256.key"];
    refused(&mut with("false", &moving), 2, "leave --signer out");
}
