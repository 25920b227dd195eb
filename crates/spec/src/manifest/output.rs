//! `[output]`: what comes out, and how it is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::param::Value;

/// `[output.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What comes out.
    pub kind: OutputKind,
    /// The map that carries it.
    pub map: String,
    /// For events: the C struct of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#struct: Option<String>,
    /// For counters: the field of the map's value; absent means the value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How fields are shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Field>,
    /// For events: which records are of this struct, where several share a ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// For histograms: what the slots stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Buckets>,
    /// For metrics: labels from the map's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Label>,
}

/// Which records of a ring are of an output's struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// A field that every record has.
    pub field: String,
    /// The value that it has in these.
    pub equals: Value,
}

/// What a histogram's slots stand for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// `log2` or `linear`.
    pub scale: String,
    /// The unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A metric's label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The field of the map's key.
    pub key: String,
    /// How it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// The kind of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Records of a ring or perf buffer.
    Event,
    /// A number that only grows.
    Counter,
    /// A number.
    Gauge,
    /// Buckets.
    Histogram,
    /// A map's contents on demand.
    Snapshot,
    /// Stack traces.
    Stacks,
}

impl OutputKind {
    /// Whether it is a number that a map holds: a counter or a gauge.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Counter | Self::Gauge)
    }
}

/// How a field is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// `ktime`, `comm`, `duration`, `hex`, `ip`, `mac`, `errno`, `signal`, `size`, `path`, `bool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The unit that the field counts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The column's name instead of the field's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
