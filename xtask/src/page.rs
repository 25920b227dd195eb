//! A page in `docs/reference/` that keeps the last good result of each thing that was tried, a row for each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A page with a head and a table.
pub struct Page {
    path: &'static str,
    /// All before the rows.
    head: String,
    /// What stands in a row behind its first cell, by that.
    rows: BTreeMap<String, String>,
    /// Of which commit what is written now is, and of which day.
    of: String,
}

/// A program that says something of itself, with its arguments.
pub type Asked = (&'static str, &'static [&'static str]);

impl Page {
    /// The page with its rows; `columns` names those before the commit and the date.
    pub fn open(
        path: &'static str,
        text: &str,
        by: &[(&str, Asked)],
        columns: &[&str],
    ) -> Result<Self> {
        let mut head = format!("{text}| | |\n|---|---|\n");
        for (what, (program, args)) in by {
            writeln!(head, "| {what} | {} |", first_line(program, args)?)?;
        }
        write!(head, "\n| {} | Commit | Date |\n", columns.join(" | "))?;
        writeln!(head, "|{}", "---|".repeat(columns.len() + 2))?;
        let written = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            written => written.with_context(|| format!("read {path}"))?,
        };
        let of = format!("{} | {}", commit(path)?, first_line("date", &["-u", "+%F"])?);
        Ok(Self { path, head, rows: rows(&written), of })
    }

    /// Keeps what came of a thing, and writes the page.
    pub fn keep(&mut self, thing: &str, outcome: &str) -> Result<()> {
        self.rows.insert(thing.to_owned(), format!("{outcome} | {}", self.of));
        self.write()
    }

    /// Forgets what was kept of a thing, and writes the page.
    pub fn forget(&mut self, thing: &str) -> Result<()> {
        self.rows.remove(thing);
        self.write()
    }

    /// Forgets all but some things; the page is written with the next row.
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.rows.retain(|thing, _| is_kept(thing));
    }

    /// What stands in the rows behind their first cells.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        self.rows.values().map(String::as_str)
    }

    /// Writes the page as it is.
    pub fn write(&self) -> Result<()> {
        let mut page = self.head.clone();
        for (thing, rest) in &self.rows {
            writeln!(page, "| {thing} | {rest} |")?;
        }
        std::fs::write(self.path, page).with_context(|| format!("write {}", self.path))
    }
}

/// The rows of the page's last table, by their first cell.
fn rows(page: &str) -> BTreeMap<String, String> {
    let rows = page.rsplit_once("---|\n").map_or("", |(_, rows)| rows).lines();
    let row = |row: &str| {
        let (thing, rest) = row.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some((thing.to_owned(), rest.to_owned()))
    };
    rows.filter_map(row).collect()
}

/// The commit; `-dirty` where more than the page itself is changed.
fn commit(page: &str) -> Result<String> {
    let commit = first_line("git", &["describe", "--always"])?;
    let but = format!(":!{page}");
    let same = Command::new("git").args(["diff", "--quiet", "HEAD", "--", ".", &but]).status();
    let same = same.context("run git")?.success();
    Ok(if same { commit } else { format!("{commit}-dirty") })
}

fn first_line(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.to_owned()),
        _ => bail!("{program} {}: {}", args.join(" "), output.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_of_the_last_table() {
        let page = "head\n\n| | |\n|---|---|\n| On | Linux |\n\n| What | Passed |\n|---|---|\n| a (b) | 11 | abc |\n";
        let rows = rows(page);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows["a (b)"], "11 | abc");
    }
}
