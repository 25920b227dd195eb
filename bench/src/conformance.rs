//! How long our implementation takes for all vectors of the standard.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::place::Place;
use crate::row::{Row, median};

/// Exec to exit of `skep conformance`.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors");
    let mut samples = Vec::new();
    for _ in 0..5 {
        let clock = Instant::now();
        let run = Command::new(place.ours("skep"))
            .args(["conformance", "--vectors", vectors])
            .output()
            .context("run skep conformance")?;
        ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        samples.push(clock.elapsed().as_secs_f64());
    }
    let row = Row::figure("all vectors of the standard, s", median(&samples));
    Ok(vec![row.goal("≤ 5 s", |row| row.ours.is_some_and(|seconds| seconds <= 5.0))])
}
