//! What only a kernel can prove, as one static program that also runs as it is in a guest.
//!
//! `on_kernel` runs what every kernel of ours has; `on_kernel NAME…` those named, `on_kernel all` everything
//! (kprobe and fentry included, which some hosts lack); `--events N` fires at most so many on a hook, where
//! instructions are emulated. It prints as Rust's test harness does.

// A test program of its own harness: clippy's allowance for tests does not see it.
#![allow(clippy::expect_used, clippy::print_stdout)]

mod flip;
mod hooks;
mod moving;
mod nobody;
mod outlives;
mod payload;
mod update;

use std::process::ExitCode;
use std::time::Instant;

use hooks::{EVERYWHERE, GUESTS, Hook, UPDATES};

/// A test: what was seen, or what was wrong.
type Test = Box<dyn Fn() -> Result<String, String>>;

fn main() -> ExitCode {
    let (mut most, mut asked) = (u32::MAX, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--events" => {
                most = arguments.next().and_then(|n| n.parse().ok()).expect("a number of events");
            }
            word if word.starts_with('-') => {} // cargo's own
            _ => asked.push(argument),
        }
    }
    if let [command, old, new, keys] = asked.as_slice()
        && command == "merge-and-die"
    {
        moving::merge_and_die(old, new, keys);
    }
    if asked == ["as-nobody"] {
        nobody::tries_in_vain();
        return ExitCode::SUCCESS;
    }
    let all = asked.iter().any(|name| name == "all");
    let wanted = |name: &str, here: bool| {
        all || (asked.is_empty() && here) || asked.iter().any(|asked| asked == name)
    };
    let all_tests = tests(most);
    let known = |asked: &&String| {
        *asked == "all" || all_tests.iter().any(|(name, ..)| *name == asked.as_str())
    };
    if let Some(name) = asked.iter().find(|name| !known(name)) {
        println!("there is no test '{name}'");
        return ExitCode::FAILURE;
    }
    let chosen: Vec<_> =
        all_tests.into_iter().filter(|(name, here, _)| wanted(name, *here)).collect();
    println!("running {} tests", chosen.len());
    let failed = chosen.iter().filter(|(name, _, test)| !passes(name, test)).count();
    let passed = chosen.len() - failed;
    let word = if failed == 0 && passed > 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
    );
    if word == "ok" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Name, whether every kernel of ours can, and the test, of which each hook has at most `most` events.
fn tests(most: u32) -> Vec<(&'static str, bool, Test)> {
    let mut tests: Vec<(&'static str, bool, Test)> = Vec::new();
    let limited = |hook: &Hook| Hook { events: hook.events.min(most), ..*hook };
    for (hooks, everywhere) in [(EVERYWHERE, true), (GUESTS, false)] {
        for hook in hooks {
            let hook = limited(hook);
            tests.push((hook.name, everywhere, Box::new(move || flip::flip(&hook))));
        }
    }
    for hook in UPDATES {
        let hook = limited(hook);
        tests.push((hook.name, true, Box::new(move || update::update(&hook))));
    }
    tests.push(("moving_merge", true, Box::new(moving::under_load)));
    tests.push(("outlives_its_maker", true, Box::new(outlives::its_maker)));
    tests.push(("nobody", true, Box::new(nobody::is_told_what_to_do)));
    tests
}

fn passes(name: &str, test: &Test) -> bool {
    let start = Instant::now();
    let result = test();
    let ms = start.elapsed().as_millis();
    match &result {
        Ok(seen) => println!("test {name} ... ok ({seen}, {ms} ms)"),
        Err(why) => println!("test {name} ... FAILED: {why}"),
    }
    result.is_ok()
}

/// An error with its cause and hint in one line.
fn text(e: skep_kernel::KernelError) -> String {
    let cause = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
    format!("{e}: {cause} {}", e.hint().unwrap_or_default())
}
