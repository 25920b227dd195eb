//! `skep release` as it is typed: what it refuses before anything is sent, and that it goes on wherever it broke off.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hub;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use support::{DockerRegistry, run};
use typed::refused;

const PAGE: &str = include_str!("../../../docs/guide/release.md");

/// A project `opens` that builds with this kernel's types, and a key.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        run(&mut bench.skep(&["new", "acme/opens"]));
        bench.edit("skep.toml", "debian:6.12", "host");
        bench.write("CHANGELOG.md", "# Changelog\n\n## 0.1.0\n- It is there.\n");
        run(&mut bench.skep(&["build", "opens"]));
        run(&mut bench.skep(&["key", "new", "-o", "key"]));
        bench
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn skep(&self, args: &[&str]) -> Command {
        let mut command = typed::skep(self.path());
        command.env("PATH", std::env::var_os("PATH").unwrap()).args(args);
        command
    }

    /// A release to a registry, by the key.
    fn release(&self, to: &str, args: &[&str]) -> Command {
        let mut command = self.skep(&["release", "opens", "--key", "key.key", "--to", to]);
        command.args(args);
        command
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path().join("opens").join(file), text).unwrap();
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join("opens").join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        self.write(file, &text.replace(from, to));
    }

    /// Raises or lowers the version, and says so in the changelog.
    fn version(&self, from: &str, to: &str) {
        self.edit("skep.toml", &format!("version = \"{from}\""), &format!("version = \"{to}\""));
        self.write("CHANGELOG.md", &format!("## {to}\n"));
    }
}

/// The steps of an answer in JSON, each with its state.
fn steps(command: &mut Command) -> Vec<(String, String)> {
    let output = wait::output(command.args(["--output", "json"]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
    let steps = answer["steps"].as_array().unwrap();
    steps.iter().map(|step| (word(step, "step"), word(step, "state"))).collect()
}

/// The steps that a state has.
fn of(steps: &[(String, String)], state: &str) -> Vec<String> {
    steps.iter().filter(|(_, found)| found == state).map(|(step, _)| step.clone()).collect()
}

const OUTSIDE: [&str; 4] = ["sign", "attest", "push", "channel"];

#[test]
fn a_version_is_released_whole_and_once() {
    let (bench, registry) = (Bench::new(), DockerRegistry::start());
    let to = registry.host.as_str();
    let dry = ["release", "opens", "--to", to, "--dry-run"];
    assert_eq!(of(&steps(&mut bench.skep(&dry)), "next"), OUTSIDE, "without a key");
    refused(&mut bench.skep(&["tags", &format!("{to}/acme/opens")]), 1, "does not have it (404)");
    refused(&mut bench.skep(&["verify", "--key", "key.pub", "opens/build/package"]), 4, "unsigned");
    refused(&mut bench.skep(&dry[..4]), 2, "no key is given that signs");

    // The key itself, as secrets come.
    let pem = fs::read_to_string(bench.path().join("key.key")).unwrap();
    let text = run(bench.skep(&dry[..4]).env("SKEP_KEY", pem));
    assert!(text.contains(&format!("Released {to}/acme/opens:0.1.0\nsha256:")), "{text}");
    let channel = format!("{to}/acme/opens@stable");
    let shown = run(&mut bench.skep(&["channel", "show", "--key", "key.pub", &channel]));
    assert!(shown.contains("sequence 1, version 0.1.0"), "{shown}");
    let verified =
        run(&mut bench.skep(&["verify", "--key", "key.pub", &format!("{to}/acme/opens:0.1.0")]));
    assert!(verified.contains("sha256:"), "{verified}");

    // Again, also where nothing was built yet: all of it is there.
    for _ in 0..2 {
        let again = steps(&mut bench.release(to, &[]));
        assert_eq!(of(&again, "there"), OUTSIDE);
        fs::remove_dir_all(bench.path().join("opens/build")).unwrap();
    }
    let shown = run(&mut bench.skep(&["channel", "show", "--key", "key.pub", &channel]));
    assert!(shown.contains("sequence 1,"), "nothing was signed anew: {shown}");

    // The same version with another content.
    bench.edit("src/opens.bpf.c", "[64]", "[65]");
    let other = "acme/opens:0.1.0 is there already, and is another one: sha256:";
    refused(&mut bench.release(to, &[]), 1, other);
}

#[test]
fn what_is_not_ready_is_refused_before_anything_is_sent() {
    let (bench, registry) = (Bench::new(), DockerRegistry::start());
    let to = registry.host.as_str();
    refused(&mut bench.skep(&["release", "opens", "--dry-run"]), 2, "no registry is named");
    refused(&mut bench.release("https://hub", &[]), 2, "'https://hub' is no registry");
    bench.write("CHANGELOG.md", "# Changelog\n## 0.0.9\n");
    refused(&mut bench.release(to, &[]), 1, "CHANGELOG.md has no heading for 0.1.0");
    fs::remove_file(bench.path().join("opens/CHANGELOG.md")).unwrap();
    refused(&mut bench.release(to, &[]), 2, "hint: say in it what changed");
    let lock = fs::read_to_string(bench.path().join("opens/skep.lock")).unwrap();
    fs::remove_file(bench.path().join("opens/skep.lock")).unwrap();
    let anyhow = ["--no-changelog"];
    refused(&mut bench.release(to, &anyhow), 1, "build without --locked to write it");
    let clang = lock.lines().find(|line| line.starts_with("clang")).unwrap();
    bench.write("skep.lock", &lock.replace(clang, "clang = \"1.0.0\""));
    refused(&mut bench.release(to, &anyhow), 1, "--locked: skep.lock has clang 1.0.0, here it is ");
    bench.write("skep.lock", &lock);
    let doc = fs::read_to_string(bench.path().join("opens/skep.toml")).unwrap();
    let without: Vec<&str> = doc.lines().filter(|line| !line.starts_with("doc = ")).collect();
    bench.write("skep.toml", &format!("{}\n", without.join("\n")));
    refused(&mut bench.release(to, &anyhow), 1, "skep lint finds what would be better");
    bench.write("skep.toml", &doc);
    refused(&mut bench.skep(&["tags", &format!("{to}/acme/opens")]), 1, "does not have it (404)");
}

#[test]
fn versions_and_channels_go_on_and_not_back() {
    let (bench, registry) = (Bench::new(), DockerRegistry::start());
    let to = registry.host.as_str();
    bench.version("0.1.0", "0.2.0");
    run(&mut bench.release(to, &[]));
    bench.version("0.2.0", "0.1.5");
    refused(
        &mut bench.release(to, &[]),
        1,
        "0.1.5 is not higher than 0.2.0, the newest version in",
    );
    assert_eq!(of(&steps(&mut bench.release(to, &["--older"])), "done").last().unwrap(), "push");
    // A job of an older tag that is run again: nothing goes back.
    let again = steps(&mut bench.release(to, &[]));
    assert_eq!(of(&again, "there"), ["sign", "attest", "push"]);
    assert!(!of(&again, "done").iter().any(|step| step == "channel"), "{again:?}");
    bench.version("0.1.5", "0.3.0-rc.1");
    assert_eq!(of(&steps(&mut bench.release(to, &[])), "done").last().unwrap(), "push");
    let stable = format!("{to}/acme/opens@stable");
    let shown = run(&mut bench.skep(&["channel", "show", "--key", "key.pub", &stable]));
    assert!(shown.contains("sequence 1, version 0.2.0"), "{shown}");
    let edge = steps(&mut bench.release(to, &["--channel", "edge"]));
    assert_eq!(of(&edge, "done").last().unwrap(), "channel");
    assert_eq!(of(&edge, "there"), ["sign", "attest", "push"]);

    // A channel that another key moved is not taken over, and that is known before anything is sent.
    run(&mut bench.skep(&["key", "new", "-o", "other"]));
    bench.version("0.3.0-rc.1", "0.3.0");
    let args = ["release", "opens", "--key", "other.key", "--to", to];
    refused(&mut bench.skep(&args), 4, "--no-channel leaves it alone");
    let tags = run(&mut bench.skep(&["tags", &format!("{to}/acme/opens")]));
    assert_eq!(tags, "0.3.0-rc.1\n0.2.0\n0.1.5\n@edge\n@stable\n");
}

/// Passes everything on to a registry until so many requests were made, and then nothing more.
fn breaking(registry: &str, most: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (registry, count) = (registry.to_owned(), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(from), Ok(to)) = (stream, TcpStream::connect(&registry)) else { return };
            let (mut back, mut there) = (to.try_clone().unwrap(), from.try_clone().unwrap());
            let count = count.clone();
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut there);
                let _ = there.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || pass(from, to, &count, most));
        }
    });
    host
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicUsize, most: usize) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = from.read(&mut piece) {
        let heads = piece[..size].windows(9).filter(|part| part == b" HTTP/1.1").count();
        let before = count.fetch_add(heads, Ordering::Relaxed);
        if before + heads > most || to.write_all(&piece[..size]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_release_that_broke_off_anywhere_is_run_again() {
    let (bench, registry) = (Bench::new(), DockerRegistry::start());
    let (mut whole, mut failed) = (false, 0);
    for most in (2..).step_by(7) {
        // The package's address is the registry's name for it too: it goes by its own, each try through another door.
        let output = wait::output(&mut bench.release(&breaking(&registry.host, most), &[]));
        if output.status.success() {
            whole = true;
            break;
        }
        failed += 1;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(most < 200, "it never ends: {text}");
    }
    assert!(whole && failed > 3, "{failed}");
    let to = registry.host.as_str();
    assert_eq!(of(&steps(&mut bench.release(to, &[])), "there"), OUTSIDE);
    run(&mut bench.skep(&["verify", "--key", "key.pub", &format!("{to}/acme/opens:0.1.0")]));
    let bundles =
        run(&mut bench.skep(&["pull", &format!("{to}/acme/opens:0.1.0"), "-o", "pulled"]));
    assert!(bundles.contains("3 signatures,"), "once each, however often it was begun: {bundles}");
}

/// The lines of the page's first block of a language.
fn block<'a>(language: &str) -> Vec<&'a str> {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    rest.split("```").next().unwrap().lines().collect()
}

#[test]
fn the_shell_lines_of_the_page_release_from_ci() {
    let (bench, hub) = (Bench::new(), hub::Hub::start());
    fs::copy(bench.path().join("key.pub"), bench.path().join("opens/release.pub")).unwrap();
    let lines = block("sh");
    let workflow = block("yaml");
    for line in &lines {
        assert!(workflow.iter().any(|step| step.trim() == *line), "the workflow has not: {line}");
    }
    let skep = Path::new(env!("CARGO_BIN_EXE_skep")).parent().unwrap();
    let path = format!("{}:{}", skep.display(), std::env::var("PATH").unwrap());
    let script = lines.join("\n").replace("hub.example.com", &hub.host);
    let mut sh = Command::new("sh");
    sh.args(["-c", &script]).current_dir(bench.path().join("opens")).env_clear();
    sh.env("PATH", path).env("HOME", bench.path()).env("REGISTRY_TOKEN", hub.token("acme"));
    sh.env("SKEP_KEY", fs::read_to_string(bench.path().join("key.key")).unwrap());
    sh.env("BUILDER", "https://ci.test/runs/1");
    let text = run(&mut sh);
    assert!(text.contains(&format!("Verified {}/acme/opens:0.1.0\n", hub.host)), "{text}");
}
