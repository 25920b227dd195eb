//! `make proof`: what takes hours, and the page that keeps its results.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use crate::guests;
use crate::page::{Asked, Page};

const PAGE: &str = "docs/reference/proof.md";
const HEAD: &str = "# What `make proof` printed

`make proof` runs every test of `on_kernel`, `scenario` and `node` ([testing](../testing.md)) on every kernel of `tests/kernels.toml`, with two
processors: SIGKILL at each fault point of an install, upgrade, rollback, removal and start, and every kind of hook under full load. It
writes this page, a row whenever a guest is done; `cargo xtask proof --only SERIES` runs one kernel again. A row is of the last run in which everything in
that guest passed and its kernel kept quiet (eight guests share the tests of `scenario`: `3/8` had the third and every eighth after it); what has no row has not passed yet, or not since it last failed. The table above the rows is of the last run.

";
/// Runs every test in the guests, with options of theirs, and keeps what passed.
pub fn run(options: &[&str]) -> Result<()> {
    let by: [(&str, Asked); 4] = [
        ("On", ("uname", &["-srm"])),
        ("Processors", ("nproc", &[])),
        ("QEMU", ("qemu-system-x86_64", &["--version"])),
        ("Objects by", ("clang", &["--version"])),
    ];
    let mut page = Page::open(PAGE, HEAD, &by, &["Kernel, guest and program", "Passed"])?;
    let mut guests =
        guests::command()?.arg("--all").args(options).stdout(Stdio::piped()).spawn()?;
    for line in BufReader::new(output(&mut guests)?).lines() {
        let line = line?;
        println!("{line}");
        match outcome(&line) {
            Some((guest, Some(passed))) => page.keep(guest, passed)?,
            Some((guest, None)) => page.forget(guest)?,
            None => {}
        }
    }
    ensure!(guests.wait()?.success(), "not everything passed: {PAGE} has what did");
    Ok(())
}

fn output(child: &mut Child) -> Result<impl std::io::Read + use<>> {
    child.stdout.take().context("no output of the guests")
}

/// What a line of the guests says: which guest, and what passed, where all did.
fn outcome(line: &str) -> Option<(&str, Option<&str>)> {
    let line = line.strip_prefix("test ")?;
    match line.split_once(" ... ok (") {
        Some((guest, passed)) => Some((guest, passed.strip_suffix(')'))),
        None => Some((line.split_once(": ").map_or(line, |(guest, _)| guest), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_says_what_passed_or_that_something_failed() {
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
