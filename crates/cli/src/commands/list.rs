//! `skep list`.

use clap::Args;

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::{Output, table};

/// List the services of this machine
#[derive(Debug, Args)]
pub struct List {}

impl List {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let services = daemon::ask(daemon::client(config).services())?;
        output.answer(&services, || {
            if services.is_empty() {
                return "No services. skep install PACKAGE makes one.".to_owned();
            }
            let rows = services.iter().map(|status| {
                let signed = if status.unsigned { "NOT SIGNED" } else { "signed" };
                [
                    status.service.to_string(),
                    status.package.to_string(),
                    status.version.to_string(),
                    status.generation.to_string(),
                    status
                        .failed
                        .as_ref()
                        .map_or(status.state.clone(), |why| format!("failed: {why}")),
                    signed.to_owned(),
                ]
            });
            table(["SERVICE", "PACKAGE", "VERSION", "GENERATION", "STATE", "SIGNATURE"], rows)
        });
        Ok(())
    }
}
