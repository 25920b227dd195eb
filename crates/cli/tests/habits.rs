//! What all commands have in common: paths of any bytes, quiet ones, JSON of each; and a project that is only read.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod wait;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use clap::CommandFactory as _;
use serde_json::Value;
use tempfile::TempDir;

const BUILD: &[&str] = &["--btf", "host", "--arch", "x86_64"];

struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn skep<Arg: AsRef<OsStr>>(&self, args: &[Arg]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.current_dir(self.0.path()).args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.0.path());
        command
    }

    /// What a command prints that must do it.
    fn run<Arg: AsRef<OsStr>>(&self, args: &[Arg]) -> String {
        let output = wait::output(&mut self.skep(args));
        let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().display().to_string()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "skep {}: {said}", shown.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that must refuse.
    fn refused<Arg: AsRef<OsStr>>(&self, args: &[Arg]) -> String {
        let output = wait::output(&mut self.skep(args));
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Arguments of texts and one path.
fn args(before: &[&str], path: &OsStr, after: &[&str]) -> Vec<OsString> {
    let texts = |texts: &[&str]| texts.iter().map(OsString::from).collect::<Vec<_>>();
    [texts(before), vec![path.to_owned()], texts(after)].concat()
}

#[test]
fn a_path_may_have_any_bytes() {
    let bench = Bench::new();
    let folder = OsStr::from_bytes(b"caf\xe9");
    let mut package = folder.to_owned();
    package.push("/build/package");
    bench.run(&args(&["new", "acme/opens", "--output", "json", "--folder"], folder, &[]));
    let packed = bench.run(&args(&["pack", "--output", "json"], folder, BUILD));
    let packed: Value = serde_json::from_str(&packed).unwrap();
    assert_eq!(packed["layout"], "caf\u{fffd}/build/package");
    bench.run(&["key", "new", "-o", "me"]);
    bench.run(&args(&["sign", "--key", "me.key"], &package, &[]));
    bench.run(&args(&["verify", "--key", "me.pub"], &package, &[]));
    bench.run(&args(&["bundle", "-o", "out.tar"], &package, &[]));
    for what in [folder, &package] {
        let shown = bench.run(&args(&["inspect"], what, &[]));
        assert!(shown.contains("on_open"), "{shown}");
    }
    let mut both = args(&["diff"], folder, &[]);
    both.push(package.clone());
    bench.run(&both);
    let none = OsStr::from_bytes(b"caf\xe8");
    for command in ["inspect", "run", "verify", "bundle", "install"] {
        let after: &[&str] = if command == "bundle" { &["-o", "out.tar"] } else { &[] };
        let key: &[&str] = if command == "verify" { &["--key", "me.pub"] } else { &[] };
        let said = bench.refused(&args(&[&[command], key].concat(), none, after));
        assert!(said.starts_with("error: there is no f"), "{command}: {said}");
        assert!(said.contains("'caf\u{fffd}'"), "{command}: {said}");
    }
    let said = bench.refused(&args(&["install"], &package, &[]));
    assert!(said.contains("its path is no UTF-8") && said.contains("push the package"), "{said}");
}

#[test]
fn quiet_ones_print_digests_or_nothing_and_json_is_whole() {
    let bench = Bench::new();
    let quiet = |args: &[&str]| bench.run(&[args, &["-q"]].concat());
    assert_eq!(quiet(&["new", "acme/opens"]), "");
    assert_eq!(quiet(&["build", "opens", "--btf", "host"]), "");
    assert_eq!(quiet(&["key", "new", "-o", "me"]), "");
    let digest = quiet(&["pack", "opens", "--btf", "host"]);
    assert!(digest.starts_with("sha256:") && digest.len() == 72, "{digest}");
    let layout = "opens/build/package";
    for digests in [
        quiet(&["sign", "--key", "me.key", layout]),
        quiet(&["verify", "--key", "me.pub", layout]),
        quiet(&["bundle", layout, "-o", "opens.tar"]),
        quiet(&["unbundle", "opens.tar", "-o", "out"]),
    ] {
        assert_eq!(digests, digest);
    }
    assert!(quiet(&["inspect", layout]).contains("on_open"), "what is asked for is shown");

    for args in [
        &["new", "acme/again"][..],
        &["build", "again", "--btf", "host"],
        &["pack", "again", "--btf", "host"],
        &["key", "new", "-o", "other"],
        &["key", "trust", "me.pub"],
        &["sign", "--key", "me.key", layout],
        &["verify", "--key", "me.pub", layout],
        &["inspect", layout],
        &["inspect", layout, "--disasm"],
        &["diff", layout, "again/build/package"],
        &["bundle", layout, "-o", "more.tar"],
        &["unbundle", "more.tar", "-o", "more"],
        &["logout", "127.0.0.1:5000"],
    ] {
        for more in [&["--output", "json"][..], &["--output", "json", "--quiet"]] {
            if more.len() == 3 && matches!(args[0], "new" | "key") && args[1] != "trust" {
                continue; // it is there already
            }
            let text = bench.run(&[args, more].concat());
            let value = serde_json::from_str::<Value>(&text);
            let value = value.unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"));
            let is_empty = value.as_object().is_some_and(|members| members.is_empty());
            assert!(!is_empty && !value.is_null(), "{args:?}: {text}");
        }
    }
    let made: Value =
        serde_json::from_str(&bench.run(&["new", "acme/last", "--output", "json"])).unwrap();
    assert_eq!(made, serde_json::json!({"package": "acme/last", "folder": "last"}));
}

/// Commands without others below them, as they are typed.
fn commands(of: &clap::Command, before: &str) -> Vec<String> {
    let below = of.get_subcommands().flat_map(|command| {
        let typed = format!("{before} {}", command.get_name());
        match command.has_subcommands() {
            true => commands(command, &typed),
            false => vec![typed.trim_start().to_owned()],
        }
    });
    below.collect()
}

#[test]
fn the_page_says_of_every_command_what_it_prints_when_quiet() {
    let shows = [
        "cache list",
        "channel show",
        "completion",
        "conformance",
        "diff",
        "doctor",
        "events",
        "history",
        "inspect",
        "key export",
        "key list",
        "key trust",
        "list",
        "map dump",
        "map list",
        "map lookup",
        "metrics",
        "outdated",
        "prog disasm",
        "prog list",
        "prog run",
        "prog show",
        "prog stats",
        "run",
        "show",
        "tags",
        "top",
        "trust list",
        "trust test",
    ];
    let page = include_str!("../../../docs/reference/cli.md");
    let rule = page.split("\n\n").find(|part| part.starts_with("Quiet, ")).unwrap();
    let named: Vec<&str> = rule.split('`').skip(1).step_by(2).collect();
    let all = commands(&skep_cli::commands::Skep::command(), "");
    for command in &all {
        let (shows, named) = (shows.contains(&command.as_str()), named.contains(&command.as_str()));
        assert!(
            shows != named,
            "skep {command}: it shows something, or the rule of quiet names it"
        );
    }
    let flags = ["--output json"];
    for name in named.iter().filter(|name| !flags.contains(name)) {
        assert!(all.iter().any(|command| command == name), "there is no skep {name}");
    }
}

#[test]
fn a_project_that_is_only_read_is_built_elsewhere() {
    let bench = Bench::new();
    bench.run(&["new", "acme/opens"]);
    bench.run(&[&["build", "opens", "--out", "made"], BUILD].concat());
    assert!(!bench.path("opens/build").exists() && !bench.path("opens/skep.lock").exists());
    let object = fs::read(bench.path("made/x86_64/opens.bpf.o")).unwrap();
    assert!(bench.path("made/skep.lock").is_file());
    // Types of this host are pinned nowhere.
    let said = bench.refused(&[&["build", "opens", "--out", "made", "--locked"], BUILD].concat());
    assert!(said.contains("--locked: skep.lock has kernel types for x86_64"), "{said}");
    let packed = bench.run(&[&["pack", "opens", "--out", "made", "-q"], BUILD].concat());
    bench.run(&["inspect", "made/package"]);
    bench.run(&[&["build", "opens"], BUILD].concat());
    let inside = fs::read(bench.path("opens/build/x86_64/opens.bpf.o")).unwrap();
    assert!(object == inside, "the same bytes wherever it is built");
    assert_eq!(packed, bench.run(&[&["pack", "opens", "-q"], BUILD].concat()));

    // As a user who may write nowhere in there.
    fs::remove_dir_all(bench.path("opens/build")).unwrap();
    fs::set_permissions(bench.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // By a process of its own: what another test starts meanwhile would have the file open for writing for a moment.
    let mut copy = Command::new("cp");
    copy.arg(env!("CARGO_BIN_EXE_skep")).arg(bench.path("skep"));
    assert!(copy.status().unwrap().success());
    let elsewhere = tempfile::tempdir().unwrap();
    let mine = std::os::unix::fs::chown(elsewhere.path(), Some(65534), None);
    mine.unwrap();
    let nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.current_dir(bench.0.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["--reuid", "65534", "--clear-groups"]).arg(bench.path("skep")).args(args);
        wait::output(&mut command)
    };
    let refused = nobody(&[&["build", "opens"], BUILD].concat());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("hint: build elsewhere with --out DIR, or as a user who may"), "{said}");
    let out = elsewhere.path().join("made").display().to_string();
    let built = nobody(&[&["build", "opens", "--out", &out], BUILD].concat());
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert!(fs::read(elsewhere.path().join("made/x86_64/opens.bpf.o")).unwrap() == object);
}

#[test]
fn what_is_mistyped_is_named_as_it_was_typed() {
    let bench = Bench::new();
    bench.run(&["new", "acme/opens"]);
    bench.run(&[&["pack", "opens"], BUILD].concat());
    bench.run(&["key", "new", "-o", "me"]);
    let (layout, object) = ("opens/build/package", "opens/build/x86_64/opens.bpf.o");
    let no_bundle = "error: the file 'me.pub' is no bundle of packages";
    for (args, words) in [
        (&["new", ""][..], "error: '' is not a package name"),
        (&["new", "acme/opens"], "hint: name another folder with --folder"),
        (
            &["key", "trust", "me.pub", "--packages", "x\"y"],
            "error: --packages: 'x\"y' is not a pattern",
        ),
        (&["verify", "--key", "me.pub", "me.pub"], no_bundle),
        (&["bundle", "me.pub", "-o", "x.tar"], no_bundle),
        (&["install", "me.pub"], no_bundle),
        (
            &["bundle", layout, "-o", "none/x.tar"],
            "can't write none/x.tar: there is no folder 'none'",
        ),
        (&["bundle", layout, "-o", "opens"], "can't write opens: it is a folder, not a file"),
        (
            &["unbundle", "me.pub", "-o", "out"],
            "error: can't unbundle me.pub (archive.tar)\n  because the archive is not",
        ),
        (
            &["run", object, "--target", "on_open=zzz/x"],
            "--target on_open=zzz/x: the program 'on_open'",
        ),
        (
            &["run", object, "--target", "on_open=tp/x"],
            "--target on_open=tp/x: 'tp/x' is not an attach target",
        ),
    ] {
        let said = bench.refused(args);
        assert!(said.contains(words), "{args:?}: {said}");
        assert!(!bench.path("out").exists());
    }
}

/// What cannot be read, and what holds something else, in each place where a command takes a file or folder.
#[test]
fn a_file_that_is_named_and_is_none_is_a_wrong_call() {
    let bench = Bench::new();
    bench.run(&["new", "acme/opens"]);
    bench.run(&[&["pack", "opens"], BUILD].concat());
    bench.run(&["key", "new", "-o", "me"]);
    fs::write(bench.path("text"), "neither this nor that\n").unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    let layout = "opens/build/package";
    for args in [
        &["verify", "--key", "FILE", layout][..],
        &["verify", "--policy", "FILE", layout],
        &["sign", "--key", "FILE", layout],
        &["key", "trust", "FILE"],
        &["trust", "add", "acme/*", "--key", "FILE"],
        &["channel", "move", "127.0.0.1:1/acme/opens:1.0.0", "stable", "--key", "FILE"],
        &["inspect", "FILE"],
        &["diff", layout, "FILE"],
        &["run", "FILE"],
        &["bundle", "FILE", "-o", "out"],
        &["install", "FILE"],
        &["upgrade", "opens", "FILE"],
        &["build", "opens", "--btf", "FILE", "--arch", "x86_64"],
        &["build", "opens", "--clang", "FILE", "--btf", "host"],
        &["lint", "FILE"],
        &["push", "FILE", "127.0.0.1:1/acme/opens:1.0.0"],
        &["conformance", "--vectors", "FILE"],
    ] {
        for file in ["./none", "text", "folder"] {
            let args: Vec<&str> =
                args.iter().map(|arg| if *arg == "FILE" { file } else { arg }).collect();
            let output = wait::output(&mut bench.skep(&args));
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
            assert!(said.contains(file.trim_start_matches("./")), "{args:?}: {said}");
        }
    }
    let unbundle = |file| wait::output(&mut bench.skep(&["unbundle", file, "-o", "out"])).status;
    assert_eq!(unbundle("none").code(), Some(2));
    assert_eq!(unbundle("text").code(), Some(4), "not whole, whichever command reads it");
}
