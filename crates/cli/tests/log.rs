//! What skepd's log says, and how often.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;

use node::Node;

const UNSIGNED: &str = "let in without a signature";

#[test]
fn what_comes_in_without_a_signature_is_told_once() {
    let mut node = Node::new();
    node.pack("exec");
    node.pack("exec-2");
    node.start();
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    let look = |node: &Node| {
        node.run(&["list"]);
        node.run(&["show", "exec"]);
        node.run(&["upgrade", "exec", "exec-2.oci", "--allow-unsigned", "--dry-run"]);
    };
    look(&node);
    node.run(&["upgrade", "exec", "exec-2.oci", "--allow-unsigned"]);
    let log = node.stop();
    let told: Vec<&str> = log.lines().filter(|line| line.contains(UNSIGNED)).collect();
    assert_eq!(told.len(), 2, "{log}");
    for (line, version) in told.iter().zip(["1.0.0", "2.0.0"]) {
        let words = format!("service=exec package=skep/exec version={version} digest=sha256:");
        assert!(line.contains(&words), "{line}");
    }
    let started = node.start();
    look(&node);
    let log = started + &node.stop();
    assert!(!log.contains(UNSIGNED), "{log}");
}

#[test]
fn what_was_signed_is_not_told_as_unsigned_once_nobody_trusts_its_key() {
    let mut node = Node::new();
    node.sign_both();
    node.start();
    node.run(&["install", "exec.oci"]);
    fs::remove_file(node.path("config/trust.toml")).unwrap();
    node.run(&["list"]);
    node.kill();
    let started = node.start();
    node.run(&["show", "exec"]);
    let log = started + &node.stop();
    assert!(!log.contains(UNSIGNED), "{log}");
}
