//! `make fuzz`: every fuzzer for some time, then what they gathered at the speed of a release.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::guests;
use crate::page::{Asked, Page};

/// Seconds for each target, unless `FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 600;

/// libFuzzer's limits. AddressSanitizer makes an input some ten times slower and keeps what was freed, so time and all memory
/// together are held by the replay and by `tests/memory.rs` of skep-object; one allocation is held here.
const LIMITS: [&str; 4] =
    ["-timeout=20", "-malloc_limit_mb=64", "-rss_limit_mb=2048", "-print_final_stats=1"];

const PAGE: &str = "docs/reference/fuzz.md";
const HEAD: &str = "# What `make fuzz` printed

`make fuzz` feeds each parser of strangers' bytes with what libFuzzer makes of the standard's vectors, under AddressSanitizer and with checks for overflow;
then what it gathered runs once more at the speed of a release, where an input may take a second of the processor. It writes this page, a row whenever a target is done;
`cargo xtask fuzz TARGET` runs one again. A row is of the last run without a finding.

";

/// Fuzzes the targets that are named, or all, and writes what came of it.
pub fn run(only: &[&str]) -> Result<()> {
    let seconds = match std::env::var("FUZZ_SECONDS") {
        Ok(text) => text.parse().with_context(|| format!("FUZZ_SECONDS is '{text}', no number"))?,
        Err(_) => SECONDS,
    };
    let corpus = guests::cache()?.join("fuzz");
    let targets = ours(&["targets"])?;
    ours(&["seeds", &corpus.display().to_string()])?;
    let by: [(&str, Asked); 2] = [
        ("Fuzzers by", ("rustc", &["+nightly", "--version"])),
        ("Driver", ("cargo-fuzz", &["--version"])),
    ];
    let columns = ["Target", "Executions", "Seconds", "Replayed"];
    let mut page = Page::open(PAGE, HEAD, &by, &columns)?;
    for target in targets.lines().filter(|name| only.is_empty() || only.contains(name)) {
        println!("--- {target}, {seconds} s");
        match whole(target, &corpus, seconds) {
            Ok(outcome) => page.keep(&format!("`{target}`"), &outcome)?,
            Err(finding) => {
                page.forget(&format!("`{target}`"))?;
                return Err(finding);
            }
        }
    }
    Ok(())
}

/// Fuzzes one, and runs what it gathered again: the cells of its row.
fn whole(target: &str, corpus: &Path, seconds: u64) -> Result<String> {
    let [executions, took] = fuzz(target, &corpus.join(target), seconds)?;
    let replayed = ours(&["replay", &corpus.display().to_string(), target])?;
    println!("{target}: {replayed}");
    Ok(format!("{executions} | {took} | {}", replayed.trim()))
}

/// How many inputs ran, and for how many seconds.
fn fuzz(target: &str, corpus: &Path, seconds: u64) -> Result<[String; 2]> {
    let mut child = Command::new("cargo")
        .args(["+nightly", "fuzz", "run", "--fuzz-dir", "fuzz/libfuzzer"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--target-dir", "target/fuzz", target])
        .arg(corpus)
        .arg("--")
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .stderr(Stdio::piped())
        .spawn()
        .context("run cargo fuzz")?;
    let [mut executions, mut took] = [String::new(), String::new()];
    let said = child.stderr.take().context("no output of cargo fuzz")?;
    for line in BufReader::new(said).lines() {
        let line = line?;
        if line.starts_with('#') {
            continue; // progress, hundreds of lines
        }
        println!("{line}");
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            number.trim().clone_into(&mut executions);
        } else if let Some((_, seconds)) = line.split_once(" runs in ") {
            seconds.split(' ').next().unwrap_or_default().clone_into(&mut took);
        }
    }
    let status = child.wait()?;
    ensure!(
        status.success(),
        "{target}: {status}; the input is in fuzz/libfuzzer/artifacts/{target}"
    );
    Ok([executions, took])
}

/// The fuzz crate's own program, as it would be released.
fn ours(args: &[&str]) -> Result<String> {
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--locked", "--package", "fuzz", "--"])
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "fuzz {}: {}", args.join(" "), output.status);
    String::from_utf8(output.stdout).context("read what fuzz said")
}
