//! Maps of services and of others, looked at and changed, by a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::process::Command;

use node::Node;
use serde_json::{Value, json};

fn running() -> Node {
    let node = Node::started();
    node.pack("exec");
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    node
}

/// The id of a service's map.
fn id(node: &Node, map: &str) -> String {
    let maps = node.json(&["map", "list", "exec"]);
    let is_it = |row: &&Value| row["name"] == map;
    maps.as_array().unwrap().iter().find(is_it).unwrap()["id"].to_string()
}

fn key(comm: &str) -> String {
    json!({ "comm": comm }).to_string()
}

#[test]
fn entries_of_a_service_are_set_shown_and_removed() {
    let mut node = running();
    let list = node.run(&["map", "list", "exec"]);
    assert!(list.contains("struct parent") && list.contains("percpu_array"), "{list}");
    assert!(!list.contains("skep-lost"), "{list}");

    node.run(&["map", "update", "exec", "execs", &key("nobody"), r#"{"execs":7}"#]);
    let one = node.json(&["map", "lookup", "exec", "execs", &key("nobody")]);
    assert_eq!(one, json!({"key": {"comm": "nobody"}, "value": {"execs": 7}}));
    let table = node.run(&["map", "lookup", "exec", "execs", &key("nobody")]);
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(cells, ["COMM", "EXECS", "nobody", "7"]);
    let all = node.json(&["map", "dump", "exec", "execs"]);
    assert!(all.as_array().unwrap().contains(&one), "{all}");
    let lines = node.run(&["map", "dump", "exec", "execs", "--output", "ndjson"]);
    assert!(lines.lines().any(|line| serde_json::from_str::<Value>(line).unwrap() == one));
    assert!(node.run(&["map", "dump", "exec", "execs"]).contains("nobody"));
    assert!(node.run(&["show", "exec"]).contains("nobody"), "it counts as any other");

    let (_, said) = node.refused(&[
        "map",
        "update",
        "exec",
        "execs",
        &key("nobody"),
        r#"{"execs":8}"#,
        "--new",
    ]);
    assert!(said.contains("File exists"), "{said}");
    node.run(&["map", "delete", "exec", "execs", &key("nobody"), "-q"]);
    let (status, said) = node.refused(&["map", "lookup", "exec", "execs", &key("nobody")]);
    assert_eq!(status, 1);
    assert!(
        said.contains(r#"the map 'execs' has no entry with the key {"comm":"nobody"}"#),
        "{said}"
    );
    let log = node.stop();
    assert_eq!(log.matches("root set an entry").count(), 1, "{log}");
    assert_eq!(log.matches("root removed an entry").count(), 1, "{log}");
}

#[test]
fn values_per_cpu_come_one_for_each() {
    let node = running();
    let cpus = std::thread::available_parallelism().unwrap().get(); // at least
    node.run(&["map", "update", "exec", "seen", "65535", "9"]);
    let values = node.json(&["map", "lookup", "exec", "seen", "65535"])["values"].clone();
    let values = values.as_array().unwrap();
    assert!(values.len() >= cpus && values.iter().all(|value| *value == 9), "{values:?}");
    let other: Vec<usize> = (1..=values.len()).collect();
    let other = json!(other).to_string();
    node.run(&["map", "update", "exec", "seen", "65535", &other, "--per-cpu"]);
    let entry = node.json(&["map", "lookup", "exec", "seen", "65535"]);
    assert_eq!(entry["values"].to_string(), other);
    let table = node.run(&["map", "lookup", "exec", "seen", "65535"]);
    assert_eq!(table.lines().count(), values.len() + 1, "{table}");
    let (_, said) = node.refused(&["map", "update", "exec", "seen", "1", "[]", "--per-cpu"]);
    assert!(said.contains("takes a value for each of"), "{said}");
    let (_, said) = node.refused(&[
        "map",
        "update",
        "exec",
        "execs",
        &key("x"),
        r#"[{"execs":1}]"#,
        "--per-cpu",
    ]);
    assert!(said.contains("its values are not per CPU"), "{said}");
}

#[test]
fn what_is_wrong_is_said_with_what_is_near() {
    let node = running();
    let mut text = String::new();
    for args in [
        &["map", "dump", "exec", "exec"][..],
        &["map", "dump", "exek", "execs"],
        &["map", "dump", "exec"],
        &["map", "lookup", "exec", "execs", "7"],
        &["map", "lookup", "exec", "execs", r#"{"com":"x"}"#],
        &["map", "update", "exec", "execs", r#"{"comm":"x"}"#, r#"{"execs":-1}"#],
        &["map", "update", "exec", "execs", r#"{"comm":"x"}"#, "{}"],
        &["map", "update", "exec", "seen", "65536", "1"],
        &["map", "delete", "exec", "seen", "0"],
        &["map", "dump", "exec", "events"],
        &["map", "dump", "--id", "4294967295"],
        &["map", "list", "none"],
    ] {
        let (status, said) = node.refused(args);
        text += &format!("skep {}: {status}\n{said}\n", args.join(" "));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_others_loaded_is_shown_by_number() {
    let (node, other) = (running(), running());
    other.run(&["map", "update", "exec", "execs", &key("theirs"), r#"{"execs":3}"#]);
    let number = id(&other, "execs");
    let their_id: u64 = number.parse().unwrap();
    let mine = node.json(&["map", "list"]);
    assert!(mine.as_array().unwrap().iter().all(|map| map["service"] == "exec"), "{mine}");
    let all = node.json(&["map", "list", "--all"]);
    let theirs = all.as_array().unwrap().iter().find(|map| map["id"] == their_id).unwrap();
    assert_eq!((&theirs["service"], &theirs["value_type"]), (&Value::Null, &"struct count".into()));
    let there = node.json(&["map", "lookup", "--id", &number, &key("theirs")]);
    assert_eq!(there["value"], json!({"execs": 3}));
    node.run(&["map", "update", "--id", &number, &key("theirs"), r#"{"execs":4}"#, "--existing"]);
    assert_eq!(
        other.json(&["map", "lookup", "exec", "execs", &key("theirs")])["value"]["execs"],
        4
    );

    // By number a service's own map has its name and is the same one.
    let own = id(&node, "execs");
    node.run(&["map", "update", "--id", &own, &key("mine"), r#"{"execs":5}"#]);
    assert!(node.run(&["map", "dump", "exec", "execs"]).contains("mine"));

    // By what skepd switches with it is not touched.
    let listed = |row: &&Value| row["kind"] == "prog_array" || row["name"] == "skep_switch";
    let machinery = all.as_array().unwrap().iter().filter(listed).map(|row| row["id"].to_string());
    let refused = machinery.filter(|id| {
        let (_, said) = node.tried(&["map", "update", "--id", id, "0", "1"]);
        said.contains("is skepd's own: it switches programs of exec with it")
    });
    assert!(refused.count() >= 1);
}

#[test]
fn who_is_not_root_sees_services_and_changes_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let node = running();
    let open =
        |path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(node.path(""), 0o755);
    open(node.path("run"), 0o755);
    open(node.socket(), 0o666);
    std::fs::copy(env!("CARGO_BIN_EXE_skep"), node.path("skep")).unwrap();
    let nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(node.path("skep")).args(args).env("SKEP_SOCKET", node.socket());
        let output = wait::output(&mut command);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(nobody(&["map", "dump", "exec", "execs"]), (0, String::new()));
    let number = id(&node, "execs");
    for (args, what) in [
        (&["map", "list", "--all"][..], "see what is no service's"),
        (&["map", "dump", "--id", &number], "see what is no service's"),
        (&["map", "update", "exec", "execs", &key("x"), r#"{"execs":1}"#], "write to maps"),
        (&["map", "delete", "exec", "execs", &key("x")], "write to maps"),
    ] {
        let (status, said) = nobody(args);
        assert_eq!(status, 3, "{said}");
        assert!(said.contains(&format!("only root may {what}")), "{said}");
    }
}
