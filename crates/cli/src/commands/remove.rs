//! `skep remove`.

use std::collections::BTreeSet;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use skep_api::Removed;
use skep_spec::ServiceName;

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::Output;

/// Detach a service and forget it, its state included
///
/// A service that another one needs is not removed. What only this one needed stays, and is named.
#[derive(Debug, Args)]
pub struct Remove {
    /// The service
    service: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    removed: &'a ServiceName,
    unused: &'a BTreeSet<ServiceName>,
}

impl Remove {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let service = daemon::service(&self.service)?;
        let client = daemon::client(config);
        let Removed { unused } = daemon::ask_about(&client, &service, client.remove(&service))?;
        let took = clock.elapsed().as_millis();
        output.done(&Answer { removed: &service, unused: &unused }, || {
            let left = |name| {
                format!("\n{name} is left, and nothing needs it any more: skep remove {name}")
            };
            let left: String = unused.iter().map(left).collect();
            format!("Removed {service} in {took} ms{left}")
        });
        Ok(())
    }
}
