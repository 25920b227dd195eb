//! Events by their times: of several CPUs in one order, and again for who asks for what was; of a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod caller;
mod node;
mod wait;

use std::fs;
use std::process::Command;

use caller::{Caller, compiled, mark, marked};
use node::Node;
use serde_json::Value;

const SOURCE: &str = include_str!("c/cpus.bpf.c");
const MANIFEST: &str = r#"spec = "1.0"

[package]
name = "acme/cpus"
version = "1.0.0"
license = "GPL-2.0-only"

[object.cpus]
sources = ["cpus.bpf.c"]

[output.calls]
kind = "event"
map = "events"
struct = "event"
fields.time = { format = "ktime" }

[permissions]
hooks = ["tracepoint/syscalls/sys_enter_getpgid"]
helpers = ["get_current_pid_tgid", "get_smp_processor_id", "ktime_get_ns", "perf_event_output"]
"#;

/// Calls of each CPU.
const CALLS: usize = 50;

/// The project in a folder, which sees calls with the mark that it gives.
fn project(node: &Node) -> u32 {
    let mark = mark();
    fs::create_dir(node.path("cpus")).unwrap();
    fs::write(node.path("cpus/cpus.bpf.c"), SOURCE).unwrap();
    fs::write(node.path("cpus/skep.toml"), marked(MANIFEST, mark)).unwrap();
    mark
}

/// Two that run on CPUs of their own.
fn callers(node: &Node, mark: u32) -> [Caller; 2] {
    let path = compiled(node, "caller", mark, &[]);
    ["0", "1"].map(|cpu| Caller::start(Command::new("taskset").args(["-c", cpu]).arg(&path)))
}

fn events(node: &Node, more: &[&str]) -> Vec<Value> {
    let text = node.run(&[&["events", "cpus", "--output", "ndjson"], more].concat());
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone()).collect()
}

fn times(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["time"].as_u64().unwrap()).collect()
}

#[test]
fn events_of_several_cpus_are_in_order_and_can_be_had_again() {
    let node = Node::started();
    let mark = project(&node);
    node.run(&["pack", "cpus", "-o", "cpus.oci", "--btf", "host", "--arch", "x86_64"]);
    node.run(&["install", "cpus.oci", "--allow-unsigned"]);
    let mut callers = callers(&node, mark);
    for _ in 0..CALLS {
        callers.iter_mut().for_each(Caller::call);
    }
    let first = events(&node, &[]);
    assert_eq!(first.len(), 2 * CALLS);
    assert!(first.iter().any(|event| event["cpu"] == 0), "{first:?}");
    assert!(first.iter().any(|event| event["cpu"] == 1), "{first:?}");
    assert!(times(&first).is_sorted(), "{:?}", times(&first));

    assert_eq!(events(&node, &[]), [] as [Value; 0], "they were read");
    assert_eq!(events(&node, &["--since", "10m"]), first);
    assert_eq!(events(&node, &["--since", "1h", "--where", "cpu == 1"]).len(), CALLS);
    assert_eq!(events(&node, &["--since", "10m", "--until", "9m"]), [] as [Value; 0]);
    callers[0].call();
    let all = events(&node, &["--since", "10m"]);
    assert_eq!(all.len(), 2 * CALLS + 1, "what waits comes behind what was");
    assert!(times(&all).is_sorted());

    let old = node.skep(&["events", "cpus", "--since", "2020-01-01T00:00:00Z"]).output().unwrap();
    let said = String::from_utf8_lossy(&old.stderr);
    assert!(said.contains("is not kept any more"), "{said}");
    let (_, said) = node.refused(&["events", "cpus", "--since", "yesterday"]);
    assert!(said.contains("write how long ago"), "{said}");
    // One that goes on till a moment that is past ends by itself.
    assert_eq!(events(&node, &["--follow", "--since", "10m", "--until", "0s"]).len(), all.len());
    callers.into_iter().for_each(Caller::end);
}

#[test]
fn a_run_has_the_events_of_several_cpus_in_order() {
    let node = Node::new();
    let mark = project(&node);
    let mut callers = callers(&node, mark);
    let mut command = node.skep(&["run", "cpus", "--btf", "host", "--events", "40"]);
    command.args(["--output", "ndjson"]).stdout(std::process::Stdio::piped());
    let child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let output = wait::ended_while("skep run", child, || callers.iter_mut().for_each(Caller::call));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["event"].clone();
    let found: Vec<Value> = text.lines().map(line).collect();
    assert_eq!(found.len(), 40);
    assert!(times(&found).is_sorted(), "{:?}", times(&found));
    callers.into_iter().for_each(Caller::end);
}
