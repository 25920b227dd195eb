//! Bundles on machines without a network: installed, upgraded, verified, shown and run straight from the file.
#![allow(clippy::unwrap_used)]

mod node;
mod wait;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use node::Node;

const ONE: [&str; 2] = ["--package", "skep/exec:1.0.0"];
const TWO: [&str; 2] = ["--package", "skep/exec:2.0.0"];

/// The same command in a network namespace of its own, where not even the loopback device is up.
fn without_a_network(command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    inside.arg("--net").arg(command.get_program()).args(command.get_args());
    inside.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        inside.current_dir(folder);
    }
    inside
}

fn run(node: &Node, args: &[&str]) -> String {
    let output = wait::output(&mut without_a_network(&node.skep(args)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skep {}: {said}", args.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(node: &Node, args: &[&str]) -> (i32, String) {
    node.said(&wait::output(&mut without_a_network(&node.skep(args))))
}

/// What skepd took out of bundles and did not remove.
fn unpacked(node: &Node) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.path("state")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().contains(".unpacked-")).collect()
}

fn blobs(node: &Node) -> usize {
    fs::read_dir(node.path("state/store/blobs/sha256")).unwrap().count()
}

#[test]
fn a_bundle_serves_every_command_where_there_is_no_network() {
    let mut node = Node::new();
    node.sign_both();
    node.run(&["bundle", "exec.oci", "exec-2.oci", "-o", "site.skep"]);
    fs::create_dir_all(node.path("state/.unpacked-by-one-that-died")).unwrap();
    let skepd = without_a_network(&node.skepd());
    node.start_as(skepd);
    assert!(unpacked(&node).is_empty(), "what a dead skepd left is removed");

    let verified = run(&node, &[&["verify", "site.skep"], &ONE[..]].concat());
    assert!(verified.contains("Verified skep/exec:1.0.0"), "{verified}");
    assert!(verified.contains("by the rule for 'skep/*'"), "{verified}");
    let shown = run(&node, &[&["inspect", "site.skep"], &TWO[..]].concat());
    assert!(shown.contains("skep/exec 2.0.0"), "{shown}");
    run(&node, &[&["run", "site.skep", "--duration", "100ms", "--count"], &ONE[..]].concat());

    let installed = run(&node, &[&["install", "site.skep"], &ONE[..]].concat());
    assert!(installed.starts_with("Installed skep/exec 1.0.0 as exec"), "{installed}");
    assert!(installed.contains("signed by"), "{installed}");
    run(&node, &[&["upgrade", "exec", "site.skep"], &TWO[..]].concat());
    assert_eq!(node.json(&["list"])[0]["version"], "2.0.0");
    assert_eq!(node.json(&["list"])[0]["unsigned"], false);
    fs::remove_file(node.path("site.skep")).unwrap();
    node.kill();
    let skepd = without_a_network(&node.skepd());
    node.start_as(skepd);
    node.run(&["rollback", "exec"]);
    assert_eq!(node.json(&["list"])[0]["version"], "1.0.0", "all of it is in skepd's store");
    assert!(unpacked(&node).is_empty());
    node.run(&["remove", "exec"]);
}

#[test]
fn kernel_types_travel_to_nodes_whose_kernels_carry_none() {
    let mut node = Node::new();
    node.sign_both();
    let bundle = |node: &Node, from: &str, out: &str, more: &[&str]| {
        run(node, &[&["bundle", from, "-o", out], more].concat());
        fs::read(node.path(out)).unwrap()
    };
    let site = bundle(&node, "exec.oci", "site.skep", &["--btf", "host"]);
    assert!(site == bundle(&node, "exec.oci", "again.skep", &["--btf", "host"]), "the same bytes");
    run(&node, &["unbundle", "site.skep", "-o", "layout"]);
    assert!(site == bundle(&node, "layout", "again.skep", &[]), "a layout carries them, too");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let own = format!("config/btf/{}-{}.btf", release.trim(), std::env::consts::ARCH);
    run(&node, &["unbundle", "site.skep", "--btf", "config/btf"]);
    let types = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    assert!(fs::read(node.path(&own)).unwrap() == types, "{own}");

    // Of another kernel, out of a file.
    fs::write(node.path("types"), &types).unwrap();
    bundle(&node, "exec.oci", "far.skep", &["--btf", "5.4.0-42-generic/aarch64=types"]);
    let written = run(&node, &["unbundle", "far.skep", "--btf", "far"]);
    assert_eq!(written, "far/5.4.0-42-generic-aarch64.btf\n");
    bundle(&node, "exec.oci", "plain.skep", &[]);
    let (status, said) = refused(&node, &["unbundle", "plain.skep", "--btf", "far"]);
    assert!(status == 1 && said.contains("there are no kernel types in it"), "{status}: {said}");
    for (btf, status, words) in [
        ("types", 2, "does not say of which kernel"),
        ("5.4/vax=types", 2, "does not say of which kernel"),
        ("..=types", 2, "'..' is not what `uname -r` says anywhere"),
        ("5.4.0=key.pub", 1, "holds no kernel types"),
    ] {
        let got = refused(&node, &["bundle", "exec.oci", "-o", "bad.skep", "--btf", btf]);
        assert!(got.0 == status && got.1.contains(words), "{btf}: {got:?}");
        assert!(!node.path("bad.skep").exists());
    }

    // What lies there for the kernel that runs is what objects are made to fit.
    node.start();
    node.run(&[&["install", "site.skep"], &ONE[..]].concat());
    node.run(&["remove", "exec"]);
    node.kill();
    fs::write(node.path(&own), "no types").unwrap();
    node.start();
    let (status, said) = refused(&node, &[&["install", "site.skep"], &ONE[..]].concat());
    assert!(status == 1 && said.contains("it is made to fit the kernel types in "), "{said}");
    assert!(said.contains("they must be this kernel's"), "{said}");
}

#[test]
fn what_is_not_trusted_or_not_whole_comes_out_of_no_bundle() {
    let node = {
        let mut node = Node::new();
        node.pack("exec-2");
        node.run(&["bundle", "exec-2.oci", "-o", "unsigned.skep"]);
        node.sign_both();
        node.start();
        node
    };
    node.run(&["bundle", "exec.oci", "exec-2.oci", "-o", "site.skep"]);
    let before = blobs(&node);
    let (status, said) = refused(&node, &["install", "unsigned.skep"]);
    assert!(status == 4 && said.contains("it is unsigned"), "{status}: {said}");
    assert!(
        said.contains(" (trust.unsigned)\n"),
        "skepd's refusal keeps the standard's code: {said}"
    );
    let (_, said) = refused(&node, &["install", "unsigned.skep", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(error["error"]["code"], "trust.unsigned", "{said}");
    for command in ["verify", "run"] {
        let (status, said) = refused(&node, &[command, "unsigned.skep"]);
        assert!(status == 4 && said.contains("it is unsigned"), "{command} {status}: {said}");
    }
    let (status, said) = refused(&node, &["install", "site.skep"]);
    assert!(status == 1 && said.contains("holds several packages"), "{status}: {said}");
    assert!(said.contains("--package NAME:VERSION"), "{said}");
    for command in ["verify", "inspect", "run"] {
        let (status, said) = refused(&node, &[command, "site.skep"]);
        assert!(status == 2 && said.contains("--package NAME:VERSION"), "{status}: {said}");
    }
    let (status, said) = refused(&node, &["install", "h.test/skep/exec:1.0.0", ONE[0], ONE[1]]);
    assert!(status == 2 && said.contains("a reference names its package"), "{status}: {said}");
    let (status, said) = refused(&node, &["sign", "site.skep", "--key", "key.key"]);
    assert!(status == 2 && said.contains("skep bundle it again"), "{status}: {said}");

    // Where a byte of the other package is wrong, the file is not what was bundled.
    let good = fs::read(node.path("site.skep")).unwrap();
    let other = fs::read(node.path("exec-2/build").join(std::env::consts::ARCH).join("exec.bpf.o"));
    let begin = &other.unwrap()[..4096];
    let at = good.windows(begin.len()).position(|bytes| bytes == begin).unwrap();
    let altered = [&good[..at], &[!good[at]], &good[at + 1..]].concat();
    for (what, bytes) in [("altered", &altered[..]), ("cut", &good[..at]), ("empty", &[])] {
        fs::write(node.path("bad.skep"), bytes).unwrap();
        for command in ["install", "verify", "inspect", "run"] {
            let (status, said) = refused(&node, &[&[command, "bad.skep"], &ONE[..]].concat());
            assert!(status == 4 && said.contains("archive"), "{what}, {command} {status}: {said}");
        }
    }
    assert_eq!(blobs(&node), before, "nothing of them is kept");
    assert!(unpacked(&node).is_empty());
    assert_eq!(node.json(&["list"]), serde_json::json!([]));
}
