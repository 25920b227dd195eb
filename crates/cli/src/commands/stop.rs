//! `skep stop`.

use std::time::Instant;

use clap::Args;
use skep_api::{Stop as How, Touched};

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::Output;

/// Detach a service and keep its state; it stays stopped, over reboots too, until skep start
///
/// Its programs and maps stay in the kernel, and what its maps hold with them; a reboot empties maps, as it does those of services
/// that run. A service that another one that runs needs is not stopped.
#[derive(Debug, Args)]
pub struct Stop {
    /// The service
    service: String,
    /// Stop those that need it first
    #[arg(long)]
    with_users: bool,
    /// Stop it though others need it: they run on without it
    #[arg(long, conflicts_with = "with_users")]
    force: bool,
}

impl Stop {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, others need it, the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let service = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let how = How { force: self.force, with_users: self.with_users };
        let touched = daemon::ask_about(&client, &service, client.stop(&service, how))?;
        let took = clock.elapsed().as_millis();
        output.done(&touched, || {
            said(&touched, "Stopped", took, || format!("{service} is stopped already"))
        });
        Ok(())
    }
}

/// What was stopped or started, a line each.
pub fn said(touched: &Touched, did: &str, took: u128, none: impl FnOnce() -> String) -> String {
    let Some((last, before)) = touched.services.split_last() else { return none() };
    let lines = before.iter().map(|service| format!("{did} {service}"));
    let all = lines.chain([format!("{did} {last} in {took} ms")]);
    all.collect::<Vec<_>>().join("\n")
}
