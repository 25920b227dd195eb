//! What maps count and hold, as people, programs and scrapers read it, of a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;

use node::Node;
use serde_json::{Value, json};

const SOURCE: &str = include_str!("c/metrics.bpf.c");
const MANIFEST: &str = r#"spec = "1.0"

[package]
name = "acme/metrics"
version = "1.0.0"
license = "GPL-2.0-only"

[object.metrics]
sources = ["metrics.bpf.c"]

[output.took]
kind = "histogram"
map = "took"
value = "slots"
buckets = { scale = "log2", unit = "us" }
labels.dev = { key = "dev", format = "device" }
labels.comm = { key = "comm" }

[output.depth]
kind = "gauge"
map = "depth"
labels.queue = { key = "key", format = "hex" }

[output.calls]
kind = "counter"
map = "calls"

[output.peers]
kind = "snapshot"
map = "peers"
fields.address = { format = "ip" }
fields.since = { format = "duration", unit = "ms", name = "age" }

[permissions]
hooks = ["tracepoint/sched/sched_process_exec"]
helpers = ["map_lookup_elem"]
"#;

/// A node with the project in its folder.
fn node(manifest: &str) -> Node {
    let node = Node::started();
    fs::create_dir(node.path("metrics")).unwrap();
    fs::write(node.path("metrics/metrics.bpf.c"), SOURCE).unwrap();
    fs::write(node.path("metrics/skep.toml"), manifest).unwrap();
    node
}

const PACK: &[&str] =
    &["pack", "metrics", "-o", "metrics.oci", "--btf", "host", "--arch", "x86_64"];

#[test]
fn metrics_of_every_kind_are_shown() {
    let node = node(MANIFEST);
    node.run(PACK);
    let said = node.run(&["install", "metrics.oci", "--allow-unsigned"]);
    assert!(!said.contains("does not act on"), "{said}");
    let empty = node.run(&["metrics", "metrics"]);
    assert_eq!(empty.matches("nothing yet").count(), 4, "{empty}");

    let set = |map: &str, key: Value, value: Value| {
        node.run(&["map", "update", "metrics", map, &key.to_string(), &value.to_string()]);
    };
    set(
        "took",
        json!({"dev": 8 << 20 | 17, "comm": "dd"}),
        json!({"slots": [1, 0, 40, 20, 0, 0, 0, 0], "total": 61}),
    );
    set(
        "took",
        json!({"dev": 7, "comm": "cp"}),
        json!({"slots": [0, 2, 0, 0, 0, 0, 0, 0], "total": 2}),
    );
    set("depth", json!(3), json!(12));
    set("peers", json!(7), json!({"address": 0x0100_000a, "way": "OUTWARDS", "since": 61_000}));
    let cpus = node.json(&["map", "dump", "metrics", "calls"]);
    assert_eq!(cpus, json!([]));
    set("calls", json!(9), json!(1));
    let cpus =
        node.json(&["map", "lookup", "metrics", "calls", "9"])["values"].as_array().unwrap().len();

    insta::assert_snapshot!(
        "people",
        node.run(&["metrics", "metrics"]).replacen(&format!(" {cpus}\n"), " CPUS\n", 1)
    );
    let all = node.json(&["metrics", "metrics"]);
    let of = |name: &str| {
        all.as_array().unwrap().iter().find(|one| one["output"] == name).unwrap()["rows"].clone()
    };
    let took = of("took");
    let dd = took.as_array().unwrap().iter().find(|row| row["labels"]["comm"] == "dd").unwrap();
    assert_eq!(dd["labels"], json!({"dev": "8:17", "comm": "dd"}));
    assert_eq!(
        dd["buckets"],
        json!([
            {"from": 0, "to": 1, "count": 1}, {"from": 2, "to": 3, "count": 0},
            {"from": 4, "to": 7, "count": 40}, {"from": 8, "to": 15, "count": 20},
        ])
    );
    assert_eq!(of("calls")[0]["value"], cpus, "added over the CPUs");
    assert_eq!(of("depth")[0]["labels"], json!({"queue": "0x3"}));
    assert_eq!(
        of("peers")[0]["value"],
        json!({"address": "10.0.0.1", "way": "OUTWARDS", "since": 61_000})
    );
    assert_eq!(node.json(&["metrics", "metrics", "depth"]).as_array().unwrap().len(), 1);
    let text = node.run(&["metrics", "metrics", "--open-metrics"]);
    insta::assert_snapshot!("scrapers", text.replacen(&format!(" {cpus}\n"), " CPUS\n", 1));
    let (status, said) = node.refused(&["metrics", "metrics", "dept"]);
    assert_eq!(status, 2);
    assert!(said.contains("did you mean 'depth'?"), "{said}");
}

#[test]
fn what_no_map_has_is_refused_by_pack() {
    let node = node(MANIFEST);
    let mut text = String::new();
    for (right, wrong) in [
        ("value = \"slots\"", "value = \"total\""),
        ("key = \"dev\"", "key = \"device\""),
        ("key = \"comm\"", "key = \"comm\", format = \"mac\""),
        ("key = \"key\"", "key = \"index\""),
        ("fields.address", "fields.adress"),
        ("map = \"calls\"", "map = \".bss\""),
    ] {
        fs::write(node.path("metrics/skep.toml"), MANIFEST.replacen(right, wrong, 1)).unwrap();
        let (_, said) = node.refused(PACK);
        text += &said;
    }
    insta::assert_snapshot!(text);
}
