//! `make proof`: what takes hours, and the page that keeps its results.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::guests;

const PAGE: &str = "docs/reference/proof.md";
const HEAD: &str = "# What `make proof` printed

`make proof` runs every test of `on_kernel`, `scenario` and `node` ([testing](../testing.md)) on every kernel of `tests/kernels.toml`, with two
processors: SIGKILL at each fault point of an install, upgrade, rollback, removal and start, and every kind of hook under full load. It
writes this page, a row whenever a guest is done; `cargo xtask proof --only SERIES` runs one kernel again. A row is of the last run in which everything in
that guest passed and its kernel kept quiet (eight guests share the tests of `scenario`: `3/8` had the third and every eighth after it); what has no row has not passed yet, or not since it last failed. The table above the rows is of the last run.

";
const TABLE: &str = "\n| Kernel, guest and program | Passed | Commit | Date |\n|---|---|---|---|\n";

/// Runs every test in the guests, with options of theirs, and keeps what passed.
pub fn run(options: &[&str]) -> Result<()> {
    let head = head(
        HEAD,
        &[
            ("On", ("uname", &["-srm"])),
            ("Processors", ("nproc", &[])),
            ("QEMU", ("qemu-system-x86_64", &["--version"])),
            ("Objects by", ("clang", &["--version"])),
        ],
    )?;
    let of = format!("{} | {}", first_line(COMMIT)?, first_line(DATE)?);
    let mut rows = rows(&std::fs::read_to_string(PAGE).unwrap_or_default());
    let mut guests =
        guests::command()?.arg("--all").args(options).stdout(Stdio::piped()).spawn()?;
    for line in BufReader::new(output(&mut guests)?).lines() {
        let line = line?;
        println!("{line}");
        match outcome(&line) {
            Some((guest, Some(passed))) => {
                rows.insert(guest.to_owned(), format!("{passed} | {of}"));
            }
            Some((guest, None)) => drop(rows.remove(guest)),
            None => continue,
        }
        write(&head, &rows)?;
    }
    ensure!(guests.wait()?.success(), "not everything passed: {PAGE} has what did");
    Ok(())
}

fn output(child: &mut Child) -> Result<impl std::io::Read + use<>> {
    child.stdout.take().context("no output of the guests")
}

/// The rows of a page, by guest.
fn rows(page: &str) -> BTreeMap<String, String> {
    let rows = page.split_once(TABLE).map_or("", |(_, rows)| rows).lines();
    let row = |row: &str| {
        let (guest, rest) = row.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some((guest.to_owned(), rest.to_owned()))
    };
    rows.filter_map(row).collect()
}

/// What a line of the guests says: which guest, and what passed, where all did.
fn outcome(line: &str) -> Option<(&str, Option<&str>)> {
    let line = line.strip_prefix("test ")?;
    match line.split_once(" ... ok (") {
        Some((guest, passed)) => Some((guest, passed.strip_suffix(')'))),
        None => Some((line.split_once(": ").map_or(line, |(guest, _)| guest), None)),
    }
}

fn write(head: &str, rows: &BTreeMap<String, String>) -> Result<()> {
    let mut page = format!("{head}{TABLE}");
    for (guest, rest) in rows {
        writeln!(page, "| {guest} | {rest} |")?;
    }
    std::fs::write(PAGE, page).with_context(|| format!("write {PAGE}"))
}

/// A program that says something of itself, with its arguments.
pub type Asked = (&'static str, &'static [&'static str]);
pub const DATE: Asked = ("date", &["-u", "+%F"]);
pub const COMMIT: Asked = ("git", &["describe", "--always", "--dirty"]);

/// A page's beginning, with what each of these says in its first line.
pub fn head(text: &str, by: &[(&str, Asked)]) -> Result<String> {
    let mut page = format!("{text}| | |\n|---|---|\n");
    for (what, (program, args)) in by {
        writeln!(page, "| {what} | {} |", first_line((program, args))?)?;
    }
    Ok(page)
}

fn first_line((program, args): (&str, &[&str])) -> Result<String> {
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
    fn a_guest_that_failed_loses_its_row_and_the_others_keep_theirs() {
        let page = format!("head{TABLE}| 5.10 (2 cpus) node | 11 passed | abc | 2026-01-02 |\n");
        let rows = rows(&page);
        assert_eq!(rows["5.10 (2 cpus) node"], "11 passed | abc | 2026-01-02");
        let ok = "test 5.10 (2 cpus) node ... ok (11 passed, 0 failed; boot 1.0 s; 0 splats)";
        let passed = "11 passed, 0 failed; boot 1.0 s; 0 splats";
        assert_eq!(outcome(ok), Some(("5.10 (2 cpus) node", Some(passed))));
        let failed = "test 5.10 (2 cpus) scenario: crash_recover ... FAILED";
        assert_eq!(outcome(failed), Some(("5.10 (2 cpus) scenario", None)));
        assert_eq!(outcome("test 6.1 (2 cpus) node ... FAILED").unwrap().1, None);
        assert_eq!(outcome("    test warm_tc ... ok (1770 events)"), None);
        assert_eq!(outcome("kernel 5.10: 5.10.0-46-amd64"), None);
    }
}
