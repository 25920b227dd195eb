//! A package on its way: pulled and verified into a cold layout against `oras cp`, and through a bundle.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use skep_oci::pack::{Input, Labels};
use skep_oci::{Store, pack};
use skep_spec::{Arch, Digest, Manifest};

use crate::place::Place;
use crate::registry::Registry;
use crate::row::{Row, median};

/// Pairs of a measure.
const PAIRS: usize = 11;
const MIB: usize = 1 << 20;

/// Pack and sign; pull and verify against `oras cp -r`; bundle and unbundle.
pub fn measure(place: &Place) -> Result<Vec<Row>> {
    let registry = Registry::start(place)?;
    let mut rows = vec![packed(place)?];
    for (name, object, count) in [("1 MiB", MIB, 1), ("8 x 4 MiB", 4 * MIB, 8)] {
        let layout = place.work(&format!("layout of {name}"));
        package(&layout, object, count)?;
        let reference = format!("{}/bench/package-{count}:1.0.0", registry.host);
        sign_and_push(place, &layout, &reference, count)?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            ours.push(pulled(place, &reference)?);
            peer.push(copied(place, &reference)?);
        }
        let row = Row::pair(
            &format!("pull and verify a package of {name}, s (oras cp -r)"),
            &ours,
            &peer,
        );
        rows.push(row.goal("≤ 1.2 x", |row| row.ratio.is_some_and(|ratio| ratio <= 1.2)));
    }
    rows.extend(bundled(place)?);
    Ok(rows)
}

/// What `skep.toml` says of an object of 1 MB that is built already.
const MEGABYTE: &str = r#"spec = "1.0"
[package]
name = "bench/megabyte"
version = "1.0.0"
license = "MIT"
[object.megabyte]
file = { x86_64 = "megabyte.o" }
[permissions]
hooks = ["tracepoint"]
map-memory = "2MiB"
"#;

/// Exec to exit of `skep pack` and `skep sign` together, into a layout that is not there yet.
fn packed(place: &Place) -> Result<Row> {
    let (project, key) = (place.work("megabyte"), place.work("megabyte-key"));
    std::fs::create_dir(&project)?;
    std::fs::write(project.join("skep.toml"), MEGABYTE)?;
    std::fs::copy(place.object("megabyte")?, project.join("megabyte.o"))?;
    run(skep(place).args(["key", "new", "-o"]).arg(&key))?;
    let layout = project.join("layout");
    let mut samples = Vec::new();
    for _ in 0..21 {
        let clock = Instant::now();
        run(skep(place).arg("pack").arg(&project).arg("-o").arg(&layout))?;
        run(skep(place).arg("sign").arg("--key").arg(key.with_extension("key")).arg(&layout))?;
        samples.push(clock.elapsed().as_secs_f64() * 1e3);
        std::fs::remove_dir_all(&layout)?;
    }
    let row = Row::figure("pack and sign a package of an object of 1 MB, ms", median(&samples));
    Ok(row.goal("≤ 30 ms", |row| row.ours.is_some_and(|took| took <= 30.0)))
}

/// A package for two architectures with `count` objects for each.
fn package(layout: &Path, object: usize, count: usize) -> Result<()> {
    named(layout, &format!("package-{count}"), object, count)
}

/// The same of another name, by which its bytes differ, too.
pub(crate) fn named(layout: &Path, name: &str, object: usize, count: usize) -> Result<()> {
    let mut objects = BTreeMap::new();
    let mut digests = serde_json::Map::new();
    for number in 0..count {
        let mut arches = BTreeMap::new();
        let mut named = serde_json::Map::new();
        for (arch, fill) in [(Arch::X86_64, 1_u8), (Arch::Aarch64, 101)] {
            let fill = fill + u8::try_from(number)?;
            let mut bytes: Vec<u8> = (0..object).map(|at| (at as u8).wrapping_mul(fill)).collect();
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            named.insert(arch.to_string(), Digest::of(&bytes).hex().into());
            arches.insert(arch, bytes);
        }
        digests.insert(format!("object{number}"), json!({ "sha256": named }));
        objects.insert(format!("object{number}"), arches);
    }
    let manifest = json!({
        "spec": "1.0",
        "package": {"name": format!("bench/{name}"), "version": "1.0.0", "license": "MIT"},
        "objects": digests,
    });
    let manifest = Manifest::parse(manifest.to_string().as_bytes())?;
    let labels = Labels::default();
    let input = Input { manifest: &manifest, objects: &objects, readme: None, labels: &labels };
    pack(&Store::create(layout)?, &input)?;
    Ok(())
}

fn sign_and_push(place: &Place, layout: &Path, reference: &str, count: usize) -> Result<()> {
    let key = key(place, count);
    run(skep(place).args(["key", "new", "-o"]).arg(&key))?;
    let (secret, public) = (key.with_extension("key"), place.work("public.pub"));
    run(skep(place).args(["sign", "--key"]).arg(secret).arg(layout))?;
    std::fs::copy(key.with_extension("pub"), public)?;
    run(skep(place).arg("push").arg(layout).arg(reference))
}

fn key(place: &Place, count: usize) -> PathBuf {
    place.work(&format!("key{count}"))
}

/// Exec to exit of `skep pull --verify`, into a layout that is not there yet.
fn pulled(place: &Place, reference: &str) -> Result<f64> {
    let out = place.work("pulled");
    let clock = Instant::now();
    let key = place.work("public.pub");
    run(skep(place).args(["pull", "--verify", reference, "-o"]).arg(&out).arg("--key").arg(key))?;
    let took = clock.elapsed().as_secs_f64();
    std::fs::remove_dir_all(out)?;
    Ok(took)
}

/// The same of `oras cp -r`, which verifies no signature and does not wait for the disk.
fn copied(place: &Place, reference: &str) -> Result<f64> {
    let out = place.work("copied");
    let mut oras = Command::new("oras");
    oras.args(["cp", "-r", "--from-plain-http", reference, "--to-oci-layout"]);
    let clock = Instant::now();
    run(oras.arg(format!("{}:1.0.0", out.display())))?;
    let took = clock.elapsed().as_secs_f64();
    std::fs::remove_dir_all(out)?;
    Ok(took)
}

/// MB/s into a file and out of it.
fn bundled(place: &Place) -> Result<Vec<Row>> {
    let (layout, file, out) = (place.work("large"), place.work("large.skep"), place.work("out"));
    package(&layout, 16 * MIB, 7)?;
    let (mut into, mut from) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let clock = Instant::now();
        run(skep(place).arg("bundle").arg(&layout).arg("-o").arg(&file))?;
        let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
        into.push(megabytes / clock.elapsed().as_secs_f64());
        let clock = Instant::now();
        run(skep(place).arg("unbundle").arg(&file).arg("-o").arg(&out))?;
        from.push(megabytes / clock.elapsed().as_secs_f64());
        std::fs::remove_dir_all(&out)?;
    }
    let row = |name: &str, samples: &[f64]| {
        let row = Row::figure(name, median(samples));
        row.goal("≥ 300", |row| row.ours.is_some_and(|speed| speed >= 300.0))
    };
    Ok(vec![row("bundle, MB/s", &into), row("unbundle, MB/s", &from)])
}

pub(crate) fn skep(place: &Place) -> Command {
    let mut command = Command::new(place.ours("skep"));
    command.env("HOME", place.work("home"));
    command
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
