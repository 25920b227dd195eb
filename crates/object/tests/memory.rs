//! The most memory that any object takes, whatever is in it. Alone in its process, whose peak the kernel counts.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "it/forge.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod forge;

use std::collections::BTreeMap;
use std::sync::Mutex;

use forge::{
    EXIT, PROGBITS, Part, REL, STRTAB, btf, core, elf, info, object, part, symbol, symbols,
};
use skep_object::difference::{Difference, Keeps};
use skep_object::event::Decoder;
use skep_object::layout::{LayoutChange, compare};
use skep_object::{Btf, Facts, TypeId};

const MOST: usize = 64 << 20;

/// The peak is that of the process: one test after the other.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes of this process by a line of `/proc/self/status`.
fn memory(line: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// The peak that reading something adds, and whether it can be read.
fn added(read: impl FnOnce() -> bool) -> (usize, bool) {
    std::fs::write("/proc/self/clear_refs", "5").unwrap(); // forgets the peak so far
    let before = memory("VmRSS:");
    let is_read = read();
    (memory("VmHWM:").saturating_sub(before), is_read)
}

fn functions(count: usize) -> Vec<u8> {
    let list: Vec<Vec<u8>> = (0..count).map(|at| symbol(1, 0x12, 1, at as u64 * 8, 8)).collect();
    let code = part(".text", PROGBITS, 6, EXIT.repeat(count));
    elf(&[code, symbols(2, &list), part(".strtab", STRTAB, 0, b"\0a-function-of-many\0".to_vec())])
}

fn calls(count: usize, functions: usize) -> Vec<u8> {
    let mark = |at: usize| if at < 1 << 18 { 0x10 } else { 0 };
    let code: Vec<u8> = (0..count).flat_map(|at| [0x85, mark(at), 0, 0, 1, 0, 0, 0]).collect();
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

fn long(letter: &str) -> Vec<u8> {
    [letter.repeat(4000).into_bytes(), vec![0]].concat()
}

fn relocation(at: usize, symbol: usize) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(at as u64).to_le_bytes());
    bytes[8..].copy_from_slice(&((symbol as u64) << 32 | 10).to_le_bytes());
    bytes
}

/// Relocations of a section, by the symbols in another one.
fn relocations(
    name: &'static str,
    of: u32,
    symbols: u32,
    list: impl Iterator<Item = [u8; 16]>,
) -> Part {
    let data = list.flatten().collect();
    Part { link: symbols, info: of, entry: 16, ..part(name, REL, 0, data) }
}

/// A subprogram and programs that call it. Its first instructions refer to the symbols, whose names are in the strings.
fn shared(code: &[u8], programs: usize, own: &[Vec<u8>], strings: &[u8]) -> Vec<u8> {
    let call = [[0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff], EXIT].concat();
    let mut names = [strings, b"f\0"].concat();
    let mut list = own.to_vec();
    list.push(symbol(strings.len() as u32, 0x12, 1, 0, code.len() as u64 + 8));
    for at in 0..programs {
        list.push(symbol(names.len() as u32, 0x12, 2, at as u64 * 16, 16));
        names.extend(format!("p{at}\0").into_bytes());
    }
    elf(&[
        part(".text", PROGBITS, 6, [code, &EXIT].concat()),
        part("xdp", PROGBITS, 6, call.repeat(programs)),
        symbols(3, &list),
        part(".strtab", STRTAB, 0, names),
        relocations(".rel.text", 1, 3, (0..own.len()).map(|at| relocation(at * 8, at + 1))),
        relocations(".relxdp", 2, 3, (0..programs).map(|at| relocation(at * 16, own.len() + 1))),
    ])
}

/// Programs that all reach calls of the same kernel functions.
fn kfuncs(programs: usize, count: usize, length: usize) -> Vec<u8> {
    let call = [0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let (mut strings, mut list) = (vec![0], Vec::new());
    for at in 0..count {
        list.push(symbol(strings.len() as u32, 0x10, 0, 0, 0));
        strings.extend(format!("{at:x<length$}\0").into_bytes());
    }
    shared(&call.repeat(count), programs, &list, &strings)
}

/// Calls of helpers, each with a number of its own.
fn helpers(count: u32) -> Vec<u8> {
    let call = |at: u32| [[0x85, 0, 0, 0], at.to_le_bytes()].concat();
    shared(&(0..count).flat_map(call).collect::<Vec<_>>(), 1, &[], &[0])
}

/// Functions that all refer to one symbol, whose name is long, each in the instructions at these places.
fn users(data: &'static str, count: usize, code: &[u8], places: &[usize]) -> Vec<u8> {
    let mut list = vec![symbol(3, 0x11, 2, 0, 20)];
    let size = code.len();
    list.extend((0..count).map(|at| symbol(1, 0x12, 1, (at * size) as u64, size as u64)));
    let all = (0..count).flat_map(|at| places.iter().map(move |place| at * size + place));
    elf(&[
        part(".text", PROGBITS, 6, code.repeat(count)),
        part(data, PROGBITS, 3, [1u32, 4, 4, 4, 0].map(u32::to_le_bytes).concat()),
        symbols(3, &list),
        part(".strtab", STRTAB, 0, [b"\0f\0".to_vec(), long("m")].concat()),
        relocations(".rel.text", 1, 3, all.map(|at| relocation(at, 1))),
    ])
}

const ADDRESS: [u8; 16] = [0x18, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn users_of_a_map(count: usize) -> Vec<u8> {
    users("maps", count, &[&ADDRESS[..], &EXIT].concat(), &[0])
}

/// Calls behind four tests of a constant.
fn guarded(functions: usize) -> Vec<u8> {
    let test = |left: u8| {
        let load_and_skip =
            [[0x61, 0x21, 0, 0, 0, 0, 0, 0], [0x15, 1, left * 4 + 1, 0, 0, 0, 0, 0]];
        [&ADDRESS[..], load_and_skip.as_flattened()].concat()
    };
    let call = [0x85, 0, 0, 0, 5, 0, 0, 0];
    let code = [test(3), test(2), test(1), test(0), call.to_vec(), EXIT.to_vec()].concat();
    users(".rodata", functions, &code, &[0, 32, 64, 96])
}

/// CO-RE relocations of a section, of a type and by a member, whose names have so many bytes.
fn of_types(count: u32, length: usize) -> Vec<u8> {
    let name = |letter: &str| format!("{}\0", letter.repeat(length));
    let strings = format!("\x000:0\0{}{}{}", name("s"), name("t"), name("m"));
    let place = |nth: usize| (5 + nth * (length + 1)) as u32;
    let types = [place(1), info(4, 1), 4, place(2), 0, 0];
    let each: Vec<[u32; 4]> = (0..count).map(|at| [at * 8, 1, 1, 0]).collect();
    let types = part(".BTF", PROGBITS, 0, btf(&types, strings.as_bytes()));
    let ext = part(".BTF.ext", PROGBITS, 0, core(place(0), &each));
    object("xdp", "main", &EXIT, &[types, ext])
}

/// Variables of a section whose name is long.
fn variables(count: usize) -> Vec<u8> {
    let list = vec![symbol(1, 0x11, 1, 0, 4); count];
    let name: &'static str = Box::leak(format!(".data.{}", "d".repeat(4000)).into_boxed_str());
    let data = part(name, PROGBITS, 3, vec![0; 4]);
    elf(&[data, symbols(2, &list), part(".strtab", STRTAB, 0, b"\0v\0".to_vec())])
}

/// Definitions of maps, all of one variable, whose slots all hold what has a long name.
fn maps(definitions: usize, slots: usize) -> Vec<u8> {
    let strings = [b"\0values\0.maps\0".to_vec(), long("m")].concat();
    let mut types = vec![0, info(4, 1), 8, 1, 2, 0]; // 1: struct { values; }
    types.extend([0, info(3, 0), 0, 3, 3, 0]); // 2: an array
    types.extend([0, info(2, 0), 1]); // 3: of pointers
    types.extend([14, info(14, 0), 1, 1]); // 4: the variable
    types.extend([8, info(15, definitions as u32), 8]);
    types.extend([4, 0, 8].repeat(definitions));
    elf(&[
        part(".maps", PROGBITS, 3, vec![0; slots * 8]),
        symbols(2, &[symbol(1, 0x11, 1, 0, slots as u64 * 8)]),
        part(".strtab", STRTAB, 0, [vec![0], long("m")].concat()),
        relocations(".rel.maps", 1, 2, (0..slots).map(|at| relocation(at * 8, 1))),
        part(".BTF", PROGBITS, 0, btf(&types, &strings)),
    ])
}

fn licence(bytes: usize) -> Vec<u8> {
    object("xdp", "main", &EXIT, &[part("license", PROGBITS, 3, vec![b'A'; bytes])])
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
    let _alone = ALONE.lock().unwrap();
    let pointers: Vec<u32> = [0, info(2, 0), 0].repeat(299_999);
    let structs = [0, info(4, 16), 8].into_iter().chain([0; 48]);
    let structs: Vec<u32> = std::iter::repeat_n(structs, 62_000).flatten().collect();
    let (mut worst, mut beyond) = (0, Vec::new());
    for (what, bytes) in [
        ("functions", functions(130_000)),
        ("calls in one function", calls(1_000_000, 1)),
        ("calls in many functions", calls(1_000_000, 50_000)),
        ("types", object("xdp", "main", &EXIT, &[types(pointers, 0)])),
        ("members", object("xdp", "main", &EXIT, &[types(structs, 8 << 20)])),
        ("instructions and types", everything()),
        ("programs that share kernel functions", kfuncs(190, 1000, 4000)),
        ("programs that share a thousand uses", kfuncs(95, 1000, 40)),
        ("helpers", helpers(900_000)),
        ("functions that use one map", users_of_a_map(40_000)),
        ("guards", guarded(5_000)),
        ("CO-RE relocations with long names", of_types(60_000, 4000)),
        ("CO-RE relocations", of_types(900_000, 8)),
        ("as many of them as are read", of_types(1 << 16, 40)),
        ("variables of one section", variables(100_000)),
        ("definitions of one map", maps(0xffff, 1)),
        ("slots", maps(1, 200_000)),
        ("a licence", licence(30_000_000)),
    ] {
        let (added, is_read) = added(|| Facts::parse(&bytes).is_ok());
        println!(
            "{what}: {} KiB of file, {} KiB more, read: {is_read}",
            bytes.len() >> 10,
            added >> 10
        );
        worst = worst.max(added);
        if added > MOST {
            beyond.push(format!("{what}: {} MiB", added >> 20));
        }
    }
    for (what, added) in types_read() {
        println!("{what}: {} KiB more", added >> 10);
        beyond.extend((added > MOST).then(|| format!("{what}: {} MiB", added >> 20)));
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
    assert!(worst > MOST / 8, "the worst cases take little: {worst} bytes");
}

/// Types of a struct, the last, of so many members of one enumeration that has so many names.
fn of_one_enumeration(members: u32, names: u32) -> Btf {
    let mut strings = vec![0];
    let mut name = |at: u32| {
        strings.extend(format!("{at:x}\0").into_bytes());
        strings.len() as u32 - format!("{at:x}\0").len() as u32
    };
    let mut words = vec![0, info(6, names), 4];
    (0..names).for_each(|at| words.extend([name(at), at]));
    words.extend([0, info(4, members), members * 4]);
    (0..members).for_each(|at| words.extend([name(at), 1, at * 32]));
    Btf::parse(&btf(&words, &strings)).unwrap()
}

/// Types of a struct, the last: structs in each other, around many numbers, each with a long name.
fn deep(numbers: u32) -> Btf {
    let mut strings = [vec![0], long("m")].concat();
    let mut words = vec![0, info(1, 0), 8, 64, 0, info(4, numbers), numbers * 8];
    for at in 0..numbers {
        words.extend([strings.len() as u32, 1, at * 64]);
        strings.extend(format!("n{at}\0").into_bytes());
    }
    (0..28).for_each(|at| words.extend([0, info(4, 1), numbers * 8, 1, 2 + at, 0]));
    Btf::parse(&btf(&words, &strings)).unwrap()
}

/// Of an object that was read: long paths of many fields, and many fields of one enumeration.
fn types_read() -> [(&'static str, usize); 3] {
    let (none, plain) = (BTreeMap::new(), BTreeMap::new());
    let (old, new) = (deep(2000), deep(1999));
    let (paths, differ) = added(|| {
        let change = compare(&old, TypeId(30), &new, TypeId(30), &none);
        matches!(change, LayoutChange::Incompatible(_))
    });
    let (columns, is_read) = added(|| Decoder::new(&old, TypeId(30), &plain).is_ok());
    assert!(!is_read);
    let types = of_one_enumeration(4000, 0xffff);
    let (names, is_read) = added(|| Decoder::new(&types, TypeId(2), &plain).is_ok());
    assert!(differ && is_read);
    [
        ("paths of leaves", paths),
        ("paths of columns", columns),
        ("fields of one enumeration", names),
    ]
}

/// So many arrays, whose values are each the same struct of so many numbers, with names of this start; and variables of types
/// with long names.
fn arrays(count: u32, fields: u32, start: &str) -> Facts {
    let mut strings = b"\0type\0max_entries\0key\0value\0.maps\0".to_vec();
    let mut name = |text: &str| {
        strings.extend([text.as_bytes(), &[0]].concat());
        (strings.len() - text.len() - 1) as u32
    };
    let mut words = vec![name("u32"), info(1, 0), 4, 32]; // 1
    words.extend([name("value"), info(4, fields), fields * 4]); // 2
    (0..fields).for_each(|at| words.extend([name(&format!("{start}{at:x}")), 1, at * 32]));
    for element in [2, 1] {
        words.extend([0, info(3, 0), 0, 1, 1, element]); // 3 and 4: arrays of 2 and 1
    }
    [3, 4, 1, 2].into_iter().for_each(|to| words.extend([0, info(2, 0), to])); // 5 to 8
    words.extend([0, info(4, 4), 32]); // 9: the definition
    [[1, 5, 0], [6, 6, 64], [18, 7, 128], [22, 8, 192]].into_iter().for_each(|m| words.extend(m));
    let first = words.len() as u32;
    (0..count).for_each(|at| words.extend([name(&format!("m{at}")), info(14, 0), 9, 1]));
    words.extend([28, info(15, count), count * 32]);
    (0..count).for_each(|at| words.extend([10 + at, at * 32, 32]));
    assert!(first > 0);
    let (mut names, mut list) = (vec![0], Vec::new());
    for at in 0..count {
        list.push(symbol(names.len() as u32, 0x11, 1, u64::from(at) * 32, 32));
        names.extend(format!("m{at}\0").into_bytes());
    }
    Facts::parse(&elf(&[
        part(".maps", PROGBITS, 3, vec![0; count as usize * 32]),
        symbols(2, &list),
        part(".strtab", STRTAB, 0, names),
        part(".BTF", PROGBITS, 0, btf(&words, &strings)),
    ]))
    .unwrap()
}

#[test]
fn no_comparison_takes_more_than_64_mib_however_many_fields_changed() {
    let _alone = ALONE.lock().unwrap();
    let (old, new) = (arrays(4000, 4000, "a"), arrays(4000, 4000, "b"));
    for (old, new) in [(&old, &new), (&new, &old), (&old, &old)] {
        let mut told = Difference::default();
        let (added, _) = added(|| {
            told = Difference::between(old, new);
            true
        });
        assert!(added <= MOST, "{} MiB", added >> 20);
        let fields: usize = told.maps.iter().map(|map| map.key.len() + map.value.len()).sum();
        assert!(fields <= 8192, "{fields} fields");
        assert_eq!(told.maps.len(), 4000, "each map is named");
        let looked_at = told.maps.iter().filter(|map| map.keeps != Keeps::Unknown).count();
        assert!((1..100).contains(&looked_at), "{looked_at} maps");
    }
}
