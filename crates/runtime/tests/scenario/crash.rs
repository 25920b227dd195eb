//! The daemon is killed at every fault point of an operation; the next start finds one generation whole.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_runtime::Faults;

use crate::generator::{Generator, Kind};
use crate::place::{Ended, Place};
use crate::tally::{Seen, equal, once, sum};

const PAUSE: Duration = Duration::from_micros(50);

/// Kills `op` at each of its points; gives those that were passed.
pub fn sweep(
    place: impl Fn() -> Result<Place, String>,
    kind: Kind,
    op: &str,
) -> Result<BTreeSet<&'static str>, String> {
    let mut passed = BTreeSet::new();
    let points = Faults::ALL.iter().filter(|point| point.split('.').next() == Some(op));
    for point in points {
        let killed = at(&place()?, kind, op, point).map_err(|why| format!("{point}: {why}"))?;
        if killed {
            passed.insert(*point);
        }
    }
    Ok(passed)
}

/// Kills `op` at `point`; says whether it came by there.
fn at(place: &Place, kind: Kind, op: &str, point: &str) -> Result<bool, String> {
    if op == "install" {
        return install(place, kind, point);
    }
    place.does("install")?;
    let mut maps = vec![place.map("seen", 1)?];
    if matches!(op, "rollback" | "commit") {
        place.does("upgrade")?;
        maps.push(place.map("seen", 2)?);
    }
    let generator = Generator::start(kind, 1, PAUSE);
    generator.wait(20);
    let killed = match place.child(op, Some(point))? {
        Ended::Killed => true,
        Ended::Done(_) => false,
        Ended::Failed(why) => return Err(why),
    };
    if op == "remove" {
        generator.stop();
        if place.does("open")?.detail.is_some() {
            equal("killed before the journal knew", point, "remove.Begin.before")?;
            place.does("remove")?;
        }
        equal("pins", place.pins(), Vec::new())?;
        return Ok(killed);
    }
    generator.wait(20);
    let reply = place.does("open")?;
    let detail = reply.detail.ok_or("the service is gone")?;
    if maps.len() == 1
        && let Ok(new) = place.map("seen", 2)
    {
        maps.push(new);
    }
    generator.wait(20);
    let end = generator.stop();
    once(&Seen::new(&maps.iter().collect::<Vec<_>>())?, 1, end)?;
    let active = detail.status.generation;
    equal("counts", sum(&place.map("counts", active)?)?, end - 1)?;
    equal("total", sum(&place.map(".bss", active)?)?, end - 1)?;
    equal("kept", sum(&place.map("kept", 1)?)?, end - 1)?;
    let events = place.does("events")?.events;
    equal("events", events.iter().copied().eq(1..end), true)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}

/// An install leaves all or nothing.
fn install(place: &Place, kind: Kind, point: &str) -> Result<bool, String> {
    let killed = matches!(place.child("install", Some(point))?, Ended::Killed);
    let detail = place.does("open")?.detail;
    match detail {
        None => {
            equal("pins", place.pins(), Vec::new())?;
            place.does("install")?;
        }
        Some(detail) => equal("generation", detail.status.generation, 1)?,
    }
    let generator = Generator::start(kind, 1, PAUSE);
    generator.wait(20);
    let end = generator.stop();
    once(&Seen::new(&[&place.map("seen", 1)?])?, 1, end)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}
