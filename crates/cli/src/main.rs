//! `skep`: the commands that people type.

use std::process::ExitCode;

fn main() -> ExitCode {
    skep_cli::run()
}
