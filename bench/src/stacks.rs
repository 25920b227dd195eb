//! Records with a stack, each frame by its name, to NDJSON.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::flood::flooded;
use crate::place::Place;
use crate::row::{Row, median};

const TIMES: usize = 5;
/// What `stacks.bpf.c` looks for in the argument.
const MARK: i32 = 0x736b_6573;
const SECONDS: f64 = 2.0;
const MANIFEST: &str = r#"spec = "1.0"

[package]
name = "bench/stacks"
version = "1.0.0"
license = "Apache-2.0"

[object.stacks]
file = { x86_64 = "stacks.o" }

[output.calls]
kind = "event"
map = "events"
struct = "event"
fields.kernel = { format = "kstack" }
"#;

/// `skep run` while one thread makes more stacks than anybody can name.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let object = place.object("stacks")?;
    let folder = object.with_file_name("stacks");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("skep.toml"), MANIFEST)?;
    std::fs::copy(&object, folder.join("stacks.o"))?;
    let mut rates = Vec::new();
    flooded(MARK, || {
        (0..TIMES).try_for_each(|_| {
            rates.push(skep(place, &folder)? / SECONDS / 1e3);
            anyhow::Ok(())
        })
    })?;
    let row =
        Row::figure("stacks by names to NDJSON, thousands a second: skep run", median(&rates));
    Ok(vec![row.goal("≥ 50", |row| row.ours.is_some_and(|rate| rate >= 50.0))])
}

/// Lines that came, every one of them with a named frame.
fn skep(place: &Place, folder: &std::path::Path) -> Result<f64> {
    let mut command = Command::new(place.ours("skep"));
    command.arg("run").arg(folder).args(["--duration", "2s", "--output", "ndjson", "--quiet"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("what skep run prints")?;
    let mut lines = 0.0;
    for line in BufReader::with_capacity(1 << 20, out).split(b'\n') {
        let line = line?;
        let is_named = line.windows(8).any(|at| at == b"\"symbol\"");
        anyhow::ensure!(is_named, "no names: {}", String::from_utf8_lossy(&line));
        lines += 1.0;
    }
    anyhow::ensure!(child.wait()?.success(), "skep run failed");
    Ok(lines)
}
