//! What only a kernel can prove of the runtime, as one static program that also runs in a guest.
//!
//! `scenario` builds the objects with clang and runs what every kernel of ours has; `scenario NAME…` runs those
//! named, `scenario all` everything (kprobe, fentry and fexit, which some hosts lack), `--part 3/8` the third eighth of
//! that. `--build FOLDER` only
//! builds the objects; `--objects FOLDER` takes them from there, so that a guest needs no clang.

// A test program of its own harness: clippy's allowance for tests does not see it.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod attach;
mod child;
mod crash;
mod equal;
mod events;
mod generator;
mod holder;
mod hurt;
mod late;
mod lives;
mod mixed;
mod moved;
mod objects;
mod objects_change;
mod own_cgroup;
mod place;
mod previous;
mod probed;
mod refusals;
mod room;
mod sections;
mod stopped;
mod tally;
mod tests;
mod together;
mod unions;
mod unplugged;
mod waits;
mod warm;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use objects::Objects;
use tests::{Test, tests};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [child, job] = arguments.as_slice()
        && child == "child"
    {
        return answer(job);
    }
    let (mut folder, mut build_only, mut asked, mut part) = (None, false, Vec::new(), None);
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--objects" => folder = rest.next(),
            "--part" => part = rest.next(),
            "--types" => attach::ask(&rest.next().unwrap_or_default()),
            "--build" => (folder, build_only) = (rest.next(), true),
            word if word.starts_with('-') => {} // cargo's own
            _ => asked.push(argument),
        }
    }
    let own = tempfile::tempdir().expect("a folder");
    let path = folder.as_deref().map_or(own.path(), Path::new);
    let made =
        if folder.is_some() && !build_only { Ok(Objects::at(path)) } else { Objects::build(path) };
    match made {
        Err(why) => {
            println!("the objects were not built: {why}");
            ExitCode::FAILURE
        }
        Ok(_) if build_only => ExitCode::SUCCESS,
        Ok(objects) => run(&objects, &asked, part.as_deref()),
    }
}

/// What a child process does: one line of JSON, or an error.
fn answer(job: &str) -> ExitCode {
    match child::run(job) {
        Ok(reply) => {
            println!("{}", serde_json::to_string(&reply).expect("JSON"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", skep_spec::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(objects: &Objects, asked: &[String], part: Option<&str>) -> ExitCode {
    let all = asked.iter().any(|name| name == "all");
    let wanted =
        |test: &Test| all || (asked.is_empty() && test.everywhere) || asked.contains(&test.name);
    let all_tests = tests();
    let known = |name: &&String| *name == "all" || all_tests.iter().any(|test| test.name == **name);
    if let Some(name) = asked.iter().find(|name| !known(name)) {
        println!("there is no test '{name}'");
        return ExitCode::FAILURE;
    }
    let (first, step) = part.map_or((0, 1), every);
    let chosen: Vec<Test> =
        all_tests.into_iter().filter(wanted).skip(first).step_by(step).collect();
    println!("running {} tests", chosen.len());
    let failed = chosen.iter().filter(|test| !passes(objects, test)).count();
    let passed = chosen.len() - failed;
    let word = if failed == 0 && passed > 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
    );
    if word == "ok" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where `3/8` begins, and how far each of its tests is from the next: long ones, which stand together, are spread.
fn every(part: &str) -> (usize, usize) {
    let (part, parts) = part.split_once('/').expect("K/N");
    (part.parse::<usize>().expect("K") - 1, parts.parse().expect("N"))
}

/// Each test has a thread of its own, which may change its network namespace.
fn passes(objects: &Objects, test: &Test) -> bool {
    let start = Instant::now();
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| (test.run)(objects));
        thread.join().unwrap_or_else(|_| Err("it panicked".to_owned()))
    });
    let ms = start.elapsed().as_millis();
    match &result {
        Ok(seen) => println!("test {} ... ok ({seen}; {ms} ms)", test.name),
        Err(why) => println!("test {} ... FAILED ({ms} ms)\n    {why}", test.name),
    }
    result.is_ok()
}
