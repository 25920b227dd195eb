//! `make test`: every check, one after the other, then the counts.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{arrows, corpus, guests};

/// What was counted so far.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    skipped: usize,
    failures: Vec<String>,
}

/// Runs everything. The last line is the counts; a skip fails.
pub fn everything() -> Result<()> {
    let mut counts = Counts::default();
    counts.step("format", cargo(&["fmt", "--all", "--check"]));
    counts.step(
        "clippy",
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
    );
    counts.outcome("arrows", arrows::check());
    let mut deny = Command::new("cargo-deny");
    deny.args(["--log-level", "error", "check", "bans", "licenses", "sources"]);
    counts.step("licences", deny);
    // Tests look for the binaries beside their own.
    counts.step("build", cargo(&["build", "--workspace", "--locked", "--quiet"]));
    counts.tests("tests", cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]))?;
    match corpus::quick() {
        Ok(command) => counts.tests("objects of others in a guest", command)?,
        Err(error) => counts.outcome("objects of others in a guest", Err(error)),
    }
    match guests::command() {
        Ok(command) => {
            counts.tests("a node on this kernel", guests::node())?;
            counts.tests("guests", command)?;
        }
        Err(error) => counts.outcome("guests", Err(error)),
    }
    for failure in &counts.failures {
        println!("FAILED {failure}");
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if counts.failed + counts.skipped > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

/// A cargo command, with which all of them are run.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args);
    command
}

impl Counts {
    fn outcome(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(error) => {
                println!("{error:#}");
                self.failed += 1;
                self.failures.push(name.to_owned());
            }
        }
    }

    fn step(&mut self, name: &str, mut command: Command) {
        println!("--- {name}");
        let clock = Instant::now();
        let status =
            command.stdin(Stdio::null()).status().with_context(|| format!("run {command:?}"));
        let outcome = status
            .and_then(|status| if status.success() { Ok(()) } else { bail!("{name}: {status}") });
        self.outcome(name, outcome);
        println!("    {name} took {:.0} s", clock.elapsed().as_secs_f64());
    }

    /// Runs what prints as `cargo test` does, and adds up what its runners say.
    fn tests(&mut self, name: &str, mut command: Command) -> Result<()> {
        println!("--- {name}");
        let (clock, failed) = (Instant::now(), self.failed);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {command:?}"))?;
        let output = child.stdout.take().with_context(|| format!("no output of {name}"))?;
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            self.line(&line);
        }
        let status = child.wait()?;
        if !status.success() && self.failed == failed {
            self.outcome(name, Err(anyhow::anyhow!("{name}: {status}")));
        }
        println!("    {name} took {:.0} s", clock.elapsed().as_secs_f64());
        Ok(())
    }

    fn line(&mut self, line: &str) {
        if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number = |what: &str| {
            let before = result.split(what).next().unwrap_or_default().trim_end();
            before
                .rsplit([' ', ';'])
                .next()
                .and_then(|number| number.parse::<usize>().ok())
                .unwrap_or(0)
        };
        self.passed += number(" passed");
        self.failed += number(" failed");
        self.skipped += number(" ignored");
    }
}
