//! `skep-hub`: serves the hub, and makes the tokens that publishers push with.

mod command;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match command::Command::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skep-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}
