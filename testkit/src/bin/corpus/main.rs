//! Objects that nobody here wrote, as services of `skepd`: each is installed, attached, and must show something under a workload
//! made for it.
//!
//! `corpus --build FOLDER` makes the packages there, twice: what `skep import` makes alone, and by the manifests of `tests/corpus`.
//! `corpus --objects FOLDER [import|manifest] all` (or some names) runs them; `skep` and `skepd` lie beside this program. Each pair of
//! an object and this kernel prints a row: `row corpus KIND NAME | KERNEL | ok|failed|absent | WHAT`; a last one says that it came
//! to its end, and how many there were: `row corpus-end KERNEL NUMBER`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people watch")]

mod entry;
mod packages;
mod proof;
mod see;
#[allow(dead_code, reason = "what the whole life of a node needs besides")]
#[path = "../node/skepd.rs"]
mod skepd;
mod trial;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use entry::{Entries, Kind};
use trial::{Trial, Verdict};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("corpus: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let (mut objects, mut asked) = (None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().context("a word is missing");
        match word.as_str() {
            "--build" => return packages::build(Path::new(&next()?)).map(|()| true),
            "--work" => return work::forever(&next()?).map(|()| true),
            "--objects" => objects = Some(PathBuf::from(next()?)),
            _ => asked.push(word),
        }
    }
    all(&objects.context("--objects FOLDER is missing")?, &Asked::read(asked))
}

/// What is asked for.
struct Asked {
    kinds: Vec<Kind>,
    names: Vec<String>,
}

impl Asked {
    fn read(mut words: Vec<String>) -> Self {
        let mut take = |word: &str| {
            let there = words.iter().position(|own| own == word);
            there.map(|at| words.remove(at)).is_some()
        };
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| take(kind.word())).collect();
        Self { kinds: if kinds.is_empty() { Kind::ALL.into() } else { kinds }, names: words }
    }
}

fn all(folder: &Path, asked: &Asked) -> Result<bool> {
    let entries = entry::read(folder)?;
    let everything = asked.names.iter().any(|name| name == "all");
    let unknown = |name: &&String| !everything && !entries.contains_key(*name);
    if let Some(name) = asked.names.iter().find(unknown) {
        bail!("there is no object '{name}' in the corpus");
    }
    ensure!(!asked.names.is_empty(), "name some objects, or all");
    let chosen = entries.keys().filter(|name| everything || asked.names.contains(name));
    play(folder, &entries, &chosen.collect::<Vec<_>>(), asked)
}

fn play(folder: &Path, entries: &Entries, names: &[&String], asked: &Asked) -> Result<bool> {
    let release = "/proc/sys/kernel/osrelease";
    let release = std::fs::read_to_string(release).with_context(|| format!("read {release}"))?;
    let series = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let skepd = skepd::Skepd::start(&folder.join("trust.toml"))?;
    let (mut passed, mut failed, mut absent) = (0, 0, 0);
    let trial = Trial { skepd: &skepd, folder, entries };
    for name in names {
        let mut first = None;
        for kind in &asked.kinds {
            // Many a manifest says no more than what skep import finds out.
            let verdict = match first.take().filter(|_| packages::are_one(folder, name)) {
                Some(same) => same,
                None => trial.of(name, *kind),
            };
            println!("row corpus {} {name} | {series} | {}", kind.word(), verdict.row());
            *match &verdict {
                Verdict::Seen(_) => &mut passed,
                Verdict::Failed(_) => &mut failed,
                Verdict::Absent(_) => &mut absent,
            } += 1;
            first = Some(verdict);
        }
    }
    println!("row corpus-end {series} {}", passed + failed + absent);
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; {absent} ignored");
    Ok(failed == 0)
}
