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
    let partial = status.state == "partial";
    let lead = if partial { "runs, but not as a whole" } else { "does not run" };
    let failed = status.failed.as_ref().map(|why| format!("{name} {lead}: {why}"));
    let half_done = status.half_done.as_ref();
    let half_done = half_done.map(|why| format!("{name} runs ({}), but {why}", status.state));
    let mut lines: Vec<String> = failed.into_iter().chain(half_done).collect();
    if !lines.is_empty() {
        let next = match partial {
            true => "restart skepd once the cause is gone: each start tries again",
            false => "each start of skepd tries again",
        };
        lines.push(format!("  {next}; skep remove {name} gives it up"));
    }
    let lost = status.previous_lost.as_ref();
    lines.extend(lost.map(|lost| format!("{name} has nothing to roll back to: {lost}")));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let status = |more: serde_json::Value| -> Status {
            let digest = format!("sha256:{:064}", 0);
            let mut whole = json!({
                "service": "exec", "package": "acme/exec", "version": "1.0.0", "index": digest,
                "generation": 2, "state": "running",
            });
            whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(whole).unwrap()
        };
        assert_eq!(wrong(&status(json!({}))), Vec::<String>::new());
        let lost = wrong(&status(json!({"previous_lost": "generation 1 (0.9.0) is gone"})));
        assert_eq!(lost, ["exec has nothing to roll back to: generation 1 (0.9.0) is gone"]);
        let partial = wrong(&status(json!({"state": "partial", "failed": "hook 'x' is off"})));
        assert_eq!(
            partial,
            [
                "exec runs, but not as a whole: hook 'x' is off",
                "  restart skepd once the cause is gone: each start tries again; skep remove exec gives it up"
            ]
        );
        let failed = wrong(&status(json!({"state": "failed", "failed": "no package"})));
        assert_eq!(failed[0], "exec does not run: no package");
    }
}
