//! Mutated objects end in facts or in a refusal: no panic, no endless loop.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use skep_object::btf::Btf;
use skep_object::event::{Decoder, event_type};
use skep_object::{Facts, carve, layout, permissions};
use skep_spec::manifest::Permissions;

use crate::build::object;

static OBJECTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    ["facts.c", "records.c", "writers.c", "legacy.c"].map(|file| object(file, &[])).to_vec()
});

/// Everything that anybody asks of an object.
fn use_all(bytes: &[u8]) {
    let started = Instant::now();
    for range in carve::objects(bytes) {
        assert!(range.end <= bytes.len());
    }
    if let Ok(facts) = Facts::parse(bytes) {
        _ = permissions::derive(&facts);
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
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
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
    fn damaged_objects(which in 0..4usize, list in prop::collection::vec(damage(), 1..12)) {
        let mut bytes = OBJECTS[which].clone();
        list.iter().for_each(|damage| apply(&mut bytes, damage));
        use_all(&bytes);
    }

    #[test]
    fn damaged_types(which in 0..4usize, list in prop::collection::vec(damage(), 1..6)) {
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

#[test]
fn every_truncation_is_refused() {
    for bytes in OBJECTS.iter() {
        for length in 0..bytes.len() {
            assert!(Facts::parse(&bytes[..length]).is_err(), "cut at {length}");
        }
        use_all(bytes);
    }
}
