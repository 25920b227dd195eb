//! What a service shows: an event, a map's content, or that a program of it ran.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::entry::See;
use crate::skepd::Skepd;

/// How long something may take to show, where instructions are emulated, by a machine that may have other work.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// As much of what was seen stands in a row.
const SHOWN: usize = 160;

/// Waits until it is seen; gives what it was.
pub fn seen(skepd: &Skepd, service: &str, see: &See) -> Result<String> {
    let shown = match see {
        See::Event(fields) => event(skepd, service, fields)?,
        See::Map(map) => until(|| {
            let dump = skepd.skep(&["map", "dump", service, map, "--output", "ndjson"])?;
            let counts =
                |line: &&str| serde_json::from_str(line).is_ok_and(|entry: Value| counts(&entry));
            Ok(dump.lines().find(counts).map(str::to_owned))
        })
        .with_context(|| format!("the map '{map}' holds nothing but zeroes"))?,
        See::Runs => until(|| ran(skepd, service)).context("no program of it ran")?,
    };
    Ok(shown.chars().take(SHOWN).collect())
}

/// A program of it that ran; the kernel counts no runs of those that another program calls, as a stub does, but that one's own, by
/// the beginning of its name.
fn ran(skepd: &Skepd, service: &str) -> Result<Option<String>> {
    let words = ["prog", "stats", "--all", "--duration", "1s", "--output", "json"];
    let rows: Vec<Value> = serde_json::from_str(&skepd.skep(&words)?).context("read the runs")?;
    let stub = format!("skep_{service}").replace('-', "_"); // as the kernel has names
    let stub: String = stub.chars().take(15).collect();
    let is_it = |row: &&Value| {
        let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default();
        let runs = row.get("runs").and_then(Value::as_u64).unwrap_or_default();
        runs > 0 && (text("service") == service || text("name").starts_with(&stub))
    };
    Ok(rows.iter().find(is_it).map(ToString::to_string))
}

fn until(mut look: impl FnMut() -> Result<Option<String>>) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "not within {} s", PATIENCE.as_secs());
        std::thread::sleep(PAUSE);
    }
}

/// Whether an entry of a map has a number in its value that is not 0.
fn counts(entry: &Value) -> bool {
    fn any(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
            Value::String(text) => text.parse::<f64>().is_ok_and(|number| number != 0.0),
            Value::Array(all) => all.iter().any(any),
            Value::Object(all) => all.values().any(any),
            Value::Null | Value::Bool(_) => false,
        }
    }
    // Maps per CPU have one for each.
    [entry.get("value"), entry.get("values")].into_iter().flatten().any(any)
}

/// Dropped, nobody follows any more.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn event(skepd: &Skepd, service: &str, fields: &BTreeMap<String, toml::Value>) -> Result<String> {
    let mut command = skepd.command(&["events", "-f", service, "--output", "ndjson"])?;
    let child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("run skep events")?;
    let mut following = Following(child);
    let stdout = following.0.stdout.take().context("no output of skep events")?;
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    let (deadline, mut others, mut last) = (Instant::now() + PATIENCE, 0, String::new());
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if fields.iter().all(|(name, wanted)| has(&line, name, wanted)) => {
                return Ok(line);
            }
            Ok(line) => (others, last) = (others + 1, line),
            Err(_) => bail!(
                "no such event within {} s, but {others} others, the last: {last}",
                PATIENCE.as_secs()
            ),
        }
    }
}

/// Whether a line has a field, at any depth, that is so; `text` is anywhere in it, also in bytes that nobody can decode.
fn has(line: &str, name: &str, wanted: &toml::Value) -> bool {
    let Ok(event) = serde_json::from_str::<Value>(line) else { return false };
    match (name, wanted) {
        ("text", toml::Value::String(text)) => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            line.contains(text.as_str()) || line.contains(&hex)
        }
        _ => find(&event, name).is_some_and(|value| is_so(value, wanted)),
    }
}

fn is_so(value: &Value, wanted: &toml::Value) -> bool {
    match wanted {
        toml::Value::String(text) => value.as_str() == Some(text),
        toml::Value::Integer(number) => value.as_i64() == Some(*number),
        toml::Value::Boolean(truth) => value.as_bool() == Some(*truth),
        _ => false,
    }
}

/// A field of an event, wherever in it.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.values().find_map(|inner| find(inner, name)))
}
