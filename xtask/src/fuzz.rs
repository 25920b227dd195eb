//! `make fuzz`: every fuzzer for some time, then what they gathered at the speed of a release.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::guests;

/// Seconds for each target, unless `FUZZ_SECONDS` says otherwise.
const SECONDS: u64 = 600;

/// libFuzzer's limits. AddressSanitizer makes an input some ten times slower and keeps what was freed, so time and all memory
/// together are held by the replay and by `tests/memory.rs` of skep-object; one allocation is held here.
const LIMITS: [&str; 4] =
    ["-timeout=20", "-malloc_limit_mb=64", "-rss_limit_mb=2048", "-print_final_stats=1"];

/// Fuzzes the targets that are named, or all.
pub fn run(only: &[&str]) -> Result<()> {
    let seconds = match std::env::var("FUZZ_SECONDS") {
        Ok(text) => text.parse().with_context(|| format!("FUZZ_SECONDS is '{text}', no number"))?,
        Err(_) => SECONDS,
    };
    let corpus = guests::cache()?.join("fuzz");
    let targets = ours(&["targets"])?;
    ours(&["seeds", &corpus.display().to_string()])?;
    for target in targets.lines().filter(|name| only.is_empty() || only.contains(name)) {
        println!("--- {target}, {seconds} s");
        fuzz(target, &corpus.join(target), seconds)?;
    }
    print!("{}", ours(&["replay", &corpus.display().to_string()])?);
    Ok(())
}

fn fuzz(target: &str, corpus: &Path, seconds: u64) -> Result<()> {
    let status = Command::new("cargo")
        .args(["+nightly", "fuzz", "run", "--fuzz-dir", "fuzz/libfuzzer"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--target-dir", "target/fuzz", target])
        .arg(corpus)
        .arg("--")
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .status()
        .context("run cargo fuzz")?;
    ensure!(
        status.success(),
        "{target}: {status}; the input is in fuzz/libfuzzer/artifacts/{target}"
    );
    Ok(())
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
