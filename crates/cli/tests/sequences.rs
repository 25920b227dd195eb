//! One sequence of a channel: what was signed here and what was followed, wherever the channel is, whoever else signs.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;
use std::process::Command;

use skep_spec::Channel;
use support::{DockerRegistry, Fixture, run};
use typed::{refused, skep};

/// A registry with two signed versions, and keys a and b, of which the first is trusted.
struct Site {
    registry: DockerRegistry,
    fixture: Fixture,
    /// `host/acme/exec`
    name: String,
}

impl Site {
    fn new() -> Self {
        let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
        let name = format!("{}/acme/exec", registry.host);
        let site = Self { registry, fixture, name };
        for key in ["a", "b"] {
            site.run(&["key", "new", "--type", "p256", "-o", key]);
        }
        site.run(&["trust", "add", "acme/*", "--key", "a.pub"]);
        let two = Fixture::new("2.0.0");
        for (fixture, version) in [(&site.fixture, "1.0.0"), (&two, "2.0.0")] {
            let layout = fixture.store.root().to_str().unwrap();
            site.run(&["sign", "--key", "a.key", layout]);
            site.run(&["push", layout, &format!("{}:{version}", site.name)]);
        }
        site
    }

    fn folder(&self) -> &Path {
        self.fixture.folder.path()
    }

    fn skep(&self, args: &[&str]) -> Command {
        let mut command = skep(self.folder());
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        run(&mut self.skep(args))
    }

    /// What a command says beside its answer.
    fn notes(&self, args: &[&str]) -> String {
        said(&mut self.skep(args))
    }

    /// Moves `stable` in the folder of the registry that `name` says, by a key.
    fn to(&self, name: &str, version: &str, key: &str, more: &[&str]) -> Command {
        let place = format!("{name}:{version}");
        let mut command = self.skep(&["channel", "move", &place, "stable", "--key", key]);
        command.args(more);
        command
    }

    fn stable(&self) -> String {
        format!("{}@stable", self.name)
    }

    fn pointers(&self) -> Vec<Vec<u8>> {
        let (client, reference) = (self.registry.client(), self.name.parse().unwrap());
        block_on(client.channel(&reference, &Channel::stable())).unwrap()
    }

    fn put(&self, pointers: &[Vec<u8>]) {
        let (client, reference) = (self.registry.client(), self.name.parse().unwrap());
        block_on(client.put_channel(&reference, &Channel::stable(), pointers)).unwrap();
    }

    /// A place of its own in the same registry, with both versions.
    fn staging(&self) -> String {
        let name = format!("{}/staging/acme/exec", self.registry.host);
        for version in ["1.0.0", "2.0.0"] {
            self.run(&["copy", &format!("{}:{version}", self.name), &name]);
        }
        name
    }

    fn revoke(&self, key: &str) {
        let list: Vec<serde_json::Value> =
            serde_json::from_str(&self.run(&["key", "list", "--output", "json"])).unwrap();
        let id = list.iter().find(|one| one["name"] == key).unwrap()["id"].as_str().unwrap();
        let file = self.folder().join("trust.toml");
        let rules = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{rules}[revoked]\nkeys = [\"{id}\"]\n")).unwrap();
    }
}

fn said(command: &mut Command) -> String {
    let output = wait::output(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// A try with a key that nobody trusts does not hold up who follows the real channel here.
#[test]
fn what_was_signed_here_raises_nothing_of_what_is_followed() {
    let site = Site::new();
    let staging = site.staging();
    run(&mut site.to(&site.name, "1.0.0", "a.key", &["--sequence", "100"]));
    site.run(&["channel", "show", &site.stable()]);
    let tried = site.to(&staging, "2.0.0", "b.key", &[]).output().unwrap();
    let text = [tried.stdout, tried.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(text.contains("sequence 101,"), "{text}");
    assert!(text.contains("note: no rule of this machine counts the key"), "{text}");
    let elsewhere = format!("{}/out/acme/exec", site.registry.host);
    for args in [
        &["channel", "show", &site.stable()][..],
        &["verify", &site.stable()],
        &["pull", &site.stable(), "-o", "pulled"],
        &["bundle", &site.stable(), "-o", "site.skep"],
        &["copy", &site.stable(), &elsewhere],
    ] {
        site.run(args);
    }
    // No sequence is signed twice, whoever asks.
    assert!(run(&mut site.to(&site.name, "2.0.0", "a.key", &[])).contains("sequence 102,"));
    refused(&mut site.to(&staging, "1.0.0", "b.key", &["--sequence", "102"]), 2, "102 already");
    // What counts here is not played back, also where it was never followed.
    let first = site.pointers().split_off(1);
    site.put(&first);
    refused(&mut site.skep(&["verify", &site.stable()]), 4, "sequence 100, and 102 was seen");
}

#[test]
fn a_revoked_key_signs_no_pointer() {
    let site = Site::new();
    run(&mut site.to(&site.name, "1.0.0", "a.key", &[]));
    site.revoke("b");
    let before = site.pointers();
    refused(&mut site.to(&site.name, "2.0.0", "b.key", &["--sequence", "9"]), 4, "is revoked in");
    let sign = ["channel", "sign", &site.stable(), "--key", "b.key"];
    refused(&mut site.skep(&sign), 4, "is revoked in this machine's trust.toml");
    assert_eq!(site.pointers(), before);
    site.run(&["channel", "show", &site.stable()]);
}

/// A typo in the path of another registry says nothing of its sequence.
#[test]
fn a_place_that_has_not_the_package_is_no_other_registry_of_the_channel() {
    let site = Site::new();
    let staging = site.staging();
    let host = site.registry.host.as_str();
    run(&mut site.to(&staging, "1.0.0", "a.key", &[]));
    let also = |also: &str| site.to(&site.name, "2.0.0", "a.key", &["--also", also]);
    for absent in ["nothere", "staging/acme", "staging/acme/exec"] {
        let there = format!("{host}/{absent}");
        refused(&mut also(&there), 1, &format!("there is no package {there}/acme/exec, so that"));
    }
    assert!(site.pointers().is_empty());
    let text = said(&mut also(&format!("{host}/staging")));
    assert!(text.contains(&format!("note: {staging}@stable has sequence 1\n")), "{text}");
    // One that has the package and not the channel.
    let out = format!("{host}/out/acme/exec");
    site.run(&["copy", &format!("{}:1.0.0", site.name), &out]);
    let text = said(&mut also(&format!("{host}/out")));
    assert!(text.contains(&format!("note: {out} has no channel 'stable'\n")), "{text}");
    let shown = site.run(&["channel", "show", &site.stable()]);
    assert!(shown.contains("sequence 3,"), "{shown}");
}

/// Both look, then both sign, then both put it there: the second is told, and its pointer reaches nobody.
#[test]
fn of_two_who_move_a_channel_at_once_one_is_told() {
    let site = Site::new();
    run(&mut site.to(&site.name, "1.0.0", "a.key", &[]));
    let skep = env!("CARGO_BIN_EXE_skep");
    for (at, (ours, theirs)) in [("one", "other"), ("same", "same")].into_iter().enumerate() {
        // The other one moves it while this one waits for its signature.
        let other = format!(
            "XDG_STATE_HOME={theirs} {skep} channel move {}:2.0.0 stable --key a.key",
            site.name
        );
        let signer = format!(
            "cat >to-sign-{at} && {other} >other-{at} && openssl dgst -sha256 -sign a.key to-sign-{at}"
        );
        let mut first = site.skep(&["channel", "move", &format!("{}:1.0.0", site.name), "stable"]);
        first.args(["--key", "a.pub", "--signer", &signer]).env("XDG_STATE_HOME", ours);
        let before = site.pointers();
        refused(&mut first, 1, "others have written its tag");
        let there = site.pointers();
        assert_ne!(there, before, "the other's is there");
        let shown = site.run(&["channel", "show", &site.stable()]);
        assert!(shown.contains("version 2.0.0"), "{shown}");
        let mut again = site.to(&site.name, "1.0.0", "a.key", &[]);
        run(again.env("XDG_STATE_HOME", ours));
        site.run(&["channel", "show", &site.stable()]);
    }
}

/// Only what rules bear out goes along.
#[test]
fn a_copied_channel_leaves_the_bundles_of_strangers_behind() {
    let site = Site::new();
    run(&mut site.to(&site.name, "1.0.0", "a.key", &[]));
    let good = site.pointers();
    let staging = site.staging();
    run(&mut site.to(&staging, "2.0.0", "b.key", &["--sequence", "99"]));
    let (client, reference) = (site.registry.client(), staging.parse().unwrap());
    let strangers = block_on(client.channel(&reference, &Channel::stable())).unwrap();
    let junk = b"{}".to_vec();
    site.put(&[strangers, good.clone(), vec![junk]].concat());
    let out = format!("{}/out/acme/exec", site.registry.host);
    site.run(&["copy", &site.stable(), &out]);
    let copied = block_on(client.channel(&out.parse().unwrap(), &Channel::stable())).unwrap();
    assert_eq!(copied, good);
}

#[test]
fn an_end_beyond_the_calendar_is_a_mistake_of_the_command_line() {
    let site = Site::new();
    let expires = ["--expires", "99999999d"];
    let words = "--expires 99999999d is beyond the year 9999";
    refused(&mut site.to(&site.name, "1.0.0", "a.key", &expires), 2, words);
}

/// A registry may show anything under a tag: what was signed is said, and can be named.
#[test]
fn who_signs_by_a_tag_is_told_the_digest() {
    let site = Site::new();
    let digest = site.fixture.index.to_string();
    let place = format!("{}:1.0.0", site.name);
    assert!(site.run(&["sign", "--key", "b.key", &place]).contains(&format!("\n{digest}\n")));
    assert_eq!(site.run(&["sign", "--key", "b.key", &place, "-q"]), format!("{digest}\n"));
    let named = format!("{}@{digest}", site.name);
    assert_eq!(site.run(&["sign", "--key", "b.key", &named, "-q"]), format!("{digest}\n"));
    assert_eq!(site.notes(&["sign", "--key", "b.key", &named, "-q"]), "");
}
