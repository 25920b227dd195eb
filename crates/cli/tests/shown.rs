//! What of events is shown: conditions, fields, rows with commas; and what programs do, by a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use node::Node;
use serde_json::Value;

fn running() -> Node {
    let node = Node::started();
    node.pack("exec");
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    node
}

/// A program that no other test starts, by its name.
fn own_program(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    let program = folder.path().join(name);
    std::fs::copy("/bin/true", &program).unwrap();
    program
}

/// Starts a program and gives its process id.
fn started(program: &Path) -> u64 {
    let mut child = Command::new(program).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    u64::from(child.id())
}

#[test]
fn events_that_a_condition_takes_are_shown_with_the_fields_that_are_wanted() {
    let node = running();
    let folder = tempfile::tempdir().unwrap();
    let own = own_program(&folder, "shown-events");
    let pids: Vec<u64> = (0..5).map(|_| started(&own)).collect();
    let wanted = format!("pid == {} || pid == {} && comm == \"shown-events\"", pids[1], pids[3]);
    let events = node
        .run(&["events", "exec", "--where", &wanted, "--fields", "comm,pid", "--output", "ndjson"]);
    let expected =
        |pid: u64| format!(r#"{{"output":"exec","event":{{"pid":{pid},"comm":"shown-events"}}}}"#);
    assert_eq!(events.lines().collect::<Vec<_>>(), [expected(pids[1]), expected(pids[3])]);
    let left = node.run(&["events", "exec", "--where", "comm == \"shown-events\""]);
    assert_eq!(left, "", "they were taken");

    let pid = started(&own);
    let condition = format!("pid == {pid}");
    let args = ["events", "exec", "--where", &condition, "--fields", "comm,pid", "--output", "csv"];
    assert_eq!(node.run(&args), format!("pid,comm\n{pid},shown-events\n"));
    for (args, says) in [
        (["events", "exec", "--where", "pidd == 1"], "did you mean 'pid'?"),
        (["events", "exec", "--where", "comm > a"], "compare it by == or !="),
        (["events", "exec", "--where", "pid =="], "a value should stand here"),
        (["events", "exec", "--fields", "pid,com"], "did you mean 'comm'?"),
        (["show", "exec", "--output", "csv"], "for rows that come one by one"),
    ] {
        let (status, said) = node.refused(&args);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn programs_are_listed_shown_and_counted() {
    let node = running();
    let list = node.json(&["prog", "list", "exec"]);
    assert_eq!((&list[0]["name"], &list[0]["kind"]), (&"exec".into(), &"tracepoint".into()));
    assert!(node.run(&["prog", "show", "exec", "exec"]).contains("of exec, generation 1"));
    let number = list[0]["id"].to_string();
    assert_eq!(node.json(&["prog", "show", "--id", &number])["name"], "exec");
    let all = node.json(&["prog", "list", "--all"]);
    assert!(all.as_array().unwrap().len() > 1, "the stub too");
    let code = node.run(&["prog", "disasm", "exec", "exec"]);
    assert!(code.contains("; map events (id ") && code.contains("exit"), "{code}");
    node.run(&["prog", "dump", "exec", "exec", "-o", "code"]);
    let dumped = fs::read(node.path("code")).unwrap();
    assert_eq!(dumped.len() % 8, 0);
    let first = node.json(&["prog", "disasm", "exec", "exec"])[0]["bytes"].clone();
    let hex: String = dumped[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(first.as_str().unwrap().starts_with(&hex), "{first} {hex}");
    let row = node.json(&["prog", "show", "exec", "exec"]);
    assert_eq!(row["instructions"], dumped.len() / 8);
    let jited = node.skep(&["prog", "dump", "exec", "exec", "--jited"]).output().unwrap();
    assert_eq!(row["machine_bytes"], jited.stdout.len(), "raw, where it is no terminal");
    let code = node.json(&["prog", "dump", "--id", &number, "--jited"]);
    assert_eq!(code["bytes"].as_str().unwrap().len(), 2 * jited.stdout.len());
    let (_, said) = node.refused(&["prog", "show", "exec", "exek"]);
    assert!(said.contains("did you mean 'exec'?"), "{said}");
    let (_, said) = node.refused(&["prog", "run", "exec", "exec"]);
    assert!(said.contains("cannot test-run the program"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let own = own_program(&folder, "shown-programs");
    let mut counting =
        node.skep(&["prog", "stats", "--all", "--duration", "2s", "--output", "json"]);
    let counting = counting.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let output = wait::ended_while("skep prog stats", counting, || {
        started(&own);
    });
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = |id: &Value| rows.as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap();
    // The kernel counts for its stub, which calls it each time.
    let ours = row(&list[0]["id"]);
    assert!(ours["runs"].as_u64() > Some(0), "{ours}");
    let stub = row(&ours["counted_by"]);
    assert_eq!((&stub["runs"], &stub["name"]), (&ours["runs"], &"skep_exec_exec".into()));

    let mut top = node.skep(&["top", "exec", "--every", "300ms", "--times", "2"]);
    let top = top.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let output = wait::ended_while("skep top", top, || {
        started(&own);
    });
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("RUNS") && text.contains("EACH"), "{text}");
    assert!(!text.contains("None of them ran."), "{text}");
}

#[test]
fn a_version_that_waits_for_a_rollback_has_no_runs_to_show() {
    let node = running();
    let folder = tempfile::tempdir().unwrap();
    let own = own_program(&folder, "shown-waits");
    let first = node.json(&["prog", "list", "exec"])[0]["id"].clone();
    node.pack("exec-2");
    node.run(&["upgrade", "exec", "exec-2.oci", "--allow-unsigned"]);
    let mut counting = node.skep(&["prog", "stats", "exec", "--duration", "1s"]);
    let counting = counting.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let output = wait::ended_while("skep prog stats", counting, || {
        started(&own);
    });
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |id: &Value| {
        let id = id.to_string();
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(&id));
        line.unwrap_or_else(|| panic!("{id} in {text}")).split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(line(&first)[4..], ["-", "-", "-"], "{text}");
    assert!(text.contains("Not counted (-): its generation is not active"), "{text}");
    let rows = node.json(&["prog", "list", "exec"]);
    let second = rows.as_array().unwrap().iter().find(|row| row["generation"] == 2).unwrap();
    assert!(line(&second["id"])[4].parse::<u64>().unwrap() > 0, "{text}");
}
