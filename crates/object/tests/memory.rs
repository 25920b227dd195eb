//! The most memory that any object takes, whatever is in it. Alone in its process, whose peak the kernel counts.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "it/forge.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod forge;

use forge::{EXIT, PROGBITS, Part, REL, STRTAB, btf, elf, info, object, part, symbol, symbols};
use skep_object::Facts;

const MOST: usize = 64 << 20;

/// Bytes of this process by a line of `/proc/self/status`.
fn memory(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The peak that reading an object adds.
fn added(bytes: &[u8]) -> (usize, bool) {
    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // forgets the peak so far
    let before = memory("VmRSS:");
    let is_read = Facts::parse(bytes).is_ok();
    (memory("VmHWM:").saturating_sub(before), is_read)
}

fn functions(count: usize) -> Vec<u8> {
    let list: Vec<Vec<u8>> = (0..count).map(|at| symbol(1, 0x12, 1, at as u64 * 8, 8)).collect();
    let code = part(".text", PROGBITS, 6, EXIT.repeat(count));
    elf(&[code, symbols(2, &list), part(".strtab", STRTAB, 0, b"\0a-function-of-many\0".to_vec())])
}

fn calls(count: usize, functions: usize) -> Vec<u8> {
    let call = [0x85, 0, 0, 0, 1, 0, 0, 0];
    let code: Vec<u8> = (0..count).flat_map(|_| call).collect();
    let each = (count / functions) as u64 * 8;
    let list: Vec<Vec<u8>> =
        (0..functions).map(|at| symbol(1, 0x12, 1, at as u64 * each, each)).collect();
    let relocations: Vec<u8> = (0..count.min(1 << 18))
        .flat_map(|at| [(at as u64 * 8).to_le_bytes(), (1u64 << 32 | 1).to_le_bytes()].concat())
        .collect();
    let rel = Part { link: 2, info: 1, entry: 16, ..part(".rel.text", REL, 0, relocations) };
    elf(&[
        part(".text", PROGBITS, 6, code),
        symbols(2, &list),
        part(".strtab", STRTAB, 0, b"\0some-function\0".to_vec()),
        rel,
    ])
}

fn types(words: Vec<u32>, strings: usize) -> Part {
    let strings = [vec![0], [vec![b'x'; 4000], vec![0]].concat().repeat(strings / 4001)].concat();
    part(".BTF", PROGBITS, 0, btf(&words, &strings))
}

fn everything() -> Vec<u8> {
    let members = [0, info(4, 3), 8].into_iter().chain([0; 9]);
    let words: Vec<u32> = std::iter::repeat_n(members, 299_000).flatten().collect();
    object("xdp", "main", &EXIT.repeat(1_000_000), &[types(words, 8 << 20)])
}

#[test]
fn no_object_takes_more_than_64_mib() {
    let pointers: Vec<u32> = [0, info(2, 0), 0].repeat(299_999);
    let structs = [0, info(4, 16), 8].into_iter().chain([0; 48]);
    let structs: Vec<u32> = std::iter::repeat_n(structs, 62_000).flatten().collect();
    let mut worst = 0;
    for (what, bytes) in [
        ("functions", functions(130_000)),
        ("calls in one function", calls(1_000_000, 1)),
        ("calls in many functions", calls(1_000_000, 50_000)),
        ("types", object("xdp", "main", &EXIT, &[types(pointers, 0)])),
        ("members", object("xdp", "main", &EXIT, &[types(structs, 8 << 20)])),
        ("instructions and types", everything()),
    ] {
        let (added, is_read) = added(&bytes);
        println!(
            "{what}: {} KiB of file, {} KiB more, read: {is_read}",
            bytes.len() >> 10,
            added >> 10
        );
        assert!(added <= MOST, "{what}: {} MiB", added >> 20);
        worst = worst.max(added);
    }
    assert!(worst > MOST / 8, "the worst cases take little: {worst} bytes");
}
