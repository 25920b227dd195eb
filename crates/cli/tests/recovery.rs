//! What hurts one service, and a skepd that dies at work, as an operator sees it.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use node::Node;
use serde_json::Value;

/// A node with both versions packed, and the first one installed twice.
fn with_two() -> Node {
    let mut node = Node::new();
    node.pack("exec");
    node.pack("exec-2");
    node.start();
    for name in ["exec", "two"] {
        node.run(&["install", "exec.oci", "--as", name, "--allow-unsigned"]);
    }
    node
}

/// The state of a service in `skep list`, and why it failed or what is half done.
fn state(node: &Node, service: &str) -> (String, String) {
    let list = node.json(&["list"]);
    let mut list = list.as_array().unwrap().iter();
    let status = list.find(|status| status["service"] == service).unwrap();
    let why = status["failed"].as_str().or_else(|| status["half_done"].as_str());
    (status["state"].as_str().unwrap().to_owned(), why.unwrap_or_default().to_owned())
}

fn running() -> (String, String) {
    ("running".to_owned(), String::new())
}

fn remove_all(node: &Node) {
    for name in ["exec", "two"] {
        node.run(&["remove", name]);
    }
    assert!(!node.has_pins());
}

#[test]
fn a_service_whose_pins_are_gone_is_loaded_again_and_the_others_serve_on() {
    let mut node = with_two();
    let hooks = node.json(&["show", "exec"])["hooks"].clone();
    node.kill();
    fs::remove_dir_all(node.pins("two")).unwrap();
    let said = node.start();
    assert!(said.contains("what its maps held is gone"), "{said}");
    assert!(said.contains("adopted=1 started=1 stopped=0 partly=0 failed=0 half_done=0"), "{said}");
    assert_eq!(state(&node, "two"), running());
    let shown = node.run(&["show", "two"]);
    assert!(shown.contains("Loaded again from its package, with empty maps: "), "{shown}");
    assert_eq!(node.json(&["show", "exec"])["hooks"], hooks);
    assert!(!node.run(&["show", "exec"]).contains("Loaded again"));
    for name in ["exec", "two"] {
        node.run(&["upgrade", name, "exec-2.oci", "--allow-unsigned"]);
    }
    remove_all(&node);
}

#[test]
fn one_pin_that_is_gone_is_put_back_and_nothing_is_lost() {
    let mut node = with_two();
    let before = node.json(&["show", "two"]);
    node.kill();
    let map = node.pins("two").join("maps/execs@1");
    fs::remove_file(&map).unwrap();
    let said = node.start();
    assert!(said.contains("pinned again"), "{said}");
    assert!(map.exists());
    assert_eq!(node.json(&["show", "two"])["hooks"], before["hooks"]);
    assert!(node.json(&["show", "two"])["state_lost"].is_null());
    remove_all(&node);
}

#[test]
fn a_pin_that_cannot_be_put_back_leaves_a_service_that_runs_and_is_not_changed() {
    let mut node = with_two();
    node.kill();
    let map = node.pins("two").join("maps/execs@1");
    fs::remove_file(&map).unwrap();
    fs::create_dir(&map).unwrap();
    let said = node.start();
    assert!(said.contains("adopted=1 started=0 stopped=0 partly=1 failed=0 half_done=0"), "{said}");
    assert_eq!(state(&node, "two").0, "partial");
    let list = node.run(&["list"]);
    assert!(list.contains("two runs, but not as a whole: its pins cannot be"), "{list}");
    assert!(list.contains("restart skepd once the cause is gone"), "{list}");
    for args in [
        &["upgrade", "two", "exec-2.oci", "--allow-unsigned"][..],
        &["rollback", "two", "--allow-unsigned"],
    ] {
        let (status, text) = node.refused(args);
        assert_eq!(status, 1, "{text}");
        assert!(
            text.contains("two runs, but not as a whole, so that it cannot be changed"),
            "{text}"
        );
        assert!(text.contains("restart skepd once the cause is gone"), "{text}");
    }
    node.run(&["events", "two"]);
    node.kill();
    node.start();
    assert_eq!(state(&node, "two"), running());
    node.run(&["upgrade", "two", "exec-2.oci", "--allow-unsigned"]);
    remove_all(&node);
}

#[test]
fn a_hook_that_is_detached_is_said_until_a_start_attaches_it_again() {
    let mut node = with_two();
    fs::remove_file(node.pins("two").join("hooks/exec/link")).unwrap();
    wait::until("the kernel to let go", || state(&node, "two").0 == "partial");
    let list = node.run(&["list"]);
    let why = "two runs, but not as a whole: hook 'exec' at tracepoint/sched/sched_process_exec is not attached (link ";
    assert!(list.contains(why), "{list}");
    assert!(list.contains("is gone: somebody removed its pin)\n  restart skepd"), "{list}");
    let shown = node.run(&["show", "two"]);
    assert!(shown.contains("(stub, NOT ATTACHED)"), "{shown}");
    for args in [
        &["upgrade", "two", "exec-2.oci", "--allow-unsigned"][..],
        &["rollback", "two", "--allow-unsigned"],
    ] {
        let (status, text) = node.refused(args);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("is gone: somebody removed its pin"), "{text}");
        assert!(text.contains("restart skepd once the cause is gone"), "{text}");
    }
    assert_eq!(state(&node, "exec"), running());
    node.kill();
    let said = node.start();
    assert!(said.contains("attached again"), "{said}");
    assert_eq!(state(&node, "two"), running());
    assert!(node.run(&["show", "two"]).contains("(stub, held by link "));
    node.run(&["upgrade", "two", "exec-2.oci", "--allow-unsigned"]);
    remove_all(&node);
}

#[test]
fn a_service_that_cannot_be_loaded_again_is_failed_and_the_others_serve_on() {
    let mut node = with_two();
    node.kill();
    fs::remove_dir_all(node.pins("two")).unwrap();
    fs::remove_dir_all(node.path("state/store/blobs")).unwrap();
    let said = node.start();
    assert!(said.contains("adopted=1 started=0 stopped=0 partly=0 failed=1 half_done=0"), "{said}");
    assert_eq!(state(&node, "exec"), running());
    let (failed, why) = state(&node, "two");
    assert_eq!(failed, "failed");
    assert!(why.contains("is gone from the kernel"), "{why}");
    assert!(why.contains("not in the store any more"), "{why}");
    let list = node.run(&["list"]);
    assert!(list.contains("two does not run: it was lost"), "{list}");
    let shown = node.run(&["show", "two"]);
    assert!(shown.contains("skep remove two gives it up"), "{shown}");
    let (status, text) = node.refused(&["upgrade", "two", "exec-2.oci", "--allow-unsigned"]);
    assert_eq!(status, 1);
    assert!(text.contains("each start tries again; skep remove gives the service up"), "{text}");
    node.run(&["install", "exec.oci", "--as", "three", "--allow-unsigned"]);
    node.run(&["upgrade", "exec", "exec-2.oci", "--allow-unsigned"]);
    node.run(&["remove", "three"]);
    remove_all(&node);
}

/// Something is mounted in a service's folder of pins, and lies where a program's pin should.
struct Blocked(PathBuf);

impl Blocked {
    fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(folder).status();
        assert!(mount.unwrap().success());
        Self(folder.to_owned())
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn what_cannot_be_undone_stops_its_own_service_alone() {
    let mut node = with_two();
    let blocked = Blocked::new(&node.pins("two").join("progs/2"));
    let mut said = String::new();
    for args in [
        &["upgrade", "two", "exec-2.oci", "--allow-unsigned"][..],
        &["upgrade", "two", "exec-2.oci", "--allow-unsigned"],
        &["rollback", "two", "--allow-unsigned"],
    ] {
        let (status, text) = node.refused(args);
        said.push_str(&format!("$ skep {}\n{text}exit status {status}\n\n", args.join(" ")));
    }
    insta::assert_snapshot!(said);
    let (running, why) = state(&node, "two");
    assert_eq!(running, "running");
    assert!(why.starts_with("its upgrade is half done: "), "{why}");
    node.run(&["upgrade", "exec", "exec-2.oci", "--allow-unsigned"]);
    node.kill();
    let started = node.start();
    assert!(
        started.contains("adopted=2 started=0 stopped=0 partly=0 failed=0 half_done=1"),
        "{started}"
    );
    drop(blocked);
    node.kill();
    let started = node.start();
    assert!(started.contains("half_done=0"), "{started}");
    assert_eq!(state(&node, "two"), self::running());
    node.run(&["upgrade", "two", "exec-2.oci", "--allow-unsigned"]);
    remove_all(&node);
}

#[test]
fn what_cannot_be_removed_is_listed_until_it_is() {
    let mut node = with_two();
    let blocked = Blocked::new(&node.pins("two").join("stray"));
    let (status, text) = node.refused(&["remove", "two"]);
    assert_eq!(status, 1, "{text}");
    let (failed, why) = state(&node, "two");
    assert_eq!(failed, "failed");
    assert!(why.starts_with("its remove is half done: "), "{why}");
    node.kill();
    node.start();
    assert_eq!(state(&node, "two").0, "failed");
    drop(blocked);
    remove_all(&node);
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
}

/// What a tmpfs gives a file at a time.
const PAGE: usize = 4096;

/// A state folder on a disk of its own, which is full while a rollback is under way: what the journal cannot take is said, and the next
/// operation goes on once there is space.
#[test]
fn a_full_disk_is_said_and_what_it_stopped_goes_on_without_a_restart() {
    let mut node = Node::new();
    ["exec", "exec-2"].iter().for_each(|example| node.pack(example));
    fs::create_dir(node.path("state")).unwrap();
    let plain = node.skepd();
    let mut own = Command::new("unshare");
    let mount = "mount -t tmpfs -o size=8m none \"$0\" && exec \"$@\"";
    own.args(["-m", "--propagation", "private", "sh", "-c", mount]).arg(node.path("state"));
    own.arg(plain.get_program()).args(plain.get_args());
    node.start_as(own);
    let journal = node.inside("state/journal");
    let size = || usize::try_from(fs::metadata(&journal).unwrap().len()).unwrap();
    let grown = |work: &dyn Fn()| {
        let before = size();
        work();
        size().checked_sub(before)
    };
    let upgrade = || node.run(&["upgrade", "exec", "exec-2.oci", "--allow-unsigned"]);
    let live = |letters: usize| {
        let name = "x".repeat(letters);
        node.run(&["install", "exec.oci", "--as", &name, "--allow-unsigned"]);
        node.run(&["remove", &name]);
    };
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    upgrade();
    let rollback = grown(&|| drop(node.run(&["rollback", "exec", "--allow-unsigned"]))).unwrap();
    upgrade();
    // Other services fill the journal's last page, until the rollback's first records have room in it, and not its last.
    let [one, two] = [1, 2].map(|letters| grown(&|| live(letters)).unwrap());
    let has_room =
        |size: usize| (rollback.saturating_sub(120)..rollback).contains(&(PAGE - size % PAGE));
    let fits = |letters: &usize| has_room(size() + one + (two - one) * (letters - 1));
    for _ in 0..40 {
        if has_room(size()) {
            break;
        }
        live((1..60).find(fits).unwrap_or(40));
    }
    assert!(has_room(size()), "a rollback takes {rollback} bytes, a service {one} or {two}");

    let full = node.inside("state/full");
    fill(&full);
    let (done, said) = node.tried(&["rollback", "exec", "--allow-unsigned"]);
    let half_done = node.json(&["list"])[0]["half_done"].as_str().map(str::to_owned);
    fs::remove_file(&full).unwrap();
    let half_done = half_done.expect("the rollback was cut off in the middle");
    assert!(!done && said.contains("free some space"), "{said}");
    assert!(half_done.contains("its rollback is half done"), "{half_done}");
    assert!(half_done.contains("No space left"), "{half_done}");
    upgrade();
    assert_eq!(node.json(&["list"])[0]["half_done"], Value::Null);
    node.run(&["remove", "exec"]);
    assert!(!node.has_pins());
}
