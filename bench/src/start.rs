//! From exec to attached, for an object with CO-RE relocations.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::place::Place;
use crate::row::Row;

const PAIRS: usize = 15;
/// Pairs with a peer that compiles.
const FEW: usize = 5;
const BARE: &str = "a bare libbpf-rs loader";

/// `skep run` in turn with each peer.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let object = place.example("exec")?;
    let pin = format!("/sys/fs/bpf/skep-bench-{}", std::process::id());
    let ours = || attached(Command::new(place.ours("skep")).arg("run").arg(&object));
    let bare = || attached(Command::new(place.peer("bare-loader")).arg(&object).arg("events"));
    let bpftool = || {
        let took = ended(
            Command::new("bpftool")
                .args(["prog", "loadall"])
                .arg(&object)
                .args([&pin, "autoattach"]),
        );
        let _ = std::fs::remove_dir_all(&pin);
        took
    };
    let program = "tracepoint:sched:sched_process_exec { @[comm] = count(); } BEGIN { printf(\"attached\\n\"); }";
    let bpftrace = || attached(Command::new("bpftrace").args(["-B", "line", "-e", program]));
    let bcc = || attached(Command::new("/usr/bin/python3").args(["-c", BCC]));
    let goal = |row: &Row| row.ours.zip(row.peer).is_some_and(|(ours, peer)| ours <= peer + 10.0);
    let mut rows = vec![pair(BARE, ours, bare, PAIRS)?.goal("≤ peer + 10 ms", goal)];
    // A peer that does not run here costs its own row only.
    let mut beside = |peer: &str, row: Result<Row>| {
        rows.push(row.unwrap_or_else(|error| Row::failed(&format!("start beside {peer}"), &error)));
    };
    beside("bpftool", pair("bpftool autoattach (to its end)", ours, bpftool, PAIRS));
    beside("bpftrace", pair("bpftrace", ours, bpftrace, FEW));
    beside("BCC", pair("BCC", ours, bcc, FEW));
    Ok(rows)
}

const BCC: &str = r#"
from bcc import BPF
b = BPF(text="TRACEPOINT_PROBE(sched, sched_process_exec) { return 0; }")
print("attached", flush=True)
input()
"#;

fn pair(
    peer: &str,
    ours: impl Fn() -> Result<f64>,
    theirs: impl Fn() -> Result<f64>,
    pairs: usize,
) -> Result<Row> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    ours()?;
    theirs().with_context(|| peer.to_owned())?;
    for _ in 0..pairs {
        a.push(ours()?);
        b.push(theirs()?);
    }
    Ok(Row::pair(&format!("exec to attached, ms: skep run | {peer}"), &a, &b))
}

/// Milliseconds from exec until a line that says "attached" on either output.
fn attached(command: &mut Command) -> Result<f64> {
    let (read, write) = std::io::pipe()?;
    let clock = Instant::now();
    let mut child =
        command.stdin(Stdio::piped()).stdout(write.try_clone()?).stderr(write).spawn()?;
    command.stdout(Stdio::null()).stderr(Stdio::null()); // closes our copies of the pipe's end
    let mut said = String::new();
    let took = BufReader::new(read).lines().map_while(Result::ok).find_map(|line| {
        said.push_str(&line);
        line.to_lowercase().contains("attached").then(|| clock.elapsed())
    });
    drop(child.stdin.take());
    end(&mut child)?;
    match took {
        Some(took) => Ok(took.as_secs_f64() * 1e3),
        None => bail!("{:?} never attached: {said}", command.get_program()),
    }
}

fn ended(command: &mut Command) -> Result<f64> {
    let clock = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(clock.elapsed().as_secs_f64() * 1e3)
}

/// Asks the child to end, as Ctrl-C would, until it does: bpftrace sleeps over one that comes before it waits for events.
fn end(child: &mut std::process::Child) -> Result<()> {
    let id = child.id().to_string();
    while child.try_wait()?.is_none() {
        Command::new("kill").args(["-INT", &id]).status().context("run kill")?;
        std::thread::sleep(Duration::from_millis(200)); // nothing tells that it has slept over it
    }
    Ok(())
}
