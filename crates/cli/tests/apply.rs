//! A file of services, applied as it is typed, by a real skepd on this kernel.
#![allow(clippy::unwrap_used)]

mod hub;
mod node;
#[path = "apply/request.rs"]
mod request;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod wait;
#[path = "dependencies/world.rs"]
mod world;

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use node::Node;
use request::{answer, put};
use world::World;

const SOURCE: &str = r#"
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

const volatile int only = 0;
int rate = 1;
__u64 counted;

SEC("tracepoint/sched/sched_process_exec")
int on_exec(void *context)
{
	if (!only)
		__sync_fetch_and_add(&counted, rate);
	return 0;
}
"#;

const PARAMS: &str = r#"
[param.rate]
type = "int"
data = "rate"
default = 1
range = [1, 1000]
[param.only]
type = "int"
rodata = "only"
"#;

/// Packs `acme/NAME` into `NAME-VERSION.oci`, and signs it if a key is given.
fn publish(node: &Node, name: &str, version: &str, key: Option<&str>) {
    let project = format!("{name}-{version}");
    let folder = node.path(&project);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("p.bpf.c"), SOURCE).unwrap();
    let arch = std::env::consts::ARCH;
    let manifest = format!(
        "spec = \"1.0\"\n[package]\nname = \"acme/{name}\"\nversion = \"{version}\"\nlicense = \"MIT\"\n\
         [object.p]\nsources = [\"p.bpf.c\"]\narch = [\"{arch}\"]\n\
         [permissions]\nhooks = [\"tracepoint/sched/sched_process_exec\"]\n{PARAMS}"
    );
    fs::write(folder.join("skep.toml"), manifest).unwrap();
    let layout = format!("{project}.oci");
    node.run(&["pack", &project, "-o", &layout, "--btf", "host"]);
    if let Some(key) = key {
        node.run(&["sign", &layout, "--key", key]);
    }
}

/// A node with two versions of `acme/exec`, both signed.
fn node() -> Node {
    let mut node = Node::new();
    node.run(&["key", "new", "-o", "key"]);
    node.run(&["trust", "add", "acme/*", "--key", "key.pub"]);
    for version in ["1.0.0", "2.0.0"] {
        publish(&node, "exec", version, Some("key.key"));
    }
    node.start();
    node
}

fn write(node: &Node, services: &str) {
    fs::write(node.path("services.toml"), services).unwrap();
}

/// Applies a file that nothing speaks against; gives what is said.
fn applied(node: &Node, services: &str, more: &[&str]) -> String {
    write(node, services);
    node.run(&[&["apply", "-f", "services.toml", "--yes"], more].concat())
}

fn one(name: &str, version: &str, more: &str) -> String {
    format!("[service.{name}]\npackage = \"./exec-{version}.oci\"\n{more}")
}

/// Each service with its version and state, and the parameters that are set.
fn services(node: &Node) -> Vec<String> {
    let list = node.json(&["list"]);
    let line = |status: &Value| {
        let text = |member: &str| status[member].as_str().unwrap().to_owned();
        let detail = node.json(&["show", &text("service")]);
        let params = detail["params"].as_object().cloned().unwrap_or_default();
        let params = params
            .iter()
            .map(|(name, param)| format!(" {name}={}", param["value"].as_str().unwrap()));
        let held = if status["held"] == true { " held" } else { "" };
        format!(
            "{} {} {}{held}{}",
            text("service"),
            text("version"),
            text("state"),
            params.collect::<String>()
        )
    };
    list.as_array().unwrap().iter().map(line).collect()
}

fn desired(node: &Node) -> Value {
    let (status, said) = answer(node, "GET /v1/desired", "");
    assert_eq!(status, "200", "{said}");
    serde_json::from_str(&said).unwrap()
}

#[test]
fn a_file_is_shown_applied_and_then_there_is_nothing_to_do() {
    let node = node();
    assert_eq!(desired(&node)["revision"], 0);
    let both = one("exec", "1.0.0", "set = { rate = 5 }\n") + &one("two", "1.0.0", "");
    write(&node, &both);
    let plan = "+ install exec 1.0.0\n    rate = 5\n+ install two 1.0.0\n";
    assert_eq!(node.run(&["apply", "-f", "services.toml", "--dry-run"]), plan);
    let output = wait::output(&mut node.skep(&["diff", "-f", "services.toml"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), plan);
    assert_eq!(node.said(&output), (1, "error: 2 steps lead to services.toml\n".to_owned()));
    let output = wait::output(&mut node.skep(&["apply", "-f", "services.toml"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout), plan);
    let (status, said) = node.said(&output);
    assert_eq!(status, 2);
    assert!(said.starts_with("error: nobody is there to agree, and nothing was done\n"), "{said}");
    assert!(services(&node).is_empty());
    assert_eq!(desired(&node)["revision"], 0);

    let said = node.run(&["apply", "-f", "services.toml", "-y"]);
    assert!(said.starts_with(&format!("{plan}Done, 2 steps in ")), "{said}");
    assert_eq!(services(&node), ["exec 1.0.0 running rate=5", "two 1.0.0 running"]);
    for args in [&["apply", "-f", "services.toml"][..], &["diff", "-f", "services.toml"]] {
        assert_eq!(node.run(args), "Nothing to do: that is what runs\n");
    }
    assert_eq!(node.run(&["apply", "-f", "services.toml", "--quiet"]), "");
    let now = desired(&node);
    assert_eq!((&now["revision"], &now["reached"]), (&json!(1), &json!(true)));
    assert!(now["services"].as_array().unwrap().iter().all(|one| one["in_sync"] == true), "{now}");
    let deeds = node.json(&["history", "exec"]);
    assert_eq!((deeds.as_array().unwrap().len(), &deeds[0]["what"]), (1, &json!("install")));
}

#[test]
fn each_difference_is_a_step_and_what_is_done_by_hand_stays_until_the_next_apply() {
    let mut node = node();
    applied(&node, &(one("exec", "1.0.0", "set = { rate = 5 }\n") + &one("two", "1.0.0", "")), &[]);
    let other = one("exec", "2.0.0", "set = { rate = 7 }\nhold = true\n")
        + &one("two", "1.0.0", "set = { only = 1 }\nstate = \"stopped\"\n");
    write(&node, &other);
    let plan = node.run(&["apply", "-f", "services.toml", "--dry-run"]);
    let heads: Vec<&str> = plan.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        heads,
        ["~ upgrade exec 1.0.0 → 2.0.0", "~ set two", "~ stop two", "~ hold exec"],
        "{plan}"
    );
    assert!(plan.contains("    rate: 5 → 7\n"), "{plan}");
    assert!(plan.contains("    only: the object's own → 1\n"), "{plan}");
    node.run(&["apply", "-f", "services.toml", "--yes"]);
    let after = ["exec 2.0.0 running held rate=7", "two 1.0.0 stopped only=1"];
    assert_eq!(services(&node), after);

    // What is done by hand stays over a restart, and is said; the next apply undoes it.
    node.run(&["set", "exec", "rate=9"]);
    node.run(&["start", "two"]);
    node.kill();
    node.start();
    let by_hand = desired(&node);
    assert_eq!(by_hand["reached"], true);
    let why = |at: usize| by_hand["services"][at]["why"].clone();
    assert_eq!((why(0), why(1)), (json!(["parameter rate is 9, and not 7"]), json!(["it runs"])));
    assert_eq!(services(&node)[0], "exec 2.0.0 running held rate=9");
    node.run(&["apply", "-f", "services.toml", "--yes"]);
    assert_eq!(services(&node), after);
    // What a start is in the way of is planned behind it.
    let again = one("exec", "2.0.0", "set = { rate = 7 }\n") + &one("two", "2.0.0", "");
    let said = applied(&node, &again, &[]);
    assert!(said.starts_with("~ start two\n~ upgrade two 1.0.0 → 2.0.0\n"), "{said}");
    assert!(said.contains("what becomes of two itself is planned when it runs\n"), "{said}");
    applied(&node, &again.replace("2.0.0.oci\"\n", "2.0.0.oci\"\nstate = \"stopped\"\n"), &[]);
    let said = applied(&node, &(again + "set = { only = 1 }\n"), &[]);
    assert!(said.contains("~ start two\n~ set two\n    only: the object's own → 1\n"), "{said}");
    let runs = ["exec 2.0.0 running held rate=7", "two 2.0.0 running only=1"];
    assert_eq!(services(&node), runs);

    // Who is not in the file stays, unless it is to go.
    let said = applied(&node, &one("exec", "2.0.0", ""), &[]);
    assert!(
        said.contains("not in the file, and left as they are: two (--prune removes them)\n"),
        "{said}"
    );
    assert_eq!(services(&node), ["exec 2.0.0 running held", "two 2.0.0 running only=1"]);
    let said = applied(&node, &one("exec", "2.0.0", ""), &["--prune"]);
    assert!(said.starts_with("- remove two 2.0.0\nDone, one step in "), "{said}");
    applied(&node, "[service]\n", &["--prune"]);
    assert!(services(&node).is_empty() && !node.has_pins());
}

#[test]
fn what_would_be_refused_is_named_and_nothing_is_done() {
    let node = node();
    publish(&node, "exec", "3.0.0", None);
    applied(&node, &one("held", "1.0.0", "hold = true\n"), &[]);
    let before = desired(&node);
    let all = [
        one("fine", "1.0.0", ""),
        one("held", "2.0.0", ""),
        one("range", "1.0.0", "set = { rate = 5000 }\n"),
        one("wrong", "1.0.0", "set = { rat = 1 }\n"),
        one("unsigned", "3.0.0", ""),
        one("unsigned-too", "3.0.0", ""),
        "[service.gone]\npackage = \"127.0.0.1:1/acme/exec:1.0.0\"\n".to_owned(),
    ];
    write(&node, &all.concat());
    for args in [&["--yes"][..], &["--dry-run"]] {
        let (status, said) = node.refused(&[&["apply", "-f", "services.toml"], args].concat());
        assert_eq!(status, 4, "{said}");
        assert!(
            said.starts_with("error: 6 services would be refused, and nothing was done\n"),
            "{said}"
        );
        for (service, why) in [
            ("held", "held is held at 1.0.0"),
            ("range", "5000 is outside 1 to 1000"),
            ("wrong", "did you mean 'rate'?"),
            ("unsigned (trust.unsigned)", "acme/exec"),
            ("unsigned-too (trust.unsigned)", "acme/exec"),
            ("gone", "127.0.0.1:1"),
        ] {
            let named =
                said.split("  because ").find(|part| part.starts_with(&format!("{service}: ")));
            assert!(named.is_some_and(|named| named.contains(why)), "{service}: {said}");
        }
        assert_eq!(said.matches("--allow-unsigned").count(), 1, "{said}");
    }
    assert_eq!(services(&node), ["held 1.0.0 running held"]);
    assert_eq!(desired(&node), before);
    // Leave is given to a command, and what it let in runs on without.
    let unsigned = one("held", "1.0.0", "") + &one("unsigned", "3.0.0", "");
    let said = applied(&node, &unsigned, &["--allow-unsigned"]);
    assert!(
        said.contains("+ install unsigned 3.0.0\n    nobody who is trusted signed it\n"),
        "{said}"
    );
    assert_eq!(node.run(&["apply", "-f", "services.toml"]), "Nothing to do: that is what runs\n");
    // What is to be loaded again needs the leave again.
    write(&node, &(one("held", "1.0.0", "") + &one("unsigned", "3.0.0", "set = { only = 1 }\n")));
    let (status, said) = node.refused(&["apply", "-f", "services.toml", "--yes"]);
    assert_eq!(status, 4, "{said}");
    assert!(said.contains("  because unsigned (trust.unsigned): "), "{said}");
    // A file that lets go, and asks for another version.
    let let_go = one("held", "2.0.0", "hold = false\n") + &one("unsigned", "3.0.0", "");
    let said = applied(&node, &let_go, &[]);
    assert!(said.starts_with("~ unhold held\n~ upgrade held 1.0.0 → 2.0.0\n"), "{said}");
    let older = one("held", "1.0.0", "") + &one("unsigned", "3.0.0", "");
    write(&node, &older);
    let (status, said) = node.refused(&["apply", "-f", "services.toml", "--yes"]);
    assert_eq!(status, 1);
    assert!(said.contains("held runs 2.0.0, and 1.0.0 is older"), "{said}");
    applied(&node, &older, &["--allow-downgrade"]);
    assert_eq!(services(&node)[0], "held 1.0.0 running");
}

#[test]
fn programs_have_the_list_of_refusals_and_the_code_where_it_is_one() {
    let node = node();
    publish(&node, "exec", "3.0.0", None);
    let both = one("unsigned", "3.0.0", "") + &one("wrong", "1.0.0", "set = { rat = 1 }\n");
    for (file, services, code) in
        [(both, 2, "refused"), (one("unsigned", "3.0.0", ""), 1, "trust.unsigned")]
    {
        write(&node, &file);
        let args = ["apply", "-f", "services.toml", "--yes", "--output", "json"];
        let output = wait::output(&mut node.skep(&args));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["refused"].as_array().unwrap().len(), services, "{answer}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"]["code"], code, "{error}");
    }
}

#[test]
fn mistakes_in_the_file_are_told_with_their_places() {
    let node = node();
    write(
        &node,
        "[service.exec]\npackge = \"./exec-1.0.0.oci\"\n[service.two]\npackage = \"./exec-1.0.0.oci\"\nset = { rate = 1.5 }\n",
    );
    let (status, said) = node.refused(&["apply", "-f", "services.toml"]);
    assert_eq!(status, 2);
    assert_eq!(
        said,
        "error: services.toml has 2 mistakes:\n\
         services.toml:2:1: unknown key 'packge' in [service.exec]; did you mean 'package'?\n\
         services.toml:5:16: 'service.two.set.rate' should be a boolean, an integer or a string, not a number with a fraction (write it as a string)\n"
    );
    write(
        &node,
        "[service.exec]\npackage = \"./none.oci\"\n[service.two]\npackage = \"./exec-1.0.0\"\n",
    );
    let (status, said) = node.refused(&["diff", "-f", "services.toml"]);
    assert_eq!(status, 2);
    assert!(said.starts_with("error: services.toml has 2 mistakes:\nservices.toml:2:1: there is no folder './none.oci'"), "{said}");
    assert!(
        said.contains("\nservices.toml:4:1: './exec-1.0.0' is a project, not a package"),
        "{said}"
    );
    let (status, said) = node.refused(&["apply", "-f", "none.toml"]);
    assert_eq!(status, 2);
    assert!(said.starts_with("error: can't read 'none.toml'\n"), "{said}");
    for args in [&["diff"][..], &["diff", "a"], &["diff", "a", "b", "-f", "x"], &["apply"]] {
        assert_eq!(node.refused(args).0, 2);
    }
}

#[test]
fn services_that_need_each_other_come_and_go_in_their_order() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.flows("2.0.0");
    world.app("1.0.0", ">=1");
    world.app("2.0.0", "^2");
    world.node.start();
    let node = &world.node;
    let file = |app: &str, flows: &str, more: &str| {
        format!(
            "[service.app]\npackage = \"acme/app:{app}\"\n{more}[service.flows]\npackage = \"acme/flows:{flows}\"\n{more}"
        )
    };
    // The hub has a higher one that the range lets in; the file counts.
    let said = applied(node, &file("1.0.0", "1.0.0", ""), &[]);
    assert!(said.starts_with("+ install flows 1.0.0\n+ install app 1.0.0\n"), "{said}");
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.0.0"]);
    write(node, &file("2.0.0", "1.0.0", ""));
    let (status, said) = node.refused(&["apply", "-f", "services.toml", "--yes"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("app (life.conflict): "), "{said}");
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.0.0"]);
    let said = applied(node, &file("2.0.0", "2.0.0", ""), &[]);
    assert!(said.starts_with("~ upgrade flows 1.0.0 → 2.0.0\n"), "{said}");
    assert_eq!(world.services(), ["app 2.0.0", "flows 2.0.0"]);

    let stopped = file("2.0.0", "2.0.0", "state = \"stopped\"\n");
    assert!(applied(node, &stopped, &[]).starts_with("~ stop app\n~ stop flows\n"));
    let flows = "[service.flows]\npackage = \"acme/flows:2.0.0\"\n";
    assert!(
        applied(node, &file("2.0.0", "2.0.0", ""), &[]).starts_with("~ start flows\n~ start app\n")
    );
    // A service that one in the file needs is not beside it.
    let app = "[service.app]\npackage = \"acme/app:2.0.0\"\n";
    assert_eq!(applied(node, app, &["--prune"]), "Nothing to do: that is what runs\n");
    write(node, &format!("{flows}state = \"stopped\"\n"));
    let (status, said) = node.refused(&["apply", "-f", "services.toml", "--yes"]);
    assert_eq!(status, 1);
    assert!(said.contains("flows: ") && said.contains("app"), "{said}");
    assert!(applied(node, flows, &["--prune"]).starts_with("- remove app 2.0.0\n"));
    applied(node, app, &[]);
    let said = applied(node, "[service]\n", &["--prune"]);
    assert!(said.starts_with("- remove app 2.0.0\n- remove flows 2.0.0\n"), "{said}");
    assert!(!node.has_pins());
}

/// What the steps pass before, within and behind each of them; the last of one is the first of the next.
const POINTS: [&str; 22] = [
    "install.Begin.before",
    "install.Attached.after",
    "install.Switched.after",
    "install.End.after",
    "upgrade.Begin.before",
    "upgrade.Loaded.after",
    "upgrade.switch.after",
    "upgrade.End.after",
    "setting.Setting.before",
    "setting.write.before",
    "setting.write.after",
    "start.Begin.before",
    "start.Switched.after",
    "start.End.after",
    "stop.Begin.before",
    "stop.Switched.after",
    "stop.End.after",
    "hold.Held.before",
    "hold.Held.after",
    "remove.Begin.before",
    "remove.Detached.after",
    "remove.End.after",
];

#[test]
fn a_skepd_that_dies_at_any_step_goes_on_when_it_starts() {
    let mut node = node();
    let before = one("exec", "1.0.0", "")
        + &one("old", "1.0.0", "")
        + &one("sleeps", "1.0.0", "state = \"stopped\"\n")
        + &one("set", "1.0.0", "set = { rate = 2 }\nhold = false\n")
        + &one("wakes", "1.0.0", "");
    let after = one("exec", "2.0.0", "set = { rate = 3 }\n")
        + &one("new", "1.0.0", "")
        + &one("sleeps", "1.0.0", "")
        + &one("set", "1.0.0", "set = { rate = 4 }\nhold = true\n")
        + &one("wakes", "1.0.0", "state = \"stopped\"\n");
    let reached = [
        "exec 2.0.0 running rate=3",
        "new 1.0.0 running",
        "set 1.0.0 running held rate=4",
        "sleeps 1.0.0 running",
        "wakes 1.0.0 stopped",
    ];
    for point in POINTS {
        applied(&node, &before, &["--prune", "--allow-downgrade"]);
        assert!(services(&node).contains(&"set 1.0.0 running rate=2".to_owned()), "{point}");
        node.stop();
        let mut skepd = node.skepd();
        skepd.args(["--fault", point]);
        node.start_as(skepd);
        write(&node, &after);
        let (status, said) = node.refused(&["apply", "-f", "services.toml", "--yes", "--prune"]);
        assert_eq!(status, 1, "{point}: {said}");
        assert!(
            said.contains("error: skepd ended in the middle of the apply\n"),
            "{point}: {said}"
        );
        node.died();
        node.start();
        wait::until(point, || desired(&node)["reached"] == true);
        assert_eq!(services(&node), reached, "{point}");
        assert_eq!(
            node.run(&["diff", "-f", "services.toml"]),
            "Nothing to do: that is what runs\n"
        );
    }
    let deeds = node.json(&["history", "exec", "--limit", "200"]);
    let by = deeds.as_array().unwrap().iter().map(|deed| deed["by"].as_str().unwrap().to_owned());
    assert!(by.into_iter().any(|by| by.starts_with("skepd, for ")), "{deeds}");
}

#[test]
fn a_step_that_fails_leaves_the_rest_and_is_taken_again() {
    let mut node = node();
    applied(&node, &one("a", "1.0.0", ""), &[]);
    // Something lies where the pins of the next version go: no plan can see that.
    let blocked = node.pins("a").join("progs/2");
    fs::create_dir_all(&blocked).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&blocked).status();
    assert!(mount.unwrap().success());
    write(&node, &(one("a", "2.0.0", "hold = true\n") + &one("b", "1.0.0", "")));
    let output = wait::output(&mut node.skep(&["apply", "-f", "services.toml", "--yes"]));
    let unmount = Command::new("umount").arg(&blocked).status();
    assert!(unmount.unwrap().success());
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let tail = "FAILED:  upgrade a 1.0.0 → 2.0.0\nleft:    install b 1.0.0\nleft:    hold a\n";
    let (status, said) = node.said(&output);
    assert!(shown.ends_with(tail), "{shown}{said}");
    assert_eq!(status, 1);
    assert!(
        said.starts_with(
            "error: 0 of 3 steps were done, and then one failed\n  because upgrade a\n"
        ),
        "{said}"
    );
    assert!(said.contains("the same command goes on from there"), "{said}");
    let now = desired(&node);
    assert_eq!(now["reached"], false);
    assert!(now["error"].as_str().unwrap().starts_with("upgrade a: "), "{now}");
    assert_eq!(now["services"][1]["why"], json!(["it is not there"]));
    node.kill();
    node.start();
    wait::until("the start to go on", || desired(&node)["reached"] == true);
    assert_eq!(services(&node), ["a 2.0.0 running held", "b 1.0.0 running"]);
}

/// Puts a copy of a layout where another one was.
fn moves(node: &Node, to: &str, layout: &str) {
    let (next, to) = (node.path("next"), node.path(to));
    let copied = Command::new("cp").arg("-r").arg(node.path(layout)).arg(&next).status();
    assert!(copied.unwrap().success());
    let _ = fs::remove_dir_all(&to); // the first time there is none
    fs::rename(next, to).unwrap();
}

/// An apply whose first step installs `a`, once that step is under way.
fn applying(node: &Node, more: &[&str]) -> Child {
    let mut apply = node.skep(&[&["apply", "-f", "services.toml", "--yes"], more].concat());
    let apply = apply.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait::until("the first step", || node.pins("a").exists());
    apply
}

#[test]
fn where_the_end_cannot_be_written_down_what_was_done_is_answered() {
    let node = node();
    let file = ('a'..='f').map(|name| one(&name.to_string(), "1.0.0", "")).collect::<String>();
    write(&node, &file);
    let apply = applying(&node, &["--output", "json"]);
    let (record, kept) = (node.path("state/desired"), node.path("state/kept"));
    fs::rename(&record, &kept).unwrap();
    fs::create_dir(&record).unwrap();
    let output = wait::ended("the apply", apply);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["steps"].as_array().unwrap().iter().all(|step| step["state"] == "done"));
    assert!(answer["unwritten"]["message"].as_str().unwrap().contains("desired"), "{answer}");
    let (status, said) = node.said(&output);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("all of it was done, and skepd could not write that down"), "{said}");
    fs::remove_dir(&record).unwrap();
    fs::rename(&kept, &record).unwrap();
    assert_eq!(desired(&node)["reached"], false);
    assert_eq!(applied(&node, &file, &[]), "Nothing to do: that is what runs\n");
    assert_eq!(desired(&node)["reached"], true);
}

#[test]
fn a_package_that_is_replaced_between_plan_and_step_does_not_come_in() {
    let node = node();
    moves(&node, "exec-moving.oci", "exec-1.0.0.oci");
    let before: Vec<String> = ('a'..='f').map(|name| one(&name.to_string(), "1.0.0", "")).collect();
    write(&node, &(before.concat() + &one("z", "moving", "")));
    let apply = applying(&node, &[]);
    moves(&node, "exec-moving.oci", "exec-2.0.0.oci");
    let output = wait::ended("the apply", apply);
    let (status, said) = node.said(&output);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("because install z\n  because its package is sha256:"), "{said}");
    let names: Vec<String> = services(&node);
    assert_eq!(names.len(), 6, "{names:?}");
    let deeds = node.json(&["history", "z"]);
    assert_eq!((&deeds[0]["what"], &deeds[0]["tried"]), (&json!("install"), &json!("2.0.0")));
    assert_eq!(desired(&node)["reached"], false);
}

#[test]
fn a_start_goes_on_with_what_was_agreed_to_alone() {
    let mut node = node();
    moves(&node, "exec-moving.oci", "exec-1.0.0.oci");
    applied(&node, &one("old", "1.0.0", ""), &[]);
    node.stop();
    let mut skepd = node.skepd();
    skepd.args(["--fault", "install.Begin.before"]);
    node.start_as(skepd);
    write(&node, &one("z", "moving", ""));
    node.refused(&["apply", "-f", "services.toml", "--yes", "--prune"]);
    node.died();
    moves(&node, "exec-moving.oci", "exec-2.0.0.oci");
    node.start();
    wait::until("the start to say why", || desired(&node)["error"].is_string());
    let now = desired(&node);
    assert!(now["error"].as_str().unwrap().starts_with("z: its package is sha256:"), "{now}");
    assert_eq!(
        (&now["reached"], services(&node)),
        (&json!(false), vec!["old 1.0.0 running".to_owned()])
    );
    // What somebody installs since stays.
    node.run(&["install", "./exec-2.0.0.oci", "--as", "byhand"]);
    moves(&node, "exec-moving.oci", "exec-1.0.0.oci");
    node.kill();
    node.start();
    wait::until("the start to go on", || desired(&node)["reached"] == true);
    assert_eq!(services(&node), ["byhand 2.0.0 running", "z 1.0.0 running"]);
    assert_eq!(desired(&node)["services"][0]["in_sync"], true);
}

#[test]
fn who_was_slower_and_what_is_no_desired_state_is_refused() {
    let node = node();
    let layout = node.path("exec-1.0.0.oci");
    let wanted = |service: &str| json!({"service": service, "package": {"layout": {"path": layout, "package": null}}});
    let body = |services: Value| json!({ "services": services }).to_string();
    let many: Vec<Value> = (0..10_000).map(|n| wanted(&format!("s{n}"))).collect();
    let deep = format!("{{\"services\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let relative = json!([{"service": "a", "package": {"layout": {"path": "x", "package": null}}}]);
    for (body, status, code) in [
        (" ".repeat((4 << 20) + 1), "413", "too-large"),
        (deep, "400", "request"),
        (body(json!(many)), "400", "request"),
        (body(json!([wanted("a"), wanted("a")])), "400", "request"),
        (body(json!([wanted("a\u{1b}[31m")])), "400", "request"),
        (body(relative), "400", "request"),
        ("{}".to_owned(), "400", "request"),
        ("[".to_owned(), "400", "request"),
    ] {
        let (answered, said) = answer(&node, "PUT /v1/desired", &body);
        assert_eq!(answered, status, "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["code"], code, "{said}");
    }
    assert_eq!(desired(&node)["revision"], 0);

    let ask = |more: Value| {
        let mut asked = json!({"services": [wanted("a")]});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        put(&node, "/v1/desired", &asked.to_string())
    };
    let zero = format!("sha256:{:064}", 0);
    assert_eq!(ask(json!({"plan": zero}))["error"]["code"], "plan-changed");
    assert_eq!(ask(json!({"revision": 0}))["result"]["revision"], 1);
    assert_eq!(ask(json!({"revision": 0}))["error"]["code"], "stale");
    assert_eq!(ask(json!({"revision": 1}))["result"]["revision"], 1, "nothing is other");
    assert_eq!(services(&node), ["a 1.0.0 running"]);
}

#[test]
fn a_record_that_a_newer_skepd_wrote_is_left_alone() {
    let mut node = node();
    applied(&node, &one("a", "1.0.0", ""), &[]);
    node.kill();
    let file = node.path("state/desired");
    let text = fs::read_to_string(&file).unwrap();
    let newer = text.replacen("skep-desired 1 ", "skep-desired 2 ", 1);
    fs::write(&file, &newer).unwrap();
    node.start();
    assert_eq!(services(&node), ["a 1.0.0 running"]);
    let (status, said) = node.refused(&["apply", "-f", "services.toml", "--yes"]);
    assert_eq!(status, 1);
    assert!(said.contains("which a newer skepd wrote"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    assert!(node.stop().contains("what the node is to be is not reached"));
}
