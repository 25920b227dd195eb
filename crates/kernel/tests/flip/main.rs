//! Full-speed switches of the A/B stub on every kind of hook: no event lost, none doubled.
//!
//! Without arguments the hooks that any kernel with BTF has; with arguments those named, for guests:
//! `flip all`, `flip kprobe fexit`. Each version counts every numbered event that reaches it in its own half
//! of a word per event, so that a lost or doubled event shows by its number.

// A test program of its own harness: clippy's allowance for tests does not see it.
#![allow(clippy::expect_used, clippy::print_stdout)]

mod hooks;
mod payload;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use hooks::{EVERYWHERE, GUESTS, Hook};
use payload::Shared;
use skep_kernel::maps::prog_array;
use skep_kernel::{MapHandle, attach, netns, process, stub};

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let all = asked.iter().any(|name| name == "all");
    let known = EVERYWHERE.iter().chain(GUESTS);
    let hooks: Vec<Hook> = match asked.as_slice() {
        [] => EVERYWHERE.to_vec(),
        _ => known
            .filter(|hook| all || asked.iter().any(|name| name == hook.name))
            .cloned()
            .collect(),
    };
    let mut failed = 0;
    println!("running {} tests", hooks.len());
    for hook in &hooks {
        let (result, us) = timed(|| flip(hook));
        match result {
            Ok(seen) => println!("test {} ... ok ({seen}, {} ms)", hook.name, us / 1000),
            Err(why) => {
                failed += 1;
                println!("test {} ... FAILED: {why}", hook.name);
            }
        }
    }
    let word = if failed == 0 && !hooks.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n",
        hooks.len() - failed
    );
    if word == "ok" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, u128) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_micros())
}

/// Attaches a stub with two payloads and switches as fast as it can while `hook.events` events are fired.
fn flip(hook: &Hook) -> Result<String, String> {
    let text = |e: skep_kernel::KernelError| {
        let cause = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
        format!("{e}: {cause} {}", e.hint().unwrap_or_default())
    };
    if hook.own_netns {
        netns::enter_new().and_then(|()| netns::up("lo")).map_err(|e| e.to_string())?;
    }
    let shared = Shared::new(hook.events).map_err(text)?;
    let switch = MapHandle::create_u64s("switch", 1).map_err(text)?;
    let slots = prog_array::create("slots", stub::SLOTS).map_err(text)?;
    let one = payload::load(hook, &shared, 1).map_err(text)?;
    let two = payload::load(hook, &shared, 2).map_err(text)?;
    prog_array::set(&slots, 1, &one).map_err(text)?;
    prog_array::set(&slots, 2, &two).map_err(text)?;
    let stub = stub::load("flip_stub", &one, hook.uses_func_ip, &switch, &slots).map_err(text)?;
    let word = switch.mmap().map_err(text)?;
    word.store(0, 1);
    let link = attach::attach(&stub, &hook.plan()).map_err(text)?;

    let (done, flips) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                word.add(0, 1);
                flips.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _ = process::pin_to_cpu(0);
        let mut fire = hook.generator();
        for number in 0..hook.events {
            shared.announce(number);
            fire(number);
        }
        done.store(true, Ordering::Release);
    });
    drop(link);
    verdict(&shared, hook.events, flips.into_inner())
}

fn verdict(shared: &Shared, events: u32, flips: u64) -> Result<String, String> {
    let (mut lost, mut doubled, mut by) = (0u64, 0u64, [0u64; 2]);
    for number in 0..events {
        let (one, two) = shared.seen(number);
        match one + two {
            0 => lost += 1,
            1 => {}
            _ => doubled += 1,
        }
        by = [by[0] + one, by[1] + two];
    }
    let seen = format!(
        "{events} events, {flips} switches, {lost} lost, {doubled} doubled, v1 {} v2 {}",
        by[0], by[1]
    );
    let both = by[0] > 0 && by[1] > 0;
    if lost + doubled == 0 && both { Ok(seen) } else { Err(seen) }
}
