//! Records of a full ring, to a count.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::place::Place;
use crate::row::Row;

const PAIRS: usize = 5;
/// What `flood.bpf.c` looks for in the argument.
const MARK: i32 = 0x736b_6570;
const SECONDS: &str = "2";

/// `skep run --count` in turn with a bare C consumer, while one thread fills the ring.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let object = place.object("flood")?;
    let (mut ours, mut bare, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&stop));
        let outcome = (0..PAIRS).try_for_each(|_| {
            let (count, dropped) = skep(place, &object)?;
            ours.push(count / 1e6);
            lost.push(dropped / 1e6);
            bare.push(peer(place, &object)? / 1e6);
            anyhow::Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        outcome
    })?;
    let row = Row::pair(
        &format!("ring records to a count in {SECONDS} s, millions: skep run | bare C"),
        &ours,
        &bare,
    );
    Ok(vec![
        row.goal("≥ 0.9 × peer", |row| row.ratio.is_some_and(|ratio| ratio >= 0.9)),
        Row::figure(
            "records that found that ring full, millions, counted and shown",
            crate::row::median(&lost),
        ),
    ])
}

/// Makes the system call that the object floods the ring for, with its mark.
fn flood(stop: &AtomicBool) {
    let mark = rustix::process::Pid::from_raw(MARK);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..1000 {
            // No such process: the call is what counts.
            let _ = rustix::process::getpgid(mark);
        }
    }
}

fn skep(place: &Place, object: &std::path::Path) -> Result<(f64, f64)> {
    let mut command = Command::new(place.ours("skep"));
    command.arg("run").arg(object).args([
        "--count",
        "--duration",
        &format!("{SECONDS}s"),
        "--output",
        "ndjson",
    ]);
    let output = command.stdin(Stdio::null()).output().context("run skep run --count")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text
        .lines()
        .last()
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let totals: serde_json::Value = serde_json::from_str(last).with_context(|| last.to_owned())?;
    let field = |name| {
        totals
            .get(name)
            .and_then(serde_json::Value::as_f64)
            .with_context(|| format!("{name} in {last}"))
    };
    Ok((field("events")?, field("lost")?))
}

fn peer(place: &Place, object: &std::path::Path) -> Result<f64> {
    let mut command = Command::new(place.peer("bare-ring"));
    let output =
        command.arg(object).args(["records", SECONDS]).output().context("run bare-ring")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .last()
        .and_then(|line| line.parse().ok())
        .with_context(|| format!("bare-ring said: {text}"))
}
