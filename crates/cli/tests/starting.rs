//! What keeps skepd from starting, said before anything is touched.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use node::Node;
use serde_json::Value;

/// The text with `PID` for the number behind "process".
fn without_pid(text: &str) -> String {
    let Some((before, after)) = text.split_once("(process ") else { return text.to_owned() };
    format!("{before}(process PID{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn a_daemon_that_cannot_start_says_why_and_leaves_nothing() {
    let node = Node::started();
    let mut said = String::new();
    let long = "x".repeat(101 - node.path("").as_os_str().len());
    let mut fails = |what: &str, command: &mut Command| {
        let (status, text) = node.said(&wait::output(command));
        let text = without_pid(&text).replace(&long, "LONG");
        said.push_str(&format!("{what}:\n{text}exit status {status}\n\n"));
    };
    fails("two at once", &mut node.skepd());
    let at = |socket: &Path, state: &str, bpffs: &str| {
        let mut command = Command::new(node::skepd());
        command.arg("--socket").arg(socket).arg("--config-dir").arg(node.path("config"));
        command.args(["--log", "error", "--state-dir", state, "--bpffs-dir", bpffs]);
        command
    };
    let other = |state: &str, bpffs: &str| at(&node.path("other/skepd.sock"), state, bpffs);
    let state = node.path("other-state").to_string_lossy().into_owned();
    fails("a state folder that cannot be made", &mut other("/proc/skep", "/sys/fs/bpf/skep-none"));
    let mut unwritable = Command::new("unshare");
    unwritable.args(["--mount", "sh", "-c", "mount -t tmpfs -o ro none \"$0\" && exec \"$@\""]);
    let skepd = other(&node.path("read-only/state").to_string_lossy(), "/sys/fs/bpf/skep-none");
    fs::create_dir(node.path("read-only")).unwrap();
    unwritable.arg(node.path("read-only")).arg(skepd.get_program()).args(skepd.get_args());
    fails("a state folder on a read-only disk", &mut unwritable);
    fails("no bpffs", &mut other(&state, &node.path("no-bpffs").to_string_lossy()));
    fails(
        "not root",
        Command::new("setpriv").args(["--reuid", "65534", "--clear-groups"]).arg(node::skepd()),
    );
    let mut read_only = Command::new("unshare");
    let remount = "mount -t bpf -o ro none /sys/fs/bpf && exec \"$@\"";
    read_only.args(["--mount", "sh", "-c", remount, "sh"]).arg(node::skepd());
    read_only.args(other(&state, "/sys/fs/bpf/skep-none").get_args());
    fails("a bpffs that is mounted read-only", &mut read_only);
    let socket = |path: PathBuf| at(&path, &state, "/sys/fs/bpf/skep-none");
    fails("a socket whose path is too long", &mut socket(node.path(&long)));
    fails("a folder in its place", &mut socket(node.path("config")));
    fs::write(node.path("file"), "").unwrap();
    fails("a file in its place", &mut socket(node.path("file")));
    fails("below a file", &mut socket(node.path("file/skepd.sock")));
    for (what, config) in [
        ("a mistake in skepd.toml", "hubs = 1\n"),
        ("a hub that is no registry", "hub = \"http://x/y\"\n"),
        ("a hub whose references would be another's", "hub = \"hub\"\n"),
        ("credentials that are not there", "credentials = \"/nowhere/docker.json\"\n"),
    ] {
        fs::write(node.path("config/skepd.toml"), config).unwrap();
        fails(what, &mut other(&state, "/sys/fs/bpf/skep-none"));
    }
    insta::assert_snapshot!(said);
    assert!(!node.path("no-bpffs").exists(), "nothing is pinned there, so it is not made");
    assert!(!node.path("other").exists(), "nobody listens, so there is no socket");
    assert_eq!(node.json(&["list"]), Value::Array(Vec::new()), "the first one serves on");
}
