//! What lies beside a package in a registry, and whoever may write there can put: other keys of its publisher, and what is neither
//! keys nor a channel.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use skep_spec::{Channel, Digest, media};
use support::{DockerRegistry, Fixture, run};
use typed::{refused, skep};

/// A registry with a package, and a machine that trusts key a for acme/*; keys b and c.
struct Site {
    registry: DockerRegistry,
    fixture: Fixture,
    /// `host/acme/exec`
    package: String,
}

impl Site {
    fn new() -> Self {
        let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
        let package = format!("{}/acme/exec", registry.host);
        let site = Self { registry, fixture, package };
        ["a", "b", "c"].iter().for_each(|key| drop(site.run(&["key", "new", "-o", key])));
        site.run(&["trust", "add", "acme/*", "--key", "a.pub"]);
        site.run(&["sign", "--key", "a.key", "layout"]);
        site.run(&["push", "layout", &site.version()]);
        site
    }

    fn folder(&self) -> &Path {
        self.fixture.folder.path()
    }

    fn version(&self) -> String {
        format!("{}:1.0.0", self.package)
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
        let output = wait::output(&mut self.skep(args));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        text
    }

    /// A version of keys in a file.
    fn rotate(&self, file: &str, to: &str, by: &[&str]) {
        let new = !self.folder().join(file).exists();
        let publisher: &[&str] = if new { &["--publisher", "acme"] } else { &[] };
        let keys: Vec<&str> = by.iter().flat_map(|key| ["--key", *key]).collect();
        let rotate = ["key", "rotate", file, "--to", to];
        self.run(&[&rotate[..], publisher, &keys].concat());
    }

    fn push(&self, file: &str) -> Command {
        self.skep(&["key", "rotate", file, "--push", &self.package])
    }

    fn keys(&self) -> Vec<Vec<u8>> {
        let (client, reference) = (self.registry.client(), self.package.parse().unwrap());
        block_on(client.keys(&reference)).unwrap()
    }

    fn put(&self, keys: &[Vec<u8>]) {
        let (client, reference) = (self.registry.client(), self.package.parse().unwrap());
        block_on(client.put_keys(&reference, keys)).unwrap();
    }

    fn file(&self, name: &str) -> Vec<Vec<u8>> {
        let text = std::fs::read_to_string(self.folder().join(name)).unwrap();
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.folder().join(from), self.folder().join(to)).unwrap();
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// Whoever has the key of version 1 can make another version 2: machines would go one way or the other.
#[test]
fn no_version_of_the_keys_takes_the_place_of_another_of_its_number() {
    let site = Site::new();
    site.rotate("acme.keys", "a.pub", &["a.key"]);
    site.copy("acme.keys", "fork.keys");
    site.rotate("fork.keys", "c.pub", &["a.key", "c.key"]);
    site.copy("fork.keys", "longer.keys");
    site.rotate("longer.keys", "c.pub", &["c.key"]);
    site.rotate("acme.keys", "b.pub", &["a.key", "b.key"]);
    (0..2).for_each(|_| site.rotate("strange.keys", "c.pub", &["c.key"]));
    run(&mut site.push("acme.keys"));
    let published = site.keys();
    let none = site.folder().join("none");
    let another = |version| {
        let package = &site.package;
        format!("version {version} of the keys is beside {package} already, and is another one")
    };
    let next = format!("skep trust rotate {} follows it", site.package);
    for file in ["fork.keys", "longer.keys"] {
        refused(&mut site.push(file), 4, &another(2));
        refused(&mut site.push(file), 4, "the keys before it have signed both");
        refused(site.push(file).env("SKEP_CONFIG_DIR", &none), 4, &next);
    }
    // One of which no key leads to what is there: rules bear that out, or nobody says whose it is.
    refused(&mut site.push("strange.keys"), 4, "rules bear out the one that is there");
    let mut by_nobody = site.push("strange.keys");
    refused(by_nobody.env("SKEP_CONFIG_DIR", &none), 4, "says whose keys count for acme");
    assert_eq!(site.keys(), published);
    // From a bundle neither, and it is said.
    let there = DockerRegistry::start();
    let package = format!("{}/acme/exec", there.host);
    let reference = format!("{package}:1.0.0");
    site.run(&["push", "layout", &reference]);
    for file in ["fork.keys", "longer.keys"] {
        site.run(&["key", "rotate", file, "--push", &package]);
        site.run(&["bundle", &reference, "-o", "fork.skep"]);
        let unbundle = ["unbundle", "fork.skep", "--to", &site.registry.host];
        let said = site.notes(&unbundle);
        assert!(said.contains("the version 2 that came is another one"), "{said}");
        let said = wait::output(site.skep(&unbundle).env("SKEP_CONFIG_DIR", &none));
        let said = String::from_utf8(said.stderr).unwrap();
        assert!(said.contains("the version 2 that came is another one"), "{said}");
        assert_eq!(site.keys(), published);
    }
    // What a stolen key has signed gives way once it is revoked.
    let rules = std::fs::read_to_string(site.folder().join("trust.toml")).unwrap();
    let list: Vec<Value> =
        serde_json::from_str(&site.run(&["key", "list", "--output", "json"])).unwrap();
    let id = list.iter().find(|key| key["name"] == "a").unwrap()["id"].as_str().unwrap();
    let revoked = format!("{rules}[revoked]\nkeys = [\"{id}\"]\n");
    std::fs::write(site.folder().join("trust.toml"), revoked).unwrap();
    let said = site.notes(&["key", "rotate", "fork.keys", "--push", &site.package]);
    assert!(said.contains("though keys of it have signed them: they are replaced"), "{said}");
    assert_eq!(site.keys(), site.file("fork.keys"));
}

/// No whole version of it is there, only what the file's own keys began.
#[test]
fn what_a_files_own_keys_began_is_replaced_and_not_called_a_strangers() {
    let site = Site::new();
    site.rotate("acme.keys", "a.pub", &["a.key"]);
    site.copy("acme.keys", "half.keys");
    site.rotate("half.keys", "c.pub", &["a.key"]);
    site.put(&site.file("half.keys"));
    site.rotate("acme.keys", "b.pub", &["a.key", "b.key"]);
    let said = site.notes(&["key", "rotate", "acme.keys", "--push", &site.package]);
    assert!(said.contains("1 of the bundles beside"), "{said}");
    assert!(said.contains("though keys of it have signed them: they are replaced"), "{said}");
    assert!(!said.contains("no keys of it lead to them"), "{said}");
    assert_eq!(site.keys(), site.file("acme.keys"));
}

/// What can lie under a tag, and is neither keys nor a channel that anybody would read whole.
const JUNK: [&str; 5] = ["another kind", "an index", "no bundle", "too many", "too large"];

impl Site {
    /// Puts it there, as whoever may write to the registry can.
    fn junk(&self, tag: &str, what: &str) {
        let (client, reference) = (self.registry.client(), self.package.parse().unwrap());
        let scratch: Channel = "scratch".parse().unwrap();
        // Its blob is the config, too.
        block_on(client.put_channel(&reference, &scratch, &[b"{}".to_vec()])).unwrap();
        let (kind, most) =
            if tag == "skep-keys" { (media::KEYS, 256) } else { (media::CHANNEL, 64) };
        let (artifact, count, size) = match what {
            "another kind" => ("application/vnd.example", 1, 2),
            "no bundle" => (kind, 0, 2),
            "too many" => (kind, most + 1, 2),
            _ => (kind, 1, 3 << 20),
        };
        let blob = |media_type: &str, size: usize| serde_json::json!({"mediaType": media_type, "digest": Digest::of(b"{}"), "size": size});
        let layers = vec![blob("application/vnd.dev.sigstore.bundle.v0.3+json", size); count];
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": artifact,
            "config": blob(media::EMPTY, 2), "layers": layers,
        });
        let (media_type, body) = match what {
            "an index" => {
                (media::INDEX, self.fixture.store.require(&self.fixture.index, 1 << 20).unwrap())
            }
            _ => (media::MANIFEST, manifest.to_string().into_bytes()),
        };
        let head = format!(
            "PUT /v2/acme/exec/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.registry.host,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.registry.host).unwrap();
        stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 201"), "{what}: {said}");
    }
}

/// Who puts keys or a channel there is not held up, and says what gave way.
#[test]
fn what_nobody_reads_gives_way_to_keys_and_channels() {
    let site = Site::new();
    site.rotate("acme.keys", "a.pub", &["a.key"]);
    let version = site.version();
    for (at, what) in (1..).zip(JUNK) {
        site.junk("skep-keys", what);
        let push = ["key", "rotate", "acme.keys", "--push", &site.package];
        let said = site.notes(&push);
        assert!(said.contains("what lay under the tag skep-keys beside"), "{what}: {said}");
        assert_eq!(site.keys(), site.file("acme.keys"), "{what}");
        assert_eq!(site.notes(&push), "", "{what}");
        site.junk("skep-channel-stable", what);
        let said = site.notes(&["channel", "move", &version, "stable", "--key", "a.key"]);
        assert!(said.contains("what lay under the channel 'stable' of"), "{what}: {said}");
        let shown = site.run(&["channel", "show", &format!("{}@stable", site.package)]);
        assert!(shown.contains(&format!("sequence {at},")), "{what}: it goes on: {shown}");
    }
    // Readers keep their limits, and take nothing for none.
    site.junk("skep-channel-stable", "too many");
    let stable = format!("{}@stable", site.package);
    refused(&mut site.skep(&["verify", &stable]), 1, "has 65 bundles, more than 64");
    refused(
        &mut site.skep(&["channel", "sign", &stable, "--key", "a.key"]),
        1,
        "no pointer to sign",
    );
    site.junk("skep-keys", "too large");
    refused(&mut site.skep(&["trust", "rotate", &site.package]), 1, "has more than 1 MiB");
}

/// Whoever carries a package leaves it out, and says so; where keys and channels come along, it gives way.
#[test]
fn what_nobody_reads_holds_up_no_bundle_and_no_copy() {
    let (site, there) = (Site::new(), Site::new());
    site.rotate("acme.keys", "a.pub", &["a.key"]);
    run(&mut site.push("acme.keys"));
    let (version, stable) = (site.version(), format!("{}@stable", site.package));
    site.run(&["channel", "move", &version, "stable", "--key", "a.key"]);
    site.run(&["bundle", &version, "-o", "good.skep"]);
    let channel = || {
        let (client, reference) = (there.registry.client(), there.package.parse().unwrap());
        block_on(client.channel(&reference, &Channel::stable())).unwrap()
    };
    // The same package, signed by the other's key.
    let moved = ["copy", &version, &there.version(), "--force"];
    site.run(&moved);
    for what in JUNK {
        there.junk("skep-keys", what);
        there.junk("skep-channel-stable", what);
        let said = site.notes(&["unbundle", "good.skep", "--to", &there.registry.host]);
        assert!(said.contains("in place of the keys of acme is replaced: it "), "{what}: {said}");
        assert!(said.contains("in place of the channel 'stable'"), "{what}: {said}");
        assert_eq!((there.keys(), channel().len()), (site.keys(), 1), "{what}");
        there.junk("skep-channel-stable", what);
        let said = site.notes(&["copy", &stable, &there.package]);
        assert!(said.contains("what lay under the channel 'stable' of"), "{what}: {said}");
        assert_eq!(channel().len(), 1, "{what}");
        there.junk("skep-keys", what);
        there.junk("skep-channel-stable", what);
        let said = site.notes(&["bundle", &there.version(), "-o", "left.skep"]);
        assert!(said.contains("the publisher's keys beside"), "{what}: {said}");
        assert!(said.contains("the channel 'stable' beside"), "{what}: {said}");
        refused(&mut site.skep(&["trust", "rotate", "left.skep"]), 1, "there are no keys");
    }
}
