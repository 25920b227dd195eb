//! Stacks by names: of the kernel, of programs with and without symbols, deleted, in another root, and gone; of a real skepd and
//! of `skep run` on this kernel.
#![allow(clippy::unwrap_used)]

mod caller;
mod node;
mod wait;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use caller::{Caller, compiled, mark, marked};
use node::Node;
use serde_json::Value;

const SOURCE: &str = include_str!("c/stacks.bpf.c");
const MANIFEST: &str = r#"spec = "1.0"

[package]
name = "acme/stacks"
version = "1.0.0"
license = "GPL-2.0-only"

[object.stacks]
sources = ["stacks.bpf.c"]

[output.calls]
kind = "event"
map = "events"
struct = "event"
fields.kernel_id = { format = "kstack", unit = "traces" }
fields.user_id = { format = "ustack", process = "tgid" }
fields.kernel = { format = "kstack" }
fields.user = { format = "ustack" }

[output.counted]
kind = "stacks"
map = "counts"
fields.kernel_id = { format = "kstack" }
fields.user_id = { format = "ustack" }

[output.all]
kind = "stacks"
map = "traces"

[permissions]
hooks = ["tracepoint/syscalls/sys_enter_getpgid"]
helpers = ["get_current_comm", "get_current_pid_tgid", "get_stack", "get_stackid", "map_lookup_elem", "map_update_elem", "ringbuf_reserve", "ringbuf_submit"]
"#;

const PACK: &[&str] = &["pack", "stacks", "-o", "stacks.oci", "--btf", "host", "--arch", "x86_64"];

/// Folders with the project in them, which sees calls with the mark that it gives.
fn project(node: &Node) -> u32 {
    let mark = mark();
    fs::create_dir(node.path("stacks")).unwrap();
    fs::write(node.path("stacks/stacks.bpf.c"), SOURCE).unwrap();
    fs::write(node.path("stacks/skep.toml"), marked(MANIFEST, mark)).unwrap();
    mark
}

fn events(node: &Node) -> Vec<Value> {
    let text = node.run(&["events", "stacks", "--output", "ndjson"]);
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone()).collect()
}

/// Of a stack the functions, and where there is none why.
fn names(stack: &Value) -> Vec<String> {
    let frames = stack.as_array().unwrap().iter();
    let name =
        |frame: &Value| frame["symbol"].as_str().or(frame["unknown"].as_str()).unwrap().to_owned();
    frames.map(name).collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn stacks_of_events_and_maps_have_names() {
    let node = Node::started();
    let mark = project(&node);
    node.run(PACK);
    let said = node.run(&["install", "stacks.oci", "--allow-unsigned"]);
    assert!(!said.contains("does not act on"), "{said}");
    let path = compiled(&node, "caller", mark, &[]);
    let mut caller = Caller::start(&mut Command::new(&path));
    caller.call();
    let found = events(&node);
    let event = &found[0];
    assert_eq!(event["tgid"], caller.pid());
    assert_eq!(names(&event["user"])[..3], ["inner_call", "outer_call", "_start"], "{event}");
    assert_eq!(event["user"], event["user_id"], "in the record and in the map");
    let frame = &event["user"][0];
    assert!(frame["address"].as_str().unwrap().starts_with("0x"), "{frame}");
    assert_eq!(frame["module"], path.to_str().unwrap());
    assert!(frame["offset"].as_u64().unwrap() > 0);
    assert!(frame["build_id"].as_str().unwrap().len() >= 16, "{frame}");
    assert!(names(&event["kernel"]).iter().any(|name| name.contains("syscall")), "{event}");

    // People, each frame on a line under the row, and CSV.
    caller.call();
    let table = node.run(&["events", "stacks"]);
    assert!(table.contains("\n    user:\n        inner_call+0x"), "{table}");
    assert!(!table.lines().next().unwrap().contains("USER"), "{table}");
    caller.call();
    let csv = node.run(&["events", "stacks", "--output", "csv", "--fields", "tgid,user"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "tgid,user"));
    assert!(lines[1].contains(";outer_call+0x"), "{csv}");

    let metrics = node.json(&["metrics", "stacks"]);
    let of = |name: &str| {
        metrics.as_array().unwrap().iter().find(|one| one["output"] == name).unwrap().clone()
    };
    let counted = &of("counted")["rows"][0];
    assert_eq!((&counted["key"]["tgid"], &counted["value"]), (&event["tgid"], &3.into()));
    assert_eq!(counted["key"]["user_id"], event["user_id"]);
    let all = of("all");
    let rows = all["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{all}");
    let whole: Vec<String> = rows.iter().flat_map(|row| names(&row["value"])).collect();
    assert!(whole.iter().any(|name| name.contains("syscall")), "{whole:?}");
    assert!(whole.iter().any(|name| name == "whose process it is, nobody says"), "{whole:?}");
    let shown = node.run(&["metrics", "stacks", "counted"]);
    assert!(shown.starts_with("Stacks counted:\n"), "{shown}");
    assert!(shown.contains("\n        outer_call+0x"), "{shown}");
    let open = node.run(&["metrics", "stacks", "--open-metrics"]);
    assert_eq!(open, "# EOF\n", "stacks have no place there");
    caller.end();
}

#[test]
fn what_is_not_known_is_said() {
    let node = Node::started();
    let mark = project(&node);
    node.run(PACK);
    node.run(&["install", "stacks.oci", "--allow-unsigned"]);

    let stripped = compiled(&node, "stripped", mark, &["-Wl,-s"]);
    let mut one = Caller::start(&mut Command::new(&stripped));
    one.call();
    let found = events(&node);
    let frame = &found[0]["user"][0];
    assert_eq!((&frame["symbol"], &frame["unknown"]), (&Value::Null, &"no symbols".into()));
    assert!(frame["module"].as_str().unwrap().ends_with("/stripped"), "{frame}");
    assert!(frame["offset"].as_u64().unwrap() > 0, "{frame}");
    one.end();

    // Deleted since it began, and another file where it was.
    let path = compiled(&node, "deleted", mark, &[]);
    let mut one = Caller::start(&mut Command::new(&path));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another").unwrap();
    one.call();
    assert_eq!(names(&events(&node)[0]["user"])[..2], ["inner_call", "outer_call"]);
    one.end();

    // In a root of its own, where other processes know no such path.
    let path = compiled(&node, "inside", mark, &[]);
    let mut chroot = Command::new("chroot");
    let mut one = Caller::start(chroot.arg(path.parent().unwrap()).arg("/inside"));
    one.call();
    let found = events(&node);
    let user = &found[0]["user"];
    assert_eq!(names(user)[..2], ["inner_call", "outer_call"], "{user}");
    assert!(user[0]["module"].as_str().unwrap().ends_with(file_name(&path)), "{user}");
    one.end();

    let path = compiled(&node, "gone", mark, &[]);
    let mut one = Caller::start(&mut Command::new(&path));
    one.call();
    let pid = one.pid();
    one.end();
    let found = events(&node);
    assert_eq!(names(&found[0]["user"])[0], format!("process {pid} is gone"));
    assert!(found[0]["user"][0]["address"].as_str().unwrap().starts_with("0x"));
}

#[test]
fn a_run_shows_stacks_and_counts_them() {
    let node = Node::new();
    let mark = project(&node);
    let path = compiled(&node, "caller", mark, &[]);
    let mut one = Caller::start(&mut Command::new(&path));
    let mut command = node.skep(&["run", "stacks", "--btf", "host", "--events", "2"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = wait::ended_while("skep run", child, || one.call());
    let (out, said) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(out.contains("\n        inner_call+0x"), "{out}{said}");
    assert!(said.contains("Stacks counted:"), "{said}");
    one.end();
}

#[test]
fn a_stack_of_what_is_none_is_refused() {
    let node = Node::new();
    let mark = project(&node);
    for (from, to, said) in [
        ("fields.kernel = { format", "fields.comm = { format", "an array of addresses"),
        ("process = \"tgid\"", "process = \"comm\"", "there is no number 'comm'"),
        ("unit = \"traces\"", "unit = \"counts\"", "there is no unit 'counts' for kstack"),
    ] {
        let manifest = marked(&MANIFEST.replacen(from, to, 1), mark);
        fs::write(node.path("stacks/skep.toml"), manifest).unwrap();
        let (_, text) = node.refused(PACK);
        assert!(text.contains(said), "{to}: {text}");
    }
}
