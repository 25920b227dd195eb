//! Services that are stopped, started, held and committed, as they are typed, by a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use node::Node;
use serde_json::Value;

fn state(node: &Node) -> String {
    node.json(&["list"])[0]["state"].as_str().unwrap().to_owned()
}

/// How many programs the service has counted.
fn counted(node: &Node) -> u64 {
    let detail = node.json(&["show", "exec"]);
    let rows =
        detail["counters"].as_object().unwrap().values().flat_map(|rows| rows.as_array().unwrap());
    rows.map(|row| row["value"].as_u64().or(row["value"]["execs"].as_u64()).unwrap()).sum()
}

fn start_programs() {
    for _ in 0..5 {
        assert!(Command::new("true").status().unwrap().success());
    }
}

#[test]
fn a_service_is_stopped_and_started() {
    let mut node = Node::new();
    node.sign_both();
    node.start();
    node.run(&["install", "exec.oci"]);
    start_programs();
    assert!(node.run(&["stop", "exec"]).starts_with("Stopped exec in "));
    assert_eq!(state(&node), "stopped");
    let before = counted(&node);
    assert!(before >= 5, "{before}");
    start_programs();
    assert_eq!(counted(&node), before, "what it counted stays, and nothing is added");
    assert_eq!(node.run(&["stop", "exec"]), "exec is stopped already\n");
    let (status, said) = node.refused(&["upgrade", "exec", "exec-2.oci"]);
    assert_eq!(status, 1);
    assert!(said.contains("error: exec is stopped"), "{said}");
    assert!(said.contains("hint: skep start attaches it again"), "{said}");
    node.kill();
    let said = node.start();
    assert!(said.contains("stopped: it waits for skep start"), "{said}");
    assert_eq!(state(&node), "stopped");
    assert!(node.run(&["start", "exec"]).starts_with("Started exec in "));
    assert_eq!(node.run(&["start", "exec"]), "exec runs already\n");
    start_programs();
    assert!(counted(&node) >= before + 5);
    assert_eq!(node.run(&["restart", "exec", "--quiet"]), "");
    assert_eq!(node.json(&["stop", "exec"])["services"], serde_json::json!(["exec"]));
    let (status, said) = node.refused(&["stop", "exce"]);
    assert_eq!(status, 1);
    assert!(said.contains("did you mean 'exec'?"), "{said}");
    node.run(&["remove", "exec"]);
    assert!(!node.has_pins());
}

#[test]
fn what_is_unsigned_is_started_by_leave_alone() {
    let node = Node::started();
    node.pack("exec");
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    let (status, _) = node.refused(&["restart", "exec"]);
    assert_eq!((status, state(&node).as_str()), (4, "running"), "it was not stopped for that");
    node.run(&["stop", "exec"]);
    let (status, said) = node.refused(&["start", "exec"]);
    assert_eq!(status, 4, "{said}");
    assert!(said.contains("--allow-unsigned"), "{said}");
    node.run(&["start", "exec", "--allow-unsigned"]);
    assert_eq!(state(&node), "running");
}

#[test]
fn a_service_is_held_and_committed_and_its_history_says_so() {
    let mut node = Node::new();
    node.sign_both();
    node.start();
    let (status, said) = node.refused(&["history", "exec"]);
    assert_eq!(status, 1);
    assert!(said.contains("there is no service exec"), "{said}");
    node.run(&["install", "exec.oci"]);
    assert_eq!(
        node.run(&["commit", "exec"]),
        "exec has nothing to give up: no version before is kept\n"
    );
    assert!(node.run(&["hold", "exec"]).starts_with("exec stays at 1.0.0 until "));
    assert!(node.run(&["list"]).contains("exec is held at 1.0.0"));
    for dry_run in [&["--dry-run"][..], &[]] {
        let (status, said) = node.refused(&[&["upgrade", "exec", "exec-2.oci"], dry_run].concat());
        assert_eq!(status, 1);
        assert!(said.contains("error: exec is held at 1.0.0"), "{said}");
        assert!(said.contains("hint: skep unhold"), "{said}");
    }
    node.kill();
    node.start();
    assert_eq!(node.json(&["list"])[0]["held"], true);
    assert_eq!(node.run(&["unhold", "exec"]), "exec may be upgraded again\n");
    node.run(&["upgrade", "exec", "exec-2.oci"]);
    let said = node.run(&["commit", "exec"]);
    assert!(said.starts_with("Committed exec: 1.0.0 (generation 1) is gone"), "{said}");
    let (_, said) = node.refused(&["rollback", "exec"]);
    assert!(said.contains("no generation to roll back to"), "{said}");
    node.run(&["remove", "exec"]);
    let deeds = node.json(&["history", "exec"]);
    let deeds = deeds.as_array().unwrap();
    let what = |deed: &Value| {
        let version = |at: &str| deed[at]["version"].as_str().unwrap_or("-").to_owned();
        let done = if deed["error"].is_null() { "done" } else { "failed" };
        format!("{} {} {} {done}", deed["what"].as_str().unwrap(), version("from"), version("to"))
    };
    let said: Vec<String> = deeds.iter().map(what).collect();
    let expected = [
        "remove 2.0.0 - done",
        "rollback 2.0.0 2.0.0 failed",
        "commit 2.0.0 2.0.0 done",
        "upgrade 1.0.0 2.0.0 done",
        "unhold 1.0.0 1.0.0 done",
        "upgrade 1.0.0 1.0.0 failed",
        "hold 1.0.0 1.0.0 done",
        "commit 1.0.0 1.0.0 done",
        "install - 1.0.0 done",
    ];
    assert_eq!(said, expected);
    let tried: Vec<&str> = deeds.iter().filter_map(|deed| deed["tried"].as_str()).collect();
    assert_eq!(tried, ["2.0.0"], "of what failed, which version it was");
    let table = node.run(&["history", "exec"]);
    assert!(table.contains("upgrade to 2.0.0  1.0.0 (1)  1.0.0 (1)"), "{table}");
    assert!(deeds.iter().all(|deed| deed["by"].as_str().unwrap().starts_with("root")));
    let table = node.run(&["history", "exec", "--limit", "2"]);
    assert_eq!(table.lines().count(), 3, "{table}");
}

#[test]
fn systemd_is_told_when_skepd_answers_lives_and_ends() {
    let mut node = Node::new();
    let socket = node.path("notify");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let next = || {
        let mut bytes = [0; 100];
        let length = heard.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut command = node.skepd();
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "50000");
    node.start_as(command);
    assert_eq!(next(), "READY=1");
    assert_eq!(next(), "WATCHDOG=1");
    assert_eq!(next(), "WATCHDOG=1");
    node.stop();
    let mut last = next();
    while last == "WATCHDOG=1" {
        last = next();
    }
    assert_eq!(last, "STOPPING=1");
}

/// From a real run on this kernel to what is signed of it.
#[test]
fn what_became_of_a_package_on_this_kernel_is_reported_and_signed() {
    let node = Node::new();
    node.sign_both();
    let mut node = node;
    node.start();
    let report = || -> Value {
        serde_json::from_str(&fs::read_to_string(node.path("ran.json")).unwrap()).unwrap()
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let of = |result: &str| serde_json::json!({"release": release.trim(), "arch": std::env::consts::ARCH, "result": result});
    // What never came to the kernel says nothing of it, nor does what is no report give way.
    let gone = |text: &str| {
        let at = "target = \"tracepoint/sched/no_such_event\"\n";
        text.replace("function = \"on_exec\"\n", &format!("function = \"on_exec\"\n{at}"))
            .replace("sched_process_exec", "no_such_event")
    };
    let chosen = "[alternatives.seen]\ntry = [[\"exec\"]]\n\n[map.execs]";
    node.forge("exec", "away.oci", gone);
    node.forge("exec", "gone.oci", |text| gone(text).replace("[map.execs]", chosen));
    let (status, said) = node.refused(&["install", "gone.oci", "--report", "ran.json"]);
    assert!(status == 4 && said.contains(" (trust.unsigned)\n"), "{said}");
    let unreported =
        "hint: no result was written to 'ran.json': what stopped it says nothing of this kernel\n";
    assert!(said.contains(unreported), "{said}");
    assert!(!node.path("ran.json").exists());
    let away = ["install", "127.0.0.1:1/skep/exec:1.0.0", "--report", "ran.json"];
    let (status, said) = node.refused(&away);
    assert!(status == 1 && said.contains(unreported), "{said}");
    assert!(!node.path("ran.json").exists());
    fs::write(node.path("list.json"), "[]").unwrap();
    let (status, said) = node.refused(&["install", "exec.oci", "--report", "list.json"]);
    assert!(status == 2 && said.contains("is no list of kernels and results"), "{said}");
    let nowhere = ["install", "exec.oci", "--report", "no/folder/ran.json"];
    let (status, said) = node.refused(&nowhere);
    assert!(status == 2 && said.contains("there is no folder 'no/folder'"), "{said}");
    let another =
        serde_json::json!({"package": {"name": "acme/other", "version": "1.0.0"}, "kernels": []});
    fs::write(node.path("other.json"), another.to_string()).unwrap();
    for args in [
        &["install", "exec.oci", "--report", "other.json"][..],
        &["attest", "exec.oci", "--key", "key.key", "--report", "other.json"],
    ] {
        let (status, said) = node.refused(args);
        assert!(status == 2 && said.contains("says how acme/other 1.0.0 was tried"), "{said}");
    }
    assert_eq!(node.json(&["list"]), serde_json::json!([]));

    let other = serde_json::json!({"release": "5.10.0", "arch": "x86_64", "result": "WARNED"});
    fs::write(node.path("ran.json"), serde_json::json!({"kernels": [other]}).to_string()).unwrap();
    // A target that is not there says nothing of the kernel; that no alternative could run does.
    node.refused(&["install", "away.oci", "--allow-unsigned", "--report", "ran.json"]);
    assert_eq!(report()["kernels"], serde_json::json!([other]));
    node.refused(&["install", "gone.oci", "--allow-unsigned", "--report", "ran.json"]);
    assert_eq!(report()["kernels"], serde_json::json!([other, of("FAILED")]));
    node.run(&["install", "exec.oci", "--report", "ran.json"]);
    assert_eq!(report()["kernels"], serde_json::json!([other, of("PASSED")]));

    fs::write(node.path("ran.json"), serde_json::json!({"kernels": [of("PASSED")]}).to_string())
        .unwrap();
    node.run(&["attest", "exec.oci", "--key", "key.key", "--report", "ran.json"]);
    let verify = ["verify", "exec.oci", "--key", "key.pub", "--attestation", "compatibility"];
    let said: Value = serde_json::from_str(&node.run(&verify)).unwrap();
    assert!(said.to_string().contains(release.trim()), "{said}");
    assert!(said.to_string().contains("PASSED"), "{said}");
}
