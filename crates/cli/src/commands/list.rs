//! `skep list`.

use clap::Args;
use skep_api::{ServiceState, Status};

use super::show::needs;
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
                let previous = status.previous.as_ref().map(|kept| kept.version.to_string());
                [
                    status.service.to_string(),
                    status.package.to_string(),
                    status.version.to_string(),
                    status.generation.to_string(),
                    state(status),
                    previous.unwrap_or_else(|| "-".to_owned()),
                    signature(status).to_owned(),
                ]
            });
            let header = [
                "SERVICE",
                "PACKAGE",
                "VERSION",
                "GENERATION",
                "STATE",
                "ROLLBACK TO",
                "SIGNATURE",
            ];
            std::iter::once(table(header, rows))
                .chain(services.iter().flat_map(needs))
                .chain(services.iter().flat_map(wrong))
                .collect::<Vec<_>>()
                .join("\n")
        });
        Ok(())
    }
}

/// Whether somebody answers for it, in a word or three.
fn signature(status: &Status) -> &'static str {
    match (&status.untrusted, status.unsigned) {
        (_, true) => "NOT SIGNED",
        (Some(_), false) => "NO LONGER TRUSTED",
        (None, false) => "signed",
    }
}

/// What a service is doing, in a word or two.
pub fn state(status: &Status) -> String {
    let owed = status.owed.as_ref().filter(|_| status.state != ServiceState::Stopped);
    match (status.state, status.half_done.as_ref().or(owed)) {
        (ServiceState::Failed, _) | (_, None) => status.state.to_string(),
        (_, Some(_)) => "half done".to_owned(),
    }
}

/// What is wrong with a service, and what to do.
pub fn wrong(status: &Status) -> Vec<String> {
    let (name, half_done) = (&status.service, &status.half_done);
    let mut why: Vec<&str> = status.failed.as_deref().into_iter().collect();
    // What does not run for that reason has it as both.
    why.extend(
        half_done.as_deref().filter(|half_done| status.failed.as_deref() != Some(half_done)),
    );
    let said = match (status.state, half_done) {
        (ServiceState::Running, None) => None,
        (ServiceState::Running, Some(_)) => {
            Some(("runs, but", "the next operation on it and each start of skepd try again"))
        }
        (ServiceState::Partial, _) => Some((
            "runs, but not as a whole:",
            "restart skepd once the cause is gone: each start tries again",
        )),
        (ServiceState::Failed, _) => Some(("does not run:", "each start of skepd tries again")),
        (ServiceState::Stopped, None) => None,
        (ServiceState::Stopped, Some(_)) => {
            Some(("is stopped, but", "the next operation on it and each start of skepd try again"))
        }
    };
    let mut lines = Vec::new();
    if let Some((lead, next)) = said {
        lines.push(format!("{name} {lead} {}", why.join("; ")));
        lines.push(format!("  {next}; skep remove {name} gives it up"));
    }
    if let Some(owed) = &status.owed {
        lines.push(format!("{name}: {owed}"));
        lines.push(match status.state {
            ServiceState::Failed => format!("  skep restart {name} tries to bring it up as it is, and then it can go back; skep remove {name} gives it up"),
            ServiceState::Stopped => format!("  skep start {name} first: then it can go back; skep remove {name} gives it up"),
            _ => format!("  each start of skepd tries again, and so does skep rollback {name}, or skep remove {name} of what was not there before; skep upgrade {name} lets it stay"),
        });
    }
    if status.held {
        lines.push(format!(
            "{name} is held at {}: skep unhold {name} lets upgrades through",
            status.version
        ));
    }
    let lost = status.previous_lost.as_ref();
    lines.extend(lost.map(|lost| format!("{name} has nothing to roll back to: {lost}")));
    if let Some(why) = &status.untrusted {
        lines.push(format!("{name} would not be let in now: {why}"));
        lines.push(match status.state {
            ServiceState::Stopped => "  skep start refuses it".to_owned(),
            ServiceState::Failed => "  nor is it loaded again until it is let in".to_owned(),
            _ => "  it runs on until it is stopped, upgraded, rolled back or removed".to_owned(),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(more: serde_json::Value) -> Status {
        let digest = format!("sha256:{:064}", 0);
        let mut whole = json!({
            "service": "exec", "package": "acme/exec", "version": "1.0.0", "index": digest,
            "generation": 2, "state": "running",
        });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn states() -> [Value; 13] {
        let (off, half) = ("hook 'x' is off", "its upgrade is half done: no space");
        [
            json!({"state": "running"}),
            json!({"state": "running", "half_done": half}),
            json!({"state": "running", "owed": "it is still to be removed: no space"}),
            json!({"state": "partial", "failed": off}),
            json!({"state": "partial", "failed": off, "half_done": half}),
            json!({"state": "stopped"}),
            json!({"state": "stopped", "half_done": "its stop is half done: no space"}),
            json!({"state": "failed", "failed": "no package"}),
            json!({"state": "failed", "failed": "no package", "half_done": half}),
            json!({"state": "failed", "failed": half, "half_done": half}),
            json!({"state": "failed", "failed": "no package", "owed": "it is still to be removed: no space"}),
            json!({"state": "stopped", "owed": "it is still to be removed: no space"}),
            json!({"state": "failed", "failed": "no package", "untrusted": "its key is revoked"}),
        ]
    }

    #[test]
    fn each_state_is_one_answer_with_what_to_do() {
        let shown = states().map(|more| {
            let status = status(more);
            [vec![format!("[{}]", state(&status))], wrong(&status)].concat().join("\n")
        });
        insta::assert_snapshot!(shown.join("\n"), @r"
        [running]
        [half done]
        exec runs, but its upgrade is half done: no space
          the next operation on it and each start of skepd try again; skep remove exec gives it up
        [half done]
        exec: it is still to be removed: no space
          each start of skepd tries again, and so does skep rollback exec, or skep remove exec of what was not there before; skep upgrade exec lets it stay
        [partial]
        exec runs, but not as a whole: hook 'x' is off
          restart skepd once the cause is gone: each start tries again; skep remove exec gives it up
        [half done]
        exec runs, but not as a whole: hook 'x' is off; its upgrade is half done: no space
          restart skepd once the cause is gone: each start tries again; skep remove exec gives it up
        [stopped]
        [half done]
        exec is stopped, but its stop is half done: no space
          the next operation on it and each start of skepd try again; skep remove exec gives it up
        [failed]
        exec does not run: no package
          each start of skepd tries again; skep remove exec gives it up
        [failed]
        exec does not run: no package; its upgrade is half done: no space
          each start of skepd tries again; skep remove exec gives it up
        [failed]
        exec does not run: its upgrade is half done: no space
          each start of skepd tries again; skep remove exec gives it up
        [failed]
        exec does not run: no package
          each start of skepd tries again; skep remove exec gives it up
        exec: it is still to be removed: no space
          skep restart exec tries to bring it up as it is, and then it can go back; skep remove exec gives it up
        [stopped]
        exec: it is still to be removed: no space
          skep start exec first: then it can go back; skep remove exec gives it up
        [failed]
        exec does not run: no package
          each start of skepd tries again; skep remove exec gives it up
        exec would not be let in now: its key is revoked
          nor is it loaded again until it is let in
        ");
    }

    #[test]
    fn who_answers_is_said_in_a_word() {
        let word = |more| signature(&status(more));
        assert_eq!(word(json!({})), "signed");
        assert_eq!(word(json!({"unsigned": true})), "NOT SIGNED");
        let revoked = status(json!({"untrusted": "its key is revoked"}));
        assert_eq!(signature(&revoked), "NO LONGER TRUSTED");
        assert_eq!(wrong(&revoked)[0], "exec would not be let in now: its key is revoked");
    }

    #[test]
    fn what_a_rollback_cannot_return_to_is_said() {
        let lost = status(json!({"previous_lost": "generation 1 (0.9.0) is gone"}));
        let said = ["exec has nothing to roll back to: generation 1 (0.9.0) is gone"];
        assert_eq!(wrong(&lost), said);
    }
}
