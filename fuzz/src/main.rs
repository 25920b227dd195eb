//! `fuzz seeds FOLDER` writes the seeds of each target, `fuzz replay FOLDER TARGET` runs what fuzzing has gathered there
//! at the speed of a release: an input may take a second.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fuzz::TARGETS;
use fuzz::seeds::{Seed, of_object, of_vectors};

/// Most of the processor that an input may take.
const MOST: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["targets"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["seeds", folder] => write_seeds(Path::new(folder)),
        ["replay", folder, target] => replay(Path::new(folder), target),
        _ => Err(anyhow::anyhow!("fuzz targets | seeds FOLDER | replay FOLDER TARGET")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write_seeds(folder: &Path) -> Result<()> {
    let mut seeds = of_vectors()?;
    for object in compiled()? {
        seeds.extend(of_object(&object));
    }
    for (number, Seed { target, data }) in seeds.iter().enumerate() {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        std::fs::write(folder.join(format!("seed-{number}")), data)?;
    }
    Ok(())
}

/// The objects that the tests of skep-object compile.
fn compiled() -> Result<Vec<Vec<u8>>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/object/tests/c"));
    let mut objects = Vec::new();
    for path in files(folder)?.iter().filter(|path| path.extension().is_some_and(|e| e == "c")) {
        let clang = Command::new("clang")
            .args(["-target", "bpf", "-O2", "-g", "-mcpu=v3", "-w", "-c", "-o", "-"])
            .arg(concat!("-I", env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/files/objects"))
            .arg(path)
            .output()
            .context("run clang")?;
        if !clang.status.success() {
            bail!("{}: {}", path.display(), String::from_utf8_lossy(&clang.stderr));
        }
        objects.push(clang.stdout);
    }
    Ok(objects)
}

fn replay(folder: &Path, name: &str) -> Result<()> {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.with_context(|| format!("there is no target '{name}'"))?;
    let (mut count, mut slowest) = (0, (Duration::ZERO, PathBuf::new()));
    for path in files(&folder.join(name))? {
        let data = std::fs::read(&path)?;
        let before = processor();
        (target.run)(&data);
        slowest = slowest.max((processor().saturating_sub(before), path));
        count += 1;
    }
    let (took, path) = slowest;
    println!("{count} inputs, the slowest {:.1} ms", took.as_secs_f64() * 1e3);
    ensure!(took <= MOST, "{} takes {took:?}, more than {MOST:?}", path.display());
    Ok(())
}

/// What this thread had of the processor: others may want it too.
fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = list.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}
