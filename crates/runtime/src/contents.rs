//! What is in a service's maps, decoded through BTF: counters for people.
//!
//! Of values per CPU, each number is merged over the CPUs as the manifest has it merged; without a word of it, they are added.
//! While the generation before is kept, entries that its map still holds are merged in too: during a move the sum is right at
//! every moment.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;
use skep_kernel::{KernelError, MapHandle};
use skep_object::event::{Column, Decoder, Labels};
use skep_object::layout::{LayoutChange, compare_fields};
use skep_object::{Btf, Facts, TypeId};
use skep_spec::ServiceName;
use skep_spec::manifest::{Field, Map, Merge, Output};

use crate::error::RuntimeError;
use crate::events::equipped;
use crate::plan::{FieldMove, FieldSpan, MapChange};
use crate::runtime::{Runtime, facts_of};

/// Most entries that are given at once.
const MOST: usize = 10_000;

/// The contents of one map.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// The map.
    pub map: String,
    /// The columns of [`Entry::cells`]: names, and whether they are numbers.
    pub columns: Vec<(String, bool)>,
    /// Its entries; of an array those whose value is not zero.
    pub entries: Vec<Entry>,
    /// How many more there are than are given.
    pub more: u64,
}

/// One entry.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The key, by its BTF type.
    pub key: Box<RawValue>,
    /// The value, by its BTF type.
    pub value: Box<RawValue>,
    /// The labels of its key, as the output has them.
    pub labels: BTreeMap<String, String>,
    /// As a row of a table, if that was asked for: the labels, or without any the key, and the value, by their formats.
    pub cells: Vec<String>,
}

/// Values by key.
type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// How a map's bytes become JSON, and how values of several CPUs become one.
#[derive(Debug)]
pub(crate) struct Reading {
    key: Decoder,
    value: Decoder,
    /// Numbers of the value; empty where nothing can be merged.
    numbers: Vec<Number>,
    labels: Option<Labels>,
    table: Option<Table>,
}

/// Which columns of a value a table shows.
#[derive(Debug)]
struct Table {
    columns: Vec<(String, bool)>,
    /// By their numbers among those of the value's decoder.
    of_value: Vec<usize>,
}

/// A number of a value, and how two of it become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    place: FieldSpan,
    signed: bool,
    merge: Merge,
}

impl Runtime {
    /// What is in the map of this name.
    ///
    /// # Errors
    /// There is no such service or map, or its type can't be read.
    pub fn contents(&self, service: &ServiceName, map: &str) -> Result<Contents, RuntimeError> {
        self.contents_by(service, map, None, false)
    }

    /// What is in the map of an output, by its labels and formats; with the rows of a `table`, or without.
    ///
    /// # Errors
    /// As [`Self::contents`].
    pub fn metric(
        &self,
        service: &ServiceName,
        output: &Output,
        table: bool,
    ) -> Result<Contents, RuntimeError> {
        self.contents_by(service, &output.map, Some(output), table)
    }

    fn contents_by(
        &self,
        service: &ServiceName,
        map: &str,
        output: Option<&Output>,
        table: bool,
    ) -> Result<Contents, RuntimeError> {
        let active = self.active(service)?;
        let handle = self.open_map(service, &active, map)?;
        let records = active.incarnation.as_ref().map(|i| &i.maps);
        let record = records.and_then(|maps| maps.get(map));
        let package = self.package(&active.index)?;
        let objects = facts_of(&package)?;
        let facts = record.and_then(|record| Some((objects.get(&record.object)?, record)));
        let policy = record.and_then(|record| package.manifest.map.get(&record.symbol));
        let facts = facts.map(|(facts, record)| (facts, record.symbol.as_str()));
        let reading = Reading::new(facts, policy, output, table);
        let mut values = read(&handle, &reading.numbers)?;
        self.add_rest(service, map, &mut values)?;
        Ok(reading.contents(map, handle.info().is_array(), &values))
    }

    /// Names of the running generation's maps, without those that only skep knows.
    ///
    /// # Errors
    /// There is no such service.
    pub fn map_names(&self, service: &ServiceName) -> Result<Vec<String>, RuntimeError> {
        let active = self.active(service)?;
        let maps = active.incarnation.iter().flat_map(|i| &i.maps);
        Ok(maps.filter(|(_, map)| !map.is_lost()).map(|(name, _)| name.clone()).collect())
    }

    /// Adds what the kept generation's map has not given up yet.
    fn add_rest(
        &self,
        name: &ServiceName,
        map: &str,
        values: &mut Values,
    ) -> Result<(), RuntimeError> {
        let service = self.service_state(name)?;
        let change = service.changes.get(map);
        let (Some(MapChange::Migrate { fields }), Some(previous)) = (change, service.previous)
        else {
            return Ok(());
        };
        let Some(previous) = service.generations.get(&previous) else { return Ok(()) };
        let old = self.open_map(name, previous, map)?;
        let numbers: Vec<Number> = fields.iter().flat_map(numbers_of_old).collect();
        for (key, rest) in read(&old, &numbers)? {
            if rest.iter().all(|byte| *byte == 0) {
                continue;
            }
            let size = self.open_map(name, &self.active(name)?, map)?.info().value_size as usize;
            let value = values.entry(key).or_insert_with(|| vec![0; size]);
            fields.iter().for_each(|field| merge_field(value, &rest, field));
        }
        Ok(())
    }
}

impl Reading {
    /// By the types of a map, and the formats and labels of an output; what does not fit is left out.
    pub(crate) fn new(
        map: Option<(&Facts, &str)>,
        policy: Option<&Map>,
        output: Option<&Output>,
        table: bool,
    ) -> Self {
        let found = map.and_then(|(facts, symbol)| Some((facts.btf.as_ref()?, facts.map(symbol)?)));
        let decoder = |ty: Option<TypeId>, formats: &BTreeMap<String, Field>| {
            let made = found.zip(ty).and_then(|((btf, _), ty)| {
                let plain = |_| Decoder::new(btf, ty, &BTreeMap::new());
                Decoder::new(btf, ty, formats).or_else(plain).ok()
            });
            equipped(made.unwrap_or_else(Decoder::raw))
        };
        let (key_type, value_type) =
            found.map_or((None, None), |(_, map)| (map.key_type, map.value_type));
        let formats = output.map(|output| &output.fields);
        let value = decoder(value_type, formats.unwrap_or(&BTreeMap::new()));
        let key = decoder(key_type, &BTreeMap::new());
        let numbers = found.zip(value_type).map(|((btf, _), ty)| numbers(btf, ty, policy));
        let labels = output.filter(|output| !output.labels.is_empty()).and_then(|output| {
            let ((btf, _), ty) = found.zip(key_type)?;
            Labels::new(btf, ty, &output.labels).ok().map(|labels| labels.map(equipped))
        });
        let table = table.then(|| Table::new(&key, &value, output));
        Self { key, value, numbers: numbers.unwrap_or_default(), labels, table }
    }

    /// What is in a map of one version alone.
    pub(crate) fn read(&self, name: &str, map: &MapHandle) -> Result<Contents, KernelError> {
        Ok(self.contents(name, map.info().is_array(), &read(map, &self.numbers)?))
    }

    fn contents(&self, map: &str, is_array: bool, values: &Values) -> Contents {
        let shown = |(_, value): &(&Vec<u8>, &Vec<u8>)| !is_array || value.iter().any(|b| *b != 0);
        let wanted: Vec<_> = values.iter().filter(shown).collect();
        let more = wanted.len().saturating_sub(MOST) as u64;
        let entry = |(key, value): &(&Vec<u8>, &Vec<u8>)| {
            let json = |decoder: &Decoder, bytes: &[u8]| {
                RawValue::from_string(decoder.decode(bytes).to_json()).unwrap_or_default()
            };
            let labels = self.labels.as_ref().map(|labels| labels.of(key)).unwrap_or_default();
            let cells = self.table.as_ref().map(|table| self.cells(table, &labels, (key, value)));
            Entry {
                key: json(&self.key, key),
                value: json(&self.value, value),
                labels,
                cells: cells.unwrap_or_default(),
            }
        };
        let entries = wanted.iter().take(MOST).map(entry).collect();
        let columns = self.table.as_ref().map(|table| table.columns.clone());
        Contents { map: map.to_owned(), columns: columns.unwrap_or_default(), entries, more }
    }

    fn cells(
        &self,
        table: &Table,
        labels: &BTreeMap<String, String>,
        (key, value): (&[u8], &[u8]),
    ) -> Vec<String> {
        let mut cells = match labels.is_empty() {
            true => self.key.row(key),
            false => labels.values().cloned().collect(),
        };
        let value = self.value.row(value);
        cells.extend(table.of_value.iter().filter_map(|at| value.get(*at).cloned()));
        cells
    }
}

impl Table {
    fn new(key: &Decoder, value: &Decoder, output: Option<&Output>) -> Self {
        let wanted = output.and_then(|output| output.value.as_deref());
        let is_wanted = |path: &str| {
            wanted.is_none_or(|wanted| {
                path.strip_prefix(wanted)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let of_value: Vec<(usize, &Column)> =
            value.columns().enumerate().filter(|(_, column)| is_wanted(&column.path)).collect();
        let named = |column: &Column, alone: &str| {
            let name = if column.path.is_empty() { alone } else { &column.name };
            (name.to_owned(), column.number)
        };
        let mut columns: Vec<(String, bool)> = match output {
            Some(output) if !output.labels.is_empty() => {
                output.labels.keys().map(|name| (name.clone(), false)).collect()
            }
            _ => key.columns().map(|column| named(column, "key")).collect(),
        };
        columns.extend(of_value.iter().map(|(_, column)| named(column, "value")));
        Self { columns, of_value: of_value.into_iter().map(|(at, _)| at).collect() }
    }
}

/// The integers of a type, each merged as the manifest says of its field.
fn numbers(btf: &Btf, ty: TypeId, policy: Option<&Map>) -> Vec<Number> {
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

/// All entries; of values per CPU the numbers are merged, other bytes are from the first CPU that has any.
fn read(map: &MapHandle, numbers: &[Number]) -> Result<Values, KernelError> {
    let mut values = BTreeMap::new();
    let size = map.info().value_size as usize;
    let per_cpu = map.info().is_per_cpu();
    for (key, value) in map.entries()? {
        let value = if per_cpu { over_cpus(&value, size, numbers) } else { value };
        values.insert(key, value);
    }
    Ok(values)
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
        let key = |n: usize| (n as u32).to_ne_bytes().to_vec();
        let values = |most| (0..most).map(|n| (key(n), vec![u8::from(n != 1)])).collect();
        let given = |most, is_array| {
            let contents =
                Reading::new(None, None, None, false).contents("m", is_array, &values(most));
            (contents.entries.len(), contents.more)
        };
        assert_eq!(given(MOST, false), (MOST, 0));
        assert_eq!(given(MOST + 7, false), (MOST, 7));
        assert_eq!(given(MOST + 7, true), (MOST, 6), "one of the array is zero");
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
