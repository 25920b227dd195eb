//! What is newer than what runs: by a hub of ours and a channel of it, held against keys, ranges and this kernel.
#![allow(clippy::unwrap_used)]

mod hub;
mod node;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod wait;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use hub::Hub;
use node::Node;

const SOURCE: &str = "#include \"vmlinux.h\"\n#include <bpf/bpf_helpers.h>\n\
    char LICENSE[] SEC(\"license\") = \"GPL\";\n\
    SEC(\"tracepoint/sched/HOOK\") int on(void *context) { return 0; }\n";

/// A hub with `acme/exec`, and a node that trusts its key.
struct World {
    hub: Hub,
    node: Node,
}

impl World {
    fn new() -> Self {
        let (hub, mut node) = (Hub::start(), Node::new());
        hub.login("acme", &node.path(""));
        for key in ["key", "other"] {
            node.run(&["key", "new", "-o", key]);
        }
        node.run(&["trust", "add", "acme/*", "--key", "key.pub"]);
        node.start();
        Self { hub, node }
    }

    fn name(&self, package: &str) -> String {
        format!("{}/acme/{package}", self.hub.host)
    }

    fn publish(&self, package: &str, version: &str, (hook, key): (&str, &str), more: &str) {
        let folder = self.node.path(&format!("{package}-{version}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("p.bpf.c"), SOURCE.replace("HOOK", hook)).unwrap();
        let arch = std::env::consts::ARCH;
        let manifest = format!(
            "spec = \"1.0\"\n[package]\nname = \"acme/{package}\"\nversion = \"{version}\"\nlicense = \"MIT\"\n\
             [object.p]\nsources = [\"p.bpf.c\"]\narch = [\"{arch}\"]\n\
             [permissions]\nhooks = [\"tracepoint/sched/{hook}\"]\n{more}"
        );
        fs::write(folder.join("skep.toml"), manifest).unwrap();
        let (project, layout) =
            (format!("{package}-{version}"), format!("{package}-{version}.oci"));
        self.run(&["pack", &project, "-o", &layout, "--btf", "host"]);
        self.run(&["sign", &layout, "--key", &format!("{key}.key")]);
        self.run(&["push", &layout, &format!("{}:{version}", self.name(package))]);
    }

    fn skep(&self, args: &[&str]) -> Command {
        let mut command = self.node.skep(args);
        command.env("SKEP_HUB", &self.hub.host);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = wait::output(&mut self.skep(args));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skep {}: {said}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    fn row(&self, service: &str) -> Value {
        let rows: Value =
            serde_json::from_str(&self.run(&["outdated", service, "--output", "json"])).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1);
        rows[0].clone()
    }
}

const EXEC: (&str, &str) = ("sched_process_exec", "key");

#[test]
fn a_newer_version_is_shown_with_what_speaks_against_it_and_taken() {
    let mut world = World::new();
    world.publish("exec", "1.0.0", EXEC, "");
    world.run(&["install", &format!("{}:1.0.0", world.name("exec"))]);
    let asked = world.name("exec");
    let row = world.row("exec");
    assert_eq!((&row["version"], &row["asked"]), (&json!("1.0.0"), &json!(asked)));
    assert!(row.get("newest").is_none(), "{row}");
    assert!(world.run(&["outdated"]).contains("up to date"));
    assert_eq!(world.run(&["upgrade", "exec"]), "Nothing is newer than what exec runs\n");

    world.publish("exec", "1.1.0-rc.1", EXEC, "");
    assert!(world.row("exec").get("newest").is_none(), "nobody asked for a pre-release");
    world.publish("exec", "2.0.0", ("sched_process_exec", "other"), "");
    let row = world.row("exec");
    assert_eq!(
        (&row["newest"]["version"], &row["newest"]["trusted"]),
        (&json!("2.0.0"), &json!(false))
    );
    assert_eq!(row["newest"]["refused"]["code"], "refused");
    assert!(world.run(&["outdated", "exec"]).contains("NOT TRUSTED"));

    world.publish("exec", "2.1.0", ("no_such_event", "key"), "");
    let row = world.row("exec");
    assert_eq!(
        (&row["newest"]["version"], &row["newest"]["trusted"]),
        (&json!("2.1.0"), &json!(true))
    );
    assert_eq!(row["newest"]["refused"]["code"], "attach", "{row}");

    world.publish("exec", "2.2.0", EXEC, "");
    world.run(&["hold", "exec"]);
    let row = world.row("exec");
    assert_eq!((&row["held"], &row["newest"]["version"]), (&json!(true), &json!("2.2.0")));
    assert!(world.run(&["outdated"]).contains("held"));
    world.run(&["unhold", "exec"]);
    let reference = format!("{}:2.2.0", world.name("exec"));
    assert!(world.run(&["outdated"]).contains(&format!("skep upgrade exec {reference}\n")));
    assert!(world.run(&["upgrade", "exec"]).starts_with("Upgraded exec to 2.2.0 "));
    assert!(world.row("exec").get("newest").is_none());
    world.node.kill();
    world.node.start();
    assert!(world.row("exec").get("newest").is_none(), "it is remembered where it came from");
}

#[test]
fn a_channel_is_followed_where_it_led_to_what_runs_and_ranges_of_others_count() {
    let world = World::new();
    let place = |version: &str| format!("{}:{version}", world.name("exec"));
    for version in ["1.0.0", "1.5.0", "2.0.0"] {
        world.publish("exec", version, EXEC, "");
    }
    world.run(&["channel", "move", &place("1.0.0"), "stable", "--key", "key.key"]);
    let stable = format!("{}@stable", world.name("exec"));
    world.run(&["install", &stable]);
    let row = world.row("exec");
    assert_eq!(row["asked"], json!(stable));
    assert!(row.get("newest").is_none(), "{row}");
    world.run(&["channel", "move", &place("1.5.0"), "stable", "--key", "key.key"]);
    let row = world.row("exec");
    assert_eq!(
        (&row["newest"]["version"], &row["newest"]["reference"]),
        (&json!("1.5.0"), &json!(stable))
    );

    // Of a version that was named, all versions count which who needs it allows.
    world.run(&["upgrade", "exec", &place("1.0.0")]);
    let row = world.row("exec");
    assert_eq!(
        (&row["newest"]["version"], &row["asked"]),
        (&json!("2.0.0"), &json!(world.name("exec")))
    );
    let needs = "[dependencies.\"acme/exec\"]\nversion = \"^1\"\n";
    world.publish("app", "1.0.0", EXEC, needs);
    world.run(&["install", &format!("{}:1.0.0", world.name("app"))]);
    let row = world.row("exec");
    assert_eq!((&row["newest"]["version"], &row["ranges"]), (&json!("1.5.0"), &json!(["^1"])));
}

#[test]
fn a_registry_that_does_not_answer_keeps_no_other_from_an_answer() {
    let world = World::new();
    for package in ["exec", "a", "b", "c"] {
        world.publish(package, "1.0.0", EXEC, "");
    }
    let away = Hub::start();
    away.login("acme", &world.node.path(""));
    for package in ["a", "b"] {
        let place = format!("{}/acme/{package}:1.0.0", away.host);
        world.run(&["push", &format!("{package}-1.0.0.oci"), &place]);
        world.run(&["install", &place]);
    }
    drop(away);
    world.run(&["install", &format!("{}:1.0.0", world.name("c"))]);
    world.run(&["install", "exec-1.0.0.oci"]);
    let output = wait::output(&mut world.skep(&["outdated", "--output", "json"]));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("3 services could not be asked about"), "{said}");
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<_> = (0..4).map(|at| rows[at]["error"]["code"].as_str()).collect();
    assert_eq!(codes, [Some("registry"), Some("registry"), None, Some("no-hub")], "{rows}");
    let shown = String::from_utf8(wait::output(&mut world.skep(&["outdated"])).stdout).unwrap();
    assert!(shown.contains("not known") && shown.contains("set hub in skepd.toml"), "{shown}");
    assert!(shown.contains("up to date"), "{shown}");
    let (status, said) = world.node.refused(&["upgrade", "a"]);
    assert_eq!(status, 1);
    assert!(said.contains("skep upgrade a PACKAGE"), "{said}");
    let (status, said) = world.node.refused(&["outdated", "exce"]);
    assert_eq!(status, 1);
    assert!(said.contains("did you mean 'exec'?"), "{said}");
}
