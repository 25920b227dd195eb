//! `skep doctor`, with a daemon and without, as root and as somebody else, on this machine's kernel.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;

use node::Node;

/// What it found, by what it is about, and its status.
fn found(output: &Output) -> (i32, Value) {
    let said = String::from_utf8_lossy(&output.stderr);
    let found = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), found.unwrap_or_else(|error| panic!("{error}: {said}")))
}

fn doctor(node: &Node) -> (i32, Value) {
    let state = node.path("state");
    let mut command =
        node.skep(&["doctor", "--state-dir", state.to_str().unwrap(), "--output", "json"]);
    found(&wait::output(&mut command))
}

fn state(found: &Value, about: &str) -> String {
    let all = found.as_array().unwrap();
    let of = all.iter().filter(|one| one["about"] == about);
    of.map(|one| one["state"].as_str().unwrap()).min().unwrap_or("absent").to_owned()
}

#[test]
fn a_node_that_runs_is_healthy_and_what_is_wrong_with_it_is_named() {
    let mut node = Node::started();
    node.run(&["key", "new", "-o", "key"]);
    node.run(&["trust", "add", "acme/*", "--key", "key.pub"]);
    let (status, all) = doctor(&node);
    assert_eq!(status, 0, "{all:#}");
    for about in [
        "skepd",
        "kernel",
        "privileges",
        "btf",
        "bpffs",
        "programs",
        "map:ringbuf",
        "attach:xdp",
        "attach:tracepoint",
        "attach:raw_tp",
        "trust",
        "disk",
        "socket",
        "holder",
        "state",
    ] {
        assert_eq!(state(&all, about), "good", "{about}: {all:#}");
    }
    let shown = node.run(&["doctor"]);
    assert!(shown.contains("good: "), "{shown}");
    assert!(node.run(&["doctor", "--all"]).contains("good: attach:xdp: works, by a link\n"));
    assert!(!node.has_pins());

    let trust = node.path("config/trust.toml");
    fs::set_permissions(&trust, fs::Permissions::from_mode(0o666)).unwrap();
    let (status, all) = doctor(&node);
    assert_eq!((status, state(&all, "config-file").as_str()), (1, "stops"));
    let (status, said) = node.refused(&["doctor"]);
    assert_eq!(status, 1);
    assert!(said.contains("services are stopped by 1 of these"), "{said}");
    fs::set_permissions(&trust, fs::Permissions::from_mode(0o644)).unwrap();

    fs::write(node.path("config/skepd.toml"), "hubb = \"x\"\n").unwrap();
    assert_eq!(state(&doctor(&node).1, "settings"), "stops");
    fs::remove_file(node.path("config/skepd.toml")).unwrap();

    node.kill();
    let (status, all) = doctor(&node);
    assert_eq!((status, state(&all, "skepd").as_str()), (1, "stops"));
    assert_eq!(state(&all, "attach:xdp"), "good", "the kernel is looked at without a daemon");
    let said = String::from_utf8(wait::output(&mut node.skep(&["doctor"])).stdout).unwrap();
    assert!(
        said.contains("STOPS: skepd: no skepd listens on ") && said.contains("  do: start it"),
        "{said}"
    );
}

#[test]
fn who_is_not_root_is_told_what_could_not_be_looked_at() {
    let node = Node::started();
    // The binaries, where anybody may run them.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (from, name) in
        [(std::path::PathBuf::from(env!("CARGO_BIN_EXE_skep")), "skep"), (node::skepd(), "skepd")]
    {
        fs::copy(from, folder.path().join(name)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(folder.path().join("skep")).args(["doctor", "--output", "json"]);
    command.env("SKEP_SOCKET", node.socket()).env("SKEP_CONFIG_DIR", node.path("config"));
    command.current_dir("/");
    let (status, all) = found(&wait::output(&mut command));
    assert_eq!(status, 1);
    for about in ["privileges", "programs"] {
        assert_eq!(state(&all, about), "unknown", "{all:#}");
    }
    assert_eq!(state(&all, "btf"), "good");
    let all = all.as_array().unwrap();
    let todo = |about: &str| all.iter().find(|one| one["about"] == about).unwrap()["todo"].clone();
    assert_eq!(todo("privileges"), "sudo skep doctor");
}

/// This kernel's types with names in them changed, in place.
fn types(node: &Node, file: &str, changes: &[(&str, &str)]) {
    let mut types = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    for (from, to) in changes {
        assert_eq!(from.len(), to.len());
        let from = format!("\0{from}\0").into_bytes();
        let at = types.windows(from.len()).position(|window| window == from).unwrap();
        types[at + 1..=at + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::create_dir_all(node.path("config/btf")).unwrap();
    fs::write(node.path("config/btf").join(file), types).unwrap();
}

#[test]
fn before_a_kernel_comes_it_is_said_which_services_will_run_there() {
    let mut node = Node::new();
    node.sign_both();
    node.start();
    node.run(&["install", "exec.oci"]);
    let arch = std::env::consts::ARCH;
    types(&node, &format!("9.1-same-{arch}.btf"), &[]);
    types(
        &node,
        &format!("9.2-less-{arch}.btf"),
        &[("BPF_MAP_TYPE_RINGBUF", "BPF_MAP_TYPE_NO_RING")],
    );
    let without = [("btf_trace_sched_process_exec", "btf_trace_sched_process_none")];
    types(&node, &format!("9.3-open-{arch}.btf"), &without);
    let asked = |kernel: &str| {
        found(&wait::output(&mut node.skep(&["doctor", "--kernel", kernel, "--output", "json"])))
    };
    let (status, same) = asked("9.1-same");
    assert_eq!((status, &same[0]["runs"]), (0, &Value::from("yes")), "{same:#}");
    let (status, less) = asked("9.2-less");
    assert_eq!((status, &less[0]["runs"]), (1, &Value::from("no")));
    assert!(less[0]["why"][0].as_str().unwrap().contains("ringbuf maps"), "{less:#}");
    let (status, open) = asked("9.3-open");
    assert_eq!((status, &open[0]["runs"]), (1, &Value::from("unknown")), "{open:#}");
    let file = asked("/sys/kernel/btf/vmlinux");
    assert_eq!((file.0, &file.1[0]["runs"]), (0, &Value::from("yes")));
    let shown = node.run(&["doctor", "--kernel", "9.1-same"]);
    assert!(shown.starts_with("On 9.1-same, by its types alone:\n"), "{shown}");

    let (status, said) = node.refused(&["doctor", "--kernel", "9.4-none"]);
    assert_eq!(status, 2);
    assert!(
        said.contains("/boot/vmlinux-9.4-none") && said.contains("skep unbundle --btf"),
        "{said}"
    );
    let (status, said) = node.refused(&["doctor", "--kernel", "exec/skep.toml"]);
    assert_eq!(status, 1);
    assert!(said.contains("can't read the kernel types in "), "{said}");
}
