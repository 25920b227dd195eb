//! Records whose JSON is thousands of times as long as they are: skepd's memory stays as it is, and its readers get them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod node;
mod wait;

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use node::Node;
use serde_json::Value;

/// A record is 70 elements of four bytes, each under a name of 3,584 of them: 280 bytes are 1 MB of JSON.
const SOURCE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
#define TWICE_(n) n##n
#define TWICE(n) TWICE_(n)
#define LONG(n) TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(TWICE(n)))))))))
struct often { unsigned char LONG(letters), LONG(of_many), LONG(andmore), LONG(indeed_); };
struct event { struct often list[70]; } record;
struct { int (*type)[27]; int (*max_entries)[65536]; } events SEC(".maps");
const volatile unsigned pid = 0;
static long (*output)(void *, void *, unsigned long long, unsigned long long) = (void *)130;
static unsigned long long (*pid_tgid)(void) = (void *)14;
SEC("raw_tp/task_rename") int on(void *ctx)
{
	if (pid_tgid() >> 32 == pid)
		output(&events, &record, sizeof(record), 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
"#;

const MANIFEST: &str = r#"
spec = "1.0"
[package]
name = "acme/large"
version = "1.0.0"
license = "GPL-2.0-only"
[object.large]
file = { ARCH = "large.o" }
[param.pid]
type = "pid"
rodata = "pid"
[permissions]
hooks = ["raw_tp"]
helpers = ["ringbuf_output", "get_current_pid_tgid"]
map-memory = "1MiB"
"#;

fn packed() -> Node {
    let node = Node::started();
    let folder = node.path("large");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("large.c"), SOURCE).unwrap();
    fs::write(folder.join("skep.toml"), MANIFEST.replace("ARCH", std::env::consts::ARCH)).unwrap();
    let mut clang = Command::new("clang");
    clang.args(["-target", "bpf", "-O2", "-g", "-c", "-o", "large.o", "large.c"]);
    assert!(clang.current_dir(folder).status().unwrap().success());
    node.run(&["pack", "large", "-o", "large.oci"]);
    node
}

/// Events of this process, at the program's hook.
fn rename() {
    fs::write("/proc/thread-self/comm", "renamed").unwrap();
}

#[test]
fn json_that_is_far_longer_than_its_record_takes_no_memory_of_skepds() {
    let node = packed();
    let pid = format!("pid={}", std::process::id());
    node.run(&["install", "large.oci", "--allow-unsigned", "--as", "large", "--set", &pid]);

    let args = ["events", "large", "--events", "5", "--output", "ndjson"];
    let child = node.skep(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut from = child;
    let lines = wait::lines(from.stdout.take().unwrap());
    let out = wait::ended_while("skep events", from, rename);
    assert!(out.status.success());
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line["event"]["list"].as_array().unwrap().len() == 70));

    // A reader that does not read: what it could have waits as bytes.
    let mut idle = UnixStream::connect(node.socket()).unwrap();
    let path = "/v1/services/large/events?follow=true&table=false";
    idle.write_all(format!("GET {path} HTTP/1.1\r\nhost: skepd\r\n\r\n").as_bytes()).unwrap();
    let read = || node.json(&["show", "large"])["events_read"].as_u64().unwrap();
    wait::until("records to be read", || {
        (0..100).for_each(|_| rename());
        read() > 600
    });
    let most = node.memory("VmHWM:");
    assert!(most < 64 << 20, "{} MiB", most >> 20);
    drop(idle);
    node.run(&["remove", "large"]);
    wait::until("memory to be given back", || node.memory("VmRSS:") < 64 << 20);
}
