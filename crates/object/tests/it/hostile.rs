//! Mutated objects end in facts or in a refusal: no panic, no endless loop.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use skep_object::btf::Btf;
use skep_object::difference::Difference;
use skep_object::disasm::list;
use skep_object::event::{Decoder, event_type};
use skep_object::{Facts, carve, gpl, layout, permissions};
use skep_spec::manifest::Permissions;

use crate::build::object;
use crate::corpus::CORPUS;

static OBJECTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    ["facts.c", "records.c", "writers.c", "legacy.c", "guards.c"]
        .map(|file| object(file, &[]))
        .to_vec()
});

/// How long this thread has run; the clock on the wall counts others too.
fn on_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Everything that anybody asks of an object; how long it worked.
fn use_all(bytes: &[u8]) -> Duration {
    let started = on_cpu();
    for range in carve::objects(bytes) {
        assert!(range.end <= bytes.len());
    }
    _ = list(bytes, None, |_| {});
    if let Ok(facts) = Facts::parse(bytes) {
        _ = permissions::derive(&facts);
        _ = permissions::reasons(&facts);
        _ = gpl::uses(&facts);
        _ = Difference::between(&facts, &facts);
        _ = permissions::uncovered(&Permissions::default(), &facts);
        for map in &facts.maps {
            _ = facts.writers(&map.name);
            let ty = event_type(&facts, &map.name, None).or(map.value_type);
            let (Some(btf), Some(ty)) = (&facts.btf, ty) else { continue };
            decode(btf, ty);
            _ = layout::compare(btf, ty, btf, map.key_type.unwrap_or(ty), &BTreeMap::new());
        }
        if let Some(btf) = &facts.btf {
            btf.types().for_each(|(id, _)| decode(btf, id));
        }
    }
    let took = on_cpu() - started;
    assert!(took < Duration::from_secs(10), "took {took:?}");
    took
}

fn decode(btf: &Btf, ty: skep_object::TypeId) {
    if let Ok(decoder) = Decoder::new(btf, ty, &BTreeMap::new()) {
        let data = [0xa5; 96];
        _ = decoder.decode(&data).to_json();
        _ = decoder.row(&data[..40]);
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Word(prop::sample::Index, u32),
    Cut(prop::sample::Index),
    Move(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![Just(0), Just(u32::MAX), Just(0x7fff_ffff), 0..64u32, any::<u32>()];
    prop_oneof![
        8 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, b)| Damage::Flip(at, b)),
        8 => (any::<prop::sample::Index>(), word).prop_map(|(at, w)| Damage::Word(at, w)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        2 => (any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(from, to)| Damage::Move(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.len() < 16 {
        return;
    }
    let words = bytes.len() / 4;
    match damage {
        Damage::Flip(at, with) => bytes[at.index(words * 4)] ^= with,
        Damage::Word(at, word) => {
            let at = at.index(words) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Move(from, to) => {
            let (from, to) = (from.index(words - 2) * 4, to.index(words - 2) * 4);
            bytes.copy_within(from..from + 8, to);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn damaged_objects(which in 0..5usize, list in prop::collection::vec(damage(), 1..12)) {
        let mut bytes = OBJECTS[which].clone();
        list.iter().for_each(|damage| apply(&mut bytes, damage));
        use_all(&bytes);
    }

    #[test]
    fn damaged_types(which in 0..5usize, list in prop::collection::vec(damage(), 1..6)) {
        // Damage to the BTF alone gets further than damage anywhere.
        let mut bytes = OBJECTS[which].clone();
        let Some(start) = bytes.windows(4).position(|w| w == [0x9f, 0xeb, 1, 0]) else { return Ok(()) };
        let mut types = bytes[start..].to_vec();
        list.iter().filter(|d| !matches!(d, Damage::Cut(_))).for_each(|d| apply(&mut types, d));
        bytes.truncate(start);
        bytes.extend(types);
        use_all(&bytes);
    }

    #[test]
    fn bytes_of_any_kind(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        use_all(&bytes);
        let _ = Btf::parse(&[&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0], bytes.as_slice()].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_objects_of_others(which: prop::sample::Index, list in prop::collection::vec(damage(), 1..20)) {
        let mut bytes = which.get(&CORPUS).bytes.clone();
        list.iter().for_each(|damage| apply(&mut bytes, damage));
        use_all(&bytes);
    }
}

#[test]
fn every_truncation_is_refused() {
    for bytes in OBJECTS.iter() {
        for length in 0..bytes.len() {
            assert!(Facts::parse(&bytes[..length]).is_err(), "cut at {length}");
        }
        use_all(bytes);
    }
}

/// An object whose only program is `insns`, put together by hand.
fn program(insns: &[[u8; 8]]) -> Vec<u8> {
    let code = insns.concat();
    let names = b"\0xdp\0main\0.symtab\0.strtab\0";
    let mut symbols = vec![0u8; 24];
    symbols.extend(5u32.to_le_bytes());
    symbols.extend([0x12, 0, 1, 0]);
    symbols.extend(0u64.to_le_bytes());
    symbols.extend((code.len() as u64).to_le_bytes());
    let parts = [&code[..], &symbols, names];
    let mut out = vec![0u8; 64];
    let mut headers = vec![0u8; 64];
    // Name, type, flags, link, info, entry size.
    let kinds = [(1, 1, 6u64, 0, 0, 0), (10, 2, 0, 3, 1, 24), (18, 3, 0, 0, 0, 0)];
    for (part, (name, kind, flags, link, info, entry)) in parts.iter().zip(kinds) {
        for word in [name, kind] {
            headers.extend((word as u32).to_le_bytes());
        }
        for word in [flags, 0, out.len() as u64, part.len() as u64] {
            headers.extend(word.to_le_bytes());
        }
        for word in [link as u32, info] {
            headers.extend(word.to_le_bytes());
        }
        headers.extend(8u64.to_le_bytes());
        headers.extend((entry as u64).to_le_bytes());
        out.extend(*part);
    }
    let table = out.len() as u64;
    out.extend(headers);
    out[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xf7\0");
    out[20] = 1;
    out[40..48].copy_from_slice(&table.to_le_bytes());
    out[52..54].copy_from_slice(&64u16.to_le_bytes());
    out[58..64].copy_from_slice(&[64, 0, 4, 0, 3, 0]);
    out
}

#[test]
fn a_program_of_only_jumps_ends_soon() {
    let of =
        |insn: [u8; 8]| program(&[vec![insn; 400_000], vec![[0x95, 0, 0, 0, 0, 0, 0, 0]]].concat());
    let straight = use_all(&of([0xb7, 1, 0, 0, 0, 0, 0, 0]));
    // Every instruction is a conditional jump: to the next, to the one after, or far back.
    for jump in [0i16, 1, -300, 300] {
        let [low, high] = jump.to_le_bytes();
        let bytes = of([0x15, 1, low, high, 0, 0, 0, 0]);
        let facts = Facts::parse(&bytes).unwrap();
        assert_eq!(facts.programs[0].insns, 400_001);
        let took = use_all(&bytes);
        assert!(took < straight * 20, "jumps of {jump}: {took:?}, without any {straight:?}");
    }
}
