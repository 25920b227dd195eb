//! The bytes of maps: of several CPUs and of two versions made one, and never more of them than are shown.

use std::collections::{BTreeMap, BTreeSet};

use skep_kernel::{KernelError, MapHandle};
use skep_object::layout::{LayoutChange, compare_fields};
use skep_object::{Btf, TypeId};
use skep_spec::manifest::{Map, Merge};

use crate::plan::{FieldMove, FieldSpan};

/// Most entries that are given at once.
const MOST: usize = 10_000;

/// The first entries of a map by their keys, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Values {
    first: BTreeMap<Vec<u8>, Vec<u8>>,
    more: u64,
}

/// A map that gives its entries up, and what becomes of them.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) map: MapHandle,
    pub(super) fields: Vec<FieldMove>,
}

/// A number of a value, and how two of it become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    place: FieldSpan,
    signed: bool,
    merge: Merge,
}

impl Values {
    /// Of values per CPU the numbers are merged, other bytes are from the first CPU that has any. Of an array what is zero is no
    /// entry.
    pub(super) fn read(map: &MapHandle, numbers: &[Number]) -> Result<Self, KernelError> {
        let (mut values, is_array) = (Self::default(), map.info().is_array());
        each(map, numbers, |key, value| {
            if !is_array || value.iter().any(|byte| *byte != 0) {
                values.insert(key.to_vec(), value);
            }
        })?;
        Ok(values)
    }

    /// Adds what a map still has that gives its entries to `map`, which these are of.
    pub(super) fn add(&mut self, rest: &Rest, map: &MapHandle) -> Result<(), KernelError> {
        let numbers: Vec<Number> = rest.fields.iter().flat_map(numbers_of_old).collect();
        let size = map.info().value_size as usize;
        each(&rest.map, &numbers, |key, old| {
            if old.iter().all(|byte| *byte == 0) {
                return;
            }
            if let Some(value) = self.first.get_mut(key) {
                rest.fields.iter().for_each(|field| merge_field(value, &old, field));
            } else if self.is_past(key) && map.lookup(key).is_ok_and(|value| value.is_some()) {
                // It is counted already.
            } else {
                let mut value = vec![0; size];
                rest.fields.iter().for_each(|field| merge_field(&mut value, &old, field));
                self.insert(key.to_vec(), value);
            }
        })
    }

    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        if self.first.insert(key, value).is_none() && self.first.len() > MOST {
            self.first.pop_last();
            self.more += 1;
        }
    }

    /// Whether a key is behind all that are kept, of which there are as many as may be.
    fn is_past(&self, key: &[u8]) -> bool {
        let last = self.first.last_key_value();
        self.first.len() >= MOST && last.is_some_and(|(last, _)| key > last.as_slice())
    }

    pub(super) const fn first(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.first
    }

    pub(super) const fn more(&self) -> u64 {
        self.more
    }
}

/// Hands on each entry, with one value for all CPUs.
fn each(
    map: &MapHandle,
    numbers: &[Number],
    mut each: impl FnMut(&[u8], Vec<u8>),
) -> Result<(), KernelError> {
    let size = map.info().value_size as usize;
    let per_cpu = map.info().is_per_cpu();
    map.walk(|batch| {
        for (key, value) in batch.entries() {
            each(key, if per_cpu { over_cpus(value, size, numbers) } else { value.to_vec() });
        }
        true
    })
}

/// The integers of a type, each merged as the manifest says of its field.
pub(super) fn numbers(btf: &Btf, ty: TypeId, policy: Option<&Map>) -> Vec<Number> {
    let fields = compare_fields(btf, ty, btf, ty, &BTreeMap::new());
    let LayoutChange::Fields { common, .. } = fields else {
        return Vec::new();
    };
    let numbers = common.iter().filter(|pair| pair.number);
    numbers
        .flat_map(|pair| {
            let merge = policy.and_then(|policy| policy.merge_of(&pair.name));
            let (signed, merge) = (pair.signed, merge.unwrap_or(Merge::Sum));
            elements(pair.new, pair.count).map(move |place| Number { place, signed, merge })
        })
        .collect()
}

fn numbers_of_old(field: &FieldMove) -> impl Iterator<Item = Number> + use<> {
    let (signed, merge) = (field.signed, field.merge);
    elements(field.old, field.count).map(move |place| Number { place, signed, merge })
}

fn elements(first: FieldSpan, count: u32) -> impl Iterator<Item = FieldSpan> {
    (0..count).map(move |i| FieldSpan { offset: first.offset + i * first.width, ..first })
}

fn over_cpus(all: &[u8], size: usize, numbers: &[Number]) -> Vec<u8> {
    let mut cpus = all.chunks_exact(size.next_multiple_of(8)).map(|value| &value[..size]);
    let first = cpus.clone().find(|value| value.iter().any(|b| *b != 0));
    let mut whole = first.or_else(|| cpus.next()).map_or_else(|| vec![0; size], <[u8]>::to_vec);
    // Members of a union lie at one place: it is merged once, by the first of them.
    let mut places = BTreeSet::new();
    let once = |number: &&Number| places.insert((number.place.offset, number.place.width));
    for number in numbers.iter().filter(once).filter(|number| number.place.width <= 8) {
        let Number { place, signed, merge } = *number;
        let values = all.chunks_exact(size.next_multiple_of(8));
        let each = values.map(|value| sign_extended(load(value, place), place.width, signed));
        let merged = each.reduce(|merged, one| merge_two(merge, signed, merged, one));
        store(&mut whole, place, merged.unwrap_or_default());
    }
    whole
}

/// Two numbers as one: `kept` is the new version's, or that of an earlier CPU.
fn merge_two(merge: Merge, signed: bool, kept: u64, other: u64) -> u64 {
    let other_is_larger =
        if signed { other.cast_signed() > kept.cast_signed() } else { other > kept };
    match merge {
        Merge::Sum => kept.wrapping_add(other),
        Merge::Last if kept == 0 => other,
        Merge::Last => kept,
        Merge::Max => {
            if other_is_larger {
                other
            } else {
                kept
            }
        }
        Merge::Min if kept == 0 || other == 0 => kept | other,
        Merge::Min => {
            if other_is_larger {
                kept
            } else {
                other
            }
        }
    }
}

/// Merges what the old version's value still has of a field into the new one's.
fn merge_field(value: &mut [u8], rest: &[u8], field: &FieldMove) {
    for (old, new) in elements(field.old, field.count).zip(elements(field.new, field.count)) {
        if old.width > 8 || new.width > 8 {
            keep_bytes(value, rest, (old, new));
            continue;
        }
        let other = sign_extended(load(rest, old), old.width, field.signed);
        let kept = sign_extended(load(value, new), new.width, field.signed);
        store(value, new, merge_two(field.merge, field.signed, kept, other));
    }
}

/// Bytes that are no number: the new version's, where there are any.
fn keep_bytes(value: &mut [u8], rest: &[u8], (old, new): (FieldSpan, FieldSpan)) {
    let range = |place: FieldSpan, width: u32| {
        let at = place.offset as usize;
        at..at + width as usize
    };
    let width = old.width.min(new.width);
    let (Some(kept), Some(other)) = (value.get_mut(range(new, width)), rest.get(range(old, width)))
    else {
        return;
    };
    if kept.iter().all(|byte| *byte == 0) {
        kept.copy_from_slice(other);
    }
}

fn sign_extended(number: u64, width: u32, signed: bool) -> u64 {
    let shift = 64 - (width * 8).clamp(1, 64);
    if signed { ((number << shift).cast_signed() >> shift).cast_unsigned() } else { number }
}

fn load(value: &[u8], place: FieldSpan) -> u64 {
    let (at, width) = (place.offset as usize, place.width.min(8) as usize);
    let mut bytes = [0; 8];
    if let Some(source) = value.get(at..at + width) {
        let from = if cfg!(target_endian = "big") { 8 - width } else { 0 };
        bytes[from..from + width].copy_from_slice(source);
    }
    u64::from_ne_bytes(bytes)
}

fn store(value: &mut [u8], place: FieldSpan, number: u64) {
    let (at, width) = (place.offset as usize, place.width.min(8) as usize);
    let bytes = number.to_ne_bytes();
    let from = if cfg!(target_endian = "big") { 8 - width } else { 0 };
    if let Some(target) = value.get_mut(at..at + width) {
        target.copy_from_slice(&bytes[from..from + width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_are_not_given_are_counted() {
        let key = |n: usize| (n as u32).to_be_bytes().to_vec();
        let given = |order: &mut dyn Iterator<Item = usize>| {
            let mut values = Values::default();
            order.for_each(|n| values.insert(key(n), vec![1]));
            let last = values.first().last_key_value().map(|(last, _)| last.clone());
            (values.first().len(), values.more(), last)
        };
        assert_eq!(given(&mut (0..MOST)), (MOST, 0, Some(key(MOST - 1))));
        assert_eq!(given(&mut (0..MOST + 7)), (MOST, 7, Some(key(MOST - 1))));
        let again = &mut (0..MOST + 7).rev().chain(0..MOST);
        assert_eq!(given(again), (MOST, 7, Some(key(MOST - 1))), "in any order, each once");
    }

    #[test]
    fn values_of_all_cpus_are_added_number_by_number() {
        let one = |a: u64, b: u32| [&a.to_ne_bytes()[..], &b.to_ne_bytes()].concat();
        let all: Vec<u8> = [(1, 2), (10, 20)]
            .iter()
            .flat_map(|(a, b)| [one(*a, *b), vec![0; 4]].concat())
            .collect();
        let number = |offset, width| Number {
            place: FieldSpan { offset, width },
            signed: false,
            merge: Merge::Sum,
        };
        let numbers = [number(0, 8), number(8, 4)];
        assert_eq!(over_cpus(&all, 12, &numbers), one(11, 22));
    }

    #[test]
    fn what_is_no_sum_is_not_added() {
        let cpus = |values: &[i32]| -> Vec<u8> {
            values.iter().flat_map(|value| [value.to_ne_bytes(), [0; 4]].concat()).collect()
        };
        let over = |merge, signed, values: &[i32]| {
            let number = Number { place: FieldSpan { offset: 0, width: 4 }, signed, merge };
            i32::from_ne_bytes(over_cpus(&cpus(values), 4, &[number]).try_into().unwrap())
        };
        assert_eq!(over(Merge::Sum, true, &[0, 2, -5]), -3);
        assert_eq!(over(Merge::Max, true, &[-1, 7, 3]), 7);
        assert_eq!(over(Merge::Max, false, &[-1, 7, 3]), -1, "the largest number without a sign");
        assert_eq!(over(Merge::Min, true, &[0, 7, 3]), 3);
        assert_eq!(over(Merge::Min, true, &[4, -7, 0]), -7);
        assert_eq!(over(Merge::Last, true, &[0, 2, 2]), 2);
        assert_eq!(over(Merge::Last, true, &[0, 0, 0]), 0);
    }

    #[test]
    fn what_the_old_map_still_has_is_merged_as_the_manifest_says() {
        let place = |offset, width| FieldSpan { offset, width };
        let field = |merge, offset, width| FieldMove {
            name: String::new(),
            old: place(offset, width),
            new: place(offset, width),
            count: 1,
            signed: false,
            merge,
        };
        let rest =
            [[9u64.to_ne_bytes(), 3u64.to_ne_bytes()].concat(), b"a text of 16 by.".to_vec()];
        let mut value = [[4u64.to_ne_bytes(), 5u64.to_ne_bytes()].concat(), vec![0; 16]].concat();
        let fields =
            [field(Merge::Max, 0, 8), field(Merge::Last, 8, 8), field(Merge::Last, 16, 16)];
        fields.iter().for_each(|field| merge_field(&mut value, &rest.concat(), field));
        let expected = [[9u64.to_ne_bytes(), 5u64.to_ne_bytes()].concat(), rest[1].clone()];
        assert_eq!(value, expected.concat());
    }

    #[test]
    fn a_signed_field_is_widened_with_its_sign() {
        let field = FieldMove {
            name: "n".to_owned(),
            old: FieldSpan { offset: 0, width: 4 },
            new: FieldSpan { offset: 0, width: 8 },
            count: 1,
            signed: true,
            merge: Merge::Sum,
        };
        let mut value = 5i64.to_ne_bytes();
        merge_field(&mut value, &(-7i32).to_ne_bytes(), &field);
        assert_eq!(i64::from_ne_bytes(value), -2);
    }
}
