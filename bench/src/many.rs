//! Many packages at once, against `skopeo sync`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::place::Place;
use crate::registry::Registry;
use crate::row::Row;
use crate::travel::{named, run, skep};

const PACKAGES: usize = 50;
/// Bytes of an object, of which each package has one for each of two architectures.
const OBJECT: usize = 128 * 1024;
/// Commands that run at once.
const AT_ONCE: usize = 8;
const PAIRS: usize = 7;

/// All of them pulled into layouts of their own, with their signatures, which `skopeo sync` leaves behind.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let registry = Registry::start(place)?;
    let key = place.work("many");
    run(skep(place).args(["key", "new", "-o"]).arg(&key))?;
    at_once(|number| {
        let layout = place.work(&format!("many-{number}"));
        named(&layout, &format!("many-{number}"), OBJECT, 1)?;
        run(skep(place).arg("sign").arg("--key").arg(key.with_extension("key")).arg(&layout))?;
        run(skep(place).arg("push").arg(&layout).arg(reference(&registry, number)))
    })?;
    let list = list(place, &registry)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        ours.push(pulled(place, &registry)?);
        peer.push(synced(place, &list)?);
    }
    let name = format!("pull {PACKAGES} packages at once, s (skopeo sync)");
    let row = Row::pair(&name, &ours, &peer);
    Ok(vec![row.goal("≤ 1.2 x", |row| row.ratio.is_some_and(|ratio| ratio <= 1.2))])
}

fn reference(registry: &Registry, number: usize) -> String {
    format!("{}/bench/many-{number}:1.0.0", registry.host)
}

/// What skopeo is to bring.
fn list(place: &Place, registry: &Registry) -> Result<PathBuf> {
    let mut text = format!("{}:\n  tls-verify: false\n  images:\n", registry.host);
    for number in 0..PACKAGES {
        writeln!(text, "    bench/many-{number}: [\"1.0.0\"]")?;
    }
    let file = place.work("many.yml");
    std::fs::write(&file, text)?;
    Ok(file)
}

fn pulled(place: &Place, registry: &Registry) -> Result<f64> {
    let out = place.work("many-pulled");
    let clock = Instant::now();
    at_once(|number| {
        let layout = out.join(number.to_string());
        run(skep(place).arg("pull").arg(reference(registry, number)).arg("-o").arg(layout))
    })?;
    let took = clock.elapsed().as_secs_f64();
    std::fs::remove_dir_all(out)?;
    Ok(took)
}

/// It brings one after the other, and does not wait for the disk.
fn synced(place: &Place, list: &PathBuf) -> Result<f64> {
    let out = place.work("many-synced");
    std::fs::create_dir_all(&out)?;
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "sync", "--all", "--src", "yaml", "--dest", "dir"]);
    let clock = Instant::now();
    run(skopeo.arg(list).arg(&out))?;
    let took = clock.elapsed().as_secs_f64();
    std::fs::remove_dir_all(out)?;
    Ok(took)
}

/// Does the same with every package, several at once.
fn at_once(work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = Mutex::new(0..PACKAGES);
    let worker = || -> Result<()> {
        loop {
            let number = next.lock().ok().and_then(|mut numbers| numbers.next());
            let Some(number) = number else { return Ok(()) };
            work(number).with_context(|| format!("package {number}"))?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        })
    })
}
