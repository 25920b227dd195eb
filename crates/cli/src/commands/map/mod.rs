//! `skep map`.

mod dump;
mod entry;
mod list;

use clap::{Args, Subcommand};
use serde_json::Value;
use skep_api::{MapEntry, MapRef, cells};

use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Result};
use crate::output::Output;

/// Show and change what is in maps: of services by their names, of whatever else is loaded by number
#[derive(Debug, Args)]
pub struct Map {
    #[command(subcommand)]
    command: MapCommand,
}

#[derive(Debug, Subcommand)]
enum MapCommand {
    List(list::List),
    Dump(dump::Dump),
    Lookup(entry::Lookup),
    Update(entry::Update),
    Delete(entry::Delete),
}

impl Map {
    /// Whether it shows rows as they come.
    #[must_use]
    pub const fn has_rows(&self) -> bool {
        matches!(self.command, MapCommand::Dump(_))
    }

    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such map, or what the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        match self.command {
            MapCommand::List(command) => command.run(output, config),
            MapCommand::Dump(command) => command.run(output, config),
            MapCommand::Lookup(command) => command.run(output, config),
            MapCommand::Update(command) => command.run(output, config),
            MapCommand::Delete(command) => command.run(output, config),
        }
    }
}

/// Which map, and what else was typed.
///
/// Words come after SERVICE MAP, or with --id alone.
#[derive(Debug, Args)]
struct Which {
    /// A map by the number that the kernel has of it, whoever made it: skep map list --all
    #[arg(long, value_name = "NUMBER")]
    id: Option<u32>,
}

impl Which {
    /// The map, and the words behind it, which are to be `N`: `names` says what.
    fn split<const N: usize>(
        &self,
        words: &[String],
        names: &str,
    ) -> Result<(MapRef, [String; N])> {
        let (map, rest) = match (self.id, words) {
            (Some(id), rest) => (MapRef::Id(id), rest),
            (None, [service, map, rest @ ..]) => {
                (MapRef::Of(daemon::service(service)?, map.clone()), rest)
            }
            (None, _) => return Err(usage(names)),
        };
        let rest = <[String; N]>::try_from(rest.to_vec()).map_err(|_| usage(names))?;
        Ok((map, rest))
    }
}

fn usage(names: &str) -> Error {
    let words = format!("SERVICE MAP {names}");
    let by_id = format!("--id NUMBER {names}");
    Error::usage(format!("it takes {}, or {}", words.trim_end(), by_id.trim_end()))
        .hint("skep map list SERVICE has the names of its maps, skep map list --all every number")
}

/// A key or value as it was typed: JSON, and what is none as a text.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// An entry as rows of a table, each cell with its column: of a map per CPU one for each.
fn rows(entry: &MapEntry) -> Vec<Vec<(String, String)>> {
    let key = cells("key", &entry.key);
    let with = |more: Vec<(String, String)>| key.iter().cloned().chain(more).collect();
    match (&entry.value, &entry.values) {
        (Some(value), _) => vec![with(cells("value", value))],
        (None, Some(values)) => {
            let each = values.iter().enumerate().map(|(cpu, value)| {
                let cpu = ("cpu".to_owned(), cpu.to_string());
                with(std::iter::once(cpu).chain(cells("value", value)).collect())
            });
            each.collect()
        }
        (None, None) => vec![key],
    }
}

/// The columns of such a row, and whether their cells are numbers.
fn columns(row: &[(String, String)]) -> Vec<(String, bool)> {
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    row.iter().map(|(name, cell)| (name.clone(), is_number(cell))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_behind_a_map_are_told_from_it() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let by_name = Which { id: None };
        let (map, [key]) = by_name.split(&words("exec execs 7"), "KEY").unwrap();
        assert_eq!(map, MapRef::Of("exec".parse().unwrap(), "execs".to_owned()));
        assert_eq!(key, "7");
        let (map, [key]) = Which { id: Some(9) }.split(&words("7"), "KEY").unwrap();
        assert_eq!((map, key.as_str()), (MapRef::Id(9), "7"));
        for (which, typed) in [(&by_name, "exec execs"), (&by_name, "exec"), (&by_name, "a b c d")]
        {
            let error = which.split::<1>(&words(typed), "KEY").unwrap_err().text();
            assert!(error.contains("it takes SERVICE MAP KEY, or --id NUMBER KEY"), "{error}");
        }
    }

    #[test]
    fn what_is_no_json_is_a_text() {
        assert_eq!(json("7"), Value::from(7));
        assert_eq!(json("eth0"), Value::from("eth0"));
        assert_eq!(json(r#"{"a":1}"#), serde_json::json!({"a": 1}));
    }

    #[test]
    fn a_value_per_cpu_has_a_row_each() {
        let entry = r#"{"key":{"pid":7,"comm":"sh"},"values":[{"n":1},{"n":2}]}"#;
        let rows = rows(&serde_json::from_str(entry).unwrap());
        let cells = |row: &[(String, String)]| {
            row.iter().map(|(name, cell)| format!("{name}={cell}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            rows.iter().map(|row| cells(row)).collect::<Vec<_>>(),
            ["pid=7 comm=sh cpu=0 n=1", "pid=7 comm=sh cpu=1 n=2"]
        );
        let columns = columns(&rows[0]);
        assert_eq!(columns[..2], [("pid".to_owned(), true), ("comm".to_owned(), false)]);
    }
}
