//! Ours against a peer, each pair interleaved in one run: a table for people and `target/bench.json`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run")]

mod conformance;
mod daemon;
mod dump;
mod flood;
mod hundred;
mod idle;
mod many;
mod object;
mod place;
mod registry;
mod ring;
mod row;
mod size;
mod stacks;
mod start;
mod stub;
mod travel;

use std::process::ExitCode;

use anyhow::Result;
use dlmalloc::GlobalDlmalloc;

use place::Place;
use row::Row;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The allocator of `skep`, whose code is measured here.
#[global_allocator]
static MEMORY: GlobalDlmalloc = GlobalDlmalloc;

/// Whether every goal was met.
fn run() -> Result<bool> {
    let place = Place::find()?;
    let mut rows = Vec::new();
    type Measure = fn(&Place) -> Result<Vec<Row>>;
    let measures: [(&str, Measure); 12] = [
        ("size", size::measure),
        ("start", start::measure),
        ("ring", ring::measure),
        ("stacks", stacks::measure),
        ("stub", stub::measure),
        ("idle", idle::measure),
        ("hundred", hundred::measure),
        ("conformance", conformance::measure),
        ("object", object::measure),
        ("travel", travel::measure),
        ("many", many::measure),
        ("dump", dump::measure),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    for (name, measure) in measures.into_iter().filter(|(name, _)| is_wanted(name)) {
        eprintln!("measuring {name}");
        match measure(&place) {
            Ok(more) => rows.extend(more),
            Err(error) => rows.push(Row::failed(name, &error)),
        }
    }
    row::show(&rows);
    row::write(&rows, &place.results())?;
    Ok(rows.iter().all(|row| row.met != Some(false)))
}
