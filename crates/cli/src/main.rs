//! `skep`: the commands that people type.

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static MEMORY: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    skep_cli::run()
}
