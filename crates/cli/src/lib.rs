//! The commands that people type: one file each under `commands`, errors converted in `error`, output in `output`.
//!
//! Reads the environment in [`config`] only, prints in [`output`] and [`error`] only.

pub mod commands;
pub mod config;
pub mod error;
pub mod output;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    let skep = commands::Skep::parse();
    let output = output::Output::new(&skep.global);
    match skep.command.run(&output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(&output),
    }
}
