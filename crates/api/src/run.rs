//! What `skep run` hands to `skepd --ephemeral` on its standard input: this as one line of JSON, then the objects' bytes
//! one after the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_spec::Manifest;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The package's manifest, or one made for a bare object.
    pub manifest: Manifest,
    /// Each object's name and size, in the order of their bytes.
    pub objects: Vec<(String, usize)>,
    /// Parameters as text.
    pub params: BTreeMap<String, String>,
    /// For XDP and tc programs that name none.
    pub interface: Option<String>,
    /// For cgroup programs that name none.
    pub cgroup: Option<String>,
    /// Targets by program, in place of the section's.
    pub targets: BTreeMap<String, String>,
    /// For uprobes: this process only.
    pub pid: Option<u32>,
    /// What to print.
    pub mode: Mode,
    /// Whether to say what was attached and what came of it.
    pub quiet: bool,
    /// Only events that are so.
    #[serde(default)]
    pub filter: Option<String>,
    /// Only these fields.
    #[serde(default)]
    pub fields: Vec<String>,
    /// End after that many events.
    pub events: Option<u64>,
    /// End after that many milliseconds.
    pub milliseconds: Option<u64>,
    /// Characters of a line of the terminal.
    pub width: Option<usize>,
}

/// What a run prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A table.
    Table,
    /// A JSON object a line.
    Ndjson,
    /// The rows of the table as RFC 4180 has them.
    Csv,
    /// Only how many, at the end.
    Count,
    /// The same as JSON.
    CountJson,
}

impl Mode {
    /// Whether a program reads it.
    #[must_use]
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Ndjson | Self::CountJson)
    }
}
