//! `skep rollback`.

use std::collections::BTreeSet;
use std::time::Instant;

use clap::Args;
use skep_spec::ServiceName;

use super::show;
use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::Output;

/// Return a service to the version before its last upgrade, as warm as the upgrade was
///
/// State moves back; what only the newer version knew is lost. Services that need each other go back together where an upgrade
/// of all of them led here.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The service
    service: String,
    /// Return to what no key signed that trust.toml trusts now, with its risk; it stays marked as unsigned
    #[arg(long)]
    allow_unsigned: bool,
    /// The same for a service that goes back with it; once for each
    #[arg(long, value_name = "SERVICE")]
    also_unsigned: Vec<String>,
}

impl Rollback {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, nothing to return to.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let service = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let also = self.also_unsigned.iter().map(|name| daemon::service(name));
        let mut unsigned: BTreeSet<ServiceName> = also.collect::<Result<_>>()?;
        unsigned.extend(self.allow_unsigned.then(|| service.clone()));
        let detail = daemon::ask_about(&client, &service, client.rollback(&service, &unsigned))?;
        let took = clock.elapsed().as_millis();
        output.done(&detail, || {
            let status = &detail.status;
            let head = format!(
                "Rolled {service} back to {} (generation {}) in {took} ms",
                status.version, status.generation
            );
            let with = detail.together.iter().map(show::member);
            let hooks = detail.hooks.iter().map(show::hook);
            let lines =
                std::iter::once(head).chain(with).chain(hooks).chain(show::no_room(&detail));
            lines.collect::<Vec<_>>().join("\n")
        });
        Ok(())
    }
}
