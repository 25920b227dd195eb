//! What `skep diff`, `skep inspect` and `skep lint` take of memory for objects that were made to take all of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../object/tests/it/forge.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod forge;

use std::fs;
use std::process::Command;

use forge::{EXIT, PROGBITS, Part, REL, STRTAB, btf, elf, info, part, symbol, symbols};

/// KiB of addresses that a process may have: 64 MiB, and as much for the program itself.
const ROOM: usize = 128 << 10;

/// Programs that each call every one of some functions of so many instructions, which load this number.
fn callers(programs: usize, functions: usize, length: usize, number: u8, name: &str) -> Vec<u8> {
    let load = [0xb7, 0, 0, 0, number, 0, 0, 0];
    let body = [load.repeat(length), EXIT.to_vec()].concat();
    let call = [0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let program = [call.repeat(functions), EXIT.to_vec()].concat();
    let (mut names, mut list) = (vec![0], Vec::new());
    let sections = [("f", 1, functions, body.len()), ("p", 2, programs, program.len())];
    for (letter, section, count, size) in sections {
        for at in 0..count {
            let (value, name_at) = ((at * size) as u64, names.len() as u32);
            list.push(symbol(name_at, 0x12, section, value, size as u64));
            names.extend(format!("{letter}{at}{name}\0").into_bytes());
        }
    }
    let calls = (0..programs).flat_map(|at| {
        let start = at * program.len();
        let one = move |to: usize| [(start + to * 8) as u64, ((to + 1) as u64) << 32 | 10];
        (0..functions).map(one)
    });
    let calls = calls.flatten().flat_map(u64::to_le_bytes).collect();
    elf(&[
        part(".text", PROGBITS, 6, body.repeat(functions)),
        part("xdp", PROGBITS, 6, program.repeat(programs)),
        symbols(3, &list),
        part(".strtab", STRTAB, 0, names),
        Part { link: 3, info: 2, entry: 16, ..part(".relxdp", REL, 0, calls) },
    ])
}

/// An array, whose value is a struct of so many numbers, with names of this start, the last of them long.
fn array(fields: u32, start: &str) -> Vec<u8> {
    let mut strings = b"\0type\0max_entries\0key\0value\0.maps\0m\0".to_vec();
    let mut name = |text: &str| {
        strings.extend([text.as_bytes(), &[0]].concat());
        (strings.len() - text.len() - 1) as u32
    };
    let mut words = vec![name("u32"), info(1, 0), 4, 32]; // 1
    words.extend([name("value"), info(4, fields), fields * 4]); // 2
    for at in 0..fields {
        let long = if at + 1 == fields { "l".repeat(4000) } else { String::new() };
        words.extend([name(&format!("{start}{at:x}{long}")), 1, at * 32]);
    }
    for element in [2, 1] {
        words.extend([0, info(3, 0), 0, 1, 1, element]); // 3 and 4: arrays of 2 and 1
    }
    [3, 4, 1, 2].into_iter().for_each(|to| words.extend([0, info(2, 0), to])); // 5 to 8
    words.extend([0, info(4, 4), 32]); // 9: the definition
    [[1, 5, 0], [6, 6, 64], [18, 7, 128], [22, 8, 192]].into_iter().for_each(|m| words.extend(m));
    words.extend([34, info(14, 0), 9, 1]);
    words.extend([28, info(15, 1), 32, 10, 0, 32]);
    elf(&[
        part(".maps", PROGBITS, 3, vec![0; 32]),
        symbols(2, &[symbol(1, 0x11, 1, 0, 32)]),
        part(".strtab", STRTAB, 0, b"\0m\0".to_vec()),
        part(".BTF", PROGBITS, 0, btf(&words, &strings)),
    ])
}

/// A section of so many variables of eight bytes.
fn variables(count: usize) -> Vec<u8> {
    let (mut names, mut list) = (vec![0], Vec::new());
    for at in 0..count {
        list.push(symbol(names.len() as u32, 0x11, 1, at as u64 * 8, 8));
        names.extend(format!("v{at}\0").into_bytes());
    }
    elf(&[
        part(".rodata", PROGBITS, 2, vec![0; count * 8]),
        symbols(2, &list),
        part(".strtab", STRTAB, 0, names),
    ])
}

#[test]
fn no_object_takes_all_memory_to_show() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.o");
    fs::write(&path, variables(130_000)).unwrap();
    for format in ["table", "json"] {
        let mut skep = Command::new("sh");
        skep.args(["-c", &format!("ulimit -v {ROOM}; exec \"$0\" \"$@\"")]);
        skep.arg(env!("CARGO_BIN_EXE_skep")).arg("inspect").arg(&path);
        let done = skep.args(["--output", format]).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{format}: {} {error}", done.status);
        let text = String::from_utf8_lossy(&done.stdout);
        let all = format == "json";
        assert_eq!(text.contains("v129999"), all, "{format} has the last variable");
        assert_eq!(text.contains("more variables, which --output json has"), !all, "{format}");
    }
}

#[test]
fn no_object_takes_all_memory_to_lint() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("many.o"), variables(130_000)).unwrap();
    let toml = "spec = \"1.0\"\n[package]\nname = \"acme/many\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                [object.many]\nfile = { x86_64 = \"many.o\" }\n[param.one]\ntype = \"uint\"\nrodata = \"v129999\"\n";
    fs::write(folder.path().join("skep.toml"), toml).unwrap();
    let mut skep = Command::new("sh");
    skep.args(["-c", &format!("ulimit -v {ROOM}; exec \"$0\" \"$@\"")]);
    let skep = skep.arg(env!("CARGO_BIN_EXE_skep")).arg("lint").arg(folder.path());
    let done = skep.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    let error = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{} {error}", done.status);
    assert!(text.contains("[param.one] has no doc"), "{text}{error}");
}

#[test]
fn no_two_objects_take_all_memory_to_compare() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(1000);
    let named = [callers(150, 150, 1, 1, &long), callers(150, 150, 1, 2, &long)];
    for (what, [old, new]) in [
        ("one field with a long name among many", [array(4000, "a"), array(4000, "b")]),
        (
            "programs that share one function",
            [callers(100, 1, 20_000, 1, ""), callers(100, 1, 20_000, 2, "")],
        ),
        ("calls of functions with long names", named),
    ] {
        let paths = [("old.o", &old), ("new.o", &new)].map(|(name, bytes)| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        });
        for (format, [old, new]) in [
            ("table", [&paths[0], &paths[1]]),
            ("json", [&paths[0], &paths[1]]),
            ("table", [&paths[0], &paths[0]]),
        ] {
            let mut skep = Command::new("sh");
            skep.args(["-c", &format!("ulimit -v {ROOM}; exec \"$0\" \"$@\"")]);
            skep.arg(env!("CARGO_BIN_EXE_skep")).arg("diff").args([old, new]);
            let done = skep.args(["--output", format]).output().unwrap();
            let error = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{what}, {format}: {} {error}", done.status);
            assert!(done.stdout.len() < 4 << 20, "{what}: {} bytes", done.stdout.len());
        }
    }
}
