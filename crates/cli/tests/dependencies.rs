//! Packages that need others: through our hub and out of a bundle, from `skep pack` to two services that share a map.
#![allow(clippy::unwrap_used)]

mod hub;
mod node;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod wait;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use hub::Hub;
use node::Node;

const SOURCE: &str = r#"
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct start_key { __u32 cpu; };
struct start_value { __u64 starts; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct start_key);
	__type(value, struct start_value);
} starts SEC(".maps");

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *context)
{
	struct start_key key = {};
	struct start_value new = {}, *value = bpf_map_lookup_elem(&starts, &key);

	if (COUNTS && !value)
		bpf_map_update_elem(&starts, &key, &new, BPF_NOEXIST);
	if (COUNTS && value)
		__sync_fetch_and_add(&value->starts, 1);
	return 0;
}
"#;

/// A hub and a node that has it, with a key that both know.
struct World {
    hub: Hub,
    node: Node,
}

impl World {
    fn new() -> Self {
        let (hub, node) = (Hub::start(), Node::new());
        hub.login("acme", &node.path(""));
        node.run(&["key", "new", "-o", "key"]);
        let public = fs::read_to_string(node.path("key.pub")).unwrap();
        let key: String = public.lines().filter(|line| !line.starts_with("-----")).collect();
        let rules = format!("[[rule]]\npackages = [\"acme/*\"]\nkeys = [{{ spki = \"{key}\" }}]\n");
        fs::write(node.path("config/trust.toml"), rules).unwrap();
        fs::write(node.path("config/skepd.toml"), format!("hub = \"{}\"\n", hub.host)).unwrap();
        Self { hub, node }
    }

    /// Writes a project: `acme/flows` counts into a map, others read it.
    fn project(&self, name: &str, version: &str, more: &str) -> String {
        let folder = self.node.path(&format!("{name}-{version}"));
        fs::create_dir_all(&folder).unwrap();
        let counts = if name == "flows" { "1" } else { "0" };
        fs::write(folder.join("p.bpf.c"), format!("#define COUNTS {counts}\n{SOURCE}")).unwrap();
        let arch = std::env::consts::ARCH;
        let manifest = format!(
            "spec = \"1.0\"\n[package]\nname = \"acme/{name}\"\nversion = \"{version}\"\nlicense = \"MIT\"\n\
             [object.p]\nsources = [\"p.bpf.c\"]\narch = [\"{arch}\"]\n\
             [output.starts]\nkind = \"counter\"\nmap = \"starts\"\n\
             [permissions]\nhooks = [\"tracepoint/sched/sched_process_exec\"]\nhelpers = [\"map_*\"]\nmap-memory = \"1MiB\"\n{more}"
        );
        fs::write(folder.join("skep.toml"), manifest).unwrap();
        format!("{name}-{version}")
    }

    /// A command of somebody whose hub it is.
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

    /// Packs, signs and pushes a project.
    fn publish(&self, name: &str, version: &str, more: &str) {
        let project = self.project(name, version, more);
        let layout = format!("{project}.oci");
        self.run(&["pack", &project, "-o", &layout, "--btf", "host"]);
        self.run(&["sign", &layout, "--key", "key.key"]);
        self.run(&["push", &layout, &format!("{}/acme/{name}:{version}", self.hub.host)]);
    }

    fn flows(&self, version: &str) {
        self.publish("flows", version, "[map.starts]\nexport = { mode = \"0640\" }\n");
    }

    fn app(&self, version: &str, range: &str) {
        self.publish("app", version, &needs("flows", range, "maps = [\"starts\"]"));
    }

    fn services(&self) -> Vec<String> {
        let list = self.node.json(&["list"]);
        let one = |status: &Value| {
            format!(
                "{} {}",
                status["service"].as_str().unwrap(),
                status["version"].as_str().unwrap()
            )
        };
        list.as_array().unwrap().iter().map(one).collect()
    }
}

/// A dependency on flows, and kernel types that lie in the project.
fn depends(range: &str) -> String {
    let btf = format!("[build.btf]\n{} = \"vmlinux.btf\"\n", std::env::consts::ARCH);
    needs("flows", range, "") + &btf
}

fn needs(name: &str, range: &str, more: &str) -> String {
    format!("[dependencies.\"acme/{name}\"]\nversion = \"{range}\"\n{more}\n")
}

#[test]
fn what_a_package_needs_comes_from_the_hub_with_it() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.flows("1.1.0");
    world.app("1.0.0", "^1");
    world.node.start();

    let planned = world.node.run(&["install", "acme/app:1.0.0", "--dry-run"]);
    assert_eq!(
        planned,
        "Would install; nothing was touched.\n  acme/flows 1.1.0 as flows: installed\n  acme/app 1.0.0 as app: installed\n"
    );
    assert!(world.services().is_empty());
    let installed = world.node.run(&["install", "acme/app:1.0.0"]);
    assert!(installed.starts_with("Installed acme/app 1.0.0 as app in "), "{installed}");
    assert!(installed.contains("\n  acme/flows 1.1.0 as flows: installed\n"), "{installed}");
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.1.0"]);
    let listed = world.node.run(&["list"]);
    assert!(listed.contains("app needs flows\nflows is needed by app"), "{listed}");

    // What one counts, the other shows.
    let starts = || {
        let counters = world.node.json(&["show", "app"])["counters"]["starts"].clone();
        counters[0]["value"]["starts"].as_u64().unwrap_or(0)
    };
    wait::until("a start that was counted", || {
        Command::new("true").stdout(Stdio::null()).status().unwrap();
        starts() > 0
    });
    let before = starts();

    let (status, said) = world.node.refused(&["remove", "flows"]);
    assert_eq!(status, 1);
    assert!(said.contains("flows cannot be removed: app needs it"), "{said}");
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.1.0"]);

    // Both move, since the new version wants a new one; the map goes on.
    world.flows("2.0.0");
    world.app("2.0.0", "^2");
    let upgraded = world.node.run(&["upgrade", "app", "acme/app:2.0.0"]);
    assert!(upgraded.contains("\n  acme/flows 2.0.0 as flows: upgraded\n"), "{upgraded}");
    assert_eq!(world.services(), ["app 2.0.0", "flows 2.0.0"]);
    assert!(starts() >= before, "what was counted is kept");
    // And back, both at once.
    let back = world.node.run(&["rollback", "app"]);
    assert!(back.contains("\n  acme/flows 1.1.0 as flows: rolled back\n"), "{back}");
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.1.0"]);
    world.node.run(&["upgrade", "app", "acme/app:2.0.0"]);

    // Nothing moves where the chain cannot be.
    world.publish("top", "1.0.0", &[needs("app", "^2", ""), needs("flows", "^2", "")].concat());
    world.node.run(&["install", "acme/top:1.0.0"]);
    let (_, said) = world.node.refused(&["upgrade", "app", "acme/app:1.0.0", "--allow-downgrade"]);
    assert!(
        said.contains("acme/app 1.0.0 → acme/flows ^1, but the service top → acme/flows ^2"),
        "{said}"
    );
    let removed = world.node.run(&["remove", "top"]);
    assert!(
        removed.ends_with("\napp is left, and nothing needs it any more: skep remove app\n"),
        "{removed}"
    );
    let removed = world.node.run(&["remove", "app"]);
    assert!(removed.contains("\nflows is left, and nothing needs it any more"), "{removed}");
    // Nobody is set back by what another wants.
    let (_, said) = world.node.refused(&["install", "acme/app:1.0.0"]);
    assert!(said.contains("flows runs 2.0.0, and 1.1.0 is older"), "{said}");
    world.node.run(&["remove", "flows"]);
    assert!(!world.node.has_pins());
}

#[test]
fn nothing_is_left_of_what_was_only_planned_and_one_name_is_one_services() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.app("1.0.0", "^1");
    world.node.start();
    world.node.run(&["install", "acme/app:1.0.0", "--dry-run"]);
    let let_in = || fs::read_dir(world.node.path("state/admitted")).unwrap().count();
    assert_eq!(let_in(), 0, "what was only looked at is gone");
    // One name is one service's.
    let (status, said) = world.node.refused(&["install", "acme/app:1.0.0", "--as", "flows"]);
    assert_eq!(status, 1);
    assert!(said.contains("both acme/app and acme/flows would run as the service flows"), "{said}");
    assert!(said.contains("install acme/flows first, under another name: --as NAME"), "{said}");
    assert_eq!(let_in(), 0, "and so is what was refused");
    assert!(world.services().is_empty() && !world.node.has_pins());
}

#[test]
fn a_bundle_carries_what_its_packages_need() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.app("1.0.0", "^1");
    let app = format!("{}/acme/app:1.0.0", world.hub.host);
    world.node.run(&["bundle", &app, "-o", "site.skep"]);
    world.node.run(&["bundle", &app, "--without-dependencies", "-o", "alone.skep"]);
    let World { hub, node } = &mut world;
    fs::remove_file(node.path("config/skepd.toml")).unwrap();
    drop(std::mem::replace(hub, Hub::start())); // another one, which has nothing
    node.start();

    let (status, said) = node.refused(&["install", "alone.skep"]);
    assert_eq!(status, 1);
    assert!(
        said.contains("there is no version of acme/flows: acme/app 1.0.0 → acme/flows ^1"),
        "{said}"
    );
    let one = ["--package", "acme/app:1.0.0"];
    let installed = node.run(&[&["install", "site.skep"], &one[..]].concat());
    assert!(installed.contains("\n  acme/flows 1.0.0 as flows: installed\n"), "{installed}");
    // Each package by its own rule: what nobody signed is no part of a set.
    node.run(&["remove", "app"]);
    node.run(&["remove", "flows"]);
    let rules = fs::read_to_string(node.path("config/trust.toml")).unwrap();
    fs::write(node.path("config/trust.toml"), rules.replace("acme/*", "acme/app")).unwrap();
    let (status, said) = node.refused(&[&["install", "site.skep"], &one[..]].concat());
    assert_eq!(status, 4);
    assert!(
        said.contains("acme/app 1.0.0 needs acme/flows 1.0.0, which is not to be had"),
        "{said}"
    );
    assert!(said.contains("held against the rule for its own name"), "{said}");
    assert!(!node.has_pins());
}

#[test]
fn a_dependency_that_runs_is_held_against_its_rule_like_one_that_comes() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.app("1.0.0", "^1");
    let World { node, .. } = &mut world;
    let trust = node.path("config/trust.toml");
    let rules = fs::read_to_string(&trust).unwrap();
    node.start();
    node.run(&["install", "acme/flows:1.0.0"]);
    // Nobody answers for it any more.
    fs::write(&trust, rules.replace("acme/*", "acme/app")).unwrap();
    let refused = |node: &Node, why: &str| {
        let (status, said) = node.refused(&["install", "acme/app:1.0.0"]);
        assert_eq!(status, 4, "{said}");
        assert!(said.contains("acme/app 1.0.0 needs acme/flows 1.0.0"), "{said}");
        assert!(said.contains(why), "{said}");
    };
    refused(node, "no rule");
    // Or its key is out of use.
    let public = fs::read_to_string(node.path("key.pub")).unwrap();
    let key = skep_trust::PublicKey::from_pem(&public).unwrap().id();
    fs::write(&trust, format!("{rules}[revoked]\nkeys = [\"{key}\"]\n")).unwrap();
    let (status, said) = node.refused(&["install", "acme/app:1.0.0", "--allow-unsigned"]);
    assert_eq!(status, 4, "{said}");
    assert!(said.contains("revoked"), "{said}");
    // Consent to it by itself is consent, and is told.
    fs::write(&trust, rules.replace("acme/*", "acme/app")).unwrap();
    node.run(&["upgrade", "flows", "acme/flows:1.0.0", "--allow-unsigned"]);
    let installed = node.run(&["install", "acme/app:1.0.0"]);
    let line = "\n  acme/flows 1.0.0 as flows: runs already, NOT SIGNED\n";
    assert!(installed.contains(line), "{installed}");
    node.run(&["remove", "app"]);
    node.run(&["remove", "flows"]);
    assert!(!node.has_pins());
}

#[test]
fn leave_to_go_back_unsigned_is_for_the_service_that_is_named() {
    let mut world = World::new();
    for version in ["1.0.0", "2.0.0"] {
        world.flows(version);
        world.app(version, &format!("^{}", &version[..1]));
    }
    let World { node, .. } = &mut world;
    node.start();
    node.run(&["install", "acme/app:1.0.0"]);
    node.run(&["upgrade", "app", "acme/app:2.0.0"]);
    // Nobody answers for the one any more.
    let trust = node.path("config/trust.toml");
    let rules = fs::read_to_string(&trust).unwrap();
    fs::write(&trust, rules.replace("acme/*", "acme/app")).unwrap();
    for leave in [&[][..], &["--allow-unsigned"], &["--also-unsigned", "app"]] {
        let (status, said) = node.refused(&[&["rollback", "app"], leave].concat());
        assert_eq!(status, 4, "{said}");
        assert!(said.contains("flows goes back with app, and is not let in"), "{said}");
        assert!(said.contains("--also-unsigned flows"), "{said}");
    }
    let (status, said) = node.refused(&["rollback", "app", "--also-unsigned", "other"]);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("other does not go back with app"), "{said}");
    // It is named, or the one that the other goes with.
    let back = node.run(&["rollback", "app", "--also-unsigned", "flows"]);
    assert!(back.contains("\n  acme/flows 1.0.0 as flows: rolled back\n"), "{back}");
    fs::write(&trust, &rules).unwrap();
    node.run(&["upgrade", "app", "acme/app:2.0.0"]);
    fs::write(&trust, rules.replace("acme/*", "acme/app")).unwrap();
    let back = node.run(&["rollback", "flows", "--allow-unsigned"]);
    assert!(back.contains("\n  acme/app 1.0.0 as app: rolled back\n"), "{back}");
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.0.0"]);
    world.node.run(&["remove", "app"]);
    world.node.run(&["remove", "flows"]);
    assert!(!world.node.has_pins());
}

#[test]
fn a_lock_pins_what_a_package_is_built_against() {
    let world = World::new();
    world.flows("1.0.0");
    world.flows("1.1.0");
    let project = world.project("app", "1.0.0", &depends("^1"));
    let lock = || fs::read_to_string(world.node.path(&project).join("skep.lock")).unwrap();
    let types = world.node.path(&project).join("vmlinux.btf");
    fs::copy("/sys/kernel/btf/vmlinux", types).unwrap();
    let build = ["build", &project];
    world.run(&build);
    let pinned = lock();
    assert!(
        pinned.contains("[dependencies.\"acme/flows\"]\nversion = \"1.1.0\"\ndigest = \"sha256:"),
        "{pinned}"
    );
    world.flows("1.2.0");
    world.run(&build);
    assert_eq!(lock(), pinned, "a newer one is not taken by itself");
    // Without the hub, too; with one that does not answer, that is said.
    world.node.run(&[&build[..], &["--locked"]].concat());
    let mut far = world.node.skep(&build);
    let output = wait::output(far.env("SKEP_HUB", "127.0.0.1:1"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("what skep.lock pins was not held against the hub"), "{said}");
    // One more moves no other.
    world.publish("more", "1.0.0", "");
    world.project("app", "1.0.0", &[depends("^1"), needs("more", "^1", "")].concat());
    world.run(&build);
    assert!(lock().contains("version = \"1.1.0\""), "{}", lock());
    assert!(lock().contains("[dependencies.\"acme/more\"]"), "{}", lock());
    world.project("app", "1.0.0", &depends("^1"));
    world.run(&build);
    assert_eq!(lock(), pinned);
    world.project("app", "1.0.0", &depends("=1.2"));
    let (_, said) = world.node.refused(&[&build[..], &["--locked"]].concat());
    assert!(said.contains("--locked: skep.lock has no acme/flows that is in =1.2"), "{said}");
    world.run(&build);
    assert!(lock().contains("version = \"1.2.0\""), "{}", lock());
    let (_, said) = {
        world.project("app", "1.0.0", &depends("^7"));
        world.node.said(&wait::output(&mut world.skep(&build)))
    };
    assert!(said.contains("no version of acme/flows is in every range: acme/app 1.0.0 → acme/flows ^7; there are 1.2.0, 1.1.0, 1.0.0"), "{said}");
}

#[test]
fn what_a_lock_pins_never_changes() {
    let world = World::new();
    world.flows("1.1.0");
    world.publish("more", "1.0.0", "");
    let project = world.project("app", "1.0.0", &depends("^1"));
    let types = world.node.path(&project).join("vmlinux.btf");
    fs::copy("/sys/kernel/btf/vmlinux", types).unwrap();
    let build = ["build", &project];
    world.run(&build);
    let file = world.node.path(&project).join("skep.lock");
    let pinned = fs::read_to_string(&file).unwrap();
    // Another package under a version that is pinned is no longer what this is built against.
    let digest = pinned.split("[dependencies.").nth(1).unwrap().split("sha256:").nth(1).unwrap();
    let digest = &digest[..64];
    fs::write(&file, pinned.replace(digest, &"0".repeat(64))).unwrap();
    for locked in [&["--locked"][..], &[]] {
        let (status, said) =
            world.node.said(&wait::output(&mut world.skep(&[&build[..], locked].concat())));
        assert_eq!(status, 1, "{said}");
        let words = "skep.lock pins acme/flows 1.1.0 as sha256:0000000";
        assert!(said.contains(words), "{said}");
        assert!(said.contains(&format!("and the hub has sha256:{digest}")), "{said}");
    }
    // The same where something else is to be found anew.
    world.project("app", "1.0.0", &[depends("^1"), needs("more", "^1", "")].concat());
    let (status, said) = world.node.said(&wait::output(&mut world.skep(&build)));
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("skep.lock pins acme/flows 1.1.0 as sha256:0000000"), "{said}");
}

#[test]
fn what_another_needs_is_stopped_with_it_and_started_before_it() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.flows("2.0.0");
    world.app("1.0.0", "^1");
    world.app("2.0.0", "^2");
    world.node.start();
    let node = &world.node;
    world.run(&["install", "acme/app:1.0.0"]);
    let (status, said) = node.refused(&["stop", "flows"]);
    assert_eq!(status, 1);
    assert!(said.contains("error: flows cannot be stopped: app needs it"), "{said}");
    assert!(said.contains("hint: --with-users"), "{said}");
    let said = node.run(&["stop", "flows", "--with-users"]);
    assert!(said.starts_with("Stopped app\nStopped flows in "), "{said}");
    let (_, said) = node.refused(&["start", "app"]);
    assert!(said.contains("error: app needs flows, which is stopped"), "{said}");
    assert!(said.contains("--with-needed"), "{said}");
    let said = node.run(&["start", "app", "--with-needed"]);
    assert!(said.starts_with("Started flows\nStarted app in "), "{said}");
    let told = node.json(&["history", "flows"]);
    assert_eq!((&told[0]["what"], &told[0]["with"]), (&"start".into(), &"app".into()));
    // Held, it is upgraded as a part of a set no more than by itself.
    node.run(&["hold", "flows"]);
    let output = wait::output(&mut world.skep(&["upgrade", "app", "acme/app:2.0.0"]));
    let (_, said) = node.said(&output);
    assert!(said.contains("flows is held at 1.0.0"), "{said}");
    assert_eq!(world.services().join(", "), "app 1.0.0, flows 1.0.0");
    node.run(&["stop", "flows", "--force"]);
    assert_eq!(node.json(&["list"])[0]["state"], "running");
}
