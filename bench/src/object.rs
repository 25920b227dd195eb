//! Object facts: how fast they are read, and how long `skep inspect` takes.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skep_object::Facts;

use crate::place::Place;
use crate::row::{Row, median};

#[path = "../../crates/object/tests/it/corpus.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "the objects that the tests of skep-object read")]
mod corpus;

/// Facts of Debian's objects, and `skep inspect` of a large one.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    Ok(vec![facts()?, inspect(place)?])
}

/// All objects of Debian's libbpf-tools and xdp-tools, again and again on one core.
fn facts() -> Result<Row> {
    let megabytes =
        corpus::CORPUS.iter().map(|object| object.bytes.len() as f64 / 1e6).sum::<f64>();
    let mut samples = Vec::new();
    let all = Instant::now();
    while all.elapsed() < Duration::from_secs(3) {
        let clock = Instant::now();
        for object in corpus::CORPUS.iter() {
            black_box(Facts::parse(&object.bytes).context(object.name.clone())?);
        }
        samples.push(megabytes / clock.elapsed().as_secs_f64());
    }
    let row = Row::figure("facts of Debian's BPF objects, MB/s of ELF", median(&samples));
    Ok(row.goal("≥ 200 MB/s", |row| row.ours.is_some_and(|speed| speed >= 200.0)))
}

/// Exec to exit, for an object of some 400 KB.
fn inspect(place: &Place) -> Result<Row> {
    let object = place.object("wide")?;
    let mut samples = Vec::new();
    for _ in 0..21 {
        let clock = Instant::now();
        let run = Command::new(place.ours("skep")).arg("inspect").arg(&object).output();
        let run = run.context("run skep inspect")?;
        samples.push(clock.elapsed().as_secs_f64() * 1e3);
        ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }
    let size = std::fs::metadata(&object)?.len() / 1000;
    let row = Row::figure(&format!("skep inspect of {size} KB, ms"), median(&samples));
    Ok(row.goal("≤ 15 ms", |row| row.ours.is_some_and(|took| took <= 15.0)))
}
