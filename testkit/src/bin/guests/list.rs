//! `tests/kernels.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::matrix::Program;

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

/// The file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// What is booted.
    #[serde(rename = "kernel")]
    pub kernels: Vec<Entry>,
    /// By program, what it is asked for; those that are not listed are asked for `all`.
    #[serde(default)]
    pub arguments: BTreeMap<String, Vec<String>>,
    /// By program, what it is asked for beside that where there are two processors.
    #[serde(default)]
    pub once: BTreeMap<String, Vec<String>>,
    /// By program, how many guests share all of its tests; those that are not listed have one.
    #[serde(default)]
    pub parts: BTreeMap<String, usize>,
}

impl List {
    /// The file names programs; one that nobody runs is a slip of its writer.
    pub fn ensure_known(&self, programs: &[Program]) -> Result<()> {
        let unknown = |name: &&String| !programs.iter().any(|program| program.name == **name);
        let mut listed = self.arguments.keys().chain(self.once.keys()).chain(self.parts.keys());
        match listed.find(unknown) {
            Some(name) => {
                bail!("the list has arguments or parts for '{name}', which is no program here")
            }
            None => Ok(()),
        }
    }
}

/// The file with all of its kernels, or those of some series.
pub fn read(file: &Path, only: &[String]) -> Result<List> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let mut list: List =
        toml::from_str(&text).with_context(|| format!("read {}", file.display()))?;
    list.kernels.retain(|entry| only.is_empty() || only.contains(&entry.series));
    ensure!(!list.kernels.is_empty(), "{} has no such kernel", file.display());
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_nobody_runs_is_told() {
        let list: List = toml::from_str("kernel = []\n[parts]\nscenari = 8").unwrap();
        let programs = [Program::parse("scenario=a").unwrap()];
        let why = list.ensure_known(&programs).unwrap_err().to_string();
        assert!(why.contains("'scenari'"), "{why}");
        let list: List = toml::from_str("kernel = []\n[parts]\nscenario = 8").unwrap();
        list.ensure_known(&programs).unwrap();
    }

    #[test]
    fn the_projects_own_list_is_read_and_a_series_picked() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kernels.toml");
        let list = read(&file, &[]).unwrap();
        assert!(list.kernels.iter().any(|entry| entry.series == "newest"));
        assert!(list.arguments.contains_key("scenario"));
        assert_eq!(read(&file, &["5.10".to_owned()]).unwrap().kernels.len(), 1);
        let none = read(&file, &["2.4".to_owned()]).unwrap_err().to_string();
        assert!(none.ends_with("has no such kernel"), "{none}");
    }
}
