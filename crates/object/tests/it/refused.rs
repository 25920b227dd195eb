//! What a hostile author can write: each case ends in the refusal that its kind has, or in facts, soon.

use std::time::Duration;

use skep_object::btf::BtfError;
use skep_object::disasm::list;
use skep_object::{Facts, ObjectError};

use crate::forge::{
    EXIT, PROGBITS, Part, REL, STRTAB, btf, core, elf, info, object, part, symbol, symbols,
};

/// Facts or a refusal, within a second however the tests are built.
fn parse(bytes: &[u8]) -> Result<Facts, ObjectError> {
    let before = on_cpu();
    let facts = Facts::parse(bytes);
    _ = list(bytes, None, |_| {});
    let most = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
    let took = on_cpu() - before;
    assert!(took < most, "took {took:?}");
    facts
}

/// How long this thread has run; the clock on the wall counts others too.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn limit(bytes: &[u8]) -> &'static str {
    match parse(bytes) {
        Err(ObjectError::Limit { what, .. }) => what,
        Err(ObjectError::Btf { source: BtfError::Limit { what, .. }, .. }) => what,
        other => panic!("{:?}", other.map(|facts| facts.programs)),
    }
}

fn with(name: &'static str, data: Vec<u8>) -> Vec<u8> {
    object("xdp", "main", &EXIT, &[part(name, PROGBITS, 0, data)])
}

#[test]
fn sixty_five_thousand_sections() {
    let many = vec![part(".x", PROGBITS, 0, Vec::new()); 65_000];
    assert_eq!(limit(&elf(&many)), "sections");
}

#[test]
fn names_of_ten_megabytes_and_many_of_one() {
    let long = "n".repeat(10 << 20);
    assert_eq!(limit(&object("xdp", &long, &EXIT, &[])), "bytes in a name");
    let strings = [b"\0".to_vec(), vec![b'n'; 4000], b"\0".to_vec()].concat();
    let same = vec![symbol(1, 0x11, 1, 0, 0); 10_000];
    let code = part("xdp", PROGBITS, 6, EXIT.to_vec());
    let bytes = elf(&[code, symbols(2, &same), part(".strtab", STRTAB, 0, strings)]);
    assert_eq!(limit(&bytes), "bytes of names");
    let strings = [b"\0".to_vec(), vec![b'n'; 5000], b"\0".to_vec()].concat();
    assert_eq!(limit(&with(".BTF", btf(&[], &strings))), "bytes in a string");
}

#[test]
fn control_characters_in_names_and_licences_are_shown_escaped() {
    let license = part("license", PROGBITS, 0, b"GPL\n\x1b[2Jsafe\0".to_vec());
    let facts = parse(&object("xdp", "a\nb\u{202e}", &EXIT, &[license])).unwrap();
    assert_eq!(skep_object::shown(&facts.programs[0].name), "a\\nb\\u{202e}");
    let license = facts.license.unwrap();
    assert!(!skep_spec::license::is_gpl_compatible(&license));
    assert_eq!(skep_object::shown(&license), "GPL\\n\\u{1b}[2Jsafe");
}

#[test]
fn types_that_go_in_circles_or_deep_have_no_size() {
    // 1: a typedef of itself; 2 and 3: arrays of each other; 4…: pointers, each to the next.
    let mut types = vec![1, info(8, 0), 1];
    types.extend([0, info(3, 0), 0, 3, 1, 2]);
    types.extend([0, info(3, 0), 0, 2, 1, 2]);
    for next in 5..1000 {
        types.extend([0, info(2, 0), next]);
    }
    types.extend([0, info(2, 0), 0]);
    let facts = parse(&with(".BTF", btf(&types, b"\0loop\0"))).unwrap();
    let types = facts.btf.unwrap();
    for id in 1..4 {
        assert_eq!(types.size_of(skep_object::TypeId(id)), None);
    }
    assert!(types.describe(skep_object::TypeId(4)).len() < 100);
    assert!(types.layout_eq(skep_object::TypeId(2), &types, skep_object::TypeId(2)));
}

#[test]
fn huge_counts_are_cut_off_or_limited() {
    let cut = parse(&with(".BTF", btf(&[0, info(4, 0xffff), 8], b"\0"))).unwrap_err();
    assert!(matches!(cut, ObjectError::Btf { source: BtfError::Truncated { .. }, .. }), "{cut:?}");
    let many = [0, info(4, 16), 8].into_iter().chain([0; 48]);
    let many: Vec<u32> = std::iter::repeat_n(many, 63_000).flatten().collect();
    assert_eq!(limit(&with(".BTF", btf(&many, b"\0"))), "members");
    let many: Vec<u32> = [0, info(2, 0), 0].repeat(300_001);
    assert_eq!(limit(&with(".BTF", btf(&many, b"\0"))), "types");
    let code = EXIT.repeat(1_000_001);
    assert_eq!(limit(&object("xdp", "main", &code, &[])), "instructions");
}

#[test]
fn the_wrong_byte_order_is_refused() {
    let mut bytes = object("xdp", "main", &EXIT, &[]);
    bytes[5] = 2;
    assert!(parse(&bytes).is_err());
    let mut types = btf(&[], b"\0");
    types[..2].reverse();
    assert!(parse(&with(".BTF", types)).is_err());
}

#[test]
fn relocations_out_of_range_are_refused() {
    let relocation = |offset: u64, symbol: u64| {
        let data = [offset.to_le_bytes(), (symbol << 32 | 1).to_le_bytes()].concat();
        Part { link: 2, info: 1, entry: 16, ..part(".relxdp", REL, 0, data) }
    };
    let call = [[0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0x7f], EXIT].concat();
    let bad = parse(&object("xdp", "main", &call, &[relocation(0, 77)])).unwrap_err();
    assert!(matches!(bad, ObjectError::Malformed { .. }), "{bad:?}");
    let into_nowhere = parse(&object("xdp", "main", &call, &[relocation(0, 1)])).unwrap();
    assert!(into_nowhere.programs[0].unknown_calls, "the call leads out of the section");
    let mut elsewhere = relocation(0, 1);
    elsewhere.info = 999;
    assert!(matches!(
        parse(&object("xdp", "main", &call, &[elsewhere])),
        Err(ObjectError::Malformed { .. })
    ));
    let many = Part { data: relocation(0, 1).data.repeat((1 << 18) + 1), ..relocation(0, 1) };
    assert_eq!(limit(&object("xdp", "main", &call, &[many])), "relocations");
}

#[test]
fn two_relocations_at_one_place_are_refused() {
    let relocation = [[0; 8], (1u64 << 32 | 1).to_le_bytes()].concat();
    let table = |data| Part { link: 2, info: 1, entry: 16, ..part(".relxdp", REL, 0, data) };
    let call = [[0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff], EXIT].concat();
    assert!(parse(&object("xdp", "main", &call, &[table(relocation.clone())])).is_ok());
    for tables in
        [vec![table(relocation.repeat(2))], vec![table(relocation.clone()), table(relocation)]]
    {
        let refused = parse(&object("xdp", "main", &call, &tables)).unwrap_err();
        let ObjectError::Malformed { why, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!(why, "it has two relocations at offset 0x0");
    }
}

#[test]
fn two_relocations_of_types_at_one_place_are_refused() {
    let with = |offsets: [u32; 2]| {
        let types = btf(&[0, info(4, 0), 8], b"\0xdp\x000\0");
        let relocations = core(1, &offsets.map(|offset| [offset, 1, 5, 8]));
        let ext = part(".BTF.ext", PROGBITS, 0, relocations);
        parse(&object("xdp", "main", &EXIT.repeat(2), &[part(".BTF", PROGBITS, 0, types), ext]))
    };
    assert_eq!(with([0, 8]).unwrap().core_relocations.len(), 2);
    let refused = with([8, 8]).unwrap_err();
    assert!(
        matches!(&refused, ObjectError::Btf { source: BtfError::Twice { offset: 8, .. }, .. }),
        "{refused:?}"
    );
}

#[test]
fn functions_that_overlap_are_refused_and_two_names_of_one_are_not() {
    let with = |start: u64, size: u64| {
        let code = part("xdp", PROGBITS, 6, EXIT.repeat(4));
        let both = [symbol(1, 0x12, 1, 8, 16), symbol(6, 0x12, 1, start, size)];
        let strings = part(".strtab", STRTAB, 0, b"\0main\0more\0".to_vec());
        parse(&elf(&[code, symbols(2, &both), strings]))
    };
    for (start, size) in [(8, 8), (8, 24), (16, 8), (16, 16), (0, 16), (0, 32)] {
        let refused = with(start, size).unwrap_err();
        let ObjectError::Malformed { why, .. } = &refused else { panic!("{refused:?}") };
        assert!(why.starts_with("it overlaps the function '"), "{why}");
    }
    for (start, size) in [(8, 16), (0, 8), (24, 8)] {
        assert!(with(start, size).is_ok(), "{start} {size}");
    }
}

#[test]
fn names_that_are_there_twice() {
    let code = part("xdp", PROGBITS, 6, EXIT.repeat(2));
    let twice = [symbol(1, 0x12, 1, 0, 8), symbol(1, 0x12, 1, 8, 8)];
    let strings = part(".strtab", STRTAB, 0, b"\0main\0".to_vec());
    let refused = parse(&elf(&[code, symbols(2, &twice), strings])).unwrap_err();
    let ObjectError::Program { program, why } = refused else { panic!("{refused:?}") };
    assert_eq!((program.as_str(), why.as_str()), ("main", "there are two of this name"));
}

#[test]
fn absurd_map_sizes_are_counted_without_overflow() {
    let words = [1u32, u32::MAX, u32::MAX, u32::MAX, 0].map(u32::to_le_bytes).concat();
    let bytes = elf(&[
        part("maps", PROGBITS, 3, words),
        symbols(2, &[symbol(1, 0x11, 1, 0, 20)]),
        part(".strtab", STRTAB, 0, b"\0huge\0".to_vec()),
    ]);
    let facts = parse(&bytes).unwrap();
    assert_eq!(facts.map("huge").unwrap().memory().once, u64::MAX);
}

#[test]
fn sizes_of_maps_are_numbers_of_32_bits_from_0() {
    let strings = b"\0int\0most\0max_entries\0counts\0.maps\0";
    let sized = |kind: u32, words: &[u32]| {
        let (signed, size) = if kind == 6 { (1 << 31, 4) } else { (0, 8) };
        let types = [
            &[0, info(kind, 1) | signed, size, 5][..],
            words,
            &[0, info(4, 1), 8, 10, 1, 0],
            &[22, info(14, 0), 2, 1],
            &[29, info(15, 1), 8, 3, 0, 8],
        ];
        let types = btf(&types.concat(), strings);
        elf(&[
            part(".maps", PROGBITS, 3, vec![0; 8]),
            symbols(2, &[symbol(1, 0x11, 1, 0, 8)]),
            part(".strtab", STRTAB, 0, b"\0counts\0".to_vec()),
            part(".BTF", PROGBITS, 0, types),
        ])
    };
    assert_eq!(parse(&sized(19, &[4096, 0])).unwrap().maps[0].max_entries, 4096);
    for bytes in [sized(6, &[u32::MAX]), sized(19, &[0, 1])] {
        let refused = parse(&bytes).unwrap_err();
        let ObjectError::Map { map, why } = refused else { panic!("{refused:?}") };
        assert_eq!(map, "counts");
        assert_eq!(why, "its max_entries is not a number from 0 to 2^32 - 1");
    }
}

#[test]
fn garbage_in_btf_ext_is_refused() {
    let types = part(".BTF", PROGBITS, 0, btf(&[], b"\0"));
    for garbage in
        [vec![0xff; 40], vec![0x9f, 0xeb], [[0x9f, 0xeb, 1, 0].to_vec(), vec![0xff; 60]].concat()]
    {
        let parts = [types.clone(), part(".BTF.ext", PROGBITS, 0, garbage)];
        let refused = parse(&object("xdp", "main", &EXIT, &parts)).unwrap_err();
        assert!(matches!(refused, ObjectError::Btf { section: ".BTF.ext", .. }), "{refused:?}");
    }
}

#[test]
fn overlapping_sections_and_offsets_past_the_end() {
    let mut bytes = object("xdp", "main", &EXIT, &[]);
    let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    // All sections at byte 0: they overlap with the header and each other.
    let mut all = bytes.clone();
    (1..5).for_each(|section| all[table + section * 64 + 24..][..8].fill(0));
    assert!(parse(&all).is_err());
    bytes[table + 64 + 24..][..8].fill(0xff);
    assert!(matches!(parse(&bytes), Err(ObjectError::Truncated { .. })));
}

#[test]
fn programs_that_all_call_each_other() {
    // Each of 200 programs calls all 200: every program alone is small, together they reach 8 million calls.
    const COUNT: u64 = 200;
    let each = COUNT * 8 + 8;
    let call = [0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff];
    let code = [call.repeat(COUNT as usize), EXIT.to_vec()].concat().repeat(COUNT as usize);
    let pairs =
        (0..COUNT).flat_map(|from| (0..COUNT).map(move |to| (from * each + to * 8, to + 1)));
    let relocation = |(at, to): (u64, u64)| [at, to << 32 | 10].map(u64::to_le_bytes).concat();
    let relocations: Vec<u8> = pairs.flat_map(relocation).collect();
    let names: Vec<String> = (0..COUNT).map(|number| format!("f{number:03}")).collect();
    let strings = format!("\0{}\0", names.join("\0"));
    let list: Vec<Vec<u8>> =
        (0..COUNT).map(|n| symbol(1 + n as u32 * 5, 0x12, 1, n * each, each)).collect();
    let bytes = elf(&[
        part("xdp", PROGBITS, 6, code),
        symbols(2, &list),
        part(".strtab", STRTAB, 0, strings.into_bytes()),
        Part { link: 2, info: 1, entry: 16, ..part(".relxdp", REL, 0, relocations) },
    ]);
    assert_eq!(limit(&bytes), "calls of all programs");
}

#[test]
fn the_integer_without_bytes_that_zig_writes_has_no_size() {
    let facts = parse(&with(".BTF", btf(&[1, info(1, 0), 0, 0], b"\0anyopaque\0"))).unwrap();
    assert_eq!(facts.btf.unwrap().size_of(skep_object::TypeId(1)), None);
    assert!(parse(&with(".BTF", btf(&[1, info(1, 0), 17, 0], b"\0wide\0"))).is_err());
}

/// Header `index` (0 is the null section) of an ELF, and where in it.
fn header(bytes: &mut [u8], index: usize, at: usize) -> &mut [u8] {
    let table = u64::from_le_bytes(bytes[40..48].try_into().unwrap()) as usize;
    &mut bytes[table + index * 64 + at..][..8]
}

fn malformed(bytes: &[u8]) -> String {
    match parse(bytes) {
        Err(error @ ObjectError::Malformed { .. }) => error.to_string(),
        other => panic!("{:?}", other.map(|facts| facts.programs)),
    }
}

#[test]
fn two_sections_of_one_name_are_refused() {
    const ALLOC: u64 = 2;
    let types = || btf(&[], b"\0");
    let twice = |name, flags, data: fn() -> Vec<u8>| {
        let more = [part(name, PROGBITS, flags, data()), part(name, PROGBITS, flags, data())];
        malformed(&object("tp/a/b", "main", &EXIT, &more))
    };
    for (name, flags) in [("license", ALLOC), (".maps", ALLOC), (".rodata", ALLOC), ("tp/a/b", 6)] {
        let text = twice(name, flags, || b"GPL\0\0\0\0\0".to_vec());
        assert!(text.contains("two sections"), "{name}: {text}");
    }
    let two = object(
        "xdp",
        "main",
        &EXIT,
        &[part(".BTF", PROGBITS, 0, types()), part(".BTF", PROGBITS, 0, types())],
    );
    assert!(malformed(&two).contains("two sections '.BTF'"));
    // What no loader reads may be there as often as a compiler likes.
    let other = [part(".note", PROGBITS, 0, vec![0]), part(".note", PROGBITS, 0, vec![0])];
    assert!(parse(&object("xdp", "main", &EXIT, &other)).is_ok());
}

#[test]
fn sections_over_each_other_are_refused() {
    let mut bytes =
        object("xdp", "main", &EXIT, &[part("license", PROGBITS, 2, b"GPL\0".to_vec())]);
    let place: [u8; 8] = header(&mut bytes, 1, 24).try_into().unwrap();
    let license = (1..8).find(|index| header(&mut bytes, *index, 32) == 4u64.to_le_bytes());
    header(&mut bytes, license.unwrap(), 24).copy_from_slice(&place);
    assert!(malformed(&bytes).contains("lies over the section"), "{}", malformed(&bytes));
}

#[test]
fn a_relocation_beyond_its_section_or_between_instructions_is_refused() {
    for offset in [u64::MAX >> 8, 8, 1] {
        let data = [offset.to_le_bytes(), (1u64 << 32 | 1).to_le_bytes()].concat();
        let relocation = Part { link: 2, info: 1, entry: 16, ..part(".relxdp", REL, 0, data) };
        let text = malformed(&object("xdp", "main", &EXIT, &[relocation]));
        assert!(text.contains("nothing to relocate"), "{text}");
    }
}

#[test]
fn types_in_the_other_byte_order_and_maps_without_types_are_refused() {
    let mut types = btf(&[], b"\0");
    types[..2].reverse();
    for word in types[4..24].chunks_mut(4) {
        word.reverse();
    }
    let text = malformed(&with(".BTF", types));
    assert!(text.contains("byte order"), "{text}");
    let more =
        [part(".BTF", PROGBITS, 0, btf(&[], b"\0")), part(".maps", PROGBITS, 3, vec![0; 32])];
    let text = malformed(&object("xdp", "main", &EXIT, &more));
    assert!(text.contains("no types"), "{text}");
}

#[test]
fn half_an_instruction_at_the_end_is_refused() {
    let half = [[0x18, 1, 0, 0, 7, 0, 0, 0]].concat();
    assert!(malformed(&object("xdp", "main", &half, &[])).contains("middle of an instruction"));
    let whole = [[0x18, 1, 0, 0, 7, 0, 0, 0], [0; 8], EXIT].concat();
    assert!(parse(&object("xdp", "main", &whole, &[])).is_ok());
}

/// Loaders go on without types that they cannot read, and then ask the kernel for nothing.
#[test]
fn types_that_loaders_would_go_on_without_are_refused() {
    let form = |types: Vec<u8>, ext: Vec<u8>| {
        let parts = [part(".BTF", PROGBITS, 0, types), part(".BTF.ext", PROGBITS, 0, ext)];
        match parse(&object("xdp", "main", &EXIT, &parts)) {
            Err(ObjectError::Btf { source: BtfError::Form(why), .. }) => why,
            other => panic!("{:?}", other.map(|facts| facts.programs)),
        }
    };
    let types = || btf(&[0, info(4, 0), 8], b"\0xdp\x000\0");
    let ext = || core(1, &[[0, 1, 5, 8]]);
    let other = |at: usize, byte: u8| {
        let mut ext = ext();
        ext[at] = byte;
        ext
    };
    assert_eq!(form(types(), other(2, 2)), "its header is of no known form");
    assert_eq!(form(types(), other(3, 1)), "its header is of no known form");
    assert_eq!(form(types(), other(4, 20)), "its header is of no known form");
    assert_eq!(form(types(), other(24, 2)), "a table is not aligned");
    let records = "a table has no records, or records of no known form";
    assert_eq!(form(types(), other(32, 12)), records);
    assert_eq!(form(types(), other(28, 4)), records);
    assert_eq!(form(types(), other(40, 0)), "a table has a section without records");
    let of = |words: &[u32]| form(btf(words, b"\0"), Vec::new());
    assert_eq!(of(&[0, info(12, 0), 0]), "a function is of a type that is no function's");
    assert_eq!(of(&[0, info(3, 0), 0, 0, 7, 1]), "an array's index is of a type that is not there");
    let mut behind = btf(&[0, info(4, 0), 8], b"\0");
    behind[16] = 8; // the strings would begin inside the types
    assert!(form(behind, Vec::new()).contains("in front of its strings"));
}
