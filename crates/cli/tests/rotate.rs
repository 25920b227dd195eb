//! A publisher changes its keys, and machines follow.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use skep_trust::SecretKey;
use skep_trust::rotation::Keys;
use support::server::{Server, answer};
use support::{DockerRegistry, Fixture, run};
use typed::{refused, skep};

/// Keys a, b and c, of which the machine trusts a for acme/*.
fn keys(folder: &Path) {
    for name in ["a", "b", "c"] {
        run(skep(folder).args(["key", "new", "-o", name]));
    }
    run(skep(folder).args(["trust", "add", "acme/*", "--key", "a.pub"]));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn machines_follow_keys_that_the_old_ones_signed() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    keys(folder);
    let rotate = |more: &[&str]| {
        let mut command = skep(folder);
        command.args(["key", "rotate", "acme.keys"]).args(more);
        command
    };
    let follow = || {
        let mut command = skep(folder);
        command.args(["trust", "rotate", "acme.keys"]);
        command
    };
    let rules = || std::fs::read_to_string(folder.join("trust.toml")).unwrap();
    let trusted = |key: &str| {
        run(skep(folder).args(["sign", "--key", &format!("{key}.key"), "layout"]));
        let verified = skep(folder).args(["verify", "layout"]).output().unwrap();
        verified.status.success()
    };
    refused(&mut rotate(&["--key", "a.key"]), 2, "there are no keys in 'acme.keys' to sign");
    refused(&mut rotate(&["--to", "a.pub", "--key", "a.key"]), 2, "needs --publisher");
    let first = run(&mut rotate(&["--publisher", "acme", "--to", "a.pub", "--key", "a.key"]));
    assert!(first.starts_with("Version 1 of the keys of acme in acme.keys: 1 of 1\n"), "{first}");
    assert!(run(&mut follow()).contains("has version 1 of the keys of acme already"));

    // The old key alone does not do, nor a key that is in neither version.
    refused(&mut rotate(&["--to", "b.pub", "--key", "c.key"]), 2, "would not count");
    let half = run(&mut rotate(&["--to", "b.pub", "--key", "a.key"]));
    assert!(
        half.contains(
            "not complete: version 2 of the keys has 0 of the 1 signatures by its own keys"
        ),
        "{half}"
    );
    let before = rules();
    refused(&mut follow(), 4, "0 of the 1 signatures by its own keys");
    assert_eq!(rules(), before);
    refused(
        &mut rotate(&["--to", "c.pub", "--key", "b.key"]),
        2,
        "version 2 of the keys is not complete",
    );
    let whole = run(&mut rotate(&["--key", "b.key"]));
    assert!(whole.ends_with("complete: skep trust rotate acme.keys follows it\n"), "{whole}");

    assert!(trusted("a"));
    // The rules are at version 1, whatever is said.
    let words = "--from 2: the rules have not the keys that version 2 in 'acme.keys' has";
    refused(follow().args(["--from", "2"]), 2, words);
    refused(follow().args(["--from", "2"]), 2, "they are at version 1: leave --from out");
    refused(follow().args(["--from", "0"]), 2, "--from");
    assert_eq!(rules(), before);
    let text = run(&mut follow());
    assert!(text.contains("from version 1 to 2\nacme/*: signed by this key\n"), "{text}");
    let fresh = Fixture::new("1.0.0");
    std::fs::remove_dir_all(folder.join("layout")).unwrap();
    std::fs::rename(fresh.path("layout"), folder.join("layout")).unwrap();
    assert!(!trusted("a") && trusted("b"), "the old key's time is over");

    // Two at once, with another threshold and an end; an old copy of the file leads nowhere.
    let old = std::fs::read(folder.join("acme.keys")).unwrap();
    let two =
        ["--to", "b.pub", "--to", "c.pub", "--threshold", "2", "--expires", "2099-12-31T00:00:00Z"];
    run(rotate(&two).args(["--key", "b.key", "--key", "c.key"]));
    let answer = json(&run(follow().args(["--output", "json"])));
    assert_eq!((&answer["from"], &answer["version"]), (&2.into(), &3.into()), "{answer}");
    let rule = &answer["rules"][0];
    assert_eq!((&rule["threshold"], rule["keys"].as_array().unwrap().len()), (&2.into(), 2));
    assert_eq!(rule["keys"][0]["not_after"], "2099-12-31T00:00:00Z", "{answer}");
    let before = rules();
    refused(follow().args(["--from", "9"]), 2, "the newest keys in 'acme.keys' are version 3");
    // Another user, or a crash before that was kept: the rules themselves say where they are.
    let kept = folder.join(".local/state/skep/keys.json");
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::remove_file(&kept).unwrap();
    assert!(run(&mut follow()).contains("has version 3 of the keys of acme already"));
    std::fs::write(&kept, bytes).unwrap();
    std::fs::write(folder.join("acme.keys"), old).unwrap();
    assert!(run(&mut follow()).contains("has version 3 of the keys of acme already"));
    assert_eq!(rules(), before);
}

#[test]
fn keys_of_strangers_and_mistakes_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    keys(folder);
    let before = std::fs::read_to_string(folder.join("trust.toml")).unwrap();
    // All is signed well, by keys that nobody here trusts.
    let new = ["--publisher", "acme", "--to", "c.pub", "--key", "c.key"];
    run(skep(folder).args(["key", "rotate", "theirs"]).args(new));
    let next = ["--to", "b.pub", "--key", "c.key", "--key", "b.key"];
    run(skep(folder).args(["key", "rotate", "theirs"]).args(next));
    let follow = |file: &str| {
        let mut command = skep(folder);
        command.args(["trust", "rotate", file]);
        command
    };
    refused(&mut follow("theirs"), 4, "0 of the 1 signatures by the old keys");
    refused(&mut follow("absent"), 2, "can't read 'absent'");
    refused(&mut follow("a.pub"), 2, "'a.pub', line 1 holds no keys");
    let other = ["--publisher", "other", "--to", "c.pub", "--key", "c.key"];
    run(skep(folder).args(["key", "rotate", "other"]).args(other));
    refused(&mut follow("other"), 2, "no rule is for packages of other");
    // What cannot be meant is not written.
    for (more, words) in [
        (&["--to", "b.pub", "--to", "b.pub", "--key", "b.key"][..], "cannot be meant"),
        (&["--to", "b.pub", "--threshold", "2", "--key", "b.key"], "cannot be meant"),
        (&["--publisher", "b", "--to", "b.pub", "--key", "b.key"], "holds the keys of acme"),
        (&["--to", "b.pub", "--expires", "1999-01-01T00:00:00Z", "--key", "b.key"], "--expires"),
    ] {
        let bytes = std::fs::read(folder.join("theirs")).unwrap();
        refused(skep(folder).args(["key", "rotate", "theirs"]).args(more), 2, words);
        assert_eq!(std::fs::read(folder.join("theirs")).unwrap(), bytes);
    }
    assert_eq!(std::fs::read_to_string(folder.join("trust.toml")).unwrap(), before);
    // Of a rule for others, too, nobody knows whose keys it has.
    run(skep(folder).args(["trust", "add", "mixed/a", "acme/special", "--key", "b.pub"]));
    refused(&mut follow("theirs"), 2, "is not for acme alone");
}

#[test]
fn keys_travel_through_registries_and_bundles() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    keys(folder);
    let package = format!("{}/acme/exec", registry.host);
    let rotate = |more: &[&str]| {
        let mut command = skep(folder);
        command.args(["key", "rotate", "acme.keys"]).args(more);
        command
    };
    run(&mut rotate(&["--publisher", "acme", "--to", "a.pub", "--key", "a.key"]));
    let first = std::fs::read(folder.join("acme.keys")).unwrap();
    run(&mut rotate(&["--to", "b.pub", "--key", "a.key"]));
    refused(&mut rotate(&["--push", &package]), 2, "version 2 of the keys is not complete");
    let other = format!("{}/other/exec", registry.host);
    refused(rotate(&["--key", "b.key"]).args(["--push", &other]), 2, "is no package of acme");
    refused(&mut rotate(&["--push", &package]), 2, "version 2 of the keys is not complete");
    run(&mut rotate(&["--key", "b.key"]));
    let reference = format!("{package}:1.0.0");
    run(skep(folder).args(["push", "layout", &reference]));
    let follow = |from: &str, policy: &str| {
        let mut command = skep(folder);
        command.args(["trust", "rotate", from, "--policy", policy]);
        command
    };
    refused(&mut follow(&package, "trust.toml"), 1, "there are no keys of a publisher with");
    let text = run(&mut rotate(&["--push", &package]));
    assert!(
        text.contains(&format!("\nbeside {package}: skep trust rotate {package} follows it")),
        "{text}"
    );

    // The package is signed by the new key, and a machine without the file follows.
    run(skep(folder).args(["sign", "--key", "b.key", "layout"]));
    run(skep(folder).args(["push", "layout", &reference]));
    let move_it = ["channel", "move", &reference, "stable", "--key", "b.key"];
    std::fs::copy(folder.join("trust.toml"), folder.join("other.toml")).unwrap();
    refused(skep(folder).args(["verify", &reference]), 4, "by another key");
    let text = run(&mut follow(&package, "trust.toml"));
    assert!(text.contains("from version 1 to 2"), "{text}");
    run(skep(folder).args(["verify", &reference]));
    run(skep(folder).args(move_it));

    // By a stick into another registry, and from there, and from the stick itself.
    run(skep(folder).args(["bundle", &reference, "-o", "site.skep"]));
    let site = DockerRegistry::start();
    let text = run(skep(folder).args(["unbundle", "site.skep", "--to", &site.host]));
    assert!(text.contains("and version 2 of the keys of acme\n"), "{text}");
    assert!(text.contains("and the channel 'stable' of acme/exec\n"), "{text}");
    let again = run(skep(folder).args(["unbundle", "site.skep", "--to", &site.host]));
    assert!(!again.contains("\nand "), "{again}");
    let there = format!("{}/acme/exec", site.host);
    run(skep(folder).args(["verify", &format!("{there}@stable")]));
    for from in [&there, "site.skep"] {
        std::fs::copy(folder.join("other.toml"), folder.join("third.toml")).unwrap();
        let text = run(&mut follow(from, "third.toml"));
        assert!(text.contains("has version 2 of") || text.contains("to 2"), "{text}");
        let kept = folder.join(".local/state/skep/keys.json");
        std::fs::remove_file(kept).unwrap();
    }
    // What is older never takes the place of what is newer.
    std::fs::write(folder.join("acme.keys"), first).unwrap();
    refused(&mut rotate(&["--push", &package]), 4, "version 2 of the keys is beside");
}

/// A typo makes no repository that holds keys and nothing else.
#[test]
fn keys_lie_beside_a_package_only() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    keys(folder);
    let first = ["--publisher", "acme", "--to", "a.pub", "--key", "a.key"];
    let rotate = |more: &[&str], to: &str| {
        let mut command = skep(folder);
        command.args(["key", "rotate", "acme.keys"]).args(more);
        command.args(["--push", &format!("{}/acme/{to}", registry.host)]);
        command
    };
    let package = format!("{}/acme/exec", registry.host);
    run(skep(folder).args(["push", "layout", &format!("{package}:1.0.0")]));
    let words = format!("there is no version of a package {}/acme/nosuch", registry.host);
    refused(&mut rotate(&first, "nosuch"), 1, &words);
    refused(&mut rotate(&first, "nosuch"), 1, "hint: nothing was put there");
    assert!(!folder.join("acme.keys").exists());
    let nosuch = format!("{}/acme/nosuch", registry.host);
    refused(skep(folder).args(["tags", &nosuch]), 1, "does not have it (404)");
    run(&mut rotate(&first, "exec"));
    run(skep(folder).args(["trust", "rotate", &package]));
}

/// Neither a version nor a signature comes into the file by a push that the registry did not take.
#[test]
fn what_a_registry_refuses_is_not_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    keys(folder);
    let empty = |head: &str| match head.starts_with("GET /v2/ ") {
        true => "200 OK",
        false if head.starts_with("GET") => "404 Not Found",
        false => "403 Forbidden",
    };
    let honest = move |head: &str| match head.contains("/tags/list") {
        true => answer("200 OK", "", br#"{"tags": ["1.0.0"]}"#),
        false => answer(empty(head), "", b""),
    };
    let forbids = Server::new(move |head, stream| drop(stream.write_all(&honest(head))));
    let closed = Server::saying(answer("403 Forbidden", "", b""));
    let push = |more: &[&str], server: &Server, words: &str| {
        let mut command = skep(folder);
        command.args(["key", "rotate", "acme.keys"]).args(more);
        refused(command.args(["--push", &format!("{}/acme/exec", server.host)]), 1, words);
    };
    let first = ["--publisher", "acme", "--to", "a.pub", "--key", "a.key"];
    for server in [&forbids, &closed] {
        push(&first, server, "does not allow it (403)");
        assert!(!folder.join("acme.keys").exists());
    }
    run(skep(folder).args(["key", "rotate", "acme.keys"]).args(first));
    let before = std::fs::read(folder.join("acme.keys")).unwrap();
    let next = ["--to", "b.pub", "--key", "a.key", "--key", "b.key"];
    push(&next, &forbids, "nothing was signed: 'acme.keys' is as it was");
    push(&next, &closed, "does not allow it (403)");
    assert_eq!(std::fs::read(folder.join("acme.keys")).unwrap(), before);
    // Of one that took something and answers no more nobody knows what it has.
    let asked = AtomicBool::new(false);
    let ends = Server::new(move |head, stream| {
        asked.fetch_or(!head.starts_with("GET"), Ordering::Relaxed);
        let ended = asked.load(Ordering::Relaxed);
        let said = if ended { answer("403 Forbidden", "", b"") } else { honest(head) };
        drop(stream.write_all(&said));
    });
    push(&next, &ends, "so 'acme.keys' has what was signed: put it there with skep key rotate");
    let after = std::fs::read(folder.join("acme.keys")).unwrap();
    assert!(after.len() > before.len() && after.starts_with(&before));
}

/// It is said, and holds none of them back.
#[test]
fn what_a_stranger_puts_behind_good_keys_is_left_out() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    keys(folder);
    let rotate =
        |file: &str, args: &[&str]| run(skep(folder).args(["key", "rotate", file]).args(args));
    rotate("acme.keys", &["--publisher", "acme", "--to", "a.pub", "--key", "a.key"]);
    rotate("acme.keys", &["--to", "b.pub", "--key", "a.key", "--key", "b.key"]);
    rotate("c.keys", &["--publisher", "acme", "--to", "c.pub", "--key", "c.key"]);
    (2..=9).for_each(|_| drop(rotate("c.keys", &["--to", "c.pub", "--key", "c.key"])));
    let bundles = |file: &str| -> Vec<Vec<u8>> {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    };
    let (good, strangers) = (bundles("acme.keys"), bundles("c.keys"));
    let package = format!("{}/acme/exec", registry.host);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Version 3, and 9.
    for (at, junk) in [2, 8].into_iter().enumerate() {
        let keys = [good.clone(), vec![strangers[junk].clone()]].concat();
        let put = registry.client();
        runtime.block_on(put.put_keys(&package.parse().unwrap(), &keys)).unwrap();
        let rules = format!("rules-{at}.toml");
        std::fs::copy(folder.join("trust.toml"), folder.join(&rules)).unwrap();
        let follow = ["trust", "rotate", &package, "--policy", &rules];
        let output = wait::output(skep(folder).args(follow));
        let (done, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let (done, said) = (done.unwrap(), said.unwrap());
        assert!(done.contains("from version 1 to 2") && said.starts_with("note: "), "{done}{said}");
    }
}

#[test]
fn what_a_stranger_bundles_replaces_neither_keys_nor_channels() {
    let (site, strangers) = (DockerRegistry::start(), DockerRegistry::start());
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    keys(folder);
    let publish = |to: &str, file: &str, key: &str, versions: usize, sequence: &[&str]| {
        let (package, public) = (format!("{to}/acme/exec"), format!("{key}.pub"));
        let (reference, key) = (format!("{package}:1.0.0"), format!("{key}.key"));
        run(skep(folder).args(["push", "layout", &reference]));
        for version in 1..=versions {
            let mut rotate = skep(folder);
            rotate.args(["key", "rotate", file, "--to", &public, "--key", &key]);
            rotate.args(if version == 1 { &["--publisher", "acme"][..] } else { &[] });
            run(&mut rotate);
        }
        run(skep(folder).args(["key", "rotate", file, "--key", &key, "--push", &package]));
        let moved = ["channel", "move", &reference, "stable", "--key", &key];
        run(skep(folder)
            .args(moved)
            .args(sequence)
            .env("XDG_STATE_HOME", folder.join("state").join(&key)));
        reference
    };
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
    let good = publish(&site.host, "acme.keys", "a", 1, &[]);
    let forged = publish(&strangers.host, "forged.keys", "b", 3, &["--sequence", "99"]);
    run(skep(folder).args(["bundle", &forged, "-o", "forged.skep"]));
    let text = wait::output(skep(folder).args(["unbundle", "forged.skep", "--to", &site.host]));
    let text = String::from_utf8(text.stderr).unwrap();
    assert!(text.contains("the keys of acme stay"), "{text}");
    assert!(text.contains("the channel 'stable' of acme/exec stays"), "{text}");
    let (package, stable) = (good.trim_end_matches(":1.0.0"), good.replace(":1.0.0", "@stable"));
    let shown = run(skep(folder).args(["channel", "show", &stable, "--key", "a.pub"]));
    assert!(shown.contains("sequence 1"), "{shown}");
    run(skep(folder).args(["key", "rotate", "acme.keys", "--to", "a.pub", "--key", "a.key"]));
    run(skep(folder).args(["key", "rotate", "acme.keys", "--key", "a.key", "--push", package]));
}

/// A registry, a machine that trusts key a for acme/*, and a stranger's bundle of a package with keys and a channel of his own.
struct Strangers {
    site: DockerRegistry,
    fixture: Fixture,
    /// `host/acme/exec`
    package: String,
}

impl Strangers {
    fn new() -> Self {
        let (site, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
        let package = format!("{}/acme/exec", site.host);
        let all = Self { site, fixture, package };
        keys(all.folder());
        all.run(&["sign", "--key", "a.key", "layout"]);
        all.publish("acme.keys", "a", 2);
        all.publish("forged.keys", "c", 5);
        let theirs = DockerRegistry::start();
        let package = format!("{}/acme/exec", theirs.host);
        let reference = format!("{package}:1.0.0");
        all.run(&["push", "layout", &reference]);
        all.run(&["key", "rotate", "forged.keys", "--push", &package]);
        all.as_stranger(&[
            "channel",
            "move",
            &reference,
            "stable",
            "--key",
            "c.key",
            "--sequence",
            "99",
        ]);
        all.run(&["bundle", &reference, "-o", "forged.skep"]);
        all
    }

    fn folder(&self) -> &Path {
        self.fixture.folder.path()
    }

    fn skep(&self, args: &[&str]) -> std::process::Command {
        let mut command = skep(self.folder());
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        run(&mut self.skep(args))
    }

    fn as_stranger(&self, args: &[&str]) -> String {
        let config = self.folder().join("stranger");
        let _ = std::fs::remove_dir_all(&config); // nobody has to remember
        run(self.skep(args).env("XDG_STATE_HOME", &config).env("SKEP_CONFIG_DIR", &config))
    }

    /// What a command says beside its answer.
    fn notes(&self, args: &[&str]) -> String {
        let output = wait::output(&mut self.skep(args));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        text
    }

    /// A file with so many versions, all of one key.
    fn publish(&self, file: &str, key: &str, versions: usize) {
        let (public, key) = (format!("{key}.pub"), format!("{key}.key"));
        for version in 1..=versions {
            let new: &[&str] = if version == 1 { &["--publisher", "acme"] } else { &[] };
            let rotate = ["key", "rotate", file, "--to", &public, "--key", &key];
            self.run(&[&rotate[..], new].concat());
        }
    }

    fn keys_there(&self) -> Vec<Vec<u8>> {
        let (client, reference) = (self.site.client(), self.package.parse().unwrap());
        block_on(client.keys(&reference)).unwrap()
    }

    fn channel_there(&self) -> Vec<Vec<u8>> {
        let (client, reference) = (self.site.client(), self.package.parse().unwrap());
        block_on(client.channel(&reference, &skep_spec::Channel::stable())).unwrap()
    }

    fn file(&self, name: &str) -> Vec<Vec<u8>> {
        let text = std::fs::read_to_string(self.folder().join(name)).unwrap();
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    /// Has the registry hold the stranger's keys and channel, as whoever may write there can.
    fn forge(&self) {
        let (client, reference) = (self.site.client(), self.package.parse().unwrap());
        block_on(client.put_keys(&reference, &self.file("forged.keys"))).unwrap();
        self.run(&["push", "layout", &format!("{}:1.0.0", self.package)]);
        let moved = format!("{}:1.0.0", self.package);
        self.as_stranger(&[
            "channel",
            "move",
            &moved,
            "stable",
            "--key",
            "c.key",
            "--sequence",
            "99",
        ]);
        let theirs = &self.channel_there()[..1];
        block_on(client.put_channel(&reference, &skep_spec::Channel::stable(), theirs)).unwrap();
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn what_nobody_here_trusts_comes_out_of_no_bundle_into_a_registry() {
    let all = Strangers::new();
    let to = ["unbundle", "forged.skep", "--to", &all.site.host];
    for _ in 0..2 {
        let said = all.notes(&to);
        assert!(said.contains("the keys of acme that came are left out"), "{said}");
        assert!(said.contains("the channel 'stable' of acme/exec is left out"), "{said}");
        assert!(all.keys_there().is_empty() && all.channel_there().is_empty());
    }
    // Where no rule speaks of the package, nothing is borne out either.
    std::fs::rename(all.folder().join("trust.toml"), all.folder().join("rules")).unwrap();
    assert!(all.notes(&to).contains("skep trust add 'acme/*' --key PUB"));
    assert!(all.keys_there().is_empty() && all.channel_there().is_empty());
    std::fs::rename(all.folder().join("rules"), all.folder().join("trust.toml")).unwrap();
    // Only what is borne out goes, also where a stranger has put some of his beside it.
    let mixed = DockerRegistry::start();
    let package = format!("{}/acme/exec", mixed.host);
    let reference = format!("{package}:1.0.0");
    all.run(&["push", "layout", &reference]);
    all.run(&["channel", "move", &reference, "stable", "--key", "a.key"]);
    let keys = [all.file("forged.keys"), all.file("acme.keys")].concat();
    let client = mixed.client();
    block_on(client.put_keys(&package.parse().unwrap(), &keys)).unwrap();
    all.run(&["bundle", &reference, "-o", "mixed.skep"]);
    let text = all.run(&["unbundle", "mixed.skep", "--to", &all.site.host]);
    assert!(text.contains("and version 2 of the keys of acme\n"), "{text}");
    assert!(text.contains("and the channel 'stable' of acme/exec\n"), "{text}");
    assert_eq!(all.keys_there(), all.file("acme.keys"));
}

#[test]
fn what_a_stranger_has_put_there_gives_way_to_what_its_publisher_signed() {
    let all = Strangers::new();
    all.forge();
    let moved = format!("{}:1.0.0", all.package);
    let said = all.notes(&["key", "rotate", "acme.keys", "--push", &all.package]);
    assert!(said.contains("no keys of it lead to them: they are replaced"), "{said}");
    assert_eq!(all.keys_there(), all.file("acme.keys"));
    let said = all.notes(&["channel", "move", &moved, "stable", "--key", "a.key"]);
    assert!(
        said.contains("is replaced: 1 bundles that no key which is given or trusted"),
        "{said}"
    );
    let shown = all.run(&["channel", "show", &format!("{}@stable", all.package)]);
    assert!(shown.contains("sequence 1"), "{shown}");
    // So does a bundle that this machine's rules bear out.
    all.run(&["bundle", &moved, "-o", "good.skep"]);
    all.forge();
    let said = all.notes(&["unbundle", "good.skep", "--to", &all.site.host]);
    assert!(said.contains("the keys of acme that were there are replaced"), "{said}");
    assert!(
        said.contains("the channel 'stable' of acme/exec that was there is replaced"),
        "{said}"
    );
    assert_eq!(all.keys_there(), all.file("acme.keys"));
    all.run(&["verify", &format!("{}@stable", all.package)]);
    // What follows from the file stays, as does what is there already.
    let old = std::fs::read(all.folder().join("acme.keys")).unwrap();
    all.run(&[
        "key",
        "rotate",
        "acme.keys",
        "--to",
        "b.pub",
        "--key",
        "a.key",
        "--key",
        "b.key",
        "--push",
        &all.package,
    ]);
    std::fs::write(all.folder().join("acme.keys"), old).unwrap();
    let newer = "version 3 of the keys is beside";
    refused(&mut all.skep(&["key", "rotate", "acme.keys", "--push", &all.package]), 4, newer);
    assert_eq!(all.notes(&["unbundle", "good.skep", "--to", &all.site.host]), "");
}

/// Its pointers are by keys that only the documents beside them lead to.
#[test]
fn what_a_rule_follows_it_bears_out_of_a_bundle_too() {
    let all = Strangers::new();
    let b = ["key", "rotate", "acme.keys", "--to", "b.pub", "--key", "a.key", "--key", "b.key"];
    all.run(&b);
    let from = DockerRegistry::start();
    let package = format!("{}/acme/exec", from.host);
    let reference = format!("{package}:1.0.0");
    all.run(&["push", "layout", &reference]);
    all.run(&["key", "rotate", "acme.keys", "--push", &package]);
    all.run(&["channel", "move", &reference, "stable", "--key", "b.key"]);
    all.run(&["bundle", &reference, "-o", "good.skep"]);
    let to = ["unbundle", "good.skep", "--to", &all.site.host];
    assert!(all.notes(&to).contains("the channel 'stable' of acme/exec is left out"));
    assert_eq!(all.keys_there(), all.file("acme.keys"));
    assert!(all.channel_there().is_empty());
    let rules = all.folder().join("trust.toml");
    let text = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, text.replace("keys = ", "follow = true\nkeys = ")).unwrap();
    assert_eq!(all.notes(&to), "");
    assert_eq!(all.channel_there().len(), 1);
}

#[test]
fn a_version_that_its_keys_have_not_signed_is_no_place_where_rules_stand() {
    let all = Strangers::new();
    // The stranger says that version 9 has the keys of the rule.
    let mut said = Keys::unchecked(&all.file("acme.keys")[0]).unwrap();
    said.version = 9;
    let key = std::fs::read_to_string(all.folder().join("c.key")).unwrap();
    let forged = said.sign(&SecretKey::from_pem(&key).unwrap()).unwrap();
    let b = ["key", "rotate", "acme.keys", "--to", "b.pub", "--key", "a.key", "--key", "b.key"];
    all.run(&b);
    let (client, reference) = (all.site.client(), all.package.parse().unwrap());
    for forged in [vec![forged], all.file("forged.keys")] {
        // Before and behind what is good.
        for keys in [
            [forged.clone(), all.file("acme.keys")].concat(),
            [all.file("acme.keys"), forged.clone()].concat(),
        ] {
            block_on(client.put_keys(&reference, &keys)).unwrap();
            let rules = all.folder().join("other.toml");
            std::fs::copy(all.folder().join("trust.toml"), &rules).unwrap();
            let text = all.run(&["trust", "rotate", &all.package, "--policy", "other.toml"]);
            assert!(text.contains(" to 3\n"), "{text}");
            std::fs::remove_file(all.folder().join(".local/state/skep/keys.json")).unwrap();
        }
    }
}
