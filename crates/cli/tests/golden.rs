//! Golden digests: packages whose digests lie in the repository are built to these, in any folder, for any user, in any time zone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod wait;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What `skep.lock` of each package is. Another clang is another compiler: these digests say nothing about it.
const LOCK: &str = include_str!("golden/skep.lock");
/// `PACKAGE WHAT DIGEST`, a line each.
const DIGESTS: &str = include_str!("golden/digests");

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The packages: a `skep.toml` in the repository, and its sources.
fn packages() -> [(&'static str, PathBuf, Vec<PathBuf>); 3] {
    let root = Path::new(HERE).join("../..");
    let c = |name: &str| Path::new(HERE).join("tests/c").join(name);
    let example = |name: &str| root.join("examples").join(name);
    [
        ("exec", example("exec/skep.toml"), vec![example("exec/src/exec.bpf.c")]),
        ("exec-2", example("exec-2/skep.toml"), vec![example("exec-2/src/exec.bpf.c")]),
        (
            "blockstat",
            root.join("spec/examples/observation.toml"),
            vec![c("blockstat.bpf.c"), c("hist.bpf.c")],
        ),
    ]
}

/// A copy of a package's project that everybody may write to, with kernel types that do not change.
fn project(folder: &Path, toml: &Path, sources: &[PathBuf]) {
    fs::create_dir_all(folder.join("src")).unwrap();
    let text = fs::read_to_string(toml).unwrap();
    let types = r#"{ x86_64 = "x86_64.o", aarch64 = "aarch64.o" }"#;
    let own = text.replace(r#"{ x86_64 = "debian:6.12", aarch64 = "debian:6.12" }"#, types);
    assert!(own.contains(types), "{}", toml.display());
    fs::write(folder.join("skep.toml"), own).unwrap();
    fs::write(folder.join("README.md"), "A golden package.\n").unwrap();
    fs::write(folder.join("skep.lock"), LOCK).unwrap();
    for source in sources {
        fs::copy(source, folder.join("src").join(source.file_name().unwrap())).unwrap();
    }
    for (arch, define) in [("x86_64", "X86"), ("aarch64", "ARM64")] {
        let clang = Command::new("clang")
            .args(["-target", "bpf", "-g", "-O2", "-D", define, "-c"])
            .arg(Path::new(HERE).join("tests/golden/types.c"))
            .arg("-o")
            .arg(folder.join(format!("{arch}.o")))
            .status();
        assert!(clang.unwrap().success());
    }
    for path in [folder.to_owned(), folder.join("src")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
}

/// `skep` in a folder, as it is for root here, and for nobody on the other side of the world.
fn skep(folder: &Path, is_nobody: bool) -> Command {
    let skep = folder.join("skep");
    if !skep.exists() {
        fs::copy(env!("CARGO_BIN_EXE_skep"), &skep).unwrap(); // nobody may not see where it was built
    }
    let mut command = Command::new(if is_nobody { Path::new("setpriv") } else { &skep });
    if is_nobody {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&skep);
    }
    command.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    // What is not in the cache is made anew.
    command.env("XDG_CACHE_HOME", folder.join("cache"));
    match is_nobody {
        true => {
            command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "C.UTF-8").env("USER", "nobody")
        }
        false => command.env("TZ", "America/St_Johns").env("LC_ALL", "C").env("HOME", folder),
    };
    command
}

fn run(command: &mut Command) -> Value {
    let output = wait::output(command.args(["--output", "json"]));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "another clang than the lock's needs golden digests of its own: {text}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The digests of a package and its objects, as the file has them.
fn digests(name: &str, folder: &Path, is_nobody: bool) -> String {
    let packed = run(skep(folder, is_nobody).args(["pack", "--locked"]));
    let mut lines = format!("{name} package {}\n", packed["digest"].as_str().unwrap());
    let built = run(skep(folder, is_nobody).args(["build", "--locked"]));
    let rows: BTreeMap<&str, &str> = built
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["arch"].as_str().unwrap(), row["digest"].as_str().unwrap()))
        .collect();
    for (arch, digest) in rows {
        lines += &format!("{name} {arch} {digest}\n");
    }
    lines
}

#[test]
fn golden_packages_have_their_digests_whoever_builds_them_and_where() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (mut ours, mut theirs) = (String::new(), String::new());
    for (name, toml, sources) in packages() {
        let (here, there) = (folder.path().join(name), folder.path().join("far/away").join(name));
        project(&here, &toml, &sources);
        project(&there, &toml, &sources);
        ours += &digests(name, &here, false);
        theirs += &digests(name, &there, true);
    }
    assert_eq!(ours, theirs, "another folder, user and time zone");
    assert_eq!(
        ours, DIGESTS,
        "tests/golden/digests: where a change of the build is meant, these are the new ones:\n{ours}"
    );
}

#[test]
fn locked_refuses_whatever_the_lock_does_not_pin_and_says_both() {
    let folder = tempfile::tempdir().unwrap();
    let (name, toml, sources) = packages().into_iter().next().unwrap();
    let here = folder.path().join(name);
    project(&here, &toml, &sources);
    let build = ["build", "--locked", "--arch", "x86_64"];
    let refuses = |file: &str, from: &str, to: &str, words: &[&str]| {
        let text = fs::read_to_string(here.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(here.join(file), text.replacen(from, to, 1)).unwrap();
        let output = wait::output(skep(&here, false).args(build));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for words in words {
            assert!(said.contains(words), "{words}: {said}");
        }
        fs::write(here.join(file), text).unwrap();
    };
    let clang = LOCK.lines().find_map(|line| line.strip_prefix("clang = ")).unwrap();
    refuses(
        "skep.lock",
        clang,
        "\"13.0.1\"",
        &["--locked: skep.lock has clang 13.0.1, here it is "],
    );
    let flags = ["--locked: skep.lock has flags ", "-DMORE; build without --locked to pin that"];
    refuses("skep.toml", "[build]", "[build]\ncflags = [\"-DMORE\"]", &flags);
    let headers = LOCK.lines().find_map(|line| line.strip_prefix("headers = ")).unwrap();
    let other = format!("\"sha256:{}\"", "0".repeat(64));
    let words = ["--locked: skep.lock has headers sha256:0000", ", here it is sha256:"];
    refuses("skep.lock", headers, &other, &words);
    let types = ["pins kernel types with the sha256:", "where there is now sha256:"];
    fs::copy(here.join("aarch64.o"), here.join("x86_64.o")).unwrap();
    refuses("skep.toml", "spec = \"1.0\"", "spec = \"1.0\" ", &types);
}
