//! `skep map dump`.

use clap::Args;
use skep_api::{MapDump, MapEntry, Rows, csv_line};
use skep_object::shown;

use super::{Which, columns, rows};
use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Kind, Result, of_daemon};
use crate::output::{Format, Output, width};
use crate::waiting::block_on;

/// Show all entries of a map, as it is read
#[derive(Debug, Args)]
pub struct Dump {
    #[command(flatten)]
    which: Which,
    /// The service and the map
    #[arg(value_names = ["SERVICE", "MAP"])]
    words: Vec<String>,
}

impl Dump {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (map, []) = self.which.split(&self.words, "")?;
        let client = daemon::client(config);
        block_on(async {
            let mut dump = client.map_entries(&map).await.map_err(of_daemon)?;
            match output.format() {
                Format::Table => table(&mut dump, output).await,
                Format::Csv => csv(&mut dump, output).await,
                Format::Json => list(&mut dump, output).await,
                Format::Ndjson => {
                    while let Some(lines) = dump.next().await.map_err(of_daemon)? {
                        output.bytes(&lines);
                    }
                    Ok(())
                }
            }
        })
    }
}

async fn table(dump: &mut MapDump, output: &Output) -> Result<()> {
    let mut table = Rows::new(width(output));
    let each = |row: Row| {
        table.columns(columns(&row));
        let cells: Vec<String> = row.into_iter().map(|(_, cell)| cell).collect();
        output.line(&table.row(&cells));
    };
    each_row(dump, each).await
}

async fn csv(dump: &mut MapDump, output: &Output) -> Result<()> {
    let mut last: Vec<String> = Vec::new();
    let each = |row: Row| {
        let (names, cells): (Vec<String>, Vec<String>) = row.into_iter().unzip();
        if names != last {
            output.raw(&csv_line(names.iter().map(String::as_str)));
            last = names;
        }
        output.raw(&shown(&csv_line(cells.iter().map(String::as_str))));
    };
    each_row(dump, each).await
}

/// Cells with their columns.
type Row = Vec<(String, String)>;

async fn each_row(dump: &mut MapDump, mut each: impl FnMut(Row)) -> Result<()> {
    while let Some(lines) = dump.next().await.map_err(of_daemon)? {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let entry: MapEntry = serde_json::from_slice(line).map_err(unreadable)?;
            rows(&entry).into_iter().for_each(&mut each);
        }
    }
    Ok(())
}

/// One document: the same lines as a list. If the dump breaks off it is none, and says so.
async fn list(dump: &mut MapDump, output: &Output) -> Result<()> {
    let mut before: &[u8] = b"[\n";
    while let Some(mut lines) = dump.next().await.map_err(of_daemon)? {
        lines.pop(); // its last line's end
        output.bytes(before);
        output.bytes(&with_commas(&lines));
        before = b",\n";
    }
    output.bytes(if before == b"[\n" { b"[]\n" } else { b"\n]\n" });
    Ok(())
}

fn with_commas(lines: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
    lines.join(&b",\n"[..])
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::caused(Kind::Failed, "skepd sent what is no entry of a map", &error)
}
