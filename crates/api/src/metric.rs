//! Metrics: what maps count, as programs and people read it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use skep_spec::manifest::{Buckets, OutputKind};

use crate::Rows;

/// An output that a map carries: `GET /v1/services/{s}/metrics`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// The output.
    pub output: String,
    /// What comes out.
    pub kind: OutputKind,
    /// Of a histogram: what its slots stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Buckets>,
    /// The columns of `cells`: names, and whether they are numbers (`?table=true`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<(String, bool)>,
    /// The entries of its map, the first by their keys' bytes; of an array those whose value is not 0.
    pub rows: Vec<MetricRow>,
    /// How many more there are.
    #[serde(default)]
    pub more: u64,
}

/// One entry of a metric's map.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MetricRow {
    /// The key, decoded.
    #[schemars(with = "Value")]
    pub key: Box<RawValue>,
    /// The output's labels of it, by their formats.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The value, or the field of it that the output names.
    #[schemars(with = "Value")]
    pub value: Box<RawValue>,
    /// Of a histogram: the slots up to the last that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Vec<Bucket>>,
    /// As a row of a table (`?table=true`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
}

/// A slot of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// The least value that it counts.
    pub from: u64,
    /// The largest.
    pub to: u64,
    /// How many it counted.
    pub count: u64,
}

impl Bucket {
    /// The buckets of an array of counts, up to the last that is not 0; none of what is no array of numbers.
    #[must_use]
    pub fn of(scale: Option<&Buckets>, counts: &RawValue) -> Option<Vec<Self>> {
        let mut counts: Vec<u64> = serde_json::from_str(counts.get()).ok()?;
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        let is_linear = scale.is_some_and(|scale| scale.scale == "linear");
        let bucket = |(slot, count): (usize, u64)| match is_linear {
            true => Self { from: slot as u64, to: slot as u64, count },
            false => Self {
                from: if slot == 0 { 0 } else { power(slot) },
                to: power(slot + 1) - 1,
                count,
            },
        };
        Some(counts.into_iter().enumerate().map(bucket).collect())
    }
}

/// 2^`slot`, or the largest number.
fn power(slot: usize) -> u64 {
    1u64.checked_shl(slot as u32).unwrap_or(u64::MAX)
}

impl Metric {
    /// As people read it, within a terminal of `width` characters: at most `most` entries, of numbers the largest first.
    #[must_use]
    pub fn text(&self, width: Option<usize>, most: usize) -> String {
        let kind = match self.kind {
            OutputKind::Counter => "Counter",
            OutputKind::Gauge => "Gauge",
            OutputKind::Histogram => "Histogram",
            OutputKind::Snapshot => "Snapshot",
            OutputKind::Stacks => "Stacks",
            OutputKind::Event => "Output",
        };
        let mut text = format!("{kind} {}:", self.output);
        let more = self.more + self.rows.len().saturating_sub(most) as u64;
        match (self.kind, self.rows.is_empty()) {
            (_, true) if more == 0 => text += "\n  nothing yet",
            (OutputKind::Histogram, _) => {
                self.rows.iter().take(most).for_each(|row| self.histogram(row, width, &mut text));
            }
            _ => self.table(width, most, &mut text),
        }
        if more > 0 {
            _ = write!(text, "\nand {more} more"); // a String takes everything
        }
        text
    }

    fn table(&self, width: Option<usize>, most: usize, text: &mut String) {
        let mut rows: Vec<&MetricRow> = self.rows.iter().collect();
        if self.kind.counts() || self.kind == OutputKind::Stacks {
            rows.sort_by_key(|row| std::cmp::Reverse(largest(&row.value)));
        }
        let mut table = Rows::new(width);
        table.columns(self.columns.clone());
        for row in rows.into_iter().take(most) {
            text.push('\n');
            text.push_str(&table.row(&row.cells));
        }
    }

    fn histogram(&self, row: &MetricRow, width: Option<usize>, text: &mut String) {
        let names = self.columns.iter().map(|(name, _)| name);
        let keys = if row.labels.is_empty() {
            crate::cells("key", &row.key)
                .into_iter()
                .map(|(name, cell)| format!("{name} = {cell}"))
                .collect()
        } else {
            names
                .filter_map(|name| Some(format!("{name} = {}", row.labels.get(name)?)))
                .collect::<Vec<_>>()
        };
        _ = write!(text, "\n{}\n", keys.join(", "));
        let unit = self.buckets.as_ref().and_then(|buckets| buckets.unit.as_deref());
        match &row.buckets {
            Some(buckets) => text.push_str(&drawn(buckets, unit.unwrap_or("value"), width)),
            None => text.push_str(row.value.get()),
        }
    }
}

/// The largest number that a value holds.
fn largest(value: &RawValue) -> u64 {
    let cells = crate::cells("value", value);
    cells.iter().filter_map(|(_, cell)| cell.parse::<u64>().ok()).max().unwrap_or(0)
}

/// Widest that a bar gets.
const BAR: usize = 40;

/// A histogram drawn with stars, a line for each bucket.
#[must_use]
pub fn drawn(buckets: &[Bucket], unit: &str, width: Option<usize>) -> String {
    let first = buckets.iter().position(|bucket| bucket.count > 0).unwrap_or(0);
    let is_linear = buckets.iter().all(|bucket| bucket.from == bucket.to);
    let shown = buckets.get(if is_linear { first } else { 0 }..).unwrap_or_default();
    let most = shown.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1);
    let digits = |number: fn(&Bucket) -> u64| {
        shown.iter().map(|bucket| number(bucket).to_string().len()).max().unwrap_or(0)
    };
    let (from, to) = (digits(|bucket| bucket.from), digits(|bucket| bucket.to));
    let range = |bucket: &Bucket| match is_linear {
        true => format!("{:>from$}", bucket.from),
        false => format!("{:>from$} -> {:<to$}", bucket.from, bucket.to),
    };
    let of_range = shown.first().map_or(0, |first| range(first).len()).max(unit.chars().count());
    let of_count = digits(|bucket| bucket.count).max("count".len());
    let room = width.map_or(BAR, |width| width.saturating_sub(of_range + of_count + 6).min(BAR));
    let has_bars = room >= 4;
    let told = if room + 2 >= "distribution".len() { " distribution" } else { "" };
    let mut lines = vec![format!("{unit:>of_range$} : {:<of_count$}{told}", "count")];
    for bucket in shown {
        let stars = (u128::from(bucket.count) * room as u128 / u128::from(most)) as usize;
        let bar = if has_bars { format!(" |{:<room$}|", "*".repeat(stars)) } else { String::new() };
        let (range, count) = (range(bucket), bucket.count);
        lines.push(format!("{range:>of_range$} : {count:<of_count$}{bar}").trim_end().to_owned());
    }
    lines.join("\n")
}

/// Metrics as [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) text, each with the label `service`. Snapshots
/// and stacks have no place there.
#[must_use]
pub fn open_metrics(service: &str, metrics: &[Metric]) -> String {
    let mut text = String::new();
    let has_place = |kind| !matches!(kind, OutputKind::Snapshot | OutputKind::Stacks);
    for metric in metrics.iter().filter(|metric| has_place(metric.kind)) {
        let kind = match metric.kind {
            OutputKind::Counter => "counter",
            OutputKind::Histogram => "histogram",
            _ => "gauge",
        };
        let mut families: BTreeMap<String, String> = BTreeMap::new();
        for row in &metric.rows {
            let labels = labels(service, row);
            for (name, lines) in samples(metric, row, &labels) {
                families.entry(name).or_default().push_str(&lines);
            }
        }
        for (name, lines) in families {
            _ = write!(text, "# TYPE {name} {kind}\n{lines}"); // a String takes everything
        }
    }
    text + "# EOF\n"
}

/// The samples of an entry, by the name of their family.
fn samples(metric: &Metric, row: &MetricRow, labels: &str) -> Vec<(String, String)> {
    let name = word(&metric.output);
    if metric.kind == OutputKind::Histogram {
        let (mut lines, mut sum) = (String::new(), 0);
        for bucket in row.buckets.iter().flatten() {
            sum += bucket.count;
            _ = writeln!(lines, "{name}_bucket{{{labels},le=\"{}.0\"}} {sum}", bucket.to);
        }
        _ = writeln!(lines, "{name}_bucket{{{labels},le=\"+Inf\"}} {sum}");
        _ = writeln!(lines, "{name}_count{{{labels}}} {sum}");
        return vec![(name, lines)];
    }
    let suffix = if metric.kind == OutputKind::Counter { "_total" } else { "" };
    let cells = crate::cells("", &row.value).into_iter();
    let numbers = cells.filter(|(_, cell)| cell.parse::<f64>().is_ok_and(f64::is_finite));
    let sample = |(member, cell): (String, String)| {
        let name =
            if member.is_empty() { name.clone() } else { format!("{name}_{}", word(&member)) };
        let line = format!("{name}{suffix}{{{labels}}} {cell}\n");
        (name, line)
    };
    numbers.map(sample).collect()
}

fn labels(service: &str, row: &MetricRow) -> String {
    let own: Vec<(String, String)> = match row.labels.is_empty() {
        true => crate::cells("key", &row.key),
        false => row.labels.clone().into_iter().collect(),
    };
    let all = std::iter::once(("service".to_owned(), service.to_owned())).chain(own);
    let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let all = all.map(|(name, value)| format!("{}=\"{}\"", word(&name), escaped(&value)));
    all.collect::<Vec<_>>().join(",")
}

/// A name of letters, digits and `_` that begins with no digit.
fn word(name: &str) -> String {
    let mut word: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        word.insert(0, '_');
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn scale(scale: &str) -> Buckets {
        Buckets { scale: scale.to_owned(), unit: Some("us".to_owned()) }
    }

    #[test]
    fn slots_are_what_the_standard_says() {
        let of = |by: &str, counts: &str| {
            let buckets = Bucket::of(Some(&scale(by)), &json(counts)).unwrap();
            buckets.iter().map(|b| (b.from, b.to, b.count)).collect::<Vec<_>>()
        };
        assert_eq!(of("log2", "[3,0,5,0]"), [(0, 1, 3), (2, 3, 0), (4, 7, 5)]);
        assert_eq!(of("linear", "[3,0,5,0]"), [(0, 0, 3), (1, 1, 0), (2, 2, 5)]);
        assert_eq!(of("log2", "[0,0]"), []);
        let most = format!("[{}1]", "0,".repeat(63));
        assert_eq!(of("log2", &most).last(), Some(&(1 << 63, u64::MAX - 1, 1)));
        let beyond = format!("[{}1]", "0,".repeat(70));
        assert_eq!(of("log2", &beyond).last(), Some(&(u64::MAX, u64::MAX - 1, 1)));
        for none in ["7", "[-1]", r#"{"a":1}"#, r#"["x"]"#] {
            assert_eq!(Bucket::of(None, &json(none)), None);
        }
    }

    #[test]
    fn a_histogram_is_drawn_as_wide_as_there_is_room() {
        let log = Bucket::of(Some(&scale("log2")), &json("[1,0,40,20]")).unwrap();
        insta::assert_snapshot!("log2", drawn(&log, "us", None));
        insta::assert_snapshot!("narrow", drawn(&log, "us", Some(36)));
        insta::assert_snapshot!("twenty", drawn(&log, "us", Some(20)));
        let linear = Bucket::of(Some(&scale("linear")), &json("[0,0,1,2]")).unwrap();
        insta::assert_snapshot!("linear", drawn(&linear, "cpu", None));
        for (buckets, width) in [(&log, 20), (&log, 36), (&linear, 20), (&linear, 5)] {
            let text = drawn(buckets, "us", Some(width));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width.max(20)), "{text}");
        }
    }

    fn metric(kind: OutputKind, rows: Vec<MetricRow>) -> Metric {
        let buckets = (kind == OutputKind::Histogram).then(|| scale("log2"));
        let columns = vec![("dev".to_owned(), false), ("value".to_owned(), true)];
        Metric { output: "block-io".to_owned(), kind, buckets, columns, rows, more: 0 }
    }

    fn row(key: &str, value: &str) -> MetricRow {
        let buckets = Bucket::of(None, &json(value));
        let labels = BTreeMap::from([("dev".to_owned(), "8:\"1\"".to_owned())]);
        let cells = vec!["8:1".to_owned(), value.to_owned()];
        MetricRow { key: json(key), labels, value: json(value), buckets, cells }
    }

    #[test]
    fn metrics_are_text_for_people_and_for_scrapers() {
        let whole = r#"{"reads":3,"of":{"bytes":4},"name":"x"}"#;
        let metrics = [
            metric(OutputKind::Counter, vec![row("1", "3"), row("2", "30")]),
            metric(OutputKind::Histogram, vec![row("1", "[1,0,2]")]),
            metric(OutputKind::Gauge, vec![row("1", whole)]),
            metric(OutputKind::Snapshot, Vec::new()),
        ];
        let text: Vec<String> = metrics.iter().map(|metric| metric.text(Some(60), 1)).collect();
        insta::assert_snapshot!("people", text.join("\n"));
        insta::assert_snapshot!("scrapers", open_metrics("disk", &metrics));
    }
}
