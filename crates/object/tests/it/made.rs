//! Objects of languages that are not C: Zig's, built here by Zig itself, and Aya's, of its crates and Rust's own back end. What
//! its linker makes of several crates, which would have to be built with an LLVM of its own, one more has the shape of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_object::disasm::{Item, Note, list};
use skep_object::{Facts, MapOrigin, ObjectError, Writers};

use crate::{build, disasm, peers};

/// Zig, which `make test` has put into the cache.
fn zig() -> PathBuf {
    let set = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let zig = set.map_or_else(home, PathBuf::from).join("skep/zig/ziglang/zig");
    assert!(
        zig.exists(),
        "{} is needed by this test: run 'make test', which installs it",
        zig.display()
    );
    zig
}

fn of_zig(target: &str, strip: &str) -> Vec<u8> {
    let target = format!("{target}-freestanding");
    made("tests/zig/opens.zig", |zig, to| {
        zig.args(["build-obj", "-target", &target, "-O", "ReleaseSmall", strip]);
        zig.arg(format!("-femit-bin={}", to.display()));
    })
}

/// A file of C, by the clang that comes with Zig: newer than any distribution's.
fn of_new_clang(source: &str, target: &str) -> Vec<u8> {
    let target = format!("{target}-freestanding");
    made(source, |zig, to| {
        zig.args(["cc", "-target", &target, "-mcpu=v4", "-O2", "-g", "-c", "-o"]).arg(to);
    })
}

/// What Zig makes of a file, by these arguments.
fn made(source: &str, arguments: impl FnOnce(&mut Command, &Path)) -> Vec<u8> {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("made.o");
    let mut zig = Command::new(zig());
    zig.env("ZIG_GLOBAL_CACHE_DIR", out.path()).env("ZIG_LOCAL_CACHE_DIR", out.path());
    arguments(&mut zig, &path);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let output = zig.arg(source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path).unwrap()
}

#[test]
fn what_zig_builds_is_read_in_both_byte_orders() {
    for (target, big_endian) in [("bpfel", false), ("bpfeb", true)] {
        let bytes = of_zig(target, "-fstrip");
        let facts = Facts::parse(&bytes).unwrap();
        assert_eq!((facts.big_endian, facts.license.as_deref()), (big_endian, Some("GPL")));
        let program = &facts.programs[0];
        assert_eq!((facts.programs.len(), program.name.as_str()), (1, "on_open"));
        assert!(program.helpers.contains("map_lookup_elem") && !program.unknown_calls);
        let map = facts.map("counts").unwrap();
        assert_eq!((map.origin, map.kind.to_string()), (MapOrigin::Legacy, "hash".to_owned()));
        assert_eq!((map.key_size, map.value_size, map.max_entries), (4, 8, 1024));
        assert_eq!(facts.writers("counts"), Writers::Atomic);
        assert_eq!(facts.globals[0].name, "only_pid");
        if !big_endian {
            assert!(disasm::same_as_llvm("zig", &bytes)[0] > 5);
        }
    }
}

/// With debug information Zig writes every function twice, once as a static one: libbpf takes none, and nor do we.
#[test]
fn what_zig_builds_with_debug_information_is_refused_as_libbpf_refuses_it() {
    let bytes = of_zig("bpfel", "-fno-strip");
    let refused = Facts::parse(&bytes).unwrap_err();
    assert!(
        matches!(&refused, ObjectError::Program { why, .. } if why.starts_with("it is static")),
        "{refused}"
    );
    assert!(peers::skeleton(&bytes).unwrap_err().contains("is static and not supported"));
}

/// Clang makes a table of it from cpu v4 on.
#[test]
fn a_switch_of_c_is_no_call_and_what_its_ways_do_is_told() {
    for target in ["bpfel", "bpfeb"] {
        let bytes = of_new_clang("tests/c/switch.c", target);
        let program = &Facts::parse(&bytes).unwrap().programs[0];
        assert!(!program.unknown_calls && program.helpers.contains("map_lookup_elem"));
        assert_eq!(program.writes, BTreeMap::from([("counts".to_owned(), Writers::Atomic)]));
        let mut leads = Vec::new();
        list(&bytes, None, |item| match item {
            Item::Line(line) if line.text.starts_with("gotox") => leads.push(line.notes),
            _ => {}
        })
        .unwrap();
        assert!(leads.len() == 1 && leads[0].len() > 8, "{leads:?}");
        assert!(leads[0].iter().all(|note| matches!(note, Note::Jump(_))), "{leads:?}");
    }
}

/// A program of Rust with Aya's crates: all of it in one unit, so that there is nothing left for a linker of BPF.
fn of_aya() -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/aya/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aya");
    let (assembly, object) = (target.join("opens.s"), tempfile::tempdir().unwrap());
    let mut cargo = Command::new("cargo");
    // Neither this workspace's settings nor those of the run that we are in.
    let own = std::env::vars_os().map(|(name, _)| name);
    own.filter(|name| name.to_string_lossy().starts_with("CARGO_")).for_each(|name| {
        if name != "CARGO_HOME" {
            cargo.env_remove(name);
        }
    });
    cargo.env_remove("RUSTC").env_remove("RUSTDOC").current_dir("/");
    cargo.env(
        "RUSTFLAGS",
        "-Zcross-crate-inline-threshold=always -Zshare-generics=no -Clinker=/bin/true",
    );
    cargo.args(["+nightly", "rustc", "--release", "--locked", "--offline", "-Zbuild-std=core"]);
    cargo.args(["--target", "bpfel-unknown-none", "--manifest-path"]).arg(source);
    cargo.arg("--target-dir").arg(&target).args(["--", "-Zfunction-sections=no"]);
    cargo.arg(format!("--emit=asm={}", assembly.display()));
    let output = cargo.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n'make test' installs what this needs");
    let object = object.path().join("opens.o");
    let mut clang = Command::new("clang");
    clang.args(["-target", "bpfel", "-c", "-o"]).arg(&object).arg(assembly);
    assert!(clang.status().unwrap().success());
    std::fs::read(object).unwrap()
}

#[test]
fn what_aya_builds_is_read() {
    let bytes = of_aya();
    let facts = Facts::parse(&bytes).unwrap();
    assert_eq!((facts.btf.is_none(), facts.license.as_deref()), (true, Some("GPL")));
    let program = &facts.programs[0];
    assert_eq!((facts.programs.len(), program.name.as_str()), (1, "on_open"));
    assert_eq!(program.target.to_string(), "tracepoint/syscalls/sys_enter_openat");
    let helpers = [
        "get_current_pid_tgid",
        "map_lookup_elem",
        "map_update_elem",
        "ringbuf_reserve",
        "ringbuf_submit",
    ];
    assert_eq!(program.helpers, helpers.map(str::to_owned).into());
    assert!(!program.unknown_calls && facts.loose.is_empty());
    let map = |name: &str| {
        let map = facts.map(name).unwrap();
        (map.origin, map.kind.to_string(), [map.key_size, map.value_size, map.max_entries])
    };
    assert_eq!(map("COUNTS"), (MapOrigin::Legacy, "hash".to_owned(), [4, 8, 1024]));
    assert_eq!(map("EVENTS"), (MapOrigin::Legacy, "ringbuf".to_owned(), [0, 0, 4096]));
    // Rust adds without an atomic instruction where nobody asks for one.
    assert_eq!(facts.writers("COUNTS"), Writers::Plain);
    assert_eq!((facts.globals[0].name.as_str(), facts.globals[0].size), ("ONLY_PID", 4));
    assert!(disasm::same_as_llvm("aya", &bytes)[0] > 30);
}

#[test]
fn the_shape_of_ayas_objects_is_read() {
    let facts = Facts::parse(&build::object("aya.c", &["no-debug"])).unwrap();
    assert!(facts.btf.is_none());
    let program = &facts.programs[0];
    assert_eq!((facts.programs.len(), program.name.as_str()), (1, "on_open"));
    assert!(program.maps.contains("COUNTS") && program.maps.contains(".rodata"));
    assert!(!program.unknown_calls, "the weak function is followed");
    let sizes = |name: &str| {
        let map = facts.map(name).unwrap();
        (map.origin, map.kind.to_string(), [map.key_size, map.value_size, map.max_entries])
    };
    assert_eq!(sizes("COUNTS"), (MapOrigin::Legacy, "hash".to_owned(), [4, 8, 1024]));
    assert_eq!(sizes("EVENTS"), (MapOrigin::Legacy, "ringbuf".to_owned(), [0, 0, 4096]));
    assert_eq!(facts.writers("COUNTS"), Writers::Atomic);
    let globals: Vec<(&str, &str)> = facts
        .globals
        .iter()
        .map(|global| (global.section.as_str(), global.name.as_str()))
        .collect();
    assert_eq!(globals, [(".data.rel.ro", "TABLE"), (".rodata", "PID")]);
}
