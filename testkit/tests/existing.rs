//! docs/guide/existing.md, typed with a tool of each toolchain: every command works, and prints what the page shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod page;

use std::path::{Path, PathBuf};
use std::process::Command;

use page::commands;

const PAGE: &str = include_str!("../../docs/guide/existing.md");
/// Whatever comes of it, nothing stays.
const END: &str = "trap 'skep remove counts; kill $(jobs -p); wait; rmdir BPFFS' EXIT\n";
const C: &str = "counts.c";

#[test]
fn an_object_of_clang() {
    follows("clang", |object| compile("clang", C, object, &["-target", "bpf", "-g", "-O2", "-c"]));
}

#[test]
fn an_object_of_gcc() {
    follows("gcc", |object| {
        compile("bpf-gcc", C, object, &["-gbtf", "-mco-re", "-mcpu=v3", "-O2", "-c"]);
    });
}

/// As Aya's `#[map]` and C of before 2020 define them, without any types.
#[test]
fn an_object_whose_maps_are_defined_in_the_old_way() {
    follows("older", |object| {
        compile("clang", C, object, &["-target", "bpf", "-DOLDER", "-O2", "-c"])
    });
}

#[test]
fn an_object_of_zig() {
    let zig = page::cache().join("zig/ziglang/zig");
    assert!(zig.exists(), "{} is needed: run 'make test', which installs it", zig.display());
    follows("zig", |object| {
        let status = Command::new(&zig)
            .args(["build-obj", "-target", "bpfel-freestanding", "-O", "ReleaseSmall", "-fstrip"])
            .arg("--global-cache-dir")
            .arg(object.with_extension("cache"))
            .arg("--cache-dir")
            .arg(object.with_extension("cache"))
            .arg(format!("-femit-bin={}", object.display()))
            .arg(source("counts.zig"))
            .status();
        assert!(status.unwrap().success());
    });
}

/// Makes an object, a tool in Go that carries it as bpf2go's do, and follows the page with both.
fn follows(name: &str, make: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    make(&folder.path().join("counts.o"));
    carry(folder.path());
    let bpffs = format!("/sys/fs/bpf/skep-existing-{name}-{}", std::process::id());
    let own = |text: &str| text.replace("/sys/fs/bpf/existing", &bpffs).replace("BPFFS", &bpffs);
    let typed = commands(&own(PAGE));
    assert!(typed.len() > 15, "the page shows commands");
    let path = format!("{}:{}", page::binaries().display(), std::env::var("PATH").unwrap());
    page::follow(&typed, &own(END), folder.path(), &path);
    assert!(!Path::new(&bpffs).exists(), "{bpffs} is left");
}

fn compile(compiler: &str, from: &str, object: &Path, options: &[&str]) {
    let mut command = Command::new(compiler);
    command.args(options).arg("-o").arg(object).arg(source(from));
    assert!(command.status().unwrap().success(), "{command:?}");
}

fn carry(folder: &Path) {
    const TOOL: &str = "package main\n\nimport _ \"embed\"\n\n//go:embed counts.o\nvar object []byte\n\n\
                        func main() { println(len(object)) }\n";
    std::fs::write(folder.join("tool.go"), TOOL).unwrap();
    std::fs::write(folder.join("go.mod"), "module carrier\n\ngo 1.21\n").unwrap();
    let go = Path::new("/usr/local/go/bin/go");
    let go = if go.exists() { go } else { Path::new("go") };
    let status = Command::new(go).args(["build", "-o", "tool", "."]).current_dir(folder).status();
    assert!(status.unwrap().success());
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/existing").join(name)
}
