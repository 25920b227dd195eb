//! The store that commands share: filled once, used by several at a time, listed, pruned, whole after SIGKILL.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod wait;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{DockerRegistry, Fixture, blobs, run};

struct Site {
    registry: DockerRegistry,
    one: Fixture,
    _two: Fixture,
}

impl Site {
    /// Two signed versions in a registry.
    fn new() -> Self {
        let site = Self {
            registry: DockerRegistry::start(),
            one: Fixture::new("1.0.0"),
            _two: Fixture::new("2.0.0"),
        };
        site.run(&["key", "new", "-o", "key"]);
        for (fixture, version) in [(&site.one, "1.0.0"), (&site._two, "2.0.0")] {
            let layout = fixture.store.root().to_str().unwrap();
            site.run(&["sign", "--key", "key.key", layout]);
            site.run(&["push", layout, &site.registry.reference(version).to_string()]);
        }
        site
    }

    fn folder(&self) -> &Path {
        self.one.folder.path()
    }

    fn skep(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.current_dir(self.folder()).args(args).env_clear().env("HOME", self.folder());
        command
    }

    fn run(&self, args: &[&str]) -> String {
        run(&mut self.skep(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["--output", "json"]].concat())).unwrap()
    }

    fn verify(&self, version: &str) -> Command {
        let reference = self.registry.reference(version).to_string();
        self.skep(&["verify", "--key", "key.pub", &reference])
    }

    fn packages(&self) -> PathBuf {
        self.folder().join(".cache/skep/packages")
    }
}

#[test]
fn what_was_pulled_is_kept_listed_and_pruned() {
    let site = Site::new();
    assert_eq!(site.run(&["cache", "list"]), "Nothing was downloaded.\n");
    site.run(&["cache", "prune"]);
    run(&mut site.verify("1.0.0"));
    let first = blobs(&site.packages());
    run(&mut site.verify("2.0.0"));
    let listed = site.json(&["cache", "list"]);
    let names: Vec<&str> = listed["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["package"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["acme/exec:1.0.0", "acme/exec:2.0.0"]);
    assert!(listed["bytes"].as_u64().unwrap() > 140_000, "{listed}");
    assert!(site.run(&["cache", "list"]).contains("acme/exec:1.0.0"));

    // The objects of both versions are the same, and are there once.
    let both = blobs(&site.packages());
    assert!(both.len() < 2 * first.len(), "{first:?} {both:?}");
    let file =
        |name: &String| site.packages().join("blobs/sha256").join(name).metadata().unwrap().ino();
    let before: Vec<_> = both.iter().map(file).collect();
    run(&mut site.verify("1.0.0"));
    assert_eq!(both.iter().map(file).collect::<Vec<_>>(), before, "nothing is pulled again");

    // One that nobody used for long goes, and with it what only it needs.
    let index = site.packages().join("blobs/sha256").join(site.one.index.hex());
    run(Command::new("touch").args(["-d", "40 days ago"]).arg(&index));
    site.run(&["cache", "prune", "--older-than", "30"]);
    let left = site.json(&["cache", "list"]);
    assert_eq!(left["packages"].as_array().unwrap().len(), 1);
    assert_eq!(left["packages"][0]["package"], "acme/exec:2.0.0");
    assert!(blobs(&site.packages()).len() < both.len());
    run(&mut site.verify("2.0.0"));
    let types = site.folder().join(".cache/skep/btf");
    std::fs::create_dir(&types).unwrap();
    std::fs::write(types.join("abc"), "types").unwrap();
    assert!(site.run(&["cache", "list"]).contains("kernel types: 1 files, 5 B"));
    site.run(&["cache", "prune"]);
    assert!(blobs(&site.packages()).is_empty() && types.exists());
    assert_eq!(site.run(&["cache", "prune", "--all", "-q"]), "");
    assert!(!types.exists());
    assert_eq!(site.run(&["cache", "list"]), "Nothing was downloaded.\n");
    run(&mut site.verify("1.0.0"));
}

#[test]
fn several_use_and_prune_it_at_once_and_are_killed() {
    let site = Site::new();
    std::thread::scope(|scope| {
        for round in 0..4 {
            let site = &site;
            scope.spawn(move || {
                for version in ["1.0.0", "2.0.0", "1.0.0"] {
                    run(&mut site.verify(version));
                    if round == 0 {
                        site.run(&["cache", "prune"]);
                    }
                }
            });
        }
    });
    site.run(&["cache", "prune"]);
    let there = || std::fs::read_dir(site.packages().join("blobs/sha256")).unwrap().count();
    for wanted in 1..8 {
        let mut child = site.verify("1.0.0");
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Dies when so many files are there, whole or not.
        wait::until("blobs in the store", || {
            there() >= wanted || child.try_wait().unwrap().is_some()
        });
        let _ = child.kill();
        child.wait().unwrap();
        run(&mut site.verify("1.0.0"));
        assert_eq!(site.json(&["cache", "list"])["packages"][0]["package"], "acme/exec:1.0.0");
        site.run(&["cache", "prune"]);
        assert_eq!(there(), 0, "nothing half written stays");
    }
    // Where there is no room for a cache, a command does without.
    std::fs::remove_dir_all(site.folder().join(".cache")).unwrap();
    std::fs::write(site.folder().join(".cache"), "").unwrap();
    run(&mut site.verify("1.0.0"));
}
