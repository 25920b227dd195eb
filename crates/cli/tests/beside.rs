//! What lies beside a package in a registry, and whoever may write there can put: other keys of its publisher, and what is neither
//! keys nor a channel.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
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
