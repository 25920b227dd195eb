//! `skep import` as it is typed: from objects of others to a package.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{run, tool};
use typed::refused;

const SOURCE: &str = "#define SEC(x) __attribute__((section(x), used))\n\
    struct ring { int (*type)[27]; int (*max_entries)[4096]; };\n\
    struct event { unsigned pid; }; const struct event *unused_event __attribute__((unused));\n\
    struct ring events SEC(\".maps\"); char LICENSE[] SEC(\"license\") = \"GPL\";\n\
    const volatile unsigned target_pid;\n\
    static long (*submit)(void *, void *, unsigned long, unsigned long) = (void *)130;\n\
    SEC(\"tp/sched/sched_process_exec\") int exec(void *c) {\n\
    struct event e = { target_pid }; return submit(&events, &e, sizeof(e), 0); }\n\
    SEC(\"sk_msg\") int message(void *c) { return 1; }\n";

fn skep(folder: &Path) -> Command {
    let mut command = typed::skep(folder);
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// A folder with an object, and with a binary that embeds it twice.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("Exec.bpf.c"), SOURCE).unwrap();
    let clang = ["-target", "bpf", "-g", "-O2", "-c", "-o"];
    run(Command::new(tool("clang")).args(clang).args([path("Exec.bpf.o"), path("Exec.bpf.c")]));
    let object = fs::read(path("Exec.bpf.o")).unwrap();
    fs::write(path("both"), [b"#!", &object[..], b"and", &object].concat()).unwrap();
    folder
}

#[test]
fn an_object_becomes_a_package_that_is_signed_as_any() {
    let folder = folder();
    let folder = folder.path();
    let text = run(skep(folder).args(["import", "Exec.bpf.o"]));
    assert!(text.starts_with("Made exec/ for local/exec: exec\nnot in its skep.toml:\n"), "{text}");
    assert!(text.contains("the program 'message' (SEC(\"sk_msg\")) names no sockmap"), "{text}");
    assert!(text.ends_with("Next: read exec/skep.toml, then skep pack exec\n"), "{text}");
    let object = |path: &str| fs::read(folder.join(path)).unwrap();
    assert_eq!(object("exec/objects/exec.o"), object("Exec.bpf.o"), "not a byte changes");
    run(skep(folder).args(["pack", "exec"]));
    run(skep(folder).args(["key", "new", "-o", "key"]));
    run(skep(folder).args(["sign", "--key", "key.key", "exec/build/package"]));
    let verified = run(skep(folder).args(["verify", "--key", "key.pub", "exec/build/package"]));
    for arch in ["aarch64", "riscv64", "x86_64"] {
        assert!(verified.contains(&format!("{arch}: manifest ")), "{verified}");
    }
    let manifest = run(skep(folder).args(["inspect", "exec/build/package", "--output", "json"]));
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let manifest = &manifest["package"]["manifest"];
    assert_eq!(manifest["param"]["target_pid"]["type"], "uint", "{manifest}");
    assert_eq!(manifest["output"]["events"]["kind"], "event", "{manifest}");
    assert_eq!(manifest["package"]["license"], "GPL-2.0-only", "{manifest}");
    refused(skep(folder).args(["import", "Exec.bpf.o"]), 1, "is there already and is not empty");
}

#[test]
fn objects_of_binaries_are_listed_and_chosen() {
    let folder = folder();
    let folder = folder.path();
    let list = run(skep(folder).args(["import", "both", "--list"]));
    assert!(list.starts_with("OBJECT"), "{list}");
    let at = "exec at tracepoint/sched/sched_process_exec";
    assert_eq!(list.matches(at).count(), 2, "{list}");
    assert!(list.contains("object 2 in both"), "{list}");
    let choose = ["--object", "object2", "--folder", "one", "--name", "acme/one", "--as", "2.0.0"];
    let json = run(skep(folder).args(["import", "both"]).args(choose).args(["--output", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["objects"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json["package"], "acme/one");
    // Several files, and what they embed, in one package.
    let all = ["import", "both", "Exec.bpf.o", "--folder", "all", "--arch", "x86_64"];
    let text = run(skep(folder).args(all).args(["--license", "MIT OR GPL-2.0-only"]));
    assert!(text.starts_with("Made all/ for local/both: object1, object2, exec\n"), "{text}");
    let toml = fs::read_to_string(folder.join("all/skep.toml")).unwrap();
    assert!(toml.contains("[program.exec_3]\nfunction = \"exec\"\nobject = \""), "{toml}");
    assert!(toml.contains("file = { x86_64 = \"objects/object1.o\" }"), "{toml}");
    run(skep(folder).args(["build", "all"]));
}

#[test]
fn mistakes_make_no_folder() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("text"), "hello").unwrap();
    fs::write(folder.join("own.c"), SOURCE.replace("\"GPL\"", "\"Proprietary\"")).unwrap();
    let clang = ["-target", "bpf", "-g", "-O2", "-c", "-o", "own.o", "own.c"];
    run(Command::new(tool("clang")).current_dir(folder).args(clang));
    fs::write(folder.join("none.c"), SOURCE.replace("tp/sched/sched_process_exec", "sk_skb"))
        .unwrap();
    let clang = ["-target", "bpf", "-g", "-O2", "-c", "-o", "none.o", "none.c"];
    run(Command::new(tool("clang")).current_dir(folder).args(clang));
    for (args, words) in [
        (&["absent.o"][..], "can't read 'absent.o'"),
        (&["folder/absent.o"], "can't read 'folder/absent.o'"),
        (&["host.example/UPPER/x"], "is not an image reference"),
        (&["Exec.bpf.o", "--tag", "x"], "--tag is for layouts"),
        (
            &["none.o"],
            "no program of the objects can run in a service: skepd can't attach the program 'exec'",
        ),
        (&["Exec.bpf.o", "--arch", "s390x"], "the objects can't be packed"),
        (&["text"], "can't import text"),
        (&["both", "--object", "object3"], "there are: object1, object2"),
        (&["own.o"], "the objects say 'Proprietary'"),
        (&["Exec.bpf.o", "--license", "my own"], "is not an SPDX expression"),
    ] {
        refused(skep(folder).arg("import").args(args), 2, words);
    }
    // A program without an object is not to be compiled otherwise, an object for a CPU is.
    let cpu = ["-g", "-c", "-o", "cpu.o", "none.c"];
    run(Command::new(tool("clang")).current_dir(folder).args(cpu));
    for command in ["import", "inspect", "run"] {
        let what = format!(
            "error: can't {command} /bin/sh (object.machine)\n  because this is a program for "
        );
        refused(skep(folder).args([command, "/bin/sh"]), 2, &what);
        let hint = "it embeds no BPF object\nhint: an object that is compressed";
        refused(skep(folder).args([command, "/bin/sh"]), 2, hint);
        refused(skep(folder).args([command, "cpu.o"]), 2, "compile with `clang -target bpf");
    }
    // Not even half a project on a full disk: no file may be longer than 512 bytes here.
    let skep = env!("CARGO_BIN_EXE_skep");
    let full = format!("trap '' XFSZ; ulimit -f 1; exec {skep} import Exec.bpf.o --folder half");
    let mut shell = Command::new("sh");
    refused(shell.current_dir(folder).args(["-c", &full]), 1, "can't write half/objects/exec.o");
    let folders =
        fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(folders.count(), 0);
}

/// Each variable that could be a parameter is tried, and each try reads all that is made so far.
#[test]
fn variables_that_are_no_parameters_are_not_tried_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, of) in [("a", "int"), ("b", "struct s")] {
        let variables = (0..256).map(|n| format!("const volatile {of} v{n:03};\n"));
        let variables = variables.collect::<String>();
        let source = format!(
            "struct s {{ int a[3]; }};\n{variables}const volatile int zlast;\n\
             char LICENSE[] __attribute__((section(\"license\"))) = \"GPL\";\n\
             __attribute__((section(\"tp/sched/sched_process_exec\"))) int {name}(void *c) {{ return 0; }}\n"
        );
        fs::write(folder.join(format!("{name}.c")), source).unwrap();
        let (object, source) = (format!("{name}.o"), format!("{name}.c"));
        let clang = ["-target", "bpf", "-g", "-O2", "-c", "-o", &object, &source];
        run(Command::new(tool("clang")).current_dir(folder).args(clang));
    }
    let import = ["import", "a.o", "b.o", "--name", "acme/many"];
    let text = run(skep(folder).args(import));
    assert!(text.contains("v255, zlast\n"), "{text}");
    let made = fs::read_to_string(folder.join("many/skep.toml")).unwrap();
    assert!(!made.contains("[param."), "{made}");
}
