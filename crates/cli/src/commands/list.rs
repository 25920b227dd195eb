//! `skep list`.

use clap::Args;
use skep_api::Status;

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
                    state(status).to_owned(),
                    signed.to_owned(),
                ]
            });
            let table =
                table(["SERVICE", "PACKAGE", "VERSION", "GENERATION", "STATE", "SIGNATURE"], rows);
            std::iter::once(table)
                .chain(services.iter().flat_map(wrong))
                .collect::<Vec<_>>()
                .join("\n")
        });
        Ok(())
    }
}

/// What a service is doing, in a word or two.
pub fn state(status: &Status) -> &str {
    if status.half_done.is_some() { "half done" } else { &status.state }
}

/// What is wrong with a service, and what to do.
pub fn wrong(status: &Status) -> Vec<String> {
    let name = &status.service;
    let failed = status.failed.as_ref().map(|why| format!("{name} does not run: {why}"));
    let half_done = status.half_done.as_ref();
    let half_done = half_done.map(|why| format!("{name} runs ({}), but {why}", status.state));
    let mut lines: Vec<String> = failed.into_iter().chain(half_done).collect();
    if !lines.is_empty() {
        let next = "each start of skepd tries again";
        lines.push(format!("  {next}; skep remove {name} gives it up"));
    }
    lines
}
