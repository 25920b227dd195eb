//! `tests/kernels.toml`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A kernel that tests boot.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// Such as `6.12`, or `newest`.
    pub series: String,
    /// Whether it is also booted with `preempt=full`.
    #[serde(default)]
    pub preempt_full: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    kernel: Vec<Entry>,
}

/// All of the file's kernels, or the one of a series.
pub fn read(file: &Path, only: Option<&str>) -> Result<Vec<Entry>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let list: List = toml::from_str(&text).with_context(|| format!("read {}", file.display()))?;
    let wanted = |entry: &Entry| only.is_none_or(|series| entry.series == series);
    let kernels: Vec<Entry> = list.kernel.into_iter().filter(wanted).collect();
    ensure!(!kernels.is_empty(), "{} has no such kernel", file.display());
    Ok(kernels)
}
