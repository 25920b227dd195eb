//! Parameters of services that run, changed as they are typed, by a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use node::Node;

const SOURCE: &str = r#"
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

enum how { QUIET, LOUD };

FIRST
const volatile int only = 0;
int rate = 1;
__u8 level;
enum how how = QUIET;
char label[16] = "none";
__u64 counted;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *context)
{
	__u32 key = level + how + label[0];

	bpf_map_lookup_elem(&seen, &key);
	if (!only)
		__sync_fetch_and_add(&counted, rate);
	return 0;
}
"#;

const PARAMS: &str = r#"
[param.rate]
type = "int"
data = "rate"
default = 1
range = [1, 1000]
[param.level]
type = "uint"
data = "level"
[param.how]
type = "enum"
data = "how"
[param.label]
type = "string"
data = "label"
[param.only]
type = "int"
rodata = "only"
[param.room]
type = "uint"
default = 16
[map.seen]
max_entries = "${param.room}"
upgrade = "reset"
"#;

/// Packs and signs `acme/exec`; a first variable moves the others.
fn publish(node: &Node, version: &str, first: &str, params: &str) -> String {
    let folder = node.path(version);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("p.bpf.c"), SOURCE.replace("FIRST", first)).unwrap();
    let arch = std::env::consts::ARCH;
    let manifest = format!(
        "spec = \"1.0\"\n[package]\nname = \"acme/exec\"\nversion = \"{version}\"\nlicense = \"MIT\"\n\
         [object.p]\nsources = [\"p.bpf.c\"]\narch = [\"{arch}\"]\n\
         [permissions]\nhooks = [\"tracepoint/sched/sched_process_exec\"]\nhelpers = [\"map_lookup_elem\"]\n{params}"
    );
    fs::write(folder.join("skep.toml"), manifest).unwrap();
    let layout = format!("{version}.oci");
    node.run(&["pack", version, "-o", &layout, "--btf", "host"]);
    node.run(&["sign", &layout, "--key", "key.key"]);
    layout
}

/// A node where version 1.0.0 runs.
fn node() -> Node {
    let mut node = Node::new();
    node.run(&["key", "new", "-o", "key"]);
    node.run(&["trust", "add", "acme/*", "--key", "key.pub"]);
    let layout = publish(&node, "1.0.0", "", PARAMS);
    node.start();
    node.run(&["install", &layout]);
    node
}

/// What the kernel has in a variable of the generation that runs.
fn variable(node: &Node, name: &str) -> Value {
    for map in [".data", ".bss"] {
        let value = node.json(&["map", "lookup", "exec", map, "0"])["value"][name].clone();
        if !value.is_null() {
            return value;
        }
    }
    panic!("no variable {name}")
}

fn detail(node: &Node) -> Value {
    node.json(&["show", "exec"])
}

#[test]
fn live_parameters_are_written_at_once_and_stay() {
    let mut node = node();
    let said = node.run(&["set", "exec", "rate=5", "level=2", "how=LOUD"]);
    assert_eq!(
        said,
        "Set exec; its programs run on\n  how: the object's own → LOUD\n  level: the object's own → 2\n  rate: 1 → 5\n"
    );
    let seen = |node: &Node| (variable(node, "rate"), variable(node, "level"));
    assert_eq!(seen(&node), (json!(5), json!(2)));
    assert_eq!(variable(&node, "how"), json!("LOUD"));
    let status = detail(&node);
    assert_eq!((&status["status"]["generation"], &status["revision"]), (&json!(1), &json!(1)));
    assert_eq!(status["params"]["rate"], json!({"value": "5", "default": "1", "live": true}));
    assert!(node.run(&["show", "exec"]).contains("parameter rate = 5 (live, default 1)\n"));
    assert_eq!(node.run(&["set", "exec", "rate=5"]), "exec has these values already\n");
    for level in ["level=3", "level=2"] {
        let said = node.run(&["set", "exec", "rate=5", level]);
        assert!(said.contains("level:") && !said.contains("rate:"), "{said}");
    }
    let count = || variable(&node, "counted").as_u64().unwrap();
    let before = count();
    wait::until("an exec to be counted", || {
        Command::new("true").status().unwrap();
        count() > before
    });
    assert_eq!((count() - before) % 5, 0, "the programs read it");

    // Restarts, an upgrade that moves the variables, a rollback after another change, and the loss of all pins.
    node.kill();
    node.start();
    assert_eq!(seen(&node), (json!(5), json!(2)));
    let two = publish(&node, "2.0.0", "__u64 first = 9; __u64 zero;", PARAMS);
    node.run(&["upgrade", "exec", &two]);
    assert_eq!((seen(&node), variable(&node, "first")), ((json!(5), json!(2)), json!(9)));
    node.run(&["set", "exec", "rate=7", "--unset", "level"]);
    assert_eq!(seen(&node), (json!(7), json!(0)));
    node.run(&["rollback", "exec"]);
    assert_eq!(detail(&node)["status"]["version"], "1.0.0");
    assert_eq!(seen(&node), (json!(7), json!(0)));
    node.kill();
    fs::remove_dir_all(node.pins("exec")).unwrap();
    assert!(node.start().contains("lost"));
    assert_eq!(seen(&node), (json!(7), json!(0)));
    node.run(&["stop", "exec"]);
    node.run(&["set", "exec", "rate=8"]);
    node.run(&["start", "exec"]);
    assert_eq!(seen(&node), (json!(8), json!(0)));
    let deeds = node.json(&["history", "exec"]);
    assert_eq!(deeds[1]["what"], "set");
}

#[test]
fn what_only_a_load_sets_takes_a_switch_which_is_said_and_goes_back() {
    let node = node();
    node.run(&["set", "exec", "rate=5"]);
    let planned = node.run(&["set", "exec", "only=1", "rate=6", "--dry-run"]);
    let first = "Would switch to the same package, loaded again; nothing was touched.\n  rate: 5 → 6\n  only: the object's own → 1, which only a load sets\n";
    assert!(planned.starts_with(first) && planned.contains("hook tracepoint/"), "{planned}");
    assert_eq!(
        (variable(&node, "rate"), &detail(&node)["status"]["generation"]),
        (json!(5), &json!(1))
    );
    let said = node.run(&["set", "exec", "only=1", "rate=6", "label=loud", "room=32"]);
    assert!(said.starts_with("Set exec, by a switch to the same package\n"), "{said}");
    let now = detail(&node);
    assert_eq!(
        (&now["status"]["generation"], &now["status"]["version"]),
        (&json!(2), &json!("1.0.0"))
    );
    assert_eq!((variable(&node, "rate"), variable(&node, "label")), (json!(6), json!("loud")));
    let room = now["maps"].as_array().unwrap().iter().find(|map| map["name"] == "seen").unwrap();
    assert_eq!(room["max_entries"], 32);
    assert_eq!(now["params"]["only"], json!({"value": "1", "live": false}));
    // The constant goes back with its generation, the setting stays.
    node.run(&["rollback", "exec"]);
    let back = detail(&node);
    assert!(back["params"].get("only").is_none(), "{}", back["params"]);
    assert_eq!(
        (variable(&node, "rate"), &back["params"]["rate"]["value"]),
        (json!(6), &json!("6"))
    );
    assert_eq!(variable(&node, "label"), json!("loud"));
    // What an upgrade sets is the same setting.
    let two = publish(&node, "2.0.0", "__u64 first = 9;", PARAMS);
    node.run(&["upgrade", "exec", &two, "--set", "rate=9", "--unset", "label"]);
    assert_eq!((variable(&node, "rate"), variable(&node, "label")), (json!(9), json!("none")));
    node.run(&["rollback", "exec"]);
    assert_eq!((variable(&node, "rate"), variable(&node, "label")), (json!(9), json!("none")));
    // An older version that cannot have the value runs by its own.
    node.run(&["set", "exec", "rate=900"]);
    let narrow = publish(&node, "3.0.0", "", &PARAMS.replace("[1, 1000]", "[1, 10]"));
    let (status, said) = node.refused(&["upgrade", "exec", &narrow]);
    assert_eq!(status, 1);
    assert!(said.contains("'rate' cannot be 900"), "{said}");
    node.run(&["upgrade", "exec", &narrow, "--set", "rate=3"]);
    assert_eq!(variable(&node, "rate"), json!(3));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_written() {
    let node = node();
    for (set, what) in [
        (&["rat=5"][..], "the package has no parameter 'rat'; did you mean 'rate'?"),
        (&["rate=fast"], "parameter 'rate' cannot be fast"),
        (&["rate=1001", "level=1"], "parameter 'rate' cannot be 1001"),
        (&["level=256"], "parameter 'level' cannot be 256"),
        (&["how=LOUDER"], "did you mean 'LOUD'?"),
        (&["label=far too long for that"], "parameter 'label' cannot be far too long for that"),
        (&["--unset", "rate"], "the parameter 'rate' is not set"),
        (&["rate=2", "rate=3"], "parameter rate is given twice"),
        (&["rate=2", "--unset", "rate"], "rate is to be set, and given to --unset"),
        (&["rate"], "it should be NAME=VALUE"),
        (&[], "nothing is to be set"),
    ] {
        for dry_run in [&["--dry-run"][..], &[]] {
            let (status, said) = node.refused(&[&["set", "exec"], set, dry_run].concat());
            assert!(
                said.contains(what) && (status == 1 || status == 2),
                "{set:?}: {status}: {said}"
            );
        }
    }
    let (_, said) = node.refused(&["set", "exce", "rate=5"]);
    assert!(said.contains("did you mean 'exec'?"), "{said}");
    assert_eq!((variable(&node, "rate"), variable(&node, "level")), (json!(1), json!(0)));
    assert_eq!(detail(&node)["revision"], 0);
}

#[test]
fn killed_at_each_point_it_leaves_the_old_value_or_the_new_one() {
    let mut node = node();
    node.kill();
    let listed = wait::output(node.skepd().arg("--list-faults"));
    let points = String::from_utf8(listed.stdout).unwrap();
    let points: Vec<&str> = points.lines().filter(|point| point.starts_with("setting.")).collect();
    assert_eq!(points.len(), 4, "{points:?}");
    let passes = ["", ":2"]; // of the record too that it is written
    let mut value = 1;
    for point in points {
        for pass in passes {
            let armed = format!("{point}{pass}");
            let mut command = node.skepd();
            command.args(["--fault", &armed]);
            node.start_as(command);
            let new = value + 1;
            let (worked, said) = node.tried(&["set", "exec", &format!("rate={new}"), "level=3"]);
            assert!(!worked, "{armed} was not passed");
            assert!(said.contains("skepd ended in the middle"), "{armed}: {said}");
            node.died();
            node.start();
            let is_new = armed != "setting.Setting.before";
            let expected = if is_new { new } else { value };
            assert_eq!(variable(&node, "rate"), json!(expected), "{armed}");
            assert_eq!(
                detail(&node)["params"]["level"]["value"].as_str(),
                is_new.then_some("3"),
                "{armed}"
            );
            value = expected;
            if is_new {
                node.run(&["set", "exec", "--unset", "level"]);
            }
            node.kill();
        }
    }
}
