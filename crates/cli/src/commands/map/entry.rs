//! `skep map lookup`, `update` and `delete`.

use clap::Args;
use serde_json::{Value, json};
use skep_api::{MapEntry, MapKey, MapUpdate, MapWrite, Rows};

use super::{Which, columns, rows};
use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Result};
use crate::output::{Output, width};

/// Show one entry of a map
#[derive(Debug, Args)]
pub struct Lookup {
    #[command(flatten)]
    which: Which,
    /// The service, the map, and the key as JSON, as skep map dump shows it; what is no JSON is a text
    #[arg(value_names = ["SERVICE", "MAP", "KEY"])]
    words: Vec<String>,
}

/// Set one entry of a map
///
/// Root's, and logged by skepd. What programs make of it is between them and you: an upgrade moves it as any other entry.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    which: Which,
    /// The service, the map, the key and the value as JSON; of a map per CPU the value is for every CPU
    #[arg(value_names = ["SERVICE", "MAP", "KEY", "VALUE"])]
    words: Vec<String>,
    /// VALUE is a list with the value of each CPU
    #[arg(long)]
    per_cpu: bool,
    /// Only if the entry is not there yet
    #[arg(long, conflicts_with = "existing")]
    new: bool,
    /// Only if the entry is there
    #[arg(long)]
    existing: bool,
}

/// Remove one entry of a map
///
/// Root's, and logged by skepd. Arrays have all their entries always: set them to 0.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    which: Which,
    /// The service, the map, and the key as JSON
    #[arg(value_names = ["SERVICE", "MAP", "KEY"])]
    words: Vec<String>,
}

impl Lookup {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (map, [key]) = self.which.split(&self.words, "KEY")?;
        let key = MapKey { key: super::json(&key) };
        let entry = daemon::ask(daemon::client(config).map_entry(&map, &key))?;
        output.answer(&entry, || text(&entry, output));
        Ok(())
    }
}

fn text(entry: &MapEntry, output: &Output) -> String {
    let mut table = Rows::new(width(output));
    let mut lines = Vec::new();
    for row in rows(entry) {
        table.columns(columns(&row));
        let cells: Vec<String> = row.into_iter().map(|(_, cell)| cell).collect();
        lines.push(table.row(&cells));
    }
    lines.join("\n")
}

impl Update {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (map, [key, value]) = self.which.split(&self.words, "KEY VALUE")?;
        let (key, value) = (super::json(&key), super::json(&value));
        let (value, values) = match (self.per_cpu, value) {
            (false, value) => (Some(value), None),
            (true, Value::Array(values)) => (None, Some(values)),
            (true, _) => {
                return Err(Error::usage("--per-cpu: the value is a list with that of each CPU"));
            }
        };
        let how = match (self.new, self.existing) {
            (true, _) => MapWrite::New,
            (_, true) => MapWrite::Existing,
            _ => MapWrite::Any,
        };
        let entry = MapUpdate { key, value, values, how };
        daemon::ask(daemon::client(config).map_update(&map, &entry))?;
        output.done(&json!({"set": entry.key}), || format!("Set the entry {}", entry.key));
        Ok(())
    }
}

impl Delete {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (map, [key]) = self.which.split(&self.words, "KEY")?;
        let key = MapKey { key: super::json(&key) };
        daemon::ask(daemon::client(config).map_delete(&map, &key))?;
        output.done(&json!({"removed": key.key}), || format!("Removed the entry {}", key.key));
        Ok(())
    }
}
