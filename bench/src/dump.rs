//! All entries of a large map as JSON, against the system calls that read them.

use std::fs::{File, read};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use skep_kernel::maps::Update;
use skep_kernel::{MapHandle, OpenOptions, object};

use crate::daemon::Daemon;
use crate::place::Place;
use crate::row::Row;

const ENTRIES: u32 = 1_000_000;
const PAIRS: usize = 7;

/// `skep map dump` into a file in turn with the batches alone.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let bytes = read(place.object("large")?)?;
    let loaded = object::open(&bytes, "large", &OpenOptions::default())?.load()?;
    let map = loaded.map("large").context("the object has no map")?;
    for key in 0..ENTRIES {
        map.update(&key.to_ne_bytes(), &u64::from(key).to_ne_bytes(), Update::Any)?;
    }
    let daemon = Daemon::start(place, "dump")?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        ours.push(dumped(place, &daemon, map)?);
        bare.push(walked(map)?);
    }
    let row =
        Row::pair("map of 1,000,000 entries, ms: skep map dump | the batches alone", &ours, &bare);
    Ok(vec![row.goal("≤ 1.5 × peer", |row| row.ratio.is_some_and(|ratio| ratio <= 1.5))])
}

fn dumped(place: &Place, daemon: &Daemon<'_>, map: &MapHandle) -> Result<f64> {
    let path = place.work("dump");
    let (out, id) = (File::create(&path)?, map.info().id.to_string());
    let clock = Instant::now();
    let status =
        daemon.command(&["map", "dump", "--id", &id, "--output", "ndjson"]).stdout(out).status()?;
    let took = clock.elapsed().as_secs_f64() * 1e3;
    ensure!(status.success(), "skep map dump failed");
    let lines = read(path)?.iter().filter(|byte| **byte == b'\n').count();
    ensure!(lines == ENTRIES as usize, "{lines} entries");
    Ok(took)
}

fn walked(map: &MapHandle) -> Result<f64> {
    let (clock, mut count) = (Instant::now(), 0);
    map.walk(|batch| {
        count += batch.entries().len();
        true
    })?;
    ensure!(count == ENTRIES as usize, "{count} entries");
    Ok(clock.elapsed().as_secs_f64() * 1e3)
}
