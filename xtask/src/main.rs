//! What `make` and CI run, the same at home.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run")]

mod arrows;
mod attach_types;
mod corpus;
mod fuzz;
mod guests;
mod page;
mod proof;
mod sysroot;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "cargo xtask arrows | sysroot | test | proof | attach-types [--only SERIES | --from FILE...] | corpus [--only SERIES | --ask OBJECT | --from FILE...] | guests [--all] [--only SERIES] | fuzz [TARGET...]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["arrows"] => arrows::check(),
        ["sysroot"] => sysroot::make(),
        ["test"] => test::everything(),
        ["proof", rest @ ..] => proof::run(rest),
        ["attach-types", rest @ ..] => attach_types::run(rest),
        ["corpus", rest @ ..] => corpus::run(rest),
        ["guests", rest @ ..] => guests::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        _ => bail!("{HELP}"),
    }
}
