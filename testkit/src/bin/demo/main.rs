//! The whole way once, on this machine's kernel: hub, daemon, build, sign, push, install, watch, warm upgrade,
//! roll back, remove. Leaves nothing behind, stopped at any moment.

mod numbered;
mod play;
mod proof;
mod stage;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use stage::Stage;

/// How soon after a step's own end a signal tells why.
const NOTICE: Duration = Duration::from_millis(100);

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
    // Before there is anything that a signal could leave behind.
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return failed(&error.into()),
    };
    let mut stage = match Stage::set() {
        Ok(stage) => stage,
        Err(error) => return failed(&error),
    };
    let outcome = tokio::select! {
        biased;
        outcome = signals.stopped() => outcome,
        outcome = play::whole_way(&mut stage) => outcome,
    };
    // Ctrl-C goes to the step's own process too, which may be the first to end.
    let outcome = match outcome {
        Err(error) => tokio::time::timeout(NOTICE, signals.stopped()).await.unwrap_or(Err(error)),
        done => done,
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

/// What asks the demo to end: Ctrl-C, SIGTERM, a closed terminal. Caught from here on.
struct Signals([Signal; 3]);

impl Signals {
    fn catch() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn stopped(&mut self) -> anyhow::Result<()> {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        anyhow::bail!("stopped; everything that it started is taken down")
    }
}
