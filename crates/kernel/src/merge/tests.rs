use skep_spec::manifest::Merge;

use super::*;
use crate::maps::{MapSpec, NO_PREALLOC};

fn map(kind: u32, value_size: u32) -> MapHandle {
    let name = "merge_test".to_owned();
    MapHandle::create(&MapSpec { name, kind, key_size: 4, value_size, max_entries: 8, flags: 0 })
        .unwrap()
}

fn field(old: (u32, u32), new: (u32, u32), signed: bool, merge: Merge) -> FieldMove {
    let span = |(offset, width)| FieldSpan { offset, width };
    let (old, new) = (span(old), span(new));
    FieldMove { name: String::new(), old, new, count: 1, signed, merge }
}

/// Merges all entries.
fn all(merger: &Merger) -> Result<Merged, KernelError> {
    merger.merge_keys(&merger.old.keys()?)
}

/// Merges one entry and gives the new and the old value after it; then again, which must change nothing.
fn one(old: &[u8], new: &[u8], fields: &[FieldMove]) -> (Vec<u8>, Vec<u8>) {
    let (from, to) = (map(kind::HASH, old.len() as u32), map(kind::HASH, new.len() as u32));
    from.update(&[1; 4], old, Update::Any).unwrap();
    if new.iter().any(|byte| *byte != 0) {
        to.update(&[1; 4], new, Update::Any).unwrap();
    }
    let merger = Merger::new(&from, &to, fields).unwrap();
    assert_eq!(all(&merger).unwrap(), Merged { moved: 1, no_room: 0 });
    let after = to.lookup(&[1; 4]).unwrap().unwrap();
    assert_eq!(all(&merger).unwrap(), Merged { moved: 1, no_room: 0 });
    assert_eq!(to.lookup(&[1; 4]).unwrap().unwrap(), after, "doing it again adds nothing");
    (after, from.lookup(&[1; 4]).unwrap().unwrap())
}

#[test]
fn a_sum_of_each_width() {
    let old =
        [&5u64.to_ne_bytes()[..], &(-3i32).to_ne_bytes(), &7u16.to_ne_bytes(), &[9, 0]].concat();
    let new =
        [&1u64.to_ne_bytes()[..], &10i64.to_ne_bytes(), &1u16.to_ne_bytes(), &[1; 6]].concat();
    let fields = [
        field((0, 8), (0, 8), false, Merge::Sum),
        field((8, 4), (8, 8), true, Merge::Sum),
        field((12, 2), (16, 2), false, Merge::Sum),
        field((14, 1), (18, 1), false, Merge::Sum),
    ];
    let (new, old) = one(&old, &new, &fields);
    let expected =
        [&6u64.to_ne_bytes()[..], &7i64.to_ne_bytes(), &8u16.to_ne_bytes(), &[10, 1, 1, 1, 1, 1]]
            .concat();
    assert_eq!(new, expected);
    assert_eq!(old, [0; 16]);
}

#[test]
fn a_sum_of_an_unaligned_field() {
    let (new, old) =
        one(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[0; 8], &[field((2, 8), (0, 8), false, Merge::Sum)]);
    assert_eq!((new, old), (1u64.to_ne_bytes().to_vec(), vec![0; 10]));
}

#[test]
fn the_smallest_and_the_largest() {
    let pair = |a: i32, b: i32| [a.to_ne_bytes(), b.to_ne_bytes()].concat();
    let fields = |signed| {
        [field((0, 4), (0, 4), signed, Merge::Min), field((4, 4), (4, 4), signed, Merge::Max)]
    };
    assert_eq!(one(&pair(3, 9), &pair(5, 7), &fields(false)).0, pair(3, 9));
    assert_eq!(one(&pair(5, 7), &pair(3, 9), &fields(false)).0, pair(3, 9));
    assert_eq!(one(&pair(-5, -7), &pair(3, -9), &fields(true)).0, pair(-5, -7));
    assert_eq!(one(&pair(4, 4), &pair(0, 0), &fields(false)).0, pair(4, 4), "zero is nothing yet");
    assert_eq!(one(&pair(0, 0), &pair(4, 4), &fields(false)).0, pair(4, 4));
}

#[test]
fn the_last_one_may_be_text() {
    let last = [field((0, 13), (4, 13), false, Merge::Last)];
    let (new, old) = one(b"hello, world!", &[0; 17], &last);
    assert_eq!((&new[4..], old), (&b"hello, world!"[..], vec![0; 13]));
    let (new, _) = one(b"hello, world!", b"....later        ", &last);
    assert_eq!(&new[4..], b"later        ");
    let (new, _) = one(&7u32.to_ne_bytes(), &[0; 8], &[field((0, 4), (0, 8), false, Merge::Last)]);
    assert_eq!(new, 7u64.to_ne_bytes());
}

#[test]
fn the_slots_of_a_histogram() {
    let slots = |x: u64| (0..16).flat_map(|i| (i * x).to_ne_bytes()).collect::<Vec<u8>>();
    let fields = [FieldMove { count: 16, ..field((0, 8), (0, 8), false, Merge::Sum) }];
    assert_eq!(one(&slots(1), &slots(10), &fields).0, slots(11));
}

#[test]
fn arrays_and_values_per_cpu() {
    let cpus = possible_cpus().unwrap();
    let sum = [field((0, 8), (8, 8), false, Merge::Sum)];
    for kind in [kind::PERCPU_ARRAY, kind::PERCPU_HASH] {
        let (from, to) = (map(kind, 8), map(kind, 16));
        let old: Vec<u8> = (0..cpus as u64).flat_map(|cpu| (cpu + 1).to_ne_bytes()).collect();
        from.update(&3u32.to_ne_bytes(), &old, Update::Any).unwrap();
        let merger = Merger::new(&from, &to, &sum).unwrap();
        all(&merger).unwrap();
        all(&merger).unwrap();
        let values = to.lookup_per_cpu(&3u32.to_ne_bytes()).unwrap().unwrap();
        for (cpu, value) in values.iter().enumerate() {
            assert_eq!(value[8..], (cpu as u64 + 1).to_ne_bytes(), "CPU {cpu}");
        }
    }
    let (from, to) = (map(kind::ARRAY, 8), map(kind::ARRAY, 16));
    from.update(&[0; 4], &4u64.to_ne_bytes(), Update::Any).unwrap();
    assert_eq!(all(&Merger::new(&from, &to, &sum).unwrap()).unwrap().moved, 8);
    assert_eq!(to.lookup(&[0; 4]).unwrap().unwrap()[8..], 4u64.to_ne_bytes());
}

#[test]
fn what_can_not_be_merged() {
    let sum = [field((0, 8), (0, 8), false, Merge::Sum)];
    let hash = map(kind::HASH, 8);
    assert!(Merger::new(&hash, &map(kind::ARRAY, 8), &sum).is_err(), "kinds differ");
    assert!(Merger::new(&hash, &map(kind::HASH, 4), &sum).is_err(), "outside");
    let odd = [field((0, 3), (0, 3), false, Merge::Sum)];
    assert!(Merger::new(&hash, &map(kind::HASH, 8), &odd).is_err(), "3 bytes have no sum");
}

/// A map of `kind` with `room` entries, and these keys with their own value.
fn filled(kind: u32, room: u32, keys: std::ops::Range<u32>) -> MapHandle {
    let flags = if kind == kind::LPM_TRIE { NO_PREALLOC } else { 0 };
    let name = "merge_test".to_owned();
    let key_size = if kind == kind::LPM_TRIE { 8 } else { 4 };
    let spec = MapSpec { name, kind, key_size, value_size: 8, max_entries: room, flags };
    let map = MapHandle::create(&spec).unwrap();
    let size = map.value_bytes_of_one().unwrap() / 8;
    keys.for_each(|i| {
        map.update(&key(&map, i), &u64::from(i).to_ne_bytes().repeat(size), Update::Any).unwrap();
    });
    map
}

/// Key `i`; of a trie as a whole prefix.
fn key(map: &MapHandle, i: u32) -> Vec<u8> {
    let prefix = if map.info().kind == kind::LPM_TRIE { &32u32.to_ne_bytes()[..] } else { &[] };
    [prefix, &i.to_be_bytes()].concat()
}

/// The first number of each entry, by key.
fn numbers(map: &MapHandle) -> BTreeSet<u64> {
    let entries = map.entries().unwrap();
    entries.iter().map(|(_, value)| u64::from_ne_bytes(value[..8].try_into().unwrap())).collect()
}

#[test]
fn what_a_full_map_has_no_room_for_stays_and_is_counted() {
    let sum = [field((0, 8), (0, 8), false, Merge::Sum)];
    for kind in [kind::HASH, kind::PERCPU_HASH, kind::LPM_TRIE] {
        // 1 to 8 into 8 places, of which 7 to 10 have four.
        let (old, new) = (filled(kind, 8, 1..9), filled(kind, 8, 7..11));
        let merger = Merger::new(&old, &new, &sum).unwrap();
        let merged = all(&merger).unwrap();
        assert_eq!(merged, Merged { moved: 6, no_room: 2 }, "kind {kind}");
        assert_eq!(all(&merger).unwrap(), merged, "doing it again changes nothing");
        let (left, there) = (numbers(&old), numbers(&new));
        assert!([9, 10, 14, 16].iter().all(|n| there.contains(n)), "kind {kind}: {there:?}");
        let left: u64 = left.iter().sum();
        assert_eq!(left + there.iter().sum::<u64>(), 36 + 34, "kind {kind}");
        assert!(left > 0);
    }
}

#[test]
fn a_shorter_array_has_no_room_for_what_lies_behind_its_end() {
    let sum = [field((0, 8), (0, 8), false, Merge::Sum)];
    for kind in [kind::ARRAY, kind::PERCPU_ARRAY] {
        let (old, new) = (filled(kind, 8, 0..0), filled(kind, 4, 0..0));
        for i in [1u32, 3, 5] {
            let size = old.value_bytes_of_one().unwrap() / 8;
            let value = u64::from(i).to_ne_bytes().repeat(size);
            old.update(&i.to_ne_bytes(), &value, Update::Any).unwrap();
        }
        let merged = all(&Merger::new(&old, &new, &sum).unwrap()).unwrap();
        assert_eq!(merged, Merged { moved: 4, no_room: 1 }, "kind {kind}");
        assert_eq!(numbers(&new), BTreeSet::from([0, 1, 3]));
        assert_eq!(numbers(&old), BTreeSet::from([0, 5]));
    }
}

#[test]
fn a_map_that_forgets_makes_room_itself() {
    let sum = [field((0, 8), (0, 8), false, Merge::Sum)];
    for kind in [kind::LRU_HASH, kind::LRU_PERCPU_HASH] {
        let (old, new) = (filled(kind, 4096, 1..2001), filled(kind, 64, 0..0));
        let merged = all(&Merger::new(&old, &new, &sum).unwrap()).unwrap();
        assert!(merged.moved > 0 && merged.moved <= 64, "kind {kind}: {merged:?}");
        assert_eq!(merged.no_room, 0);
    }
}
