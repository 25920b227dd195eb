//! Full-speed switches of the A/B stub: no event lost, none doubled.
//!
//! Each version counts every numbered event that reaches it in its own half of a word per event, so that a lost
//! or doubled event shows by its number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use skep_kernel::maps::prog_array;
use skep_kernel::{MapHandle, attach, netns, process, stub};

use crate::hooks::Hook;
use crate::payload::{self, Shared};
use crate::text;

/// Events after which a switch is waited for.
const TURN: u32 = 256;

/// Attaches a stub with two payloads and switches as fast as it can while `hook.events` events are fired.
pub fn flip(hook: &Hook) -> Result<String, String> {
    if hook.uses_func_ip && !payload::may_call_func_ip(hook) {
        return Ok("this kernel has no bpf_get_func_ip".to_owned());
    }
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
            // Where CPUs are few all events could pass between two switches, and one version would see them all.
            let before = flips.load(Ordering::Relaxed);
            while number % TURN == 0 && flips.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Release);
    });
    drop(link);
    verdict(&shared, hook.events, flips.into_inner())
}

pub fn verdict(shared: &Shared, events: u32, flips: u64) -> Result<String, String> {
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
