//! `skep release` as it is typed: what it refuses before anything is sent, and that it goes on wherever it broke off.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hub;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use support::server::Server;
use support::{DockerRegistry, run, tool};
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

/// Runners that remember nothing, and two places.
#[test]
fn a_release_goes_on_above_what_another_place_has() {
    let (bench, registry) = (Bench::new(), DockerRegistry::start());
    let [one, two, typo] = ["one", "two", "tow"].map(|place| format!("{}/{place}", registry.host));
    let forgetful = |state: &str, to: &str, also: &str| {
        let mut command = bench.release(to, &["--also", also]);
        command.env("XDG_STATE_HOME", state);
        command
    };
    let absent = format!("there is no package {typo}/acme/opens, so that --also says nothing");
    refused(&mut forgetful("first", &one, &typo), 1, &absent);
    let dry = ["release", "opens", "--to", &one, "--dry-run", "--also", &typo];
    refused(&mut bench.skep(&dry), 1, &absent);
    refused(&mut bench.skep(&["tags", &format!("{one}/acme/opens")]), 1, "does not have it (404)");
    run(bench.release(&one, &[]).env("XDG_STATE_HOME", "first"));
    bench.version("0.1.0", "0.2.0");
    let text = run(&mut forgetful("second", &two, &one));
    assert!(text.contains("channel    stable, sequence 2,"), "{text}");
    let output = wait::output(&mut forgetful("third", &one, &two));
    let (done, plan) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (done, plan) = (done.unwrap(), plan.unwrap());
    assert!(done.contains("channel    stable, sequence 3,"), "{done}{plan}");
    assert!(plan.contains(&format!("; {two}/acme/opens@stable has sequence 2")), "{plan}");
    // Who follows in both is told of no contradiction.
    for place in [&two, &one] {
        let stable = format!("{place}/acme/opens@stable");
        run(&mut bench.skep(&["channel", "show", "--key", "key.pub", &stable]));
    }
}

/// Another release is whole while this one signs its pointer: neither signs the other's sequence again.
#[test]
fn of_two_releases_at_once_one_is_told() {
    let (bench, registry) = (Bench::new(), DockerRegistry::start());
    let (to, skep) = (registry.host.as_str(), env!("CARGO_BIN_EXE_skep"));
    run(&mut bench.skep(&["key", "new", "--type", "p256", "-o", "key2"]));
    let first = bench.skep(&["release", "opens", "--key", "key2.key", "--to", to]);
    run({ first }.env("XDG_STATE_HOME", "first"));
    bench.version("0.1.0", "0.3.0");
    run(Command::new("cp").args(["-r", "opens", "other"]).current_dir(bench.path()));
    bench.version("0.3.0", "0.2.0");
    let other = format!(
        "XDG_STATE_HOME=other-state {skep} release other --key key2.key --to {to} >other.log 2>&1"
    );
    let signer = format!(
        "cat >to-sign && cp to-sign last && (! grep -q urn:skep:channel:v1 last || {other}) && openssl dgst -sha256 -sign key2.key last"
    );
    let args = ["release", "opens", "--key", "key2.pub", "--signer", &signer, "--to", to];
    let mut late = bench.skep(&args);
    refused(late.env("XDG_STATE_HOME", "late"), 1, "others have written its tag");
    let stable = format!("{to}/acme/opens@stable");
    let shown = run(&mut bench.skep(&["channel", "show", "--key", "key2.pub", &stable]));
    assert!(shown.contains("sequence 2, version 0.3.0"), "{shown}");
    // Run again it is whole, and takes the channel not back.
    let again = steps(bench.skep(&args).env("XDG_STATE_HOME", "again"));
    assert_eq!(of(&again, "there"), ["sign", "attest", "push"]);
    let shown = run(&mut bench.skep(&["channel", "show", "--key", "key2.pub", &stable]));
    assert!(shown.contains("sequence 2, version 0.3.0"), "{shown}");
}

/// A registry that shows another package under the tag as soon as that was pushed.
fn swapping(registry: &str) -> Server {
    let (registry, pushed) = (registry.to_owned(), AtomicBool::new(false));
    Server::new(move |head, stream| {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        let tag = "/v2/acme/opens/manifests/0.1.0 ";
        let shown = match pushed.load(Ordering::SeqCst) && !head.starts_with("PUT") {
            true => head.replacen(tag, &tag.replace("/v2/", "/v2/swapped/"), 1),
            false => head.to_owned(),
        };
        let shown = shown.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let mut to = TcpStream::connect(&registry).unwrap();
        to.write_all(&[shown.as_bytes(), &body].concat()).unwrap();
        let mut answer = Vec::new();
        to.read_to_end(&mut answer).unwrap();
        if head.starts_with(&format!("PUT {tag}")) {
            pushed.store(true, Ordering::SeqCst);
        }
        drop(stream.write_all(&answer));
    })
}

#[test]
fn a_channel_is_moved_to_what_was_released_and_to_nothing_else() {
    let (bench, registry) = (Bench::new(), DockerRegistry::start());
    let other = format!("{}/swapped", registry.host);
    run(&mut bench.release(&other, &["--no-channel"]));
    bench.edit("src/opens.bpf.c", "[64]", "[65]");
    let proxy = swapping(&registry.host);
    let said = "nothing is signed: the registry shows another one than was sent";
    refused(&mut bench.release(&proxy.host, &[]), 1, said);
    let tags = run(&mut bench.skep(&["tags", &format!("{}/acme/opens", registry.host)]));
    assert_eq!(tags, "0.1.0\n", "no channel is there");
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

/// The lines of one of the page's blocks of a language, counted from 0.
fn block<'a>(language: &str, at: usize) -> Vec<&'a str> {
    let rest = PAGE.split(&format!("```{language}\n")).nth(at + 1).unwrap();
    rest.split("```").next().unwrap().lines().collect()
}

/// The page's lines, as a runner has them.
fn as_in_ci(bench: &Bench, hub: &hub::Hub, lines: &[&str]) -> Command {
    let skep = Path::new(env!("CARGO_BIN_EXE_skep")).parent().unwrap();
    let path = format!("{}:{}", skep.display(), std::env::var("PATH").unwrap());
    let script = lines.join("\n").replace("hub.example.com", &hub.host);
    let mut sh = Command::new("sh");
    sh.args(["-c", &script]).current_dir(bench.path().join("opens")).env_clear();
    sh.env("PATH", path).env("HOME", bench.path()).env("REGISTRY_TOKEN", hub.token("acme"));
    sh.env("SKEP_KEY", fs::read_to_string(bench.path().join("key.key")).unwrap());
    sh.env("BUILDER", "https://ci.test/runs/1");
    sh
}

/// Sigstore's authority and log and a runner's tokens, played by a script: it ends with this value.
struct Authority {
    process: Child,
    url: String,
}

impl Authority {
    /// Its `trusted_root.json` and `signing.json` are in the folder.
    fn start(folder: &Path, issuer: &str, identity: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../oci/tests/support/authority.py");
        let mut python = Command::new(tool("python3"));
        python.arg(script).arg(folder).arg(format!("--issuer={issuer}"));
        python.arg(format!("--identity={identity}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { process, url: url.trim().to_owned() }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_lines_of_the_page_sign_by_the_identity_of_a_workflow() {
    let (bench, hub) = (Bench::new(), hub::Hub::start());
    let folder = bench.path().join("opens");
    let issuer = "https://token.actions.githubusercontent.com";
    let workflow = "https://github.com/acme/opens/.github/workflows/release.yml@refs/tags/v0.1.0";
    let authority = Authority::start(&folder, issuer, workflow);
    // cosign as it is, but that it finds ours in the place of Sigstore's, and a registry without TLS.
    let bin = bench.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let cosign = tool("cosign");
    let (cosign, place) = (cosign.display(), folder.display());
    let ours =
        format!("--signing-config {place}/signing.json --trusted-root {place}/trusted_root.json");
    let plain = "[ \"$1\" != sign ] || set -- \"$@\" --allow-http-registry";
    let wrapper = format!("#!/bin/sh\n{plain}\nexec {cosign} \"$@\" {ours}\n");
    fs::write(bin.join("cosign"), wrapper).unwrap();
    fs::set_permissions(bin.join("cosign"), Permissions::from_mode(0o755)).unwrap();
    let rule = run(&mut bench.skep(&["key", "trust", "key.pub"]));
    let spki = rule.split("spki = \"").nth(1).unwrap().split('"').next().unwrap();
    let rules = block("toml", 0).join("\n").replace("MCow…", spki);
    bench.write("trust.toml", &rules);

    let in_job = |at: usize| {
        let mut sh = as_in_ci(&bench, &hub, &block("sh", at));
        let path = sh.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
        sh.env("PATH", format!("{}:{}", bin.display(), path.display()));
        sh.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?x=1", authority.url));
        sh.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of this job");
        run(&mut sh)
    };
    let text = in_job(1);
    assert!(text.contains(&format!("Verified {}/acme/opens@sha256:", hub.host)), "{text}");
    assert!(text.contains("signed by https://github.com/acme/opens/.github/workflows/"), "{text}");
    // Machines with that rule follow its channel; neither signature is enough alone, nor another workflow's.
    let stable = format!("{}/acme/opens@stable", hub.host);
    let verify = ["verify", "--policy", "opens/trust.toml", &stable];
    run(&mut bench.skep(&verify));
    // The same without a registry: the file is signed by both when it goes on its way.
    let text = in_job(2);
    assert!(text.contains("by certificate; nobody checked that"), "{text}");
    assert!(text.contains("Verified acme/opens:0.1.0\n"), "{text}");
    bench.write("trust.toml", &rules.replace("release.yml", "test.yml"));
    refused(&mut bench.skep(&verify), 4, "1 of 2 trusted signature");
    refused(
        &mut bench.skep(&["verify", "--policy", "opens/trust.toml", "opens/opens.skep"]),
        4,
        "1 of 2 trusted signature",
    );
}

#[test]
fn the_shell_lines_of_the_page_release_from_ci() {
    let (bench, hub) = (Bench::new(), hub::Hub::start());
    fs::copy(bench.path().join("key.pub"), bench.path().join("opens/release.pub")).unwrap();
    let lines = block("sh", 0);
    let workflow = block("yaml", 0);
    for line in &lines {
        assert!(workflow.iter().any(|step| step.trim() == *line), "the workflow has not: {line}");
    }
    let mut sh = as_in_ci(&bench, &hub, &lines);
    let text = run(&mut sh);
    assert!(text.contains(&format!("Verified {}/acme/opens:0.1.0\n", hub.host)), "{text}");
}
