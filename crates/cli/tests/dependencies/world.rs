//! A hub and a node with packages that need each other.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::hub::Hub;
use crate::node::Node;
use crate::wait;

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
pub struct World {
    pub hub: Hub,
    pub node: Node,
}

impl World {
    pub fn new() -> Self {
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
    pub fn project(&self, name: &str, version: &str, more: &str) -> String {
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
    pub fn skep(&self, args: &[&str]) -> Command {
        let mut command = self.node.skep(args);
        command.env("SKEP_HUB", &self.hub.host);
        command
    }

    pub fn run(&self, args: &[&str]) -> String {
        let output = wait::output(&mut self.skep(args));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skep {}: {said}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Packs, signs and pushes a project.
    pub fn publish(&self, name: &str, version: &str, more: &str) {
        let project = self.project(name, version, more);
        let layout = format!("{project}.oci");
        self.run(&["pack", &project, "-o", &layout, "--btf", "host"]);
        self.run(&["sign", &layout, "--key", "key.key"]);
        self.run(&["push", &layout, &format!("{}/acme/{name}:{version}", self.hub.host)]);
    }

    pub fn flows(&self, version: &str) {
        self.publish("flows", version, "[map.starts]\nexport = { mode = \"0640\" }\n");
    }

    pub fn app(&self, version: &str, range: &str) {
        self.publish("app", version, &needs("flows", range, "maps = [\"starts\"]"));
    }

    pub fn services(&self) -> Vec<String> {
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

/// What is said of a package that another needs.
pub fn needs(name: &str, range: &str, more: &str) -> String {
    format!("[dependencies.\"acme/{name}\"]\nversion = \"{range}\"\n{more}\n")
}
