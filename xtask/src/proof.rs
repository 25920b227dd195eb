//! `make proof`: what takes hours, and the page that keeps its results.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::guests;

const PAGE: &str = "docs/reference/proof.md";
const HEAD: &str = "# What `make proof` printed

`make proof` runs every test of `on_kernel`, `scenario` and `node` ([testing](../testing.md)) on every kernel of `tests/kernels.toml`, with two
processors: SIGKILL at each fault point of an install, upgrade, rollback, commit, removal and start, and every kind of hook under full load. It
writes this page.

";

/// Runs every test in the guests, with options of theirs, and writes what came of it.
pub fn run(options: &[&str]) -> Result<()> {
    let mut page = head(
        HEAD,
        &[
            ("On", "uname", &["-srm"]),
            ("Processors", "nproc", &[]),
            ("QEMU", "qemu-system-x86_64", &["--version"]),
            ("Objects by", "clang", &["--version"]),
        ],
    )?;
    page += "\n| Kernel, guest and program | Passed |\n|---|---|\n";
    let (rows, whole) = rows(options)?;
    for (name, seen) in rows {
        writeln!(page, "| {name} | {seen} |")?;
    }
    ensure!(whole, "not everything passed, so {PAGE} stays as it is");
    std::fs::write(PAGE, page).with_context(|| format!("write {PAGE}"))
}

/// Name and outcome of each guest; and whether all passed.
fn rows(options: &[&str]) -> Result<(Vec<(String, String)>, bool)> {
    let mut command = guests::command()?;
    let mut child = command.arg("--all").args(options).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("no output of the guests")?;
    let mut rows = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        let row = line.strip_prefix("test ").and_then(|row| row.split_once(" ... ok "));
        rows.extend(
            row.map(|(name, seen)| (name.to_owned(), seen.trim_matches(['(', ')']).to_owned())),
        );
    }
    Ok((rows, child.wait()?.success()))
}

/// A page's beginning: when and of which commit it is, and what each program says about itself in its first line.
pub fn head(text: &str, by: &[(&str, &str, &[&str])]) -> Result<String> {
    let mut page = format!("{text}| | |\n|---|---|\n");
    let always: [(&str, &str, &[&str]); 2] =
        [("Date", "date", &["-u", "+%F"]), ("Commit", "git", &["describe", "--always", "--dirty"])];
    for (what, program, args) in always.iter().chain(by) {
        writeln!(page, "| {what} | {} |", first_line(program, args)?)?;
    }
    Ok(page)
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
