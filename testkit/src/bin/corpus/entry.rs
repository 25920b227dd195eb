//! `tests/corpus/corpus.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// By what a package is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `skep import` alone.
    Import,
    /// A manifest that somebody wrote.
    Manifest,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Import, Self::Manifest];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Manifest => "manifest",
        }
    }
}

/// An object of others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The file in the unpacked packages.
    pub from: String,
    /// Which object of a binary that embeds several.
    pub object: Option<String>,
    /// What makes it see something: all run while it does.
    pub work: Vec<String>,
    /// Another object whose import runs meanwhile.
    pub beside: Option<String>,
    /// Parameters of what `skep import` makes.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Parameters of its manifest, where they are others.
    pub with: Option<BTreeMap<String, String>>,
    /// What an operator does when it is installed: commands of skep, a word each.
    #[serde(default)]
    pub then: Vec<Vec<String>>,
    /// What is to be seen.
    pub see: See,
}

/// What tells that a service works.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum See {
    /// An event with such fields; `text` is anywhere in it.
    Event(BTreeMap<String, toml::Value>),
    /// A map with an entry whose value holds a number that is not 0.
    Map(String),
    /// A program of it that ran.
    Runs,
}

impl Entry {
    /// The parameters of a package of it.
    pub fn params(&self, kind: Kind) -> &BTreeMap<String, String> {
        match (kind, &self.with) {
            (Kind::Manifest, Some(with)) => with,
            _ => &self.set,
        }
    }
}

/// All, by name.
pub type Entries = BTreeMap<String, Entry>;

/// The list in a folder.
pub fn read(folder: &Path) -> Result<Entries> {
    let file = folder.join("corpus.toml");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("read {}", file.display()))
}
