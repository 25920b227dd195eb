//! Runs test programs on stock kernels: `guests --kernels FILE --cache FOLDER --consoles FOLDER PROGRAM…`.
//!
//! A PROGRAM is `name=/path/of/a/static/binary[,folder to bring along]`; in the guest it is run as
//! `NAME [--objects /FOLDER] ARGUMENT…` and prints as Rust's test harness does. Each runs on each kernel with one and
//! with two processors, and once with `preempt=full` where the list says so, two guests at a time. The arguments are
//! the list's, or with `--all` are `all`, in as many guests as the list says (`--part K/N`), or are the words of `--ask`, with
//! two processors or as many as `--cpus` says. `--module NAME` loads one more. `--only SERIES` takes one kernel. Prints as the test harness, too, and hands on lines that begin with `row `.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people watch")]

mod judge;
mod list;
mod matrix;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use matrix::{Asked, Matrix, Program};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guests: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let (mut kernels, mut cache, mut consoles) = (None, None, None);
    let (mut only, mut whole, mut programs) = (Vec::new(), false, Vec::new());
    let (mut words_asked, mut cpus, mut modules) = (Vec::new(), 2, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut path = || words.next().map(PathBuf::from).context("a folder or file is missing");
        match word.as_str() {
            "--kernels" => kernels = Some(path()?),
            "--cache" => cache = Some(path()?),
            "--consoles" => consoles = Some(path()?),
            "--only" => only.extend(words.next()),
            "--all" => whole = true,
            "--cpus" => {
                cpus = words.next().and_then(|word| word.parse().ok()).context("--cpus NUMBER")?
            }
            "--module" => modules.extend(words.next()),
            "--ask" => words_asked.extend(words.next()),
            word if word.contains('=') => programs.push(Program::parse(word)?),
            word => bail!("no such option: {word}"),
        }
    }
    let list = list::read(&kernels.context("--kernels FILE is missing")?, &only)?;
    if words_asked.is_empty() {
        list.ensure_known(&programs)?;
    }
    let init = std::env::current_exe().context("find this program's own path")?;
    let matrix = Matrix {
        init: init.with_file_name("guest-init"),
        cache: cache.context("--cache FOLDER is missing")?,
        consoles: consoles.context("--consoles FOLDER is missing")?,
        programs,
        modules,
        asked: match (whole, words_asked.is_empty()) {
            (true, _) => Asked::All(list.parts),
            (false, true) => Asked::Named { all: list.arguments, once: list.once },
            (false, false) => Asked::Only(words_asked, cpus),
        },
    };
    matrix.run(&list.kernels)
}
