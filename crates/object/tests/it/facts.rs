use std::fmt::Write as _;

use skep_object::{CoreKind, Facts, MapFacts, MapOrigin, ObjectError, ProgramKind, carve};
use skep_spec::{Arch, Target};

use crate::build::{facts, object};

#[test]
fn programs_by_libbpfs_rules() {
    let facts = facts("facts.c", &[]);
    let mut out = String::new();
    for p in &facts.programs {
        writeln!(out, "{} at {} ({}) autoload={}", p.name, p.section, p.target, p.autoload)
            .unwrap();
        let source = p.source.as_ref().unwrap();
        writeln!(out, "  {} instructions, {}:{}", p.insns, source.file, source.line).unwrap();
        writeln!(out, "  helpers {:?} kfuncs {:?}", p.helpers, p.kfuncs).unwrap();
        writeln!(out, "  maps {:?} unknown={}", p.maps, p.unknown_calls).unwrap();
    }
    insta::assert_snapshot!(out, @r#"
    on_exec at tp/sched/sched_process_exec (tracepoint/sched/sched_process_exec) autoload=true
      40 instructions, ./facts.c:84
      helpers {"ktime_get_ns", "map_lookup_elem", "ringbuf_reserve", "ringbuf_submit"} kfuncs {}
      maps {".rodata", "outer", "ring"} unknown=false
    on_exec_too at tp/sched/sched_process_exec (tracepoint/sched/sched_process_exec) autoload=true
      42 instructions, ./facts.c:95
      helpers {"loop"} kfuncs {}
      maps {".bss", ".data", ".data.extra", ".rodata"} unknown=false
    optional at ?kprobe/vfs_read+0x10 (kprobe/vfs_read+0x10) autoload=false
      12 instructions, ./facts.c:102
      helpers {"map_lookup_elem"} kfuncs {}
      maps {"percpu"} unknown=false
    packets at xdp.frags (xdp.frags) autoload=true
      10 instructions, ./facts.c:109
      helpers {"map_lookup_elem"} kfuncs {"bpf_strange_kfunc"}
      maps {"counts"} unknown=false
    "#);
    assert_eq!(facts.license.as_deref(), Some("Dual BSD/GPL"));
    assert_eq!(facts.arch_hint, None);
    let optional = facts.program("optional").unwrap();
    let Target::Kprobe { function, offset: 16, ret: false } = &optional.target else {
        panic!("{:?}", optional.target)
    };
    assert_eq!(function, "vfs_read");
    assert_eq!(ProgramKind::of_section(&optional.section), Some(ProgramKind::Kprobe));
}

fn describe(map: &MapFacts, facts: &Facts, out: &mut String) {
    let btf = facts.btf.as_ref().unwrap();
    let ty = |id: Option<_>| id.map_or("-".to_owned(), |id| btf.describe(id));
    let (key, value) = (ty(map.key_type), ty(map.value_type));
    writeln!(
        out,
        "{} {}: key {} {key}, value {} {value}",
        map.name, map.kind, map.key_size, map.value_size
    )
    .unwrap();
    let memory = map.memory();
    writeln!(
        out,
        "  entries {} flags {:#x} pinned={} {:?} memory {}+{}/cpu",
        map.max_entries, map.flags, map.pinned, map.origin, memory.once, memory.per_cpu
    )
    .unwrap();
    if let Some(inner) = &map.inner {
        describe(inner, facts, out);
    }
}

#[test]
fn maps_with_all_their_attributes() {
    let facts = facts("facts.c", &[]);
    let mut out = String::new();
    facts.maps.iter().for_each(|map| describe(map, &facts, &mut out));
    insta::assert_snapshot!(out, @r"
    .bss array: key 4 -, value 8 .bss
      entries 1 flags 0x400 pinned=false Data memory 8+0/cpu
    .data array: key 4 -, value 8 .data
      entries 1 flags 0x400 pinned=false Data memory 8+0/cpu
    .data.extra array: key 4 -, value 2 .data.extra
      entries 1 flags 0x400 pinned=false Data memory 8+0/cpu
    .rodata array: key 4 -, value 10 .rodata
      entries 1 flags 0x480 pinned=false Data memory 16+0/cpu
    counts lru_hash: key 8 struct key, value 24 struct value
      entries 1000 flags 0x2 pinned=true Btf memory 32000+0/cpu
    outer array_of_maps: key 4 u32, value 4 -
      entries 2 flags 0x0 pinned=false Btf memory 16+0/cpu
    outer.inner array: key 4 u32, value 8 u64
      entries 7 flags 0x0 pinned=false Btf memory 56+0/cpu
    percpu percpu_array: key 4 -, value 12 -
      entries 3 flags 0x0 pinned=false Btf memory 0+48/cpu
    ring ringbuf: key 0 -, value 0 -
      entries 4096 flags 0x0 pinned=false Btf memory 4096+0/cpu
    ");
    assert_eq!(facts.map("ring").unwrap().memory().on(64), 4096);
    assert_eq!(facts.map("percpu").unwrap().memory().on(4), 4 * 3 * 16);
}

#[test]
fn globals_with_type_and_first_bytes() {
    let facts = facts("facts.c", &[]);
    let btf = facts.btf.as_ref().unwrap();
    let mut out = String::new();
    for g in &facts.globals {
        let ty = g.ty.map(|ty| btf.describe(ty)).unwrap_or_default();
        writeln!(
            out,
            "{} {}+{} size {}: {ty} {:?}",
            g.name, g.section, g.offset, g.size, g.initial
        )
        .unwrap();
    }
    insta::assert_snapshot!(out, @r"
    zeroed .bss+0 size 8: volatile u64 []
    live .data+0 size 8: volatile u64 [7, 0, 0, 0, 0, 0, 0, 0]
    extra .data.extra+0 size 2: volatile s16 [254, 255]
    only_pid .rodata+0 size 4: const volatile u32 [42, 0, 0, 0]
    greeting .rodata+4 size 6: const volatile char[6] [104, 101, 108, 108, 111, 0]
    ");
}

#[test]
fn core_relocations_name_the_type_without_its_flavour() {
    let facts = facts("facts.c", &[]);
    let [relocation] = facts.core_relocations.as_slice() else { panic!() };
    let found = (relocation.section.as_str(), relocation.type_name.as_str());
    assert_eq!(found, ("tp/sched/sched_process_exec", "task_struct"));
    assert_eq!((relocation.kind, relocation.access.as_str()), (CoreKind::FieldByteOffset, "0:1"));
    assert_eq!(relocation.path, "task_struct.tgid");
    let source = relocation.source.as_ref().unwrap();
    assert_eq!((source.file.as_str(), source.line), ("./facts.c", 95));
}

#[test]
fn big_endian_objects_say_the_same() {
    let little = facts("facts.c", &[]);
    let big = facts("facts.c", &["-mbig-endian"]);
    assert!(big.big_endian && !little.big_endian);
    assert_eq!(big.maps, little.maps);
    assert_eq!(big.programs, little.programs);
}

#[test]
fn the_architecture_shows_in_the_registers_that_are_read() {
    let facts = facts("arch.c", &["-DX86"]);
    assert_eq!(facts.arch_hint, Some(Arch::X86_64));
    assert_eq!(crate::build::facts("arch.c", &[]).arch_hint, Some(Arch::Aarch64));
}

#[test]
fn objects_without_maps_need_no_btf() {
    let facts = facts("arch.c", &["no-debug"]);
    assert!(facts.btf.is_none());
    assert_eq!(facts.types().unwrap_err(), ObjectError::NoBtf);
    assert_eq!(facts.programs.len(), 1);
}

#[test]
fn legacy_maps_are_recognised() {
    let facts = facts("legacy.c", &[]);
    let map = facts.map("old").unwrap();
    assert_eq!((map.origin, map.kind.to_string()), (MapOrigin::Legacy, "hash".to_owned()));
    assert_eq!((map.key_size, map.value_size, map.max_entries, map.flags), (4, 8, 100, 1));
    assert!(facts.programs[0].maps.contains("old"));
}

#[test]
fn objects_are_carved_out_of_any_file() {
    let one = object("facts.c", &[]);
    let two = object("records.c", &[]);
    assert_eq!(carve::objects(&one), vec![0..one.len()]);
    let junk = b"\x7fELF and nothing".as_slice();
    let whole = [junk, &one, b"x", &two, junk].concat();
    let found = carve::objects(&whole);
    let start = junk.len();
    let second = start + one.len() + 1;
    assert_eq!(found, vec![start..start + one.len(), second..second + two.len()]);
    for range in found {
        Facts::parse(&whole[range]).unwrap();
    }
    assert!(carve::objects(&one[..one.len() - 1]).is_empty(), "cut off");
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(carve::objects(&own).is_empty(), "an ELF, but not for BPF");
}

#[test]
fn what_is_no_object_is_named() {
    let whole = object("facts.c", &[]);
    let refused = |bytes: &[u8]| Facts::parse(bytes).unwrap_err().to_string();
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        refused(&bytes)
    };
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let all = [
        refused(b""),
        refused(b"int main(void) { return 0; }"),
        refused(b"\x1f\x8b\x08"),
        refused(&own),
        with(18, 183),
        with(4, 1),
        with(16, 2),
        refused(&whole[..40]),
        refused(&whole[..200]),
        refused(&object("facts.c", &["no-debug"])),
        refused(&object("static.c", &[])),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    this is not an ELF file: it is empty
    this is not an ELF file: it looks like text; build sources with `skep build`
    this is not an ELF file: it looks like gzip
    this is a 64-bit ELF for x86_64, not a 64-bit ELF for BPF: compile with `clang -target bpf -g -O2 -c`
    this is a 64-bit ELF for aarch64, not a 64-bit ELF for BPF: compile with `clang -target bpf -g -O2 -c`
    this is a 32-bit ELF for BPF, not a 64-bit ELF for BPF: compile with `clang -target bpf -g -O2 -c`
    this BPF ELF is no relocatable object (e_type 2): leave it unlinked, with `-c`
    the object is truncated in the ELF header: that would end at byte 64, the file ends at 40
    the object is truncated in the section headers: that would end at byte 15184, the file ends at 200
    the object has no BTF, which its maps and events need: compile with `-g`
    program 'hidden' cannot be used: it is static; libbpf takes no static function in 'xdp'
    ");
}

#[test]
fn truncation_names_the_section() {
    // The section headers stand at the end: with a section moved out of the file, everything else is whole.
    let mut bytes = object("facts.c", &[]);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let table = word(&bytes, 40) as usize;
    let count = u16::from_le_bytes(bytes[60..62].try_into().unwrap()) as usize;
    let length = bytes.len() as u64;
    let header = (0..count).map(|n| table + n * 64).find(|at| {
        let start = word(&bytes, at + 24) as usize;
        bytes[start..].starts_with(&[0x9f, 0xeb, 1]) && word(&bytes, at + 32) > 500
    });
    let at = header.unwrap() + 24;
    bytes[at..at + 8].copy_from_slice(&(length - 5).to_le_bytes());
    let error = Facts::parse(&bytes).unwrap_err();
    let ObjectError::Truncated { what, has, .. } = error else { panic!("{error}") };
    assert_eq!((what.as_str(), has), ("section '.BTF'", length));
}
