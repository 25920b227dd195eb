//! Channels as they are typed: moved, signed by several, followed, carried along, and what is refused of them.
#![allow(clippy::unwrap_used)]

mod hub;
mod node;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;
use std::process::Command;

use hub::Hub;
use node::Node;
use serde_json::Value;
use skep_spec::Channel;
use support::{DockerRegistry, Fixture, run};
use typed::{refused, skep};

/// A registry with two signed versions, and keys a and b, of which the first is trusted.
struct Site {
    registry: DockerRegistry,
    one: Fixture,
    two: Fixture,
    /// `host/acme/exec`
    name: String,
}

impl Site {
    fn new() -> Self {
        Self::of(Fixture::new("1.0.0"), Fixture::new("2.0.0"))
    }

    fn of(one: Fixture, two: Fixture) -> Self {
        let registry = DockerRegistry::start();
        let name = format!("{}/acme/exec", registry.host);
        let site = Self { registry, one, two, name };
        for key in ["a", "b"] {
            site.run(&["key", "new", "-o", key]);
        }
        site.run(&["trust", "add", "acme/*", "--key", "a.pub"]);
        for (fixture, version) in [(&site.one, "1.0.0"), (&site.two, "2.0.0")] {
            let layout = fixture.store.root().to_str().unwrap();
            site.run(&["sign", "--key", "a.key", layout]);
            site.run(&["push", layout, &format!("{}:{version}", site.name)]);
        }
        site
    }

    fn folder(&self) -> &Path {
        self.one.folder.path()
    }

    fn skep(&self, args: &[&str]) -> Command {
        let mut command = skep(self.folder());
        command.args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        run(&mut self.skep(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["--output", "json"]].concat())).unwrap()
    }

    fn to(&self, version: &str, more: &[&str]) -> String {
        let place = format!("{}:{version}", self.name);
        self.run(&[&["channel", "move", &place, "stable", "--key", "a.key"], more].concat())
    }

    fn stable(&self) -> String {
        format!("{}@stable", self.name)
    }

    fn pointers(&self) -> Vec<Vec<u8>> {
        pointers(&self.registry, &self.name)
    }

    fn put(&self, pointers: &[Vec<u8>]) {
        put(&self.registry, &self.name, pointers);
    }
}

/// What lies under the tag of a package's channel `stable`.
fn pointers(registry: &DockerRegistry, name: &str) -> Vec<Vec<u8>> {
    let (client, reference) = (registry.client(), name.parse().unwrap());
    block_on(client.channel(&reference, &Channel::stable())).unwrap()
}

fn put(registry: &DockerRegistry, name: &str, pointers: &[Vec<u8>]) {
    let (client, reference) = (registry.client(), name.parse().unwrap());
    block_on(client.put_channel(&reference, &Channel::stable(), pointers)).unwrap();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn a_channel_is_moved_and_followed() {
    let site = Site::new();
    refused(&mut site.skep(&["verify", &site.stable()]), 4, "has no signed channel 'stable'");
    refused(&mut site.skep(&["verify", &site.name]), 2, "names no version");
    let text = site.to("1.0.0", &[]);
    let words = format!("Moved {}@stable: sequence 1, version 1.0.0, until 2", site.name);
    assert!(text.starts_with(&words) && text.contains(&site.one.index.to_string()), "{text}");
    // Without a version it is meant as well.
    for place in [&site.stable(), &site.name] {
        let json = site.json(&["verify", place]);
        assert_eq!(json["digest"], site.one.index.to_string());
        site.run(&["pull", place, "-o", "pulled"]);
        site.run(&["trust", "test", &site.stable()]);
    }
    let shown = site.json(&["channel", "show", &site.name]);
    assert_eq!((&shown["sequence"], &shown["version"]), (&1.into(), &"1.0.0".into()));
    assert!(site.run(&["tags", &site.name]).contains("@stable"));

    site.to("2.0.0", &["--expires", "2099-01-01T00:00:00Z"]);
    let shown = site.json(&["channel", "show", &site.stable()]);
    assert_eq!(
        (&shown["sequence"], &shown["expires"]),
        (&2.into(), &"2099-01-01T00:00:00Z".into())
    );
    assert_eq!(site.json(&["verify", &site.stable()])["digest"], site.two.index.to_string());
    let bundled = site.run(&["bundle", &site.stable(), "-o", "site.skep"]);
    assert!(bundled.starts_with("acme/exec:2.0.0\n"), "{bundled}");
    // Signed again: a new sequence, the same digest.
    assert!(site.to("2.0.0", &[]).contains("sequence 3"));
}

#[test]
fn mistakes_around_channels_are_named() {
    let site = Site::new();
    site.to("1.0.0", &[]);
    let (name, edge) = (site.name.as_str(), format!("{}@edge", site.name));
    let (one, absent) = (format!("{name}:1.0.0"), format!("{name}:3.0.0"));
    let moved = |args: &[&str], status, words| {
        let args = [&["channel", "move"], args].concat();
        refused(&mut site.skep(&args), status, words);
    };
    moved(&[name, "stable", "--key", "a.key"], 2, "is no version to point to");
    moved(&[&absent, "stable", "--key", "a.key"], 1, "(404)");
    moved(&[&one, "Stable", "--key", "a.key"], 2, "channel");
    moved(&[&one, "stable", "--key", "a.key", "--expires", "0d"], 2, "--expires 0d");
    moved(&[&one, "stable", "--key", "b.key"], 4, "--sequence");
    moved(&[&one, "stable", "--key", "a.key", "--sequence", "1"], 2, "has 1 already");
    let mut show = site.skep(&["channel", "show", &edge]);
    refused(&mut show, 4, "has no signed channel 'edge'");
    refused(&mut site.skep(&["channel", "show", &one]), 2, "names no channel");
    let sign = |what: &str| site.skep(&["channel", "sign", what, "--key", "a.key"]);
    refused(&mut sign(&edge), 1, "no pointer to sign");
    refused(&mut sign(name), 2, "names no channel");
}

#[test]
fn an_old_pointer_and_two_with_one_sequence_are_refused() {
    let site = Site::new();
    site.to("1.0.0", &[]);
    let first = site.pointers();
    site.to("2.0.0", &[]);
    let second = site.pointers();
    site.run(&["channel", "show", &site.stable()]);
    // The registry plays back what it had.
    site.put(&first);
    for command in ["verify", "pull", "copy", "run", "inspect"] {
        let (to, stable) = (format!("{}/copied/acme/exec", site.registry.host), site.stable());
        let more: &[&str] = match command {
            "pull" => &["-o", "out"],
            "copy" => &[&to],
            _ => &[],
        };
        let mut command = site.skep(&[&[command, &stable], more].concat());
        refused(&mut command, 4, "has sequence 1, and 2 was seen before");
    }
    // One who saw neither is told nothing wrong by either.
    let newcomer = |args: &[&str]| {
        let mut command = site.skep(args);
        command.env("XDG_STATE_HOME", site.folder().join("newcomer"));
        command
    };
    run(&mut newcomer(&["channel", "show", &site.stable()]));
    // A publisher without memory signs the same sequence for another digest.
    let digest = site.one.index.to_string();
    let place = format!("{}@{digest}", site.name);
    run(&mut newcomer(&["channel", "move", &place, "stable", "--key", "a.key"]));
    refused(&mut site.skep(&["verify", &site.stable()]), 4, "tell the publisher");
    site.put(&second);
    refused(&mut newcomer(&["verify", &site.stable()]), 4, "tell the publisher");
    site.run(&["verify", &site.stable()]);
    // Whoever moves it is not led to sign sequence 2 again.
    site.put(&first);
    assert!(site.to("1.0.0", &[]).contains("sequence 3,"));
}

#[test]
fn a_channel_of_two_signers_moves_when_both_have_signed() {
    let site = Site::new();
    let both = ["trust", "add", "acme/*", "--key", "b.pub", "--threshold", "2"];
    site.to("1.0.0", &["--key", "b.key"]);
    site.run(&both);
    for version in ["1.0.0", "2.0.0"] {
        site.run(&["sign", "--key", "b.key", &format!("{}:{version}", site.name)]);
    }
    assert_eq!(site.json(&["verify", &site.stable()])["digest"], site.one.index.to_string());
    assert_eq!(site.to("2.0.0", &["-q"]), format!("{}\n", site.two.index));
    // The first has signed: the one before still counts, and nobody is without a channel.
    let mut other = site.skep(&["verify", &site.stable(), "--output", "json"]);
    let shown = run(other.env("XDG_STATE_HOME", site.folder().join("other")));
    assert!(shown.contains(&site.one.index.to_string()), "{shown}");
    let signed = site.run(&["channel", "sign", &site.stable(), "--key", "b.key"]);
    assert!(
        signed.contains("sequence 2") && signed.contains(&site.two.index.to_string()),
        "{signed}"
    );
    assert_eq!(site.json(&["verify", &site.stable()])["digest"], site.two.index.to_string());
    assert_eq!(
        site.json(&["channel", "show", &site.stable()])["keys"].as_array().unwrap().len(),
        2
    );
    let before = site.pointers();
    let again = site.run(&["channel", "sign", &site.stable(), "--key", "b.key", "-q"]);
    assert_eq!(again, format!("{}\n", site.two.index));
    assert_eq!(site.pointers(), before, "twice changes nothing");
}

#[test]
fn a_channel_goes_along_with_its_package_and_never_back() {
    let (site, there) = (Site::new(), DockerRegistry::start());
    let to = format!("{}/mirror/acme/exec", there.host);
    site.to("1.0.0", &[]);
    let text = site.run(&["copy", &site.stable(), &to]);
    assert!(text.ends_with("1 signature, the channel stable\n"), "{text}");
    let mirrored = format!("{to}@stable");
    assert_eq!(site.json(&["verify", &mirrored])["digest"], site.one.index.to_string());
    let old = site.pointers();
    site.to("2.0.0", &[]);
    site.run(&["copy", &site.stable(), &to]);
    assert_eq!(site.json(&["verify", &mirrored])["digest"], site.two.index.to_string());
    site.run(&["copy", &site.stable(), &to]);
    // Somebody with an old copy of the site does not take the mirror back.
    site.put(&old);
    let mut copy = site.skep(&["copy", &site.stable(), &to]);
    copy.env("XDG_STATE_HOME", site.folder().join("other"));
    refused(&mut copy, 4, "has moved on");
    assert_eq!(site.json(&["channel", "show", &mirrored])["sequence"], 2);
}

/// Over a registry without the referrers API to our hub, and from there on; at the hub it is moved as anywhere.
#[test]
fn a_channel_goes_through_our_hub() {
    let site = Site::of(hub::readable("1.0.0"), hub::readable("2.0.0"));
    let (there, hub) = (DockerRegistry::start(), Hub::start());
    hub.login("acme", site.folder());
    let at_hub = format!("{}/acme/exec", hub.host);
    let to = format!("{}/acme/exec", there.host);
    let stable = |name: &str| format!("{name}@stable");
    site.to("1.0.0", &[]);
    let text = site.run(&["copy", &site.stable(), &at_hub]);
    assert!(text.ends_with("1 signature, the channel stable\n"), "{text}");
    assert!(site.run(&["tags", &at_hub]).contains("@stable"));
    let first = site.one.index.to_string();
    assert_eq!(site.json(&["verify", &stable(&at_hub)])["digest"], first);
    site.run(&["copy", &stable(&at_hub), &to]);
    assert_eq!(site.json(&["verify", &stable(&to)])["digest"], first);
    // The next version comes by hand and is signed there; the channel is moved at the hub.
    let layout = site.two.store.root().to_str().unwrap();
    let two = format!("{at_hub}:2.0.0");
    site.run(&["push", layout, &two]);
    site.run(&["channel", "move", &two, "stable", "--key", "a.key"]);
    let second = site.two.index.to_string();
    assert_eq!(site.json(&["verify", &stable(&at_hub)])["digest"], second);
    site.run(&["copy", &stable(&at_hub), &to]);
    assert_eq!(site.json(&["verify", &stable(&to)])["digest"], second);
    assert_eq!(site.json(&["channel", "show", &stable(&to)])["sequence"], 2);
    // Where the channel has not moved yet, nobody takes it back.
    let mut back = site.skep(&["copy", &site.stable(), &at_hub]);
    back.env("XDG_STATE_HOME", site.folder().join("other"));
    refused(&mut back, 4, "has moved on");
    // No stranger moves it.
    std::fs::remove_dir_all(site.folder().join(".docker")).unwrap();
    let again = ["channel", "move", &format!("{at_hub}:1.0.0"), "stable", "--key", "a.key"];
    refused(&mut site.skep(&again), 1, "wants to know who asks (401)");
}

#[test]
fn who_releases_to_two_registries_goes_on_above_both() {
    let site = Site::new();
    site.to("1.0.0", &[]);
    let staging = format!("{}/staging/acme/exec", site.registry.host);
    site.run(&["copy", &format!("{}:1.0.0", site.name), &staging]);
    let to = ["channel", "move", &format!("{staging}:1.0.0"), "stable", "--key", "a.key"];
    assert!(site.run(&to).contains("sequence 2,"));
    assert!(site.to("2.0.0", &[]).contains("sequence 3,"));
    assert!(site.run(&to).contains("sequence 4,"));
    // Another key's pointer is there: what was signed once is not signed again for something else.
    let mut stranger = site.skep(&["channel", "move", &format!("{}:1.0.0", site.name), "stable"]);
    stranger.args(["--key", "b.key", "--sequence", "3"]);
    let other = site.folder().join("other");
    run(site.skep(&["trust", "add", "acme/*", "--key", "b.pub"]).env("SKEP_CONFIG_DIR", &other));
    run(stranger.env("XDG_STATE_HOME", &other).env("SKEP_CONFIG_DIR", &other));
    site.put(&site.pointers()[..1]);
    let place = format!("{}:1.0.0", site.name);
    let again = ["channel", "move", &place, "stable", "--key", "a.key"];
    // Where nothing says whose pointers count, it may be a colleague's.
    let none = site.folder().join("none");
    let without = |args: &[&str]| {
        let mut command = site.skep(args);
        command.env("SKEP_CONFIG_DIR", &none);
        command
    };
    refused(&mut without(&again), 4, "give a higher sequence with --sequence, above 4");
    refused(&mut without(&again), 4, "skep trust add acme/exec --key PUB");
    let low = [&again[..], &["--sequence", "4"]].concat();
    refused(&mut without(&low), 2, "has 4 already, and none is signed again");
    assert!(
        run(&mut without(&[&again[..], &["--sequence", "5"]].concat())).contains("sequence 5,")
    );
    // Where rules say that it is nobody's, it gives way.
    site.put(&pointers(&site.registry, &site.name)[1..]);
    assert!(site.run(&again).contains("sequence 6,"));
}

/// A runner without rules and memory cannot tell a colleague's pointer from a stranger's.
#[test]
fn a_colleagues_pointer_above_ones_own_is_not_signed_over() {
    let site = Site::new();
    let fresh = |name: &str, version: &str, more: &[&str]| {
        let home = site.folder().join(name);
        let mut command =
            site.skep(&["channel", "move", &format!("{}:{version}", site.name), "stable"]);
        command.args(more).env("XDG_STATE_HOME", &home).env("SKEP_CONFIG_DIR", &home);
        command
    };
    run(&mut fresh("first", "1.0.0", &["--key", "a.key"]));
    run(&mut fresh("colleague", "2.0.0", &["--key", "b.key", "--sequence", "2"]));
    let again = ["--key", "a.key"];
    refused(
        &mut fresh("second", "1.0.0", &again),
        4,
        "give a higher sequence with --sequence, above 2",
    );
    let beyond = [&again[..], &["--sequence", "9007199254740992"]].concat();
    refused(&mut fresh("third", "1.0.0", &beyond), 2, "readers take none above 9007199254740991");
    let last = [&again[..], &["--sequence", "9007199254740991"]].concat();
    run(&mut fresh("third", "1.0.0", &last));
    refused(&mut fresh("third", "2.0.0", &again), 1, "is the last that readers take");
}

/// Runners that remember nothing, and two registries.
#[test]
fn who_remembers_nothing_looks_at_every_registry_that_is_named() {
    let site = Site::new();
    let staging = format!("{}/staging", site.registry.host);
    let there = format!("{staging}/acme/exec");
    for version in ["1.0.0", "2.0.0"] {
        let from = format!("{}:{version}", site.name);
        site.run(&["copy", &from, &there]);
    }
    let runs = std::cell::Cell::new(0);
    let forgetful = |args: &[&str]| {
        runs.set(runs.get() + 1);
        let mut command = site.skep(args);
        command.env("XDG_STATE_HOME", site.folder().join(format!("run-{}", runs.get())));
        command
    };
    let moved = |place: &str, version: &str, also: &str| {
        let reference = format!("{place}:{version}");
        let args = ["channel", "move", &reference, "stable", "--key", "a.key", "--also", also];
        forgetful(&args)
    };
    let host = site.registry.host.as_str();
    assert!(run(&mut moved(&site.name, "1.0.0", &staging)).contains("sequence 1,"));
    assert!(run(&mut moved(&site.name, "2.0.0", &staging)).contains("sequence 2,"));
    assert!(run(&mut moved(&there, "1.0.0", host)).contains("sequence 3,"));
    assert!(run(&mut moved(&site.name, "2.0.0", &staging)).contains("sequence 4,"));
    // Whoever follows in both is told of no contradiction.
    for place in [&there, &site.name] {
        site.run(&["channel", "show", &format!("{place}@stable")]);
    }
    // One that does not answer, or has what another key signed, stops it before anything is signed.
    let gone = "127.0.0.1:9";
    refused(&mut moved(&there, "2.0.0", gone), 1, "can't tell which sequence comes after");
    refused(&mut moved(&there, "2.0.0", "https://x"), 2, "is no registry");
    let stranger = ["channel", "move", &format!("{there}:1.0.0"), "stable", "--key", "b.key"];
    let stranger = [&stranger[..], &["--sequence", "9"]].concat();
    run(&mut forgetful(&stranger));
    site.run(&["trust", "add", "acme/*", "--key", "b.pub"]);
    refused(&mut moved(&site.name, "1.0.0", &staging), 4, "give a higher sequence");
    let shown = site.json(&["channel", "show", &site.stable()]);
    assert_eq!(shown["sequence"], 4);
    // Two that contradict each other already are not gone on from by themselves.
    let (one, two) = (format!("{}:1.0.0", site.name), format!("{there}:2.0.0"));
    for place in [&one, &two] {
        let args = ["channel", "move", place, "stable", "--key", "a.key", "--sequence", "20"];
        run(&mut forgetful(&args));
    }
    refused(&mut moved(&site.name, "1.0.0", &staging), 4, "tell the publisher");
}

#[test]
fn nobody_signs_what_a_stranger_or_a_registry_puts_before_him() {
    let site = Site::new();
    site.to("2.0.0", &[]);
    let good = site.pointers();
    // A stranger's pointer with a higher sequence, to the old version.
    let one = format!("{}:1.0.0", site.name);
    site.run(&["key", "new", "-o", "c"]);
    let stranger = ["channel", "move", &one, "stable", "--key", "c.key", "--sequence", "99"];
    let mut stranger = site.skep(&stranger);
    run(stranger.env("XDG_STATE_HOME", site.folder().join("stranger")));
    let theirs = site.pointers().remove(0);
    site.put(&[vec![theirs.clone()], good.clone()].concat());
    site.run(&["trust", "add", "acme/*", "--key", "b.pub", "--threshold", "2"]);
    let sign = |more: &[&str]| {
        site.skep(&[&["channel", "sign", &site.stable(), "--key", "b.key"], more].concat())
    };
    let signed = run(&mut sign(&[]));
    assert!(
        signed.contains("sequence 1,") && signed.contains(&site.two.index.to_string()),
        "{signed}"
    );
    site.put(&[vec![theirs.clone()], good].concat());
    let signed = run(&mut sign(&["--of", "a.pub"]));
    assert!(signed.contains("sequence 1,"), "{signed}");
    site.put(&[theirs]);
    refused(&mut sign(&[]), 4, "has no pointer by a key that is trusted here");
    refused(&mut sign(&["--of", "a.pub"]), 4, "has no pointer by a key that is trusted here");

    // The registry has the old version under the new one's tag.
    let tag = format!("{}:2.0.0", site.name);
    let mut skopeo = Command::new(support::tool("skopeo"));
    skopeo.args(["--insecure-policy", "copy", "--all", "--preserve-digests"]);
    skopeo.args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
    run(skopeo.args([format!("docker://{one}"), format!("docker://{tag}")]));
    refused(
        &mut site.skep(&["channel", "move", &tag, "stable", "--key", "a.key"]),
        4,
        "2.0.0 is not that version: what is there says 1.0.0",
    );
}

#[test]
fn a_pointer_admits_nothing_by_itself() {
    let site = Site::new();
    let unsigned = Fixture::new("3.0.0");
    let layout = unsigned.store.root().to_str().unwrap();
    let place = format!("{}:3.0.0", site.name);
    site.run(&["push", layout, &place]);
    site.run(&["channel", "move", &place, "stable", "--key", "a.key"]);
    refused(&mut site.skep(&["verify", &site.stable()]), 4, "it is unsigned");
    refused(&mut site.skep(&["run", &site.stable()]), 4, "it is unsigned");
    // Nor does a stranger's, nor a signature's bundle under the tag.
    site.run(&["channel", "move", &place, "edge", "--key", "b.key"]);
    refused(&mut site.skep(&["verify", &format!("{}@edge", site.name)]), 4, "by another key");
    let signature = site
        .one
        .sign_well(&skep_trust::SecretKey::generate(skep_trust::key::KeyKind::Ed25519).unwrap());
    site.put(&[signature]);
    refused(&mut site.skep(&["verify", &site.stable()]), 4, "0 of 1 trusted signatures");
    site.put(&[b"{}".to_vec()]);
    refused(&mut site.skep(&["verify", &site.stable()]), 4, "could not be read");
    std::fs::write(site.folder().join(".local/state/skep/channels.json"), "{").unwrap();
    refused(&mut site.skep(&["verify", &site.stable()]), 1, "keeps what was seen of channels");
}

#[test]
fn skepd_follows_a_channel_and_never_back() {
    let registry = DockerRegistry::start();
    let mut node = Node::new();
    node.sign_both();
    node.start();
    let name = format!("{}/skep/exec", registry.host);
    let stable = format!("{name}@stable");
    let to = |version: &str| {
        let place = format!("{name}:{version}");
        node.run(&["channel", "move", &place, "stable", "--key", "key.key"]);
    };
    for (layout, version) in [("exec.oci", "1.0.0"), ("exec-2.oci", "2.0.0")] {
        node.run(&["push", layout, &format!("{name}:{version}")]);
    }
    let (status, said) = node.refused(&["install", &stable]);
    assert!(status == 4 && said.contains("has no signed channel 'stable'"), "{status}: {said}");
    let (status, said) = node.refused(&["install", &name]);
    assert!(status == 1 && said.contains("names no version"), "{status}: {said}");
    to("1.0.0");
    let installed = node.run(&["install", &name]);
    assert!(installed.starts_with("Installed skep/exec 1.0.0 as exec"), "{installed}");
    let old = pointers(&registry, &name);
    to("2.0.0");
    node.run(&["upgrade", "exec", &stable]);
    assert_eq!(node.json(&["list"])[0]["version"], "2.0.0");
    put(&registry, &name, &old);
    let replayed = ["upgrade", "exec", &stable, "--allow-downgrade"];
    let (status, said) = node.refused(&replayed);
    assert!(status == 4 && said.contains("has sequence 1, and 2 was seen"), "{status}: {said}");
    node.kill();
    node.start();
    let (status, said) = node.refused(&replayed);
    assert!(status == 4 && said.contains("has sequence 1, and 2 was seen"), "{status}: {said}");
    assert_eq!(node.json(&["list"])[0]["version"], "2.0.0");
    node.run(&["remove", "exec"]);
}
