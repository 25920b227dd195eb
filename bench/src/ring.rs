//! Records of a full ring, to a count.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::flood::flooded;
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
    flooded(MARK, || {
        (0..PAIRS).try_for_each(|_| {
            let (count, dropped) = skep(place, &object)?;
            ours.push(count / 1e6);
            lost.push(dropped / 1e6);
            bare.push(peer(place, &object)? / 1e6);
            anyhow::Ok(())
        })
    })?;
    let row = Row::pair(
        &format!("ring records to a count in {SECONDS} s, millions: skep run | bare C"),
        &ours,
        &bare,
    );
    let mut rows = vec![
        row.goal("≥ 0.9 × peer", |row| row.ratio.is_some_and(|ratio| ratio >= 0.9)),
        Row::figure(
            "records that found that ring full, millions, counted and shown",
            crate::row::median(&lost),
        ),
    ];
    rows.extend(shown(place, &object)?);
    Ok(rows)
}

/// Every record as a line, into a file: as JSON beside the bare C consumer, which only counts, and as a table.
fn shown(place: &Place, object: &std::path::Path) -> Result<Vec<Row>> {
    let (mut json, mut table, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let seconds: f64 = SECONDS.parse()?;
    flooded(MARK, || {
        (0..PAIRS).try_for_each(|_| {
            json.push(lines(place, object, "ndjson")? / 1e6 / seconds);
            table.push(lines(place, object, "table")? / 1e6 / seconds);
            bare.push(peer(place, object)? / 1e6 / seconds);
            anyhow::Ok(())
        })
    })?;
    let name = "ring records to NDJSON in a second, millions: skep run | bare C, counted";
    let least = |least: f64| move |row: &Row| row.ours.is_some_and(|speed| speed >= least);
    let half = |row: &Row| row.ratio.is_some_and(|ratio| ratio >= 0.5);
    let json = Row::pair(name, &json, &bare);
    let table =
        Row::figure("ring records to a table in a second, millions", crate::row::median(&table));
    Ok(vec![
        json.goal("≥ 1.5, ≥ 0.5 × peer", |row| least(1.5)(row) && half(row)),
        table.goal("≥ 0.3", least(0.3)),
    ])
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

/// How many lines of records came.
fn lines(place: &Place, object: &std::path::Path, output: &str) -> Result<f64> {
    let path = place.work("records");
    let status = Command::new(place.ours("skep"))
        .arg("run")
        .arg(object)
        .args(["--duration", &format!("{SECONDS}s"), "--output", output])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&path)?)
        .stderr(Stdio::null())
        .status()
        .context("run skep run")?;
    anyhow::ensure!(status.success(), "skep run failed");
    let mut file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(&path)?);
    let mut count = 0;
    loop {
        let part = std::io::BufRead::fill_buf(&mut file)?;
        if part.is_empty() {
            return Ok(count as f64);
        }
        count += part.iter().filter(|byte| **byte == b'\n').count();
        let read = part.len();
        std::io::BufRead::consume(&mut file, read);
    }
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
