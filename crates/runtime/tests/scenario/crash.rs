//! The daemon is killed at every fault point of an operation; the next start finds one generation whole.

use std::collections::BTreeSet;

use skep_kernel::MapHandle;
use skep_runtime::{Detail, Faults};

use crate::equal::equal;
use crate::events::{PAUSE, made};
use crate::generator::{Generator, Kind};
use crate::place::{Ended, Place};
use crate::tally::sum;

/// What is killed: an operation, after others have prepared the service.
#[derive(Clone, Copy)]
pub struct Crash {
    /// Done before.
    pub before: &'static [&'static str],
    /// Killed.
    pub op: &'static str,
    /// Its points begin with this, an operation or a step of one.
    pub points: &'static str,
    /// What is killed is the next start, after this has befallen the operation.
    pub trouble: Option<Trouble>,
}

/// What befalls a service.
pub type Befalls = fn(&Place) -> Result<(), String>;

/// What a start has to mend.
#[derive(Clone, Copy)]
pub enum Trouble {
    /// The operation was killed here.
    Killed(&'static str),
    /// The operation was done, and then this was.
    Behind(Befalls),
    /// The same, and the second is done once the start was killed.
    Until(Befalls, Befalls),
}

/// Kills the operation at each of its points; gives those that were passed.
pub fn sweep(
    place: impl Fn() -> Result<Place, String>,
    kind: Kind,
    crash: Crash,
) -> Result<BTreeSet<&'static str>, String> {
    let mut passed = BTreeSet::new();
    let of_these =
        |point: &&&str| point.strip_prefix(crash.points).is_some_and(|rest| rest.starts_with('.'));
    let points = Faults::ALL.iter().filter(of_these);
    for point in points {
        let place = place()?;
        let killed = match (crash.op, crash.trouble) {
            (_, Some(Trouble::Behind(begin))) => {
                start(&place, kind, crash, (begin, |_| Ok(())), point)
            }
            (_, Some(Trouble::Until(begin, end))) => {
                start(&place, kind, crash, (begin, end), point)
            }
            ("install", _) => install(&place, kind, crash, point),
            _ => at(&place, kind, crash, point),
        };
        if killed.map_err(|why| format!("{point}: {why}"))? {
            passed.insert(*point);
        }
    }
    Ok(passed)
}

/// Kills the operation, or its recovery, at `point`; says whether it came by there.
fn at(place: &Place, kind: Kind, crash: Crash, point: &str) -> Result<bool, String> {
    crash.before.iter().try_for_each(|op| place.does(op).map(drop))?;
    let mut maps: Vec<MapHandle> = (1..=2).filter_map(|n| place.map("seen", n).ok()).collect();
    let generator = Generator::start(kind, 1, PAUSE);
    generator.wait(20);
    let killed = match crash.trouble {
        Some(Trouble::Killed(first)) => {
            equal("the first kill", kill(place, crash.op, first)?, true)?;
            maps.extend((2..=3).filter_map(|n| place.map("seen", n).ok()));
            generator.wait(20);
            kill(place, "open", point)?
        }
        _ => kill(place, crash.op, point)?,
    };
    if crash.op == "remove" {
        generator.stop();
        if place.does("open")?.detail.is_some() {
            equal("killed before the journal knew", point, "remove.Begin.before")?;
            place.does("remove")?;
        }
        equal("pins", place.pins(), Vec::new())?;
        return Ok(killed);
    }
    generator.wait(20);
    let detail = place.does("open")?.detail.ok_or("the service is gone")?;
    maps.extend((2..=3).filter_map(|n| place.map("seen", n).ok()));
    generator.wait(20);
    whole(place, &distinct(maps), &detail, generator.stop())?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}

/// Kills a start at `point` and starts once more: the service is whole from then on.
fn start(
    place: &Place,
    kind: Kind,
    crash: Crash,
    (begin, end): (Befalls, Befalls),
    point: &str,
) -> Result<bool, String> {
    crash.before.iter().chain([&crash.op]).try_for_each(|op| place.does(op).map(drop))?;
    begin(place)?;
    let killed = kill(place, "open", point)?;
    end(place)?;
    let detail = place.does("open")?.detail.ok_or("the service is gone")?;
    let maps: Vec<MapHandle> = (1..=2).filter_map(|n| place.map("seen", n).ok()).collect();
    whole(place, &maps, &detail, made(kind, 1, 20))?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}

fn kill(place: &Place, op: &str, point: &str) -> Result<bool, String> {
    match place.child(op, Some(point))? {
        Ended::Killed => Ok(true),
        Ended::Done(_) => Ok(false),
        Ended::Failed(why) => Err(why),
    }
}

/// That the numbers 1 to `end` were each seen once, that every counter is exact, and that each is in the ring once.
fn whole(place: &Place, seen: &[MapHandle], detail: &Detail, end: u64) -> Result<(), String> {
    let seen = place.seen_once(&seen.iter().collect::<Vec<_>>(), end)?;
    for name in ["counts", ".bss", "kept"] {
        let map = detail.maps.iter().find(|map| map.name == name).ok_or("a map is missing")?;
        equal(name, sum(&place.map(name, map.made_by)?)?, seen.numbers.len() as u64)?;
    }
    place.events_are_in_order(&seen.numbers)
}

/// Each map once: several ways may have led to one.
fn distinct(mut maps: Vec<MapHandle>) -> Vec<MapHandle> {
    let mut ids = BTreeSet::new();
    maps.retain(|map| ids.insert(map.info().id));
    maps
}

/// An install leaves all or nothing.
fn install(place: &Place, kind: Kind, crash: Crash, point: &str) -> Result<bool, String> {
    crash.before.iter().try_for_each(|op| place.does(op).map(drop))?;
    let killed = matches!(place.child("install", Some(point))?, Ended::Killed);
    let detail = place.does("open")?.detail;
    match detail {
        None => {
            equal("pins", place.pins(), Vec::new())?;
            place.does("install")?;
        }
        Some(detail) => equal("generation", detail.status.generation, 1)?,
    }
    let end = made(kind, 1, 20);
    place.seen_once(&[&place.map("seen", 1)?], end)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}
