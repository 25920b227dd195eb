//! What programs attach by: kinds that only libbpf knows, tail calls, and several objects in one binary.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::process::{Command, Stdio};

use node::Node;
use serde_json::Value;

const ARCH: &str = std::env::consts::ARCH;

/// Counts by slot; `VICTIM` is a program with a `main` that only the test starts.
const HEAD: &str = r#"
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
	hits SEC(".maps");
static __attribute__((noinline)) int hit(__u32 slot)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &slot);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}
"#;

/// A node with a program to attach to.
fn with_victim() -> Node {
    let node = Node::new();
    fs::copy(env!("CARGO_BIN_EXE_skep"), node.path("victim")).unwrap();
    node
}

/// Starts the victim some times.
fn start(node: &Node, times: u32) {
    for _ in 0..times {
        let mut victim = Command::new(node.path("victim"));
        assert!(victim.arg("--version").stdout(Stdio::null()).status().unwrap().success());
    }
}

/// Builds and packs a project of `code`.
fn pack(node: &Node, name: &str, version: &str, code: &str, more: &str) -> (bool, String) {
    let folder = node.path(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    let victim = node.path("victim");
    let code = format!("{HEAD}{code}").replace("VICTIM", victim.to_str().unwrap());
    fs::write(folder.join("src/a.bpf.c"), code).unwrap();
    let toml = format!(
        "spec = \"1.0\"\n[package]\nname = \"acme/{name}\"\nversion = \"{version}\"\nlicense = \"GPL-2.0-only\"\n\
         [object.a]\nsources = [\"src/a.bpf.c\"]\narch = [\"{ARCH}\"]\n[map.hits]\nupgrade = \"keep\"\n\
         [output.hits]\nkind = \"counter\"\nmap = \"hits\"\n\
         [permissions]\nhooks = [\"*\"]\nhelpers = [\"map_*\", \"tail_call\"]\nmap-memory = \"16MiB\"\n{more}"
    );
    fs::write(folder.join("skep.toml"), toml).unwrap();
    let layout = format!("{name}-{version}.oci");
    node.tried(&["pack", name, "-o", &layout, "--btf", "host", "--arch", ARCH])
}

/// Counts by slot, of a service.
fn hits(node: &Node, service: &str) -> Vec<(u64, u64)> {
    let shown = node.json(&["show", service]);
    let rows = shown["counters"]["hits"].as_array().unwrap().iter();
    rows.map(|row| (row["key"].as_u64().unwrap(), row["value"].as_u64().unwrap())).collect()
}

const BY_SECTION: &str = r#"
SEC("uprobe.s/VICTIM:main") int sleeps(void *ctx) { return hit(0); }
SEC("uprobe.multi/VICTIM:main") int multi(void *ctx) { return hit(1); }
SEC("iter/task") int dump(struct bpf_iter__task *ctx) { return ctx->task ? 0 : hit(2); }
"#;

#[test]
fn what_libbpf_attaches_by_section_stays_over_a_crash_and_goes_with_its_service() {
    let mut node = with_victim();
    for version in ["1.0.0", "1.1.0"] {
        let (packed, text) = pack(&node, "kinds", version, BY_SECTION, "");
        assert!(packed, "{text}");
    }
    node.start();
    node.run(&["install", "kinds-1.0.0.oci", "--allow-unsigned"]);
    start(&node, 3);
    let iter = node.pins("kinds").join("hooks/dump/link");
    fs::read(&iter).unwrap();
    assert_eq!(hits(&node, "kinds"), [(0, 3), (1, 3), (2, 1)]);
    let hooks = node.json(&["show", "kinds"])["hooks"].clone();
    let fixed = hooks.as_array().unwrap().iter().filter(|hook| hook["mechanism"] == "fixed");
    assert!(fixed.count() >= 1, "{hooks}"); // before 7.x no stub sleeps
    assert_eq!(node.links(), 0, "nothing but its pin holds a link");
    let upgrade = ["upgrade", "kinds", "kinds-1.1.0.oci", "--allow-unsigned"];
    let (_, text) = node.refused(&upgrade);
    assert!(text.contains("can't replace the program at"), "{text}");
    assert_eq!(node.refused(&[&upgrade[..], &["--dry-run"]].concat()).1, text);
    let same = node.run(&["upgrade", "kinds", "kinds-1.0.0.oci", "--allow-unsigned"]);
    assert!(same.contains("runs 1.0.0 already"), "{same}");

    node.kill();
    start(&node, 2);
    node.start();
    assert_eq!(hits(&node, "kinds"), [(0, 5), (1, 5), (2, 1)]);
    assert_eq!(node.json(&["list"])[0]["state"], "running");
    node.run(&["remove", "kinds"]);
    assert!(!node.has_pins());
}

/// What only sections and code say is said by a dry run too.
#[test]
fn a_dry_run_refuses_a_program_that_its_hook_does_not_take() {
    let node = with_victim();
    for (version, section) in [("1.0.0", "uprobe"), ("1.1.0", "uprobe.s")] {
        let code =
            format!("SEC(\"{section}/VICTIM:main\") int one(void *ctx) {{ return hit(0); }}");
        let (packed, text) = pack(&node, "sleeps", version, &code, "");
        assert!(packed, "{text}");
    }
    let mut node = node;
    node.start();
    node.run(&["install", "sleeps-1.0.0.oci", "--allow-unsigned"]);
    let upgrade = ["upgrade", "sleeps", "sleeps-1.1.0.oci", "--allow-unsigned"];
    let (_, text) = node.refused(&upgrade);
    assert!(text.contains("program 'one' at uprobe/") && text.contains("another kind"), "{text}");
    assert_eq!(node.refused(&[&upgrade[..], &["--dry-run"]].concat()).1, text);
    start(&node, 1);
    assert_eq!(hits(&node, "sleeps"), [(0, 1)]);
    node.run(&["remove", "sleeps"]);
}

#[test]
fn kinds_that_no_service_can_have_are_refused_when_they_are_packed() {
    let node = with_victim();
    let mut said = String::new();
    for section in ["lirc_mode2", "usdt/VICTIM:a", "kprobe"] {
        let code = format!("SEC(\"{section}\") int one(void *ctx) {{ return hit(0); }}");
        let (packed, text) = pack(&node, "other", "1.0.0", &code, "");
        assert!(!packed, "{section}");
        said += &text.replace(node.path("").to_str().unwrap(), "FOLDER/");
    }
    let toml = node.path("other/skep.toml");
    let text = fs::read_to_string(&toml).unwrap();
    fs::write(&toml, text.replace("map = \"hits\"", "map = \"hits\"\nvalue = \"n\"")).unwrap();
    let (status, text) = node.refused(&["pack", "other", "--btf", "host", "--arch", ARCH]);
    said += &format!("{text}exit status {status}\n");
    insta::assert_snapshot!(said);
}

/// `root` and `own` are on one hook; `leaf` and `last` are only called.
const TAIL: &str = r#"
int leaf(void *ctx);
int last(void *ctx);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4); __array(values, int (void *)); }
	first SEC(".maps") = { .values = { [1] = (void *)&leaf } },
	second SEC(".maps") = { .values = { [0] = (void *)&last } };
SEC("uprobe/VICTIM:main") int root(void *ctx) { hit(0); bpf_tail_call(ctx, &first, 1); return 0; }
SEC("uprobe/VICTIM:main") int leaf(void *ctx) { hit(1); bpf_tail_call(ctx, &second, 0); return 0; }
SEC("uprobe/VICTIM:main") int last(void *ctx) { return hit(2); }
SEC("uprobe/VICTIM:main") int own(void *ctx) { return hit(3); }
"#;

#[test]
fn programs_call_each_other_out_of_slots_that_the_object_fills() {
    let mut node = with_victim();
    for (name, programs) in [
        ("all", ""),
        ("listed", "[program.r]\nfunction = \"root\"\n"),
        ("alone", "[program.o]\nfunction = \"own\"\n"),
    ] {
        for version in ["1.0.0", "1.1.0"] {
            let (packed, text) = pack(&node, name, version, TAIL, programs);
            assert!(packed, "{text}");
        }
    }
    node.start();
    for (name, wanted) in [
        ("all", &[(0, 2), (1, 2), (2, 2), (3, 2)][..]),
        ("listed", &[(0, 2), (1, 2), (2, 2)]),
        ("alone", &[(3, 2)]),
    ] {
        node.run(&["install", &format!("{name}-1.0.0.oci"), "--allow-unsigned"]);
        start(&node, 2);
        assert_eq!(hits(&node, name), wanted, "{name}");
        node.run(&["upgrade", name, &format!("{name}-1.1.0.oci"), "--allow-unsigned"]);
        start(&node, 1);
        let more: Vec<_> = wanted.iter().map(|(slot, count)| (*slot, count + 1)).collect();
        assert_eq!(hits(&node, name), more, "{name} after an upgrade");
        node.run(&["remove", name]);
    }
    assert!(!node.has_pins());
}

/// What `skep run` of two objects says that were embedded in a file with one name of a function.
#[test]
fn objects_of_one_binary_are_told_apart() {
    let node = with_victim();
    let (packed, text) = pack(
        &node,
        "twin",
        "1.0.0",
        "SEC(\"uprobe/VICTIM:main\") int one(void *ctx) { return hit(0); }",
        "",
    );
    assert!(packed, "{text}");
    let object = fs::read(node.path("twin/build").join(ARCH).join("a.bpf.o")).unwrap();
    fs::write(node.path("both"), [b"#!", &object[..], b"and", &object].concat()).unwrap();
    let said = |args: &[&str]| {
        let output =
            wait::output(&mut node.skep(&[&["run", "both", "--duration", "1ms"], args].concat()));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        text
    };
    let text = said(&[]);
    assert!(text.contains("\n  object1/one to ") && text.contains("\n  object2/one to "), "{text}");
    let text = said(&["--object", "object2"]);
    assert!(text.starts_with("attached one to "), "{text}");
    let (status, text) = node.refused(&["run", "both", "--object", "object3"]);
    assert_eq!(
        (status, text.as_str()),
        (
            2,
            "error: --object object3: there is no object of that name\nhint: there are: object1, object2\n"
        )
    );
    let elsewhere = format!("object2/one=uprobe/{}:nowhere", node.path("victim").display());
    let text = said(&["--target", &elsewhere]);
    assert!(
        text.contains("attached object1/one to ") && text.contains("left out object2/one"),
        "{text}"
    );
}

/// Fills a map of 12,000 entries, 840 bytes each as JSON.
const MANY: &str = r#"
struct big { __u64 a[40]; } full = { .a = { [0 ... 39] = ~0ULL } };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 12000); __type(key, __u32); __type(value, struct big); }
	many SEC(".maps");
SEC("uprobe/VICTIM:main") int fill(void *ctx)
{
	for (__u32 i = 0; i < 12000; i++) {
		__u32 key = i;
		bpf_map_update_elem(&many, &key, &full, BPF_ANY);
	}
	return hit(0);
}
"#;

#[test]
fn a_counter_that_is_not_shown_whole_says_so() {
    let node = with_victim();
    let outputs = ["many", "again"]
        .map(|name| format!("[output.{name}]\nkind = \"counter\"\nmap = \"many\"\n"));
    let maps = "[map.many]\nupgrade = \"keep\"\n[map.\".data\"]\nupgrade = \"keep\"\n";
    let (packed, text) = pack(&node, "many", "1.0.0", MANY, &(outputs.concat() + maps));
    assert!(packed, "{text}");
    let mut node = node;
    node.start();
    node.run(&["install", "many-1.0.0.oci", "--allow-unsigned"]);
    start(&node, 1);
    let shown = node.json(&["show", "many"]);
    let given = shown["counters"]["many"].as_array().unwrap().len() as u64;
    assert!(given > 500, "{given}");
    assert_eq!(shown["counters_more"]["many"], 12_000 - given);
    assert_eq!(shown["counters_more"]["again"], 12_000 - given);
    assert_eq!(shown["counters_more"]["hits"], Value::Null);
    let table = node.run(&["show", "many"]);
    let said = format!("and 11980 more, of which {} were not read", 12_000 - given);
    assert_eq!(table.matches(&said).count(), 2, "{table}");
    node.run(&["remove", "many"]);
}

/// A program's name in an ELF may have any bytes.
#[test]
fn a_program_does_not_speak_to_the_terminal() {
    let node = with_victim();
    let victim = node.path("victim");
    let evil = r#"
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
int evil(void *ctx) __asm__("x\033]0;owned\007\nhint: lies");
__attribute__((section("xdp"), used)) int evil(void *ctx) { return 0; }
"#;
    let fine = "__attribute__((section(\"uprobe/VICTIM:main\"), used)) int fine(void *ctx) { return 0; }\n";
    for (beside, lead) in [("", "error: no program could be attached:\n  "), (fine, "\nleft out ")]
    {
        let source = format!("{evil}{beside}").replace("VICTIM", victim.to_str().unwrap());
        fs::write(node.path("evil.c"), source).unwrap();
        let mut clang = Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", "-c", "evil.c"]).current_dir(node.path(""));
        assert!(clang.status().unwrap().success());
        let output = wait::output(&mut node.skep(&["run", "evil.o", "--duration", "1ms"]));
        let said = String::from_utf8(output.stderr).unwrap();
        let named =
            format!(r"{lead}x\u{{1b}}]0;owned\u{{7}}\nhint: lies: 'xdp' names no interface");
        assert!(said.contains(&named), "{said:?}");
        assert_eq!(output.status.success(), !beside.is_empty());
    }
}

/// The template's own words, on a namespace's loopback.
#[test]
fn what_the_xdp_template_says_next_works_and_shows_counts() {
    let node = Node::new();
    let made = node.run(&["new", "acme/count", "--template", "xdp"]);
    let next = made.trim().split_once("Next: skep ").unwrap().1.to_owned();
    let script = format!(
        "set -e; trap 'cat said >&2' EXIT; ip link set lo up; : > said; \
         SKEP {next} --btf host --output FORM 2> said & run=$!; \
         until grep -q ^attached said; do kill -0 $run; done; \
         echo one >/dev/udp/127.0.0.1/9; kill -TERM $run; wait $run"
    );
    for (form, wanted) in [
        ("table", "Counter packets:\n"),
        ("ndjson", "{\"key\":17,\"value\":{\"packets\":1,\"bytes\":46}}"),
    ] {
        let script = script.replace("SKEP", env!("CARGO_BIN_EXE_skep")).replace("FORM", form);
        let mut command = Command::new("unshare");
        command.args(["--net", "bash", "-c", &script]).current_dir(node.path(""));
        command.env("HOME", node.path(""));
        let output = wait::output(&mut command);
        let (out, said) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{said}");
        assert!(out.contains(wanted), "{out}\n{said}");
    }
}
