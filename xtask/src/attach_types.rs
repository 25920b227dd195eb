//! `cargo xtask attach-types`: every attach type on this kernel and in the guests, and the page that keeps what came of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::guests;
use crate::page::{Asked, Page};

const PAGE: &str = "docs/reference/attach-types.md";
const HEAD: &str = "# Attach types

What attaches where, and what an upgrade is worth there: `cargo xtask attach-types` measures it on this machine's kernel and in a guest of
each kernel of `tests/kernels.toml` (two processors, `lsm=yama,bpf`), and writes this page; `--only SERIES` runs one guest. In each row a program of ours was installed as a
service; *seen* is how many real events it saw, each once, half of them after the next start of the runtime took it over. A second service on the same hook says how it is *shared*.
Then the service was upgraded and rolled back while events went on: *exact* means that each was seen by exactly one version, by what means: a *stub* ([decision 2](../decisions/0002-stub.md)), an
*update* of the link, a filter's *replace*; *refused* that the runtime says so before it touches anything, or undoes it where only the kernel can say (sched_ext). A row that begins with *no* has the reason in the
runtime's and the kernel's words. What has no row, no test covers yet, or its last run failed. Hardware counters (`perf_event:cycles/100000`) attach as software ones do, but no machine of ours has such a unit:
virtual ones and QEMU's emulation count none. Programs that entries of a map name (`xdp/cpumap`) are tested by `scenario entries`.

";

/// Runs the test here and in guests, with options of theirs; `--from FILE…` takes the rows that such a run printed.
pub fn run(options: &[&str]) -> Result<()> {
    let by: [(&str, Asked); 3] = [
        ("This machine", ("uname", &["-srm"])),
        ("QEMU", ("qemu-system-x86_64", &["--version"])),
        ("Objects by", ("clang", &["--version"])),
    ];
    let columns = ["Attach type on Linux", "Events", "Shared", "Upgrade"];
    let mut page = Page::open(PAGE, HEAD, &by, &columns)?;
    if let ["--from", logs @ ..] = options {
        return logs.iter().try_for_each(|log| from(&mut page, log));
    }
    let mut guests = guests::command_of("scenario")?;
    guests.args(["--ask", "attach_types"]).args(options);
    let mut passed = true;
    if options.is_empty() {
        let mut here = Command::new(guests::executable("skep-runtime", "scenario")?);
        passed &= keep(&mut page, here.arg("attach_types"))?;
    }
    passed &= keep(&mut page, &mut guests)?;
    ensure!(passed, "not everything passed: {PAGE} has what did");
    Ok(())
}

/// Keeps the rows that a run of this commit left in a file.
fn from(page: &mut Page, log: &str) -> Result<()> {
    let text = std::fs::read_to_string(log).with_context(|| format!("read {log}"))?;
    text.lines().filter_map(row).try_for_each(|(thing, rest)| keep_row(page, &thing, rest))
}

/// What failed has no row any more.
fn keep_row(page: &mut Page, thing: &str, rest: &str) -> Result<()> {
    if rest == "failed" { page.forget(thing) } else { page.keep(thing, rest) }
}

/// Runs a command and keeps the rows that it prints; says whether it passed.
fn keep(page: &mut Page, command: &mut Command) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("run the test")?;
    let output = child.stdout.take().context("no output of the test")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some((thing, rest)) = row(&line) {
            keep_row(page, &thing, rest)?;
        }
    }
    Ok(child.wait()?.success())
}

/// Which type and kernel a line is a row of, and what it says.
fn row(line: &str) -> Option<(String, &str)> {
    let mut cells = line.strip_prefix("row attach-types ")?.splitn(3, " | ");
    let (name, kernel) = (cells.next()?, cells.next()?);
    Some((format!("{name} on {kernel}"), cells.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_row_of_a_type_and_a_kernel() {
        let line = "row attach-types xdp | 6.1 | 200 seen | one at a time | exact";
        let seen = "200 seen | one at a time | exact";
        assert_eq!(row(line), Some(("xdp on 6.1".to_owned(), seen)));
        let failed = row("row attach-types xdp | 6.1 | failed");
        assert_eq!(failed, Some(("xdp on 6.1".to_owned(), "failed")));
        assert_eq!(row("test attach_types ... ok"), None);
    }
}
