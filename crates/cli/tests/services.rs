//! Services from install to removal, as they are typed, by a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use node::Node;
use serde_json::Value;
use skep_oci::Store;

fn hooks(node: &Node) -> Value {
    node.json(&["show", "exec"])["hooks"].clone()
}

/// Starts programs until the child that reads events has what it asked for.
fn events_of(node: &Node, count: &str) -> Vec<Value> {
    let mut reader = node.skep(&["events", "-f", "exec", "--events", count, "--output", "ndjson"]);
    let reader = reader.stdout(Stdio::piped()).spawn().unwrap();
    let what = format!("skep events with {count} events");
    let output = wait::ended_while(&what, reader, || drop(start_programs(1)));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_service_from_install_to_removal() {
    let node = Node::new();
    node.sign_both();
    let mut node = node;
    node.start();
    let installed = node.run(&["install", "exec.oci"]);
    assert!(installed.starts_with("Installed skep/exec 1.0.0 as exec"), "{installed}");
    let list = node.json(&["list"]);
    assert_eq!(list[0]["version"], "1.0.0");
    assert_eq!(list[0]["unsigned"], false);
    let events = events_of(&node, "3");
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event["event"]["comm"].is_string()), "{events:?}");
    assert!(!events_of(&node, "1").is_empty());

    let before = hooks(&node);
    let plan = node.run(&["upgrade", "exec", "exec-2.oci", "--dry-run"]);
    assert!(plan.contains("map execs"), "{plan}");
    assert_eq!(node.json(&["list"])[0]["version"], "1.0.0", "a dry run changes nothing");
    node.run(&["upgrade", "exec", "exec-2.oci"]);
    let upgraded = node.json(&["list"])[0].clone();
    assert_eq!((&upgraded["version"], &upgraded["state"]), (&"2.0.0".into(), &"running".into()));
    let previous = serde_json::json!({"generation": 1, "version": "1.0.0"});
    assert_eq!(upgraded["previous"], previous, "what a rollback returns to");
    let list = node.run(&["list"]);
    let line: Vec<&str> = list.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(line, ["exec", "skep/exec", "2.0.0", "2", "running", "1.0.0", "signed"]);
    assert_eq!(hooks(&node)[0]["held_by"], before[0]["held_by"], "the same link");
    node.run(&["rollback", "exec"]);
    let back = node.json(&["list"])[0].clone();
    assert_eq!((&back["version"], &back["previous"]), (&"1.0.0".into(), &Value::Null));
    let (status, again) = node.refused(&["install", "exec.oci"]);
    assert_eq!(status, 1);
    assert!(again.contains("--as"), "{again}");
    node.run(&["remove", "exec"]);
    assert_eq!(node.json(&["list"]), Value::Array(Vec::new()));
    assert!(!node.has_pins());
    node.stop();
    assert!(!node.socket().exists());
}

/// Starts programs and gives their process ids.
fn start_programs(count: usize) -> Vec<u64> {
    let start = |_| {
        let mut child = Command::new("true").spawn().unwrap();
        assert!(child.wait().unwrap().success());
        u64::from(child.id())
    };
    (0..count).map(start).collect()
}

/// Those of `pids` that a command printed events of, in its order.
fn seen(output: &str, pids: &[u64]) -> Vec<u64> {
    let pid = |line| serde_json::from_str::<Value>(line).unwrap()["event"]["pid"].as_u64().unwrap();
    output.lines().map(pid).filter(|pid| pids.contains(pid)).collect()
}

#[test]
fn what_a_reader_leaves_waits_for_the_next_whatever_becomes_of_the_daemon() {
    let mut node = Node::started();
    node.pack("exec");
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    let first = start_programs(20);
    let mut got =
        seen(&node.run(&["events", "exec", "--events", "5", "--output", "ndjson"]), &first);
    got.extend(seen(&node.run(&["events", "exec", "--output", "ndjson"]), &first));
    assert_eq!(got, first);
    let mut later = start_programs(20); // nobody reads: the ring keeps them
    node.kill();
    later.extend(start_programs(20));
    node.start();
    assert_eq!(seen(&node.run(&["events", "exec", "--output", "ndjson"]), &later), later);
}

#[test]
fn without_follow_the_events_that_wait_are_shown_although_more_keep_coming() {
    let node = Node::started();
    node.pack("exec");
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    let pids = start_programs(20);
    let mut reader = node.skep(&["events", "exec", "--output", "ndjson"]);
    let reader = reader.stdout(Stdio::piped()).spawn().unwrap();
    let output = wait::ended_while("skep events without -f", reader, || drop(start_programs(1)));
    assert_eq!(seen(&String::from_utf8(output.stdout).unwrap(), &pids), pids);
    assert_eq!(node.run(&["events", "exec", "--events", "0"]), "");
}

#[test]
fn a_table_that_is_followed_over_an_upgrade_gets_the_header_of_the_new_record() {
    let node = Node::started();
    node.pack("exec");
    node.build("exec-2");
    let source = node.path("exec-2/src/exec.bpf.c");
    let swapped = fs::read_to_string(&source).unwrap().replace(
        "\t__u32 pid;\n\t__u32 uid;\n\tchar comm[COMM];",
        "\tchar comm[COMM];\n\t__u32 uid;\n\t__u32 pid;",
    );
    fs::write(&source, swapped).unwrap();
    let arch = std::env::consts::ARCH;
    node.run(&["pack", "exec-2", "-o", "swapped.oci", "--btf", "host", "--arch", arch]);
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    let mut reader = node.skep(&["events", "-f", "exec"]).stdout(Stdio::piped()).spawn().unwrap();
    let shown = wait::lines(reader.stdout.take().unwrap());
    let shows = |columns: &[&str]| {
        wait::until(&format!("a table of {columns:?}"), || {
            start_programs(1);
            let line = |line: String| line.split_whitespace().take(4).eq(columns.iter().copied());
            shown.try_iter().any(line)
        });
    };
    shows(&["TIME", "PID", "UID", "COMM"]);
    node.run(&["upgrade", "exec", "swapped.oci", "--allow-unsigned"]);
    shows(&["TIME", "COMM", "UID", "PID"]);
    node.run(&["rollback", "exec", "--allow-unsigned"]);
    shows(&["TIME", "PID", "UID", "COMM"]);
    reader.kill().unwrap();
    wait::ended("a killed skep events", reader);
    node.run(&["remove", "exec"]);
}

#[test]
fn a_rollback_to_what_nobody_signed_needs_leave_of_its_own() {
    let mut node = Node::new();
    node.sign_both();
    let arch = std::env::consts::ARCH;
    node.run(&["pack", "exec", "-o", "unsigned.oci", "--btf", "host", "--arch", arch]);
    node.start();
    node.run(&["install", "unsigned.oci", "--allow-unsigned"]);
    node.run(&["upgrade", "exec", "exec-2.oci"]);
    let (status, said) = node.refused(&["rollback", "exec"]);
    assert!(status == 4 && said.contains("it is unsigned"), "{status}: {said}");
    assert!(said.contains("--allow-unsigned"), "{said}");
    node.run(&["rollback", "exec", "--allow-unsigned"]);
    assert!(node.run(&["list"]).contains("NOT SIGNED"));
    // A service whose key is revoked was signed, and is trusted no more.
    node.run(&["upgrade", "exec", "exec-2.oci"]);
    let id = node.json(&["key", "trust", "key.pub"])["id"].as_str().unwrap().to_owned();
    let rules = node.path("config/trust.toml");
    let text = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("{text}\n[revoked]\nkeys = [\"{id}\"]\n")).unwrap();
    let list = node.run(&["list"]);
    assert!(list.contains("NO LONGER TRUSTED") && list.contains("is revoked"), "{list}");
    node.run(&["remove", "exec"]);
}

#[test]
fn a_killed_daemon_loses_no_attachment_and_the_next_one_adopts_it() {
    let mut node = Node::started();
    node.pack("exec");
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    assert_eq!(node.json(&["list"])[0]["unsigned"], true);
    let before = hooks(&node);
    node.kill();
    assert!(node.has_pins());
    assert!(Command::new("true").status().unwrap().success());
    let said = node.start();
    assert!(said.contains("adopted"), "{said}");
    assert_eq!(hooks(&node), before);
    assert!(!events_of(&node, "1").is_empty());
    assert_eq!(node.json(&["list"])[0]["unsigned"], true, "it stays marked");
    node.run(&["remove", "exec"]);
    assert!(!node.has_pins());
}

#[test]
fn a_counter_shows_the_field_that_counts() {
    let node = Node::started();
    let counts = |field: &str| {
        let counter = "[output.execs]\nkind = \"counter\"\n";
        let told = format!("{counter}value = \"{field}\"\n");
        move |text: &str| text.replace(counter, &told)
    };
    node.forge("exec-2", "execs.oci", counts("execs"));
    node.run(&["install", "execs.oci", "--as", "exec", "--allow-unsigned"]);
    start_programs(3);
    let detail = node.json(&["show", "exec"]);
    let rows = detail["counters"]["execs"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["value"].as_u64().unwrap() > 0), "{rows:?}");
    assert!(!node.run(&["show", "exec"]).contains("root"));
    let toml = node.path("exec-2/skep.toml");
    let text = counts("exec")(&fs::read_to_string(&toml).unwrap());
    fs::write(&toml, text).unwrap();
    let (_, said) =
        node.refused(&["pack", "exec-2", "--btf", "host", "--arch", std::env::consts::ARCH]);
    assert!(
        said.contains("there is no number 'exec' in struct count; it has execs, root"),
        "{said}"
    );
}

/// The names of the files in a folder of the node's.
fn files(node: &Node, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(node.path(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_store_keeps_what_services_need_and_nothing_else() {
    const BLOBS: &str = "state/store/blobs/sha256";
    let mut node = Node::new();
    node.sign_both();
    node.start();
    node.run(&["install", "exec-2.oci", "--as", "two"]);
    let needed = (files(&node, BLOBS), files(&node, "state/admitted"));
    node.run(&["install", "exec.oci"]);
    node.run(&["upgrade", "exec", "exec-2.oci"]);
    let more = files(&node, BLOBS);
    assert!(more.len() > needed.0.len(), "a rollback needs the first version");
    node.run(&["remove", "exec"]);
    assert_eq!((files(&node, BLOBS), files(&node, "state/admitted")), needed);

    // What is left after a skepd that died on the way goes at the next start, and what it needs is whole.
    fs::copy(node.path("exec.oci/oci-layout"), node.path(BLOBS).join("0".repeat(64))).unwrap();
    node.kill();
    fs::remove_dir_all(node.pins("two")).unwrap();
    node.start();
    assert_eq!(files(&node, BLOBS), needed.0);
    let list = node.json(&["list"]);
    assert_eq!((&list[0]["state"], &list[0]["unsigned"]), (&"running".into(), &false.into()));
    node.run(&["remove", "two"]);
    assert_eq!((files(&node, BLOBS), files(&node, "state/admitted")), Default::default());
    node.run(&["install", "exec.oci"]);
    node.run(&["remove", "exec"]);
    assert!(!node.has_pins());
}

#[test]
fn what_is_not_trusted_is_refused_and_nothing_is_loaded() {
    let mut node = Node::new();
    node.sign_both();
    node.start();
    node.run(&["key", "new", "-o", "other"]);
    node.run(&["pack", "exec", "-o", "unsigned.oci", "--arch", std::env::consts::ARCH]);
    node.run(&["pack", "exec", "-o", "other.oci", "--arch", std::env::consts::ARCH]);
    node.run(&["sign", "other.oci", "--key", "other.key"]);
    for layout in ["unsigned.oci", "other.oci"] {
        let (status, text) = node.refused(&["install", layout]);
        assert_eq!(status, 4, "{layout}: {text}");
        assert!(text.contains("--allow-unsigned"), "{layout}: {text}");
        assert_eq!(node.json(&["list"]), Value::Array(Vec::new()));
    }
    assert!(!node.has_pins());
}

/// A package that `skep pack` would not let out, signed all the same by somebody trusted.
#[test]
fn code_that_does_more_than_permissions_say_is_refused_and_nothing_is_loaded() {
    let mut node = Node::new();
    node.sign_both();
    node.forge("exec", "helpers.oci", |text| text.replace("\"map_*\", ", ""));
    node.forge("exec", "hooks.oci", |text| {
        text.replace(
            "function = \"on_exec\"",
            "function = \"on_exec\"\ntarget = \"raw_tp/sys_exit\"",
        )
    });
    node.forge("exec", "open.oci", |text| {
        let param = "[param.where]\ntype = \"string\"\ndefault = \"kprobe/vfs_read\"\n\n[program.exec]\ntarget = \"${param.where}\"";
        text.replace("[program.exec]", param).replace("hooks = [", "hooks = [\"${param.where}\", ")
    });
    node.forge("exec", "memory.oci", |text| {
        text.replace("[map.seen]", "[map.seen]\nmax_entries = \"1MiB\"")
    });
    node.forge("exec", "none.oci", |text| text.split("[permissions]").next().unwrap().to_owned());
    node.start();
    node.run(&["install", "exec.oci"]);
    let mut said = String::new();
    for layout in ["helpers.oci", "hooks.oci", "open.oci", "memory.oci", "none.oci"] {
        node.run(&["sign", layout, "--key", "key.key"]);
        for args in [&["install", layout, "--as", "two"][..], &["upgrade", "exec", layout]] {
            let (status, text) = node.refused(args);
            said.push_str(&format!("$ skep {}\n{text}exit status {status}\n\n", args.join(" ")));
        }
    }
    insta::assert_snapshot!(said);
    let list = node.json(&["list"]);
    assert_eq!((list.as_array().unwrap().len(), &list[0]["generation"]), (1, &1.into()));
    node.run(&["remove", "exec"]);
    assert!(!node.has_pins());
}

#[test]
fn keys_that_are_not_acted_on_are_said_at_install_and_after() {
    let mut node = Node::new();
    node.forge("exec", "exec.oci", |text| format!("{text}\n[health]\nsoak = \"30s\"\n"));
    node.forge("exec-2", "exec-2.oci", |text| {
        format!("{text}\n[limits]\ncpu = \"2%\"\n[requirements]\nmodules = [\"loop\"]\n")
    });
    node.start();
    let said = "skepd of this version does not act on";
    let installed = node.run(&["install", "exec.oci", "--allow-unsigned"]);
    assert!(installed.ends_with(&format!("{said}: health\n")), "{installed}");
    assert!(node.run(&["show", "exec"]).ends_with(&format!("{said}: health\n")));
    assert_eq!(node.json(&["show", "exec"])["unheeded"], serde_json::json!(["health"]));
    let upgraded = node.run(&["upgrade", "exec", "exec-2.oci", "--allow-unsigned"]);
    assert!(upgraded.ends_with(&format!("{said}: limits, requirements\n")), "{upgraded}");
    node.run(&["remove", "exec"]);
}

#[test]
fn a_value_that_the_new_version_has_no_parameter_for_is_not_dropped_in_silence() {
    let mut node = Node::new();
    let param = "[param.room]\ntype = \"size\"\ndefault = 512\nrange = [1, 4096]\n";
    let seen = "[map.seen]\nmax_entries = \"${param.room}\"";
    node.forge("exec", "exec.oci", |text| format!("{}\n{param}", text.replace("[map.seen]", seen)));
    node.forge("exec-2", "exec-2.oci", str::to_owned);
    node.start();
    node.run(&["install", "exec.oci", "--allow-unsigned", "--set", "room=1024"]);
    let upgrade = ["upgrade", "exec", "exec-2.oci", "--allow-unsigned"];
    for more in [&["--dry-run"][..], &[]] {
        let (_, said) = node.refused(&[&upgrade[..], more].concat());
        assert!(
            said.contains("no parameter 'room', which the running one was given: room = 1024"),
            "{said}"
        );
        assert!(said.contains("--unset NAME"), "{said}");
    }
    assert_eq!(node.json(&["list"])[0]["version"], "1.0.0", "it runs on");
    let (_, said) = node.refused(&[&upgrade[..], &["--unset", "rom"]].concat());
    assert!(said.contains("the parameter 'rom' is not set; set are: room"), "{said}");
    node.refused(&[&upgrade[..], &["--unset", "room", "--set", "room=1"]].concat());
    node.run(&[&upgrade[..], &["--unset", "room"]].concat());
    assert_eq!(node.json(&["list"])[0]["version"], "2.0.0");
    node.run(&["rollback", "exec", "--allow-unsigned"]);
    let generations = node.json(&["show", "exec"])["generations"].clone();
    let active = generations.as_array().unwrap().iter().find(|one| one["active"] == true).unwrap();
    assert_eq!(active["params"]["room"], "1024", "a rollback has it again");
    node.run(&["remove", "exec"]);
}

#[test]
fn a_when_that_fits_no_record_is_refused_and_records_of_no_output_are_counted() {
    let when = |field: &str| {
        let condition = format!("struct = \"event\"\nwhen = {{ field = \"{field}\", equals = 0 }}");
        move |text: &str| text.replace("struct = \"event\"", &condition)
    };
    let mut node = Node::new();
    node.forge("exec", "none.oci", when("nothing"));
    node.forge("exec", "exec.oci", when("pid"));
    let toml = node.path("exec/skep.toml");
    fs::write(&toml, when("nothing")(&fs::read_to_string(&toml).unwrap())).unwrap();
    node.start();
    let pack = ["pack", "exec", "--btf", "host", "--arch", std::env::consts::ARCH];
    for args in [&pack[..], &["install", "none.oci", "--allow-unsigned"]] {
        let (_, said) = node.refused(args);
        let why = "[output.exec] when.field: its record has no number 'nothing'";
        assert!(said.contains(why), "{args:?}: {said}");
    }
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    // No program has the process id 0, so that every record is of no output.
    let mut reader = node.skep(&["events", "-f", "exec"]).stdout(Stdio::piped()).spawn().unwrap();
    let unknown = |node: &Node| node.json(&["show", "exec"])["events_unknown"].as_u64().unwrap();
    wait::until("three records of no output", || {
        start_programs(1);
        unknown(&node) >= 3
    });
    reader.kill().unwrap();
    let output = wait::ended("a killed skep events", reader);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("true"), "not shown as another's");
    assert!(node.run(&["show", "exec"]).contains(" of no output\n"));
    node.run(&["remove", "exec"]);
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    let mut node = Node::new();
    node.pack("exec");
    node.start();
    node.run(&["install", "exec.oci", "--allow-unsigned"]);
    let mut said = String::new();
    for args in [
        &["show", "exce"][..],
        &["upgrade", "nothing", "exec.oci", "--allow-unsigned"],
        &["rollback", "exec"],
        &["remove", "exce"],
        &["install", "nowhere.oci"],
        &["install", "exec.oci", "--as", "two", "--allow-unsigned", "--set", "pid=1"],
        &["install", "exec.oci", "--as", "Not a name", "--allow-unsigned"],
    ] {
        let (status, text) = node.refused(args);
        said.push_str(&format!("$ skep {}\n{text}exit status {status}\n\n", args.join(" ")));
    }
    insta::assert_snapshot!(said);
    assert_eq!(node.json(&["list"]).as_array().unwrap().len(), 1);
    node.run(&["remove", "exec"]);
    assert!(!node.has_pins());
}

/// What answers each request with these bytes; gives its host.
fn answering(bytes: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).and_then(|_| stream.write_all(bytes.as_bytes()));
        }
    });
    host
}

#[test]
fn what_a_registry_does_wrong_is_said_and_nothing_is_installed() {
    let mut node = Node::new();
    node.start();
    let answer =
        |head: &str, body: &str| format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{body}");
    let mut said = String::new();
    for bytes in [
        answer("401 Unauthorized", ""),
        answer("404 Not Found", ""),
        answer("500 Internal Server Error", r#"{"errors":[{"message":"the disk broke"}]}"#),
        answer("200 OK\r\nContent-Length: 5000", "{}"),
        answer("200 OK", "{}"),
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
    ] {
        let host = answering(bytes);
        let reference = format!("{host}/acme/exec:1.0.0");
        for args in
            [&["install", &reference, "--as", "exec"][..], &["pull", &reference, "-o", "out"]]
        {
            let (status, text) = node.refused(args);
            let text = format!("$ skep {}\n{text}exit status {status}\n\n", args.join(" "));
            said.push_str(&text.replace(&host, "REGISTRY"));
        }
    }
    insta::assert_snapshot!(said);
    assert_eq!(node.json(&["list"]), Value::Array(Vec::new()));
    assert!(!node.has_pins());
}

#[test]
fn a_damaged_signature_is_refused_as_one_and_spoils_no_other() {
    let mut node = Node::new();
    node.sign_both();
    let blobs = node.path("exec.oci/blobs/sha256");
    let names = || fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
    let mut bundles = names()
        .filter(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).contains("dsseEnvelope"));
    let bundle = bundles.next().unwrap();
    fs::write(bundle, "half of i").unwrap();
    node.start();
    let (status, text) = node.refused(&["install", "exec.oci"]);
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("a signature could not be read"), "{text}");
    node.run(&["sign", "exec.oci", "--key", "key.key"]);
    node.run(&["install", "exec.oci"]);
    node.run(&["remove", "exec"]);
}

#[test]
fn a_package_that_is_not_whole_or_names_what_is_not_there_is_not_installed() {
    let mut node = Node::new();
    node.pack("exec");
    node.forge("exec", "program.oci", |text| text.replace("\"on_exec\"", "\"on_exce\""));
    node.forge("exec", "map.oci", |text| text.replace("[map.seen]", "[map.sen]"));
    node.forge("exec", "output.oci", |text| text.replace("map = \"events\"", "map = \"event\""));
    let layout = Store::open(&node.path("exec.oci")).unwrap();
    let (_, index) = layout.packages().unwrap().remove(0);
    node.start();
    let mut said = String::new();
    for layout in ["program.oci", "map.oci", "output.oci", "exec.oci"] {
        if layout == "exec.oci" {
            let blob = node.path("exec.oci/blobs/sha256").join(index.hex());
            fs::OpenOptions::new().write(true).open(blob).unwrap().set_len(0).unwrap();
        }
        for args in [&["install", layout][..], &["run", layout, "--events", "1"]] {
            let (status, text) = node.refused(&[args, &["--allow-unsigned"]].concat());
            said.push_str(&format!("$ skep {}\n{text}exit status {status}\n\n", args.join(" ")));
        }
    }
    insta::assert_snapshot!(said.replace(&index.to_string(), "DIGEST"));
    assert_eq!(node.json(&["list"]), Value::Array(Vec::new()));
    assert!(!node.has_pins());
}

/// A package that takes as long to read as the test likes: its registry takes the question, and does not answer yet.
#[test]
fn others_are_answered_while_a_package_is_read() {
    let mut node = Node::new();
    node.start();
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let package = format!("{}/acme/exec:1.0.0", registry.local_addr().unwrap());
    let mut install = node.skep(&["install", &package, "--allow-unsigned"]);
    let install = install.stderr(Stdio::null()).spawn().unwrap();
    let asked = wait::within("skepd to ask the registry", move || {
        let question = registry.accept().unwrap();
        (registry, question)
    });
    let listed = wait::output(&mut node.skep(&["list"])).status.success();
    drop(asked);
    assert!(!wait::ended("the install without a registry", install).status.success());
    assert!(listed);
}

/// A real full disk: a tiny tmpfs in a mount namespace of the daemon's own.
#[test]
fn a_full_disk_refuses_an_install_and_nothing_of_it_stays() {
    let mut node = Node::new();
    node.pack("exec");
    let state = node.path("state");
    fs::create_dir(&state).unwrap();
    let skepd = node.skepd();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=40k small \"$0\" && exec \"$@\""]);
    command.arg(&state).arg(skepd.get_program()).args(skepd.get_args());
    node.start_as(command);
    let (status, text) = node.refused(&["install", "exec.oci", "--allow-unsigned"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(node.json(&["list"]), Value::Array(Vec::new()));
    assert!(!node.has_pins());
}

#[test]
fn without_a_daemon_or_the_right_to_talk_to_it() {
    let mut node = Node::new();
    let mut said = String::new();
    let (status, text) = node.refused(&["list"]);
    said.push_str(&format!("{text}exit status {status}\n\n"));
    node.start();
    for folder in ["", "run"] {
        let open = Command::new("chmod").arg("755").arg(node.path(folder)).status();
        assert!(open.unwrap().success());
    }
    let mut nobody = Command::new("setpriv");
    nobody
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_skep"));
    nobody.arg("list").env("SKEP_SOCKET", node.socket());
    let (status, text) = node.said(&wait::output(&mut nobody));
    said.push_str(&format!("{text}exit status {status}\n"));
    insta::assert_snapshot!(said);
}

/// A skepd that dies at work: its client is told what becomes of what it asked for, and that is what becomes of it.
#[test]
fn a_client_of_a_skepd_that_dies_is_told_what_becomes_of_its_operation() {
    let mut node = Node::new();
    node.pack("exec");
    node.pack("exec-2");
    let mut said = String::new();
    for (fault, args, version) in [
        ("install.Switching.before", &["install", "exec.oci", "--allow-unsigned"][..], None),
        ("install.Switched.after", &["install", "exec.oci", "--allow-unsigned"], Some("1.0.0")),
        (
            "upgrade.Loaded.after",
            &["upgrade", "exec", "exec-2.oci", "--allow-unsigned"],
            Some("1.0.0"),
        ),
        (
            "upgrade.switch.after",
            &["upgrade", "exec", "exec-2.oci", "--allow-unsigned"],
            Some("2.0.0"),
        ),
        ("rollback.Switching.before", &["rollback", "exec", "--allow-unsigned"], Some("2.0.0")),
        ("remove.Begin.after", &["remove", "exec"], None),
    ] {
        let mut skepd = node.skepd();
        skepd.args(["--fault", fault]);
        node.start_as(skepd);
        let (status, text) = node.refused(args);
        // How the connection ends is for the moment to say.
        let text = text.lines().filter(|line| !line.starts_with("  because")).collect::<Vec<_>>();
        let text = text.join("\n");
        said.push_str(&format!("$ skep {}\n{text}\nexit status {status}\n\n", args.join(" ")));
        node.died();
        node.start();
        let list = node.json(&["list"]);
        assert_eq!(list[0]["version"].as_str(), version, "{fault}");
        node.stop();
    }
    insta::assert_snapshot!(said);
    assert!(!node.has_pins());
}
