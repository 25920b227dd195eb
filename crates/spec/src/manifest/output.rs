//! `[output]`: what comes out, and how it is shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::param::Value;

/// What comes out, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// What comes out: `event` (records of a ring or perf buffer), `counter`, `gauge`, `histogram`, `snapshot` (a map's contents) or `stacks`.
    pub kind: OutputKind,
    /// The ELF symbol of the map that carries it.
    pub map: String,
    /// For events: the C struct of a record; default: the one that the map's BTF or the code shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#struct: Option<String>,
    /// For what is no event: the field of the map's value that counts, a number, of a histogram an array of them; default: all of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How fields are shown, by the name in the struct; `a.b` for a nested one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Field>,
    /// For events: which records are of this output, where several share a ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// For histograms: what the slots of the array stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Buckets>,
    /// For what is no event: labels by name, each from a field of the map's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Label>,
}

/// Which records of a ring are of an output's struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct When {
    /// A number that every record of the ring has, by its name in the struct.
    pub field: String,
    /// The value that it has in these: an integer, `true` or `false`.
    pub equals: Value,
}

/// What a histogram's slots stand for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Buckets {
    /// How slots grow: `log2` or `linear`.
    pub scale: String,
    /// The unit of what is counted, such as `us`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A metric's label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Label {
    /// The field of the map's key.
    pub key: String,
    /// How it is shown: a word such as `ip`, `comm` or `device`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// The kind of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

    /// Its word in a manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Snapshot => "snapshot",
            Self::Stacks => "stacks",
        }
    }

    /// Whether a map carries it, whose contents show it: all but events.
    #[must_use]
    pub const fn is_metric(self) -> bool {
        !matches!(self, Self::Event)
    }
}

/// How a field is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Field {
    /// How it is shown: a word such as `ktime` (time of day), `comm`, `duration`, `size`, `hex`, `ip` or `errno`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// What the field counts in: of a duration `ns`, `us`, `ms` or `s`, of a size `B`, `KiB`, `MiB`, `pages` or `sectors`; of a stack's id the map that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The column's name instead of the field's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a `ustack`: the field that has the number of its process; default: `tgid`, or `pid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}
