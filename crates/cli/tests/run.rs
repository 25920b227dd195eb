//! `skep run` as it is typed: objects and projects on this kernel, with no daemon and no configuration.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use node::Node;
use serde_json::Value;

/// Starts programs until `child` ends.
fn exec_until_end(child: Child) -> Output {
    let start = || assert!(Command::new("true").status().unwrap().success());
    wait::ended_while("skep run", child, start)
}

fn run(node: &Node, args: &[&str]) -> (String, String) {
    let mut command = node.skep(&[&["run"], args].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = exec_until_end(child);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn objects_projects_and_programs_that_carry_objects() {
    let node = Node::new();
    let object = node.build("exec");
    let bytes = fs::read(&object).unwrap();
    fs::write(node.path("carrier"), [&b"#!/bin/sh and then\n"[..], &bytes, b"more"].concat())
        .unwrap();
    for what in ["exec", &object.to_string_lossy(), "carrier"] {
        let (out, said) = run(&node, &[what, "--events", "3", "--output", "ndjson"]);
        let events: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(events.len(), 3, "{what}");
        assert!(events.iter().all(|e| e["event"]["pid"].as_u64() > Some(0)), "{what}: {out}");
        assert!(said.starts_with("attached "), "{what}: {said}");
        assert!(said.ends_with("3 events, 0 lost\n"), "{what}: {said}");
    }
    fs::write(node.path("two"), [b"#!", &bytes[..], b"and", &bytes].concat()).unwrap();
    let objects = node.json(&["inspect", "two"])["objects"].clone();
    assert_eq!((&objects[0]["name"], &objects[1]["name"]), (&"object1".into(), &"object2".into()));
}

#[test]
fn a_table_has_one_header() {
    let node = Node::new();
    node.build("exec");
    let (out, _) = run(&node, &["exec", "--events", "4"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 5, "{out}");
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["TIME", "PID", "UID", "COMM", "PARENT", "PATH"]);
}

#[test]
fn counting_ends_after_its_time_and_says_what_was_lost() {
    let node = Node::new();
    node.build("exec");
    let (out, _) = run(&node, &["exec", "--count", "--duration", "300ms", "--output", "ndjson"]);
    let totals: Value = serde_json::from_str(&out).unwrap();
    assert!(totals["events"].as_u64() > Some(0), "{out}");
    assert_eq!(totals["lost"], 0);
}

#[test]
fn a_signal_detaches_and_prints_the_totals() {
    let node = Node::new();
    node.build("exec");
    for signal in ["-INT", "-HUP"] {
        let mut command = node.skep(&["run", "exec", "--count"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let line = wait::within("skep run to attach", move || {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            line
        });
        assert!(line.starts_with("attached "), "{line}");
        assert!(Command::new("true").status().unwrap().success());
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let output = wait::ended("skep run to end on a signal", child);
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{signal}");
        let (events, lost) = out.trim().split_once(" events, ").unwrap();
        assert!(events.parse::<u64>().unwrap() >= 1, "{out}");
        assert_eq!(lost, "0 lost");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_in_silence() {
    let node = Node::new();
    node.build("exec");
    let mut command = node.skep(&["run", "exec", "--quiet"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = exec_until_end(child);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_registry_is_not_needed_for_a_layout_but_trust_is() {
    let node = Node::new();
    node.sign_both();
    let (out, _) = run(&node, &["exec.oci", "--events", "1", "--output", "ndjson"]);
    assert!(out.contains("\"comm\""), "{out}");
    node.run(&["pack", "exec", "-o", "unsigned.oci", "--arch", std::env::consts::ARCH]);
    let (status, text) = node.refused(&["run", "unsigned.oci"]);
    assert_eq!(status, 4, "{text}");
    let (out, _) = run(&node, &["unsigned.oci", "--allow-unsigned", "--events", "1"]);
    assert_eq!(out.lines().count(), 2, "{out}");
}

#[test]
fn a_package_that_does_more_than_its_permissions_say_is_refused() {
    let node = Node::new();
    node.forge("exec", "helpers.oci", |text| text.replace("\"map_*\", ", ""));
    let (status, text) = node.refused(&["run", "helpers.oci", "--allow-unsigned", "--events", "1"]);
    insta::assert_snapshot!(format!("{text}exit status {status}"), @r"
    error: skep/exec 1.0.0 does more than its [permissions] say
      because helpers lacks 'map_lookup_elem', which is called by 'on_exec'
      because helpers lacks 'map_update_elem', which is called by 'on_exec'
    hint: nothing was loaded. skep pack lets no such package out: ask its publisher what the code is for
    exit status 4
    ");
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    let node = Node::new();
    let object = node.build("exec");
    let bytes = fs::read(object).unwrap();
    fs::write(node.path("cut.o"), &bytes[..2000]).unwrap();
    fs::write(node.path("text.o"), "int main(void) {}\n").unwrap();
    fs::write(node.path("exec.o"), &bytes).unwrap();
    let hollow = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/files/objects/hollow.o");
    fs::copy(hollow, node.path("hollow.o")).unwrap();
    fs::create_dir(node.path("empty")).unwrap();
    std::os::unix::fs::symlink("gone.o", node.path("link.o")).unwrap();
    std::os::unix::net::UnixListener::bind(node.path("socket.o")).unwrap();
    node.run(&["new", "acme/count", "--template", "xdp"]);
    let mut said = String::new();
    for args in [
        &["cut.o"][..],
        &["text.o"],
        &["hollow.o"],
        &["/bin/true"],
        &["none.o"],
        &["link.o"],
        &["socket.o"],
        &["empty"],
        &["acme/none:1.0.0"],
        &["exec.o", "--set", "verbose=1"],
        &["exec", "--set", "pid=1"],
        &["exec.o", "--target", "on_exec=tp/sched/no_such_tracepoint"],
        &["exec.o", "--target", "on_exec"],
        &["exec.o", "--target", "on_exec=garbage"],
        &["exec.o", "--target", "on_exec=xdp/lo"],
        &["exec.o", "--target", "on_exec=tp/x"],
        &["exec.o", "--set", "verbose"],
        &["exec.o", "--duration", "soon"],
        &["count", "--btf", "host"],
    ] {
        let (status, text) = node.refused(&[&["run"], args].concat());
        let text = text.replace(&bytes.len().to_string(), "WHOLE");
        said.push_str(&format!("$ skep run {}\n{text}exit status {status}\n\n", args.join(" ")));
    }
    insta::assert_snapshot!(said);
}

/// Rules that cannot be read may hold a revocation: they are not the same as no rules.
#[test]
fn a_trust_file_that_cannot_be_read_is_not_taken_for_none() {
    let node = Node::new();
    node.pack("exec");
    let mut said = String::new();
    let args = ["run", "exec.oci", "--allow-unsigned", "--events", "1"];
    fs::write(node.path("config/trust.toml"), b"# r\xe8gles\n").unwrap();
    let (status, text) = node.refused(&args);
    said.push_str(&format!("not UTF-8:\n{text}exit status {status}\n\n"));
    fs::remove_file(node.path("config/trust.toml")).unwrap();
    fs::create_dir(node.path("config/trust.toml")).unwrap();
    let (status, text) = node.refused(&args);
    said.push_str(&format!("a folder:\n{text}exit status {status}\n"));
    insta::assert_snapshot!(said);
}

/// The same object as [`Node::build`] makes, of a source that says no licence.
fn without_licence(node: &Node) {
    node.build("exec");
    let source = node.path("exec/src/exec.bpf.c");
    let text = fs::read_to_string(&source).unwrap();
    let bare = text.replace("char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";", "");
    assert_ne!(text, bare);
    fs::write(&source, bare).unwrap();
    node.run(&["build", "exec", "--btf", "host", "--arch", std::env::consts::ARCH]);
}

#[test]
fn an_object_without_a_licence_is_told_what_to_write() {
    let node = Node::new();
    without_licence(&node);
    let (status, text) = node.refused(&["run", "exec"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("SEC(\"license\") = \"GPL\""), "{text}");
}

#[test]
fn without_the_right_to_load_programs() {
    let node = Node::new();
    let object = node.build("exec");
    // Where nobody can reach it: the checkout may lie in root's own folder.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let skep = Path::new(env!("CARGO_BIN_EXE_skep"));
    for name in ["skep", "skepd"] {
        fs::copy(skep.with_file_name(name), open.path().join(name)).unwrap();
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--clear-groups"]).arg(open.path().join("skep"));
    nobody.args(["run", "/dev/stdin"]).stdin(fs::File::open(object).unwrap());
    let nobody = nobody.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (status, text) = node.said(&wait::ended("skep run as nobody", nobody));
    insta::assert_snapshot!(format!("{text}exit status {status}"));
}

#[test]
fn objects_fit_the_kernel_types_that_the_operator_has() {
    let node = Node::new();
    let object = node.build("exec");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let own = format!("config/btf/{}-{}.btf", release.trim(), std::env::consts::ARCH);
    fs::create_dir(node.path("config/btf")).unwrap();
    fs::write(node.path(&own), "no types").unwrap();
    let what = object.to_string_lossy();
    let (status, said) = node.refused(&["run", &what, "--events", "1"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("it is made to fit the kernel types in "), "{said}");
    fs::copy("/sys/kernel/btf/vmlinux", node.path(&own)).unwrap();
    let (_, said) = run(&node, &[&what, "--events", "1", "--count"]);
    assert!(said.starts_with("attached "), "{said}");
}

/// Each object has a map that the other one has not, and one program.
fn two_at_maps(node: &Node) {
    let mut bytes = b"#!".to_vec();
    for (program, map) in [("first", "of_first"), ("second", "of_second")] {
        let (source, object) = (node.path("at_map.bpf.c"), node.path("at_map.o"));
        fs::write(&source, include_str!("c/at_map.bpf.c")).unwrap();
        let mut clang = Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", &format!("-DPROGRAM={program}")]);
        clang.arg(format!("-DMAP={map}")).arg("-c").arg(&source).arg("-o").arg(&object);
        assert!(clang.status().unwrap().success());
        bytes.extend(fs::read(&object).unwrap());
    }
    fs::write(node.path("two"), bytes).unwrap();
}

#[test]
fn a_program_is_attached_to_the_map_of_the_object_that_its_target_names() {
    let node = Node::new();
    two_at_maps(&node);
    let said = |first: &str| {
        let mut command = node.skep(&["run", "two", "--duration", "1ms", "--target"]);
        command.args([format!("first=sk_msg:{first}"), "--target".into()]);
        let output = wait::output(command.arg("second=sk_msg:of_second"));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // A map takes one program of a kind: where the first is at it, the other one is left out.
    for there in ["object2/of_second", "of_second"] {
        let said = said(there);
        assert!(said.starts_with(&format!("attached first to sk_msg:{there} in ")), "{said}");
        assert!(said.contains("left out second: "), "{there}: {said}");
    }
    let both = said("object1/of_first");
    assert!(both.starts_with("attached 2 programs"), "{both}");
    for (none, why) in [
        ("object1/of_second", "the object 'object1' has no such map"),
        ("object3/of_second", "no object 'object3' runs here, but object1, object2"),
        ("of_nobody", "no object that runs here has it"),
    ] {
        let said = said(none);
        assert!(said.starts_with("attached second to sk_msg:of_second"), "{none}: {said}");
        assert!(said.contains("left out first: "), "{none}: {said}");
        assert!(said.contains(why), "{none}: {said}");
    }
}
