//! Install, events, upgrade, `kill -9`, rollback, remove; under events that never stop.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use serde_json::Value;
use skep_kernel::MapHandle;

use crate::generator::Generator;
use crate::packages::Set;
use crate::skepd::Skepd;
use crate::stage::Stage;
use crate::tally::{Seen, sum};

/// Events between two steps.
const SOME: u64 = 300;
/// Between two events.
const PAUSE: Duration = Duration::from_micros(100);

/// Plays it for one kind of hook; gives a row of what was counted.
pub fn whole(packages: &Path, set: &Set) -> Result<String> {
    let stage = Stage::set(set)?;
    let mut skepd = Skepd::start(&packages.join("trust.toml"))?;
    let service = set.name.replace('_', "-");
    install(&skepd, packages, set, &stage)?;
    let first = map(&skepd, &service, "seen@1")?;
    let generator = Generator::start(set.events, 1, PAUSE);
    generator.wait(SOME);

    let second = set.layout(packages, 2);
    skepd.skep(&["upgrade", &service, path(&second)?])?;
    let second = map(&skepd, &service, "seen@2")?;
    let seen = Seen::new(&[&first, &second]).map_err(Error::msg)?;
    generator.wait(SOME);
    let watched = watch(&skepd, &service)?;

    skepd.kill()?;
    generator.wait(SOME);
    skepd.start_again()?;
    generator.wait(SOME);

    skepd.skep(&["rollback", &service])?;
    generator.wait(SOME);
    let end = generator.stop();

    let detail = show(&skepd, &service)?;
    let tally = seen.once(end, missed(&detail)).map_err(Error::msg)?;
    let seen_once = tally.numbers.len() as u64;
    let counter = sum(&map(&skepd, &service, "counts@1")?).map_err(Error::msg)?;
    ensure!(counter == seen_once, "the counter is {counter} after {seen_once} events");
    let shown = counted(&detail)?;
    ensure!(shown == seen_once, "skep show counts {shown} of {seen_once} events");

    skepd.skep(&["remove", &service])?;
    ensure!(skepd.pins().is_empty(), "pins are left: {:?}", skepd.pins());
    let &[first, second] = tally.by_version.as_slice() else { bail!("two versions were counted") };
    ensure!(first > 0 && second > 0, "version 1 saw {first}, version 2 {second}");
    Ok(format!(
        "{} events, 0 lost, 0 doubled, counter exact; {second} by version 2, {watched} watched",
        end - 1
    ))
}

fn map(skepd: &Skepd, service: &str, name: &str) -> Result<MapHandle> {
    let pin = skepd.map(service, name);
    MapHandle::open_pinned(&pin).with_context(|| format!("open {}", pin.display()))
}

fn install(skepd: &Skepd, packages: &Path, set: &Set, stage: &Stage) -> Result<()> {
    let layout = set.layout(packages, 1);
    let pid = format!("pid={}", std::process::id());
    let place = stage.place.as_ref().map(|place| format!("place={place}"));
    let mut words = vec!["install", path(&layout)?, "--set", &pid];
    if let Some(place) = &place {
        words.extend(["--set", place]);
    }
    skepd.skep(&words).map(drop)
}

/// Ten events as they come, decoded; each holds a number and which version saw it.
fn watch(skepd: &Skepd, service: &str) -> Result<usize> {
    let text = skepd.skep(&["events", "-f", service, "--events", "10", "--output", "ndjson"])?;
    let mut numbers = 0;
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| format!("read {line}"))?;
        let field = |name: &str| find(&event, name).and_then(Value::as_u64);
        let version = field("version").with_context(|| format!("no version in {line}"))?;
        ensure!(field("number").is_some() && (1..=2).contains(&version), "a strange event: {line}");
        numbers += 1;
    }
    ensure!(numbers == 10, "{numbers} events instead of 10");
    Ok(numbers)
}

/// What `skep show` says.
fn show(skepd: &Skepd, service: &str) -> Result<Value> {
    Ok(serde_json::from_str(&skepd.skep(&["show", service, "--output", "json"])?)?)
}

/// The counter, all its rows together.
fn counted(detail: &Value) -> Result<u64> {
    let rows = detail.pointer("/counters/counts").and_then(Value::as_array);
    let rows = rows.with_context(|| format!("no counter in {detail}"))?;
    Ok(rows.iter().filter_map(|row| row.pointer("/value/events")?.as_u64()).sum())
}

/// Events that the kernel kept from the stubs.
fn missed(detail: &Value) -> u64 {
    let hooks = detail["hooks"].as_array().into_iter().flatten();
    hooks.filter_map(|hook| hook["missed"].as_u64()).sum()
}

/// A field of an event, wherever in it.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.values().find_map(|inner| find(inner, name)))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
