//! What a loader would read otherwise than it looks: refused, or told as libbpf makes it.

use skep_object::{Facts, Guard, Memory, ObjectError};

use crate::forge::{
    EXIT, PROGBITS, Part, REL, STRTAB, btf, core, elf, info, object, part, symbol, symbols,
};

fn malformed(bytes: &[u8]) -> String {
    match Facts::parse(bytes) {
        Err(error @ ObjectError::Malformed { .. }) => error.to_string(),
        other => panic!("{:?}", other.map(|facts| facts.programs)),
    }
}

fn insn(code: u8, registers: u8, off: i16, imm: i32) -> Vec<u8> {
    [&[code, registers][..], &off.to_le_bytes(), &imm.to_le_bytes()].concat()
}

/// `ld_imm64` with a mark.
fn load(register: u8, mark: u8, imm: i32) -> Vec<u8> {
    [insn(0x18, mark << 4 | register, 0, imm), vec![0; 8]].concat()
}

fn call(mark: u8, imm: i32) -> Vec<u8> {
    insn(0x85, mark << 4, 0, imm)
}

/// Symbols behind the program's own, which is 1: name, `STB << 4 | STT`, section, value, size.
type Named = (&'static str, u8, u16, u64, u64);

/// A program `main` in `section`, with relocations of offset and symbol.
fn relocated(
    section: &'static str,
    code: &[u8],
    more_symbols: &[Named],
    relocations: &[(u64, u64)],
    more: &[Part],
) -> Vec<u8> {
    let mut names = b"\0main\0".to_vec();
    let mut list = vec![symbol(1, 0x12, 1, 0, code.len() as u64)];
    for (name, info, section, value, size) in more_symbols {
        list.push(symbol(names.len() as u32, *info, *section, *value, *size));
        names.extend(name.bytes().chain([0]));
    }
    let words =
        relocations.iter().map(|(at, to)| [*at, to << 32 | 1].map(u64::to_le_bytes).concat());
    let name: &'static str = Box::leak(format!(".rel{section}").into_boxed_str());
    let table = part(name, REL, 0, words.flatten().collect());
    let mut parts = vec![
        part(section, PROGBITS, 6, code.to_vec()),
        symbols(2, &list),
        part(".strtab", STRTAB, 0, names),
        Part { link: 2, info: 1, entry: 16, ..table },
    ];
    parts.extend_from_slice(more);
    elf(&parts)
}

#[test]
fn a_call_by_a_distance_is_one_of_text() {
    let code = [call(1, 1), EXIT.to_vec(), call(0, 7), EXIT.to_vec()].concat();
    let text = malformed(&object("raw_tp/task_rename", "main", &code, &[]));
    assert!(text.contains("it calls by a distance, and is not in '.text'"), "{text}");
    // In '.text' compilers write them.
    assert!(Facts::parse(&object(".text", "main", &code, &[])).is_ok());
}

#[test]
fn a_relocated_call_has_the_mark_of_a_call() {
    for mark in [0, 2, 3] {
        let code = [call(mark, -1), EXIT.to_vec()].concat();
        let text = malformed(&relocated("xdp", &code, &[], &[(0, 1)], &[]));
        assert!(text.contains("the mark of another call"), "{text}");
    }
}

#[test]
fn marks_of_addresses_are_for_loaders_to_set() {
    for mark in 1..=6 {
        let code = [load(1, mark, 15), EXIT.to_vec()].concat();
        let extern_symbol = [("jiffies", 0x20, 0, 0, 0)];
        for bytes in [
            object("xdp", "main", &code, &[]),
            object(".text", "main", &code, &[]),
            relocated("xdp", &code, &extern_symbol, &[(0, 2)], &[]),
        ] {
            let text = malformed(&bytes);
            assert!(text.contains(&format!("it has the mark {mark}")), "{text}");
        }
    }
    let code = [load(1, 0, 15), EXIT.to_vec()].concat();
    assert!(Facts::parse(&object("xdp", "main", &code, &[])).is_ok());
}

/// Types: 1 an int, 2 an extern variable `HZ`, 3 the section `.kconfig`, 4 a struct `s`; the text `0` at 35, `xdp` at 31.
fn configured() -> Part {
    let types = [
        [1, info(1, 0), 4, 32].to_vec(),
        vec![5, info(14, 0), 1, 2],
        vec![8, info(15, 1), 4, 2, 0, 4],
        vec![17, info(4, 0), 8],
    ];
    part(
        ".BTF",
        PROGBITS,
        0,
        btf(&types.concat(), b"\0int\0HZ\0.kconfig\0s\0jiffies\0....xdp\x000\0"),
    )
}

#[test]
fn a_call_of_a_variable_is_none_of_a_kernel_function() {
    let code = [call(1, -1), EXIT.to_vec()].concat();
    let of = |name| relocated("xdp", &code, &[(name, 0x20, 0, 0, 0)], &[(0, 2)], &[configured()]);
    assert!(malformed(&of("HZ")).contains("it calls the variable 'HZ'"));
    // Nor is one of what the types do not declare.
    let program = Facts::parse(&of("bpf_kfunc")).unwrap().programs.remove(0);
    assert!(program.unknown_calls && program.kfuncs.is_empty(), "{:?}", program.kfuncs);
}

#[test]
fn a_co_re_relocation_stands_alone_on_an_instruction() {
    let code = [load(1, 0, 0), EXIT.to_vec()].concat();
    let at = |offset: u32, relocations: &[(u64, u64)]| {
        let ext = part(".BTF.ext", PROGBITS, 0, core(31, &[[offset, 4, 35, 8]]));
        relocated("xdp", &code, &[], relocations, &[configured(), ext])
    };
    assert_eq!(Facts::parse(&at(0, &[])).unwrap().core_relocations.len(), 1);
    assert!(malformed(&at(0, &[(0, 1)])).contains("offset 0x0 meets another one"));
    assert!(malformed(&at(4, &[])).contains("offset 0x4 is between two instructions"));
}

#[test]
fn a_function_of_two_names_has_no_relocations() {
    let code = [call(1, -1), EXIT.to_vec()].concat();
    let twice = [("again", 0x12, 1, 0, code.len() as u64)];
    let text = malformed(&relocated("xdp", &code, &twice, &[(0, 1)], &[]));
    assert!(text.contains("function 'again' is malformed: it is 'main' too, and has relocations"));
    let ext = part(".BTF.ext", PROGBITS, 0, core(31, &[[0, 4, 35, 8]]));
    let code = [insn(0xb7, 1, 0, 1), EXIT.to_vec()].concat();
    assert!(
        malformed(&relocated("xdp", &code, &twice, &[], &[configured(), ext]))
            .contains("'main' too")
    );
    assert!(Facts::parse(&relocated("xdp", &code, &twice, &[], &[configured()])).is_ok());
}

#[test]
fn relocations_are_in_a_section_of_their_sections_name() {
    let code = [call(1, -1), EXIT.to_vec()].concat();
    let relocation = [[0; 8], (1u64 << 32 | 10).to_le_bytes()].concat();
    for name in [".rel.debug_x", ".rel.BTF", ".rel", "relxdp"] {
        let table = Part { link: 2, info: 1, entry: 16, ..part(name, REL, 0, relocation.clone()) };
        let text = malformed(&object("xdp", "main", &code, &[table]));
        assert!(text.contains("pass some over by name"), "{text}");
    }
}

#[test]
fn a_second_section_is_refused_whatever_its_flags_are() {
    const WRITE: u64 = 3;
    for name in ["license", "version", "maps", ".text", ".rodata", ".data.x", ".struct_ops", "xdp"]
    {
        for flags in [[0, WRITE], [WRITE, 0], [0, 0]] {
            if name == "xdp" && flags == [0, 0] {
                continue; // the program's own is the first
            }
            let [first, second] = flags.map(|flags| part(name, PROGBITS, flags, vec![0; 40]));
            let text = malformed(&object("xdp", "main", &EXIT, &[first, second]));
            assert!(text.contains("there are two sections"), "{name} {flags:?}: {text}");
        }
    }
    let table = part("license", STRTAB, 2, b"GPL\0".to_vec());
    let text = malformed(&object("xdp", "main", &EXIT, &[table]));
    assert!(text.contains("section 'license' is malformed: it is of type 0x3"), "{text}");
}

/// Types of two maps `aa` and `bb`: their places in the section, and its size. The ELF has both in `.maps`, 32 bytes each.
fn two_maps(
    size: u32,
    places: [u32; 2],
    symbols: &[Named],
    code: &[u8],
    relocations: &[(u64, u64)],
) -> Vec<u8> {
    let types = [
        vec![1, info(1, 0), 4, 32],      // 1: int
        vec![0, info(3, 0), 0, 1, 1, 2], // 2: int[2], an array
        vec![0, info(2, 0), 2],          // 3: a pointer to it
        vec![0, info(4, 1), 8, 5, 3, 0], // 4: struct { type }
        vec![10, info(14, 0), 4, 1],     // 5: aa
        vec![13, info(14, 0), 4, 1],     // 6: bb
        vec![16, info(15, 2), size, 5, places[0], 32, 6, places[1], 32],
    ];
    let types = part(".BTF", PROGBITS, 0, btf(&types.concat(), b"\0int\0type\0aa\0bb\0.maps\0"));
    let maps = part(".maps", PROGBITS, 3, vec![0; 64]);
    let data = part(".data", PROGBITS, 3, vec![0; 64]);
    relocated("xdp", code, symbols, relocations, &[maps, types, data])
}

const IN_MAPS: u16 = 5;
const IN_DATA: u16 = 7;
const AA: Named = ("aa", 0x11, IN_MAPS, 0, 32);
const BB: Named = ("bb", 0x11, IN_MAPS, 32, 32);

#[test]
fn maps_stand_where_a_loader_makes_them() {
    let code = [load(1, 0, 0), EXIT.to_vec()].concat();
    let used = |bytes: &[u8]| {
        let facts = Facts::parse(bytes).unwrap();
        let maps = facts.programs[0].maps.iter().cloned().collect::<Vec<_>>().join(" ");
        (facts.maps.len(), maps, facts.programs[0].unknown_calls)
    };
    for (size, places) in [(0, [0, 0]), (64, [0, 32])] {
        let bytes = two_maps(size, places, &[AA, BB], &code, &[(0, 3)]);
        assert_eq!(used(&bytes), (3, "bb".to_owned(), false));
    }
    // Another name at the place of a map is no map.
    let more = [AA, BB, ("zz", 0x10, IN_MAPS, 32, 0)];
    assert_eq!(used(&two_maps(0, [0, 0], &more, &code, &[(0, 3)])).1, "bb");
}

#[test]
fn maps_that_loaders_would_see_elsewhere_are_refused() {
    let of =
        |size, places, symbols: &[Named]| malformed(&two_maps(size, places, symbols, &EXIT, &[]));
    for hidden in [
        ("bb", 0x11, IN_DATA, 32, 32), // libbpf makes it all the same
        ("bb", 0x01, IN_MAPS, 32, 32), // local
        ("bb", 0x12, IN_MAPS, 32, 32), // a function
        ("cc", 0x11, IN_MAPS, 32, 32),
    ] {
        let text = of(0, [0, 0], &[AA, hidden]);
        assert!(text.contains("map 'bb' is malformed: the BTF lists it"), "{text}");
    }
    let text = of(0, [0, 0], &[AA, ("bb", 0x11, IN_DATA, 32, 32), BB]);
    assert!(text.contains("map 'bb' is malformed: the BTF lists it"), "{text}");
    let text = of(64, [32, 0], &[AA, BB]);
    assert!(text.contains("the BTF puts it where another one's symbol is"), "{text}");
    let text = of(0, [0, 0], &[AA, ("bb", 0x11, IN_MAPS, 16, 32)]);
    assert!(text.contains("it lies over the map 'aa'"), "{text}");
    let code = [load(1, 0, 32), EXIT.to_vec()].concat();
    let section = ("", 0x03, IN_MAPS, 0, 0);
    let text = malformed(&two_maps(0, [0, 0], &[AA, BB, section], &code, &[(0, 4)]));
    assert!(text.contains("names a map by a place in '.maps'"), "{text}");
}

#[test]
fn what_loaders_make_besides_is_counted() {
    let code = [load(1, 0, 0), EXIT.to_vec()].concat();
    let config = relocated("xdp", &code, &[("HZ", 0x20, 0, 0, 0)], &[(0, 2)], &[configured()]);
    let facts = Facts::parse(&config).unwrap();
    let map = facts.map(".kconfig").unwrap();
    assert_eq!((map.value_size, map.memory().once), (4, 8));
    assert!(facts.programs[0].maps.contains(".kconfig"));
    let mut bss = part(".bss", PROGBITS, 3, Vec::new());
    bss.kind = 8; // SHT_NOBITS
    let mut bytes = object("xdp", "main", &EXIT, &[bss]);
    let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    bytes[table + 4 * 64 + 32..][..8].copy_from_slice(&(1u64 << 27).to_le_bytes());
    assert_eq!(Facts::parse(&bytes).unwrap().map(".bss").unwrap().memory().once, 1 << 27);
}

/// What an older definition of a map takes: of a kind, sizes of key and value, and entries.
fn taken(kind: u32, key: u32, value: u32, entries: u32) -> Memory {
    let words = [kind, key, value, entries, 0].map(u32::to_le_bytes).concat();
    let bytes = elf(&[
        part("maps", PROGBITS, 3, words),
        symbols(2, &[symbol(1, 0x11, 1, 0, 20)]),
        part(".strtab", STRTAB, 0, b"\0map\0".to_vec()),
    ]);
    Facts::parse(&bytes).unwrap().maps[0].memory()
}

#[test]
fn maps_take_what_they_are_made_with() {
    let (ring, user_ring, perf, stacks) = (27, 31, 4, 7);
    for kind in [ring, user_ring] {
        for (told, made) in [(1, 4096), (4096, 4096), (4097, 8192), ((1 << 26) + 1, 1 << 27)] {
            assert_eq!(taken(kind, 0, 0, told).once, made, "{told}");
        }
    }
    assert_eq!(taken(perf, 0, 0, 100).once, 800, "a pointer for each");
    assert_eq!(taken(perf, 4, 4, 0), Memory { once: 0, per_cpu: 8 });
    assert_eq!(taken(perf, 0, 0, 0), Memory { once: 0, per_cpu: 8 });
    assert_eq!(taken(stacks, 4, 0, 100).once, 100 * (8 + 127 * 8), "of the kernel's own depth");
    assert_eq!(taken(stacks, 4, 80, 100).once, 100 * (8 + 80));
}

/// The guards of the call behind some instructions and a test that skips it. The instruction at `asks` is relocated: it asks for
/// the struct `s`.
fn guards(code: &[Vec<u8>], test: Vec<u8>, asks: Option<u32>, symbol: Option<u8>) -> Vec<Guard> {
    let code = [&code.concat()[..], &test, &call(0, 5), &EXIT].concat();
    let mut more = vec![configured()];
    if let Some(at) = asks {
        more.push(part(".BTF.ext", PROGBITS, 0, core(31, &[[at * 8, 4, 35, 8]])));
    }
    let (name, info) =
        if symbol == Some(0) { ("HZ", 0x20) } else { ("jiffies", symbol.unwrap_or(0x20)) };
    let relocations: &[(u64, u64)] = if symbol.is_some() { &[(0, 2)] } else { &[] };
    let facts =
        Facts::parse(&relocated("xdp", &code, &[(name, info, 0, 0, 0)], relocations, &more))
            .unwrap();
    let used = facts.programs[0].uses.iter().find(|used| used.name == "ktime_get_ns").unwrap();
    used.guards.clone()
}

const R6: u8 = 6;

#[test]
fn only_a_question_to_the_kernel_guards() {
    let set = |code: u8, imm| insn(code, R6, 0, imm);
    let (is, is_not) = (|imm| insn(0x15, R6, 1, imm), |imm| insn(0x55, R6, 1, imm));
    let (asked, shifted, masked) = (set(0xb7, 1), set(0x67, 1), |by| set(0x57, by));
    let asks = |code: &[Vec<u8>], test| guards(code, test, Some(code.len() as u32 - 1), None);
    let first = |code: &[Vec<u8>], test| guards(code, test, Some(0), None);
    assert_eq!(asks(std::slice::from_ref(&asked), is(0)).len(), 1);
    assert_eq!(asks(&[set(0xb4, 1)], is_not(0)).len(), 1);
    assert_eq!(first(&[asked.clone(), masked(1)], is(0)).len(), 1);
    assert_eq!(first(&[asked.clone(), shifted.clone()], is(2)).len(), 1, "2 or 0");
    assert!(first(&[asked.clone(), shifted], is(1)).is_empty(), "2 or 0 is never 1");
    assert!(first(&[asked.clone(), masked(2)], is_not(0)).is_empty(), "0 either way");
    assert!(asks(&[set(0xb7, 7), set(0x07, 1)], is(0)).is_empty(), "7 or 8");
    assert!(asks(&[set(0xb7, 7), set(0x57, 1)], is(0)).is_empty(), "an answer that is a mask");
    assert!(guards(&[asked], is(0), None, None).is_empty(), "nothing asks");
}

#[test]
fn an_address_is_0_or_any_other_number() {
    let (is, is_not) = (|imm| insn(0x15, R6, 1, imm), |imm| insn(0x55, R6, 1, imm));
    let address = || load(R6, 0, 0);
    let symbol = |code: &[Vec<u8>], test| guards(code, test, None, Some(0x20));
    let moved = [load(7, 0, 0), insn(0xbf, 0x76, 0, 0)];
    assert_eq!(symbol(&[address()], is(0)).len(), 1);
    assert_eq!(symbol(&[address()], is_not(0)).len(), 1);
    assert_eq!(symbol(&moved, is(0)).len(), 1);
    assert_eq!(symbol(&[address()], insn(0xa5, R6, 1, 1)).len(), 1, "below 1");
    assert!(symbol(&[address()], is(1)).is_empty(), "no address is 1");
    assert!(symbol(&[address()], insn(0x16, R6, 1, 0)).is_empty(), "32 bits of one may be 0");
    assert!(symbol(&[address(), insn(0x57, R6, 0, 1)], is(0)).is_empty(), "a bit of one may be 0");
    assert!(symbol(&[address()], insn(0x65, R6, 1, 0)).is_empty(), "addresses have a sign");
    assert!(guards(&[address()], is(0), None, Some(0x10)).is_empty(), "what must be there is");
    assert!(guards(&[address()], is(0), None, Some(0)).is_empty(), "configuration is always there");
}

#[test]
fn a_constant_of_32_bits_is_shifted_as_one() {
    let value = 0x1_0000_0001u64.to_le_bytes().to_vec();
    let data = part(".rodata", PROGBITS, 2, value);
    let told = |shift: Vec<u8>, test: Vec<u8>| {
        let read = insn(0x79, 0x16, 0, 0);
        let code = [load(1, 0, 0), read, shift, test, call(0, 5), EXIT.to_vec()].concat();
        let symbols = [("v", 0x11, 5, 0, 8)];
        let facts = Facts::parse(&relocated(
            "xdp",
            &code,
            &symbols,
            &[(0, 2)],
            std::slice::from_ref(&data),
        ))
        .unwrap();
        facts.programs[0].uses[0].guards.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // Skipped where it is 0: the lower half shifted by one is.
    assert_eq!(told(insn(0x74, R6, 0, 1), insn(0x15, R6, 1, 0)), ["off unless v is changed"]);
    assert_eq!(told(insn(0x77, R6, 0, 1), insn(0x15, R6, 1, 0)), ["depends on v"]);
}
