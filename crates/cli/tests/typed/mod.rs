//! `skep` as it is typed in a folder that is home, configuration and working folder at once.
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::Path;
use std::process::Command;

use crate::wait;

pub fn skep(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.current_dir(folder).env_clear().env("SKEP_CONFIG_DIR", folder).env("HOME", folder);
    command
}

/// Runs a command that must end with `status` and say `words`.
pub fn refused(command: &mut Command, status: i32, words: &str) {
    let output = wait::output(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.contains(words), "{text}");
}
