//! The whole way once, on this machine's kernel: hub, daemon, build, sign, push, install, watch, warm upgrade,
//! roll back, remove. Leaves nothing behind, stopped at any moment.

mod numbered;
mod play;
mod proof;
mod stage;

use std::io::Write as _;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use stage::Stage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Some(argument) = std::env::args_os().nth(1) {
        let _ = writeln!(
            std::io::stderr(),
            "demo: it takes no arguments, such as {}; run alone it plays the whole way and leaves nothing behind",
            argument.display()
        );
        return ExitCode::from(2);
    }
    let mut stage = match Stage::set() {
        Ok(stage) => stage,
        Err(error) => return failed(&error),
    };
    let outcome = tokio::select! {
        outcome = play::whole_way(&mut stage) => outcome,
        outcome = stopped() => outcome,
    };
    let cleared = stage.clear().await;
    match outcome.and(cleared) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "demo: {error:#}");
    ExitCode::FAILURE
}

/// Ends at Ctrl-C, SIGTERM or a closed terminal.
async fn stopped() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
        _ = hangup.recv() => {}
    }
    anyhow::bail!("stopped; everything that it started is taken down")
}
