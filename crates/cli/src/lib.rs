//! The commands that people type: one file each under `commands`; what several share beside it: `subject` is what was
//! named, `place` and `fetch` get a package, beside a `target` statements are put, `named` reads a file, `services_file` the one that `apply` takes, `daemon` asks skepd, `options` are those that several commands take;
//! what is to be waited for is done in `waiting`.
//!
//! Reads the environment in [`config`] only, prints in [`output`] and [`error`] only.

mod cache;
mod channel;
pub mod commands;
pub mod config;
mod daemon;
pub mod error;
mod explain;
mod fetch;
mod kernel_types;
mod key_versions;
mod keys;
mod keys_and_channels;
mod locked;
mod moment;
mod named;
mod needed;
mod options;
pub mod output;
mod passing;
pub mod passphrase;
mod place;
mod progress;
mod rotation;
mod rules;
mod services_file;
mod subject;
mod target;
mod tried;
mod waiting;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::error::Error;

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    let skep = match commands::Skep::try_parse() {
        Ok(skep) => skep,
        Err(wrong) => return mistyped(&wrong),
    };
    let output = output::Output::new(&skep.global);
    let is_csv = output.format() == output::Format::Csv;
    let done = match is_csv && !skep.command.has_rows() {
        true => Err(Error::usage(
            "--output csv is for rows that come one by one: events, run and map dump",
        )),
        false => skep.command.run(&output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// A command line that is none, or that asks for help.
fn mistyped(wrong: &clap::Error) -> ExitCode {
    if !wrong.use_stderr() || !is_for_programs() {
        wrong.exit();
    }
    output::for_programs(true);
    let text = wrong.to_string();
    let text = text.trim_end();
    Error::usage(text.strip_prefix("error: ").unwrap_or(text)).report()
}

/// Whether a command line asks for JSON that clap does not understand.
fn is_for_programs() -> bool {
    let is_json = |format: &str| matches!(format, "json" | "ndjson");
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let joined = arguments.iter().filter_map(|one| one.to_str()?.strip_prefix("--output="));
    let apart = arguments.windows(2).filter(|pair| pair[0] == "--output");
    joined.chain(apart.filter_map(|pair| pair[1].to_str())).any(is_json)
}
