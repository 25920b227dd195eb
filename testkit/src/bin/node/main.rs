//! The whole life of a service on this kernel, through the binaries that ship, for each kind of hook.
//!
//! `node --build FOLDER` builds and signs the packages there with `skep`; `node --objects FOLDER all` (or some names)
//! takes them from there, so that a guest needs no clang. With neither, it does both, for the hooks that every kernel
//! of ours has. `skep` and `skepd` lie beside this program. Prints as Rust's test harness does.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that people watch"
)]

/// As the runtime's own tests make events.
#[path = "../../../../crates/runtime/tests/scenario/generator.rs"]
mod generator;
mod life;
/// As the runtime's own tests go into a cgroup.
#[path = "../../../../crates/runtime/tests/scenario/own_cgroup.rs"]
mod own_cgroup;
mod packages;
mod skepd;
mod stage;
/// As they hold it against what the kernel counted.
#[path = "../../../../crates/runtime/tests/scenario/tally.rs"]
mod tally;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use packages::SETS;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("node: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let (mut build, mut objects, mut asked) = (None, None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut folder = || words.next().map(PathBuf::from).context("a folder is missing");
        match word.as_str() {
            "--build" => build = Some(folder()?),
            "--objects" => objects = Some(folder()?),
            _ => asked.push(word),
        }
    }
    if let Some(folder) = build {
        packages::build(&folder)?;
        return Ok(true);
    }
    let own = tempfile::tempdir().context("make a folder")?;
    let folder = match objects {
        Some(folder) => folder,
        None => {
            packages::build(own.path())?;
            own.path().to_owned()
        }
    };
    let known = |name: &&String| *name == "all" || SETS.iter().any(|set| set.name == **name);
    if let Some(name) = asked.iter().find(|name| !known(name)) {
        bail!("there is no test '{name}'");
    }
    Ok(all(&folder, &asked))
}

fn all(packages: &Path, asked: &[String]) -> bool {
    let everything = asked.iter().any(|word| word == "all");
    let chosen: Vec<_> = SETS
        .iter()
        .filter(|set| match asked {
            [] => set.everywhere,
            names => everything || names.iter().any(|name| name == set.name),
        })
        .collect();
    println!("running {} tests", chosen.len());
    let mut failed = 0;
    for set in &chosen {
        let clock = Instant::now();
        // A thread for each: it may change its network namespace.
        let result = std::thread::scope(|scope| {
            let thread = scope.spawn(|| life::whole(packages, set));
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))
        });
        let ms = clock.elapsed().as_millis();
        match result {
            Ok(row) => println!("test node::{} ... ok ({row}; {ms} ms)", set.name),
            Err(error) => {
                failed += 1;
                println!("test node::{} ... FAILED\n    {error:#}", set.name);
            }
        }
    }
    let passed = chosen.len() - failed;
    let good = failed == 0 && passed > 0;
    let word = if good { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    good
}
