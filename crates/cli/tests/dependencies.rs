//! Packages that need others: through our hub and out of a bundle, from `skep pack` to two services that share a map.
#![allow(clippy::unwrap_used)]

mod hub;
mod node;
#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod wait;
#[path = "dependencies/world.rs"]
mod world;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use hub::Hub;
use node::Node;
use world::{World, needs};

/// A dependency on flows, and kernel types that lie in the project.
fn depends(range: &str) -> String {
    let btf = format!("[build.btf]\n{} = \"vmlinux.btf\"\n", std::env::consts::ARCH);
    needs("flows", range, "") + &btf
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

/// What the history says of a service, the last first.
fn told(node: &Node, service: &str) -> Vec<String> {
    let deeds = node.json(&["history", service]);
    let one = |deed: &Value| {
        let version = |at: &str| deed[at]["version"].as_str().unwrap_or("-").to_owned();
        let word = |of: &str| deed[of].as_str().unwrap_or("-").to_owned();
        let (what, with, error) = (word("what"), word("with"), word("error"));
        format!("{what} with {with}, {} to {}: {error}", version("from"), version("to"))
    };
    deeds.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn what_became_of_each_of_a_set_is_in_its_history() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.publish("flows", "1.1.0", "");
    world.app("1.0.0", "^1.1");
    world.node.start();
    world.run(&["install", "acme/flows:1.0.0"]);
    let (_, said) = world.node.refused(&["install", "acme/app:1.0.0"]);
    assert!(said.contains("what was done before it was undone: flows"), "{said}");
    let undone = "install with app, 1.0.0 to 1.0.0: app failed, and this was undone";
    assert_eq!(told(&world.node, "flows")[0], undone);
    world.flows("1.2.0");
    world.app("1.1.0", "^1.2");
    world.run(&["install", "acme/app:1.1.0"]);
    assert_eq!(told(&world.node, "flows")[0], "install with app, 1.0.0 to 1.2.0: -");
    // skepd ends between the two.
    world.flows("2.0.0");
    world.app("2.0.0", "^2");
    world.node.stop();
    let mut skepd = world.node.skepd();
    skepd.args(["--fault", "upgrade.Begin.before:2"]);
    world.node.start_as(skepd);
    world.node.refused(&["upgrade", "app", "acme/app:2.0.0"]);
    world.node.died();
    world.node.start();
    assert_eq!(world.services(), ["app 1.1.0", "flows 1.2.0"]);
    let why = "skepd had ended in the middle of what was done to it and others, and all of that was undone";
    assert_eq!(told(&world.node, "flows")[0], format!("upgrade with -, 2.0.0 to 1.2.0: {why}"));
}

#[test]
fn a_dry_run_refuses_what_would_be_refused_and_says_which_exports_end() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.publish("flows", "1.2.0", "");
    world.app("1.0.0", "^1");
    world.node.start();
    let node = &world.node;
    let refused = |command: &[&str], words: &str| {
        let (status, said) = node.refused(&[command, &["--dry-run"]].concat());
        assert_eq!(status, 1, "{said}");
        assert!(said.contains(words), "{said}");
    };
    let install = ["install", "acme/app:1.0.0"];
    // What comes with it is held against it, too.
    refused(
        &install,
        "app cannot use a map of acme/flows 1.2.0, which would run as flows\n  because the map 'starts' cannot be shared: it exports no map",
    );
    node.run(&["install", "acme/flows:1.0.0"]);
    node.run(&["stop", "flows"]);
    refused(&install, "app needs flows, which is stopped");
    node.run(&["start", "flows"]);
    let upgrade = ["upgrade", "flows", "acme/flows:1.2.0"];
    let said = node.run(&[&upgrade[..], &["--dry-run"]].concat());
    assert!(said.contains("the map 'starts' is exported no more"), "{said}");
    let done = node.json(&upgrade);
    assert!(
        done[0]["notes"].to_string().contains("the map 'starts' is exported no more"),
        "{done}"
    );
    refused(&install, "which runs as flows\n  because the map 'starts' cannot be shared");
    node.run(&["rollback", "flows"]);
    node.run(&install);
    world.publish("flows", "2.0.0", "");
    world.app("2.0.0", "^2");
    refused(&["upgrade", "app", "acme/app:2.0.0"], "acme/flows 2.0.0, which would run as flows");
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.0.0"]);
}

#[test]
fn a_dry_run_says_what_becomes_of_each_in_order() {
    let mut world = World::new();
    world.flows("1.0.0");
    world.node.start();
    let node = &world.node;
    node.run(&["install", "acme/flows:1.0.0"]);
    world.flows("1.1.0");
    world.app("1.0.0", "^1.1");
    world.publish("edge", "1.0.0", &needs("app", "^1", ""));
    let plan = ["install", "acme/edge:1.0.0", "--dry-run"];
    let changes = |members: &Value| {
        let one = |member: &Value| format!("{} {}", member["service"], member["change"]);
        members.as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    let planned = node.json(&plan);
    let each = [r#""flows" "upgraded""#, r#""app" "installed""#, r#""edge" "installed""#];
    assert_eq!(changes(&planned), each);
    assert_eq!(planned[0]["version"], "1.1.0", "{planned}");
    assert_eq!(
        node.run(&plan),
        "Would install; nothing was touched.\n  acme/flows 1.1.0 as flows: upgraded\n  acme/app 1.0.0 as app: installed\n  acme/edge 1.0.0 as edge: installed\n"
    );
    assert_eq!(world.services(), ["flows 1.0.0"]);
    assert_eq!(told(node, "flows").len(), 1, "nothing was done to it");
    node.run(&["install", "acme/app:1.0.0"]);
    let each = [r#""flows" "kept""#, r#""app" "kept""#, r#""edge" "installed""#];
    assert_eq!(changes(&node.json(&plan)), each);
    assert_eq!(world.services(), ["app 1.0.0", "flows 1.1.0"]);
}
