//! `skep commit`.

use std::time::Instant;

use clap::Args;

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::Output;

/// Give up the way back from the last upgrade: the version before it goes, with the memory that it holds
#[derive(Debug, Args)]
pub struct Commit {
    /// The service
    service: String,
}

impl Commit {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, it does not run, the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let service = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let committed = daemon::ask_about(&client, &service, client.commit(&service))?;
        let took = clock.elapsed().as_millis();
        output.done(&committed, || match &committed.previous {
            None => format!("{service} has nothing to give up: no version before is kept"),
            Some(previous) => format!(
                "Committed {service}: {} (generation {}) is gone, in {took} ms; there is no way back to it",
                previous.version, previous.generation
            ),
        });
        Ok(())
    }
}
