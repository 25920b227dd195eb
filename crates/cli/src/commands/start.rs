//! `skep start` and `skep restart`.

use std::time::Instant;

use clap::Args;
use skep_api::Start as How;

use super::stop::said;
use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::Output;

/// Attach a stopped service again, with the state that it has
///
/// After a reboot it is loaded first, with empty maps. Where something cannot be attached, nothing of it is, and it stays stopped.
#[derive(Debug, Args)]
pub struct Start {
    /// The service
    service: String,
    #[command(flatten)]
    how: Flags,
    /// Start first what it needs and what is stopped
    #[arg(long)]
    with_needed: bool,
}

/// Detach a service and attach it again, with the state that it has
///
/// What happens in between it does not see. Services that need it run on.
#[derive(Debug, Args)]
pub struct Restart {
    /// The service
    service: String,
    #[command(flatten)]
    how: Flags,
}

#[derive(Clone, Copy, Debug, Args)]
struct Flags {
    /// Start what no key signed that trust.toml trusts now, with its risk; it stays marked as unsigned
    #[arg(long)]
    allow_unsigned: bool,
}

impl Start {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, it is not trusted any more, what it needs is stopped, the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let service = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let Flags { allow_unsigned } = self.how;
        let how = How { with_needed: self.with_needed, allow_unsigned };
        let touched = daemon::ask_about(&client, &service, client.start(&service, how))?;
        let took = clock.elapsed().as_millis();
        output.done(&touched, || {
            said(&touched, "Started", took, || format!("{service} runs already"))
        });
        Ok(())
    }
}

impl Restart {
    /// Runs it.
    ///
    /// # Errors
    /// As [`Start::run`]; what cannot be attached again stays stopped.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let service = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let how = How { with_needed: false, allow_unsigned: self.how.allow_unsigned };
        let touched = daemon::ask_about(&client, &service, client.restart(&service, how))?;
        let took = clock.elapsed().as_millis();
        output.done(&touched, || said(&touched, "Restarted", took, String::new));
        Ok(())
    }
}
