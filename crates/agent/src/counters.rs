//! Counters: what is in the maps that a package's manifest calls counters or gauges.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use skep_api::{Bucket, CounterRow, Metric, MetricRow};
use skep_runtime::contents::{Contents, Entry};
use skep_runtime::{Objects, OpenContents, Runtime, RuntimeError};
use skep_spec::ServiceName;
use skep_spec::manifest::{Output, OutputKind};
use skep_trust::Package;

/// Most bytes that all counters of one answer take as JSON.
const MOST: usize = 2 << 20;

/// The same of an answer that is about metrics alone.
const MOST_METRICS: usize = 16 << 20;

/// What an answer has of counters, by output.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries.
    pub rows: BTreeMap<String, Vec<CounterRow>>,
    /// How many more there are, where there are.
    pub more: BTreeMap<String, u64>,
}

/// An output, and the map that carries it.
#[derive(Debug)]
pub struct Open<'a> {
    name: &'a str,
    output: &'a Output,
    map: OpenContents,
}

/// Opens the maps of the outputs that are wanted; those that are not there are left out.
#[must_use]
pub fn open<'a>(
    runtime: &Runtime,
    package: &'a Package,
    service: &ServiceName,
    wanted: fn(OutputKind) -> bool,
) -> Vec<Open<'a>> {
    let there = runtime.map_names(service).unwrap_or_default();
    let outputs = package.manifest.output.iter();
    let outputs = outputs.filter(|(_, one)| wanted(one.kind) && there.contains(&one.map));
    let open = |(name, output): (&'a String, &'a Output)| {
        let unread = |error: &RuntimeError| tracing::warn!(output = name, %error, "not read");
        let map = runtime.open_contents(service, &output.map).inspect_err(unread).ok()?;
        Some(Open { name, output, map })
    };
    outputs.filter_map(open).collect()
}

impl Open<'_> {
    /// The generation whose map it is.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.map.generation()
    }
}

/// What these hold; those that cannot be read are left out.
#[must_use]
pub fn read(opened: &[Open<'_>], package: &Package, objects: &Objects) -> Counters {
    let room = MOST / opened.len().max(1);
    let mut counters = Counters::default();
    for Open { name, output, map } in opened {
        match map.read(package, objects, None, false) {
            Ok(contents) => counters.add(name, &limited(contents, room), output.value.as_deref()),
            Err(error) => tracing::warn!(output = name, %error, "counter not read"),
        }
    }
    counters
}

impl Counters {
    fn add(&mut self, output: &str, contents: &Contents, field: Option<&str>) {
        self.rows.insert(output.to_owned(), rows(contents, field));
        if contents.more > 0 {
            self.more.insert(output.to_owned(), contents.more);
        }
    }
}

/// The first entries, as many as have room.
fn limited(mut contents: Contents, mut room: usize) -> Contents {
    let fits = |entry: &Entry| {
        let texts = entry.labels.iter().map(|(name, text)| name.len() + text.len());
        let cells = entry.cells.iter().map(String::len);
        let beside: usize = texts.chain(cells).map(|text| text + r#""":"","#.len()).sum();
        let json = entry.key.get().len() + entry.value.get().len();
        let size = r#"{"key":,"value":},"#.len() + json + beside;
        let left = room.checked_sub(size);
        room = left.unwrap_or_default();
        left.is_some()
    };
    let fit = contents.entries.iter().map(fits).take_while(|fits| *fits).count();
    contents.more += (contents.entries.len() - fit) as u64;
    contents.entries.truncate(fit);
    contents
}

/// An output that a map carries, with what is in it.
#[must_use]
pub fn metric(name: &str, output: &Output, contents: &Contents) -> Metric {
    let row = |entry: &Entry| {
        let value = counting(&entry.value, output.value.as_deref());
        let is_histogram = output.kind == OutputKind::Histogram;
        MetricRow {
            key: entry.key.clone(),
            labels: entry.labels.clone(),
            buckets: is_histogram.then(|| Bucket::of(output.buckets.as_ref(), &value)).flatten(),
            value,
            cells: entry.cells.clone(),
        }
    };
    Metric {
        output: name.to_owned(),
        kind: output.kind,
        buckets: output.buckets.clone(),
        columns: contents.columns.clone(),
        rows: contents.entries.iter().map(row).collect(),
        more: contents.more,
    }
}

/// The same as metrics, with the rows of a `table` or without.
#[must_use]
pub fn metrics(
    opened: &[Open<'_>],
    package: &Package,
    objects: &Objects,
    table: bool,
) -> Vec<Metric> {
    let room = MOST_METRICS / opened.len().max(1);
    let read = |Open { name, output, map }: &Open<'_>| {
        let unread = |error: &RuntimeError| tracing::warn!(output = name, %error, "not read");
        let contents = map.read(package, objects, Some(output), table).inspect_err(unread).ok()?;
        Some(metric(name, output, &limited(contents, room)))
    };
    opened.iter().filter_map(read).collect()
}

/// The entries of a counter's map, by the field that counts.
#[must_use]
fn rows(contents: &Contents, field: Option<&str>) -> Vec<CounterRow> {
    let row =
        |entry: &Entry| CounterRow { key: entry.key.clone(), value: counting(&entry.value, field) };
    contents.entries.iter().map(row).collect()
}

/// What of an entry's value counts: the field that the manifest names, `a.b` inside another, or all of it.
fn counting(value: &RawValue, field: Option<&str>) -> Box<RawValue> {
    let mut names = field.into_iter().flat_map(|field| field.split('.'));
    let member = |outer: Box<RawValue>, name: &str| {
        let members = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(outer.get());
        members.ok()?.remove(name)
    };
    names.try_fold(value.to_owned(), member).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted() {
        let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let entry = |n: u32| Entry {
            key: json(&n.to_string()),
            value: json("100"),
            labels: BTreeMap::new(),
            cells: Vec::new(),
        };
        let contents = || Contents {
            map: "m".to_owned(),
            columns: Vec::new(),
            entries: (0..5).map(entry).collect(),
            more: 3,
        };
        let size = |rows: &[CounterRow]| serde_json::to_string(rows).unwrap().len();
        let all = size(&rows(&contents(), None));
        for (room, fit) in [(all, 5), (all - 2, 4), (1, 0)] {
            let contents = limited(contents(), room);
            assert_eq!((contents.entries.len(), contents.more), (fit, 8 - fit as u64), "{room}");
            assert!(size(&rows(&contents, None)) <= room + "[]".len());
        }
    }

    #[test]
    fn one_field_counts() {
        let whole = r#"{"n":1,"m":-1,"of":{"reads":3,"bytes":4}}"#;
        let of = |json: &str, field| {
            let json = RawValue::from_string(json.to_owned()).unwrap();
            counting(&json, field).get().to_owned()
        };
        assert_eq!(of(whole, Some("m")), "-1");
        assert_eq!(of(whole, Some("of.reads")), "3");
        assert_eq!(of(whole, Some("of")), r#"{"reads":3,"bytes":4}"#);
        assert_eq!(of(whole, None), whole);
        assert_eq!(of("5", None), "5");
        assert_eq!(of(whole, Some("no")), "null");
        assert_eq!(of("5", Some("n")), "null");
    }
}
