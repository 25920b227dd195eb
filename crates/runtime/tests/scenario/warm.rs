//! A warm upgrade and the way back, under events that never stop, on one kind of hook.

use std::time::Duration;

use crate::equal::equal;
use crate::events::PAUSE;
use crate::generator::{Generator, Kind};
use crate::place::Place;
use crate::tally::sum;

/// Between two events, so that the ring holds all of a test.
/// Install, upgrade, roll back and remove; every number is seen once, every counter is exact.
pub fn there_and_back(place: &Place, kind: Kind) -> Result<String, String> {
    place.does("install")?;
    let before = place.map("seen", 1)?;
    let generator = Generator::start(kind, 1, PAUSE);
    generator.wait(200);
    let reply = place.does("upgrade")?;
    let detail = reply.detail.ok_or("no detail")?;
    equal("generation", detail.status.generation, 2)?;
    let after = place.map("seen", 2)?;
    generator.wait(200);
    let detail = place.does("rollback")?.detail.ok_or("no detail")?;
    equal("generation", detail.status.generation, 1)?;
    generator.wait(200);
    let end = generator.stop();
    let tally = place.seen_once(&[&before, &after], end)?;
    if let [0, _] | [_, 0] = tally.by_version[..] {
        return Err(format!("one version saw nothing: {:?}", tally.by_version));
    }
    let seen = tally.numbers;
    for name in ["counts", "kept", ".bss"] {
        equal(name, sum(&place.map(name, 1)?)?, seen.len() as u64)?;
    }
    place.events_are_in_order(&seen)?;
    let programs = place.programs(1)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    gone(&programs)?;
    let missed = end - 1 - seen.len() as u64;
    let kernel = if missed == 0 { String::new() } else { format!("; the kernel missed {missed}") };
    Ok(format!("{} events, 0 lost, 0 doubled{kernel}", end - 1))
}

/// That the kernel has none of these programs any more; it frees them a moment later.
pub fn gone(programs: &[u32]) -> Result<(), String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    for id in programs {
        while skep_kernel::Program::by_id(*id).is_ok() {
            if std::time::Instant::now() > deadline {
                return Err(format!("program {id} is still there"));
            }
            std::thread::yield_now();
        }
    }
    Ok(())
}
