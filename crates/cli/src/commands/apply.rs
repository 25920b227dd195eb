//! `skep apply`, and `skep diff -f`.

mod page;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use skep_api::{Applied, ClientError, Desired, StepState, Trouble};

use crate::config::Config;
use crate::daemon;
use crate::error::{Context as _, Error, Kind, Result, of_daemon};
use crate::output::Output;
use crate::services_file;

/// Bring this node to the services that a file says: install, upgrade, set, start, stop and hold what differs
///
/// What would be done is shown first. Where any of it would be refused, nothing is done; where something fails all the same, what
/// was done stays, and the same command goes on from there. skepd keeps what the node is to be, and goes on by itself where it was
/// ended in the middle. Services that are not in the file stay, but with --prune.
#[derive(Debug, Args)]
pub struct Apply {
    /// The services, such as services.toml
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,
    /// Remove services that are not in the file, and that none in it needs
    #[arg(long)]
    prune: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(short = 'y', long, conflicts_with = "dry_run")]
    yes: bool,
    /// Let in what no trusted key signed, this time; it stays marked in skep list
    #[arg(long)]
    allow_unsigned: bool,
    /// Go to older versions than those that run, this time
    #[arg(long)]
    allow_downgrade: bool,
}

impl Apply {
    /// Runs it.
    ///
    /// # Errors
    /// The file has mistakes; no skepd; something is refused, or fails; nobody agrees.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let desired = Desired {
            services: services_file::read(&self.file, config)?,
            prune: self.prune,
            allow_unsigned: self.allow_unsigned,
            allow_downgrade: self.allow_downgrade,
            revision: None,
            plan: None,
        };
        let client = daemon::client(config);
        let plan = daemon::ask(client.plan_apply(&desired))?;
        if self.dry_run {
            output.answer(&plan, || page::planned(&plan));
            return is_good(&plan);
        }
        if !plan.refused.is_empty() && output.is_json() {
            output.answer(&plan, String::new);
        }
        is_let_through(&plan)?;
        if !plan.steps.is_empty() {
            self.agreed(&plan, output)?;
        }
        let clock = Instant::now();
        let agreed = Desired { revision: Some(plan.revision), plan: Some(plan.plan), ..desired };
        let applied = daemon::ask(client.apply(&agreed))?;
        let took = clock.elapsed().as_millis();
        output.done(&applied, || page::done(&applied, took));
        is_good(&applied)
    }

    /// Shows the plan, and asks whether it is to be done.
    fn agreed(&self, plan: &Applied, output: &Output) -> Result<()> {
        if self.yes {
            if !output.is_json() && !output.is_quiet() {
                output.line(&page::planned(plan));
            }
            return Ok(());
        }
        if !output.is_json() {
            output.line(&page::planned(plan));
        }
        if output.is_json() || !stdin().is_terminal() {
            return Err(Error::usage("nobody is there to agree, and nothing was done")
                .hint("--yes does it without asking; --dry-run shows it alone"));
        }
        output.passing("Do this? [y/N] ");
        let mut answer = String::new();
        stdin().read_line(&mut answer).context(|| "can't read the answer")?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Error::new(Kind::Failed, "nobody agreed, and nothing was done")),
        }
    }
}

/// What `skep diff -f` shows.
///
/// # Errors
/// The file has mistakes; no skepd; the node differs from it.
pub fn differs(file: &Path, output: &Output, config: &Config) -> Result<()> {
    let desired = Desired {
        services: services_file::read(file, config)?,
        prune: false,
        allow_unsigned: false,
        allow_downgrade: false,
        revision: None,
        plan: None,
    };
    let plan = daemon::ask(daemon::client(config).plan_apply(&desired))?;
    output.answer(&plan, || page::planned(&plan));
    is_good(&plan)?;
    match plan.steps.len() {
        0 => Ok(()),
        1 => Err(Error::new(Kind::Failed, format!("one step leads to {}", file.display()))),
        several => {
            Err(Error::new(Kind::Failed, format!("{several} steps lead to {}", file.display())))
        }
    }
}

/// What to do where not all was done.
const GOES_ON: &str =
    "what was done stays; the same command goes on from there, and so does each start of skepd";

/// That nothing was refused, nothing failed, and everything runs as it should.
fn is_good(applied: &Applied) -> Result<()> {
    is_let_through(applied)?;
    let count = |state| applied.steps.iter().filter(|step| step.state == state).count();
    let (done, all) = (count(StepState::Done), applied.steps.len());
    if let Some(step) = applied.steps.iter().find(|step| step.state == StepState::Failed) {
        let error = step.error.clone().map(|error| of_daemon(ClientError::Answered(error)));
        let error = error.unwrap_or_else(|| Error::new(Kind::Failed, "skepd does not say why"));
        return Err(error
            .of(format!("{} {}", step.what.as_str(), step.service))
            .of(format!("{done} of {all} steps were done, and then one failed"))
            .hint(GOES_ON));
    }
    if count(StepState::Left) > 0 {
        let what = format!("{done} of {all} steps were done, and then skepd was to end");
        return Err(Error::new(Kind::Failed, what).hint(GOES_ON));
    }
    if let Some(error) = applied.unwritten.clone() {
        return Err(of_daemon(ClientError::Answered(error))
            .of("all of it was done, and skepd could not write that down")
            .hint("the next start of skepd looks again whether it is so; the same command writes it down"));
    }
    match applied.ailing.as_slice() {
        [] => Ok(()),
        ailing => {
            let error = Error::new(Kind::Failed, "not all of it runs as it should");
            let why = |trouble: &Trouble| format!("{}: {}", trouble.service, trouble.error.message);
            let error = ailing.iter().map(why).fold(error, Error::because);
            Err(error.hint("skep list and skep show SERVICE say more"))
        }
    }
}

/// That nothing of it is refused; else each refusal with its reasons.
fn is_let_through(applied: &Applied) -> Result<()> {
    if applied.refused.is_empty() {
        return Ok(());
    }
    let errors: Vec<(&Trouble, Error)> = applied
        .refused
        .iter()
        .map(|trouble| (trouble, of_daemon(ClientError::Answered(trouble.error.clone()))))
        .collect();
    let is_refused = errors.iter().any(|(_, error)| error.kind() == Kind::Refused);
    let kind = if is_refused { Kind::Refused } else { Kind::Failed };
    let what = match errors.len() {
        1 => "one service would be refused, and nothing was done".to_owned(),
        several => format!("{several} services would be refused, and nothing was done"),
    };
    let all = Error::new(kind, what);
    let mut all = match code_of_all(&applied.refused) {
        Some(code) => all.known_as(code), // people see the standard's beside each reason
        None => all,
    };
    let mut hints: Vec<String> = Vec::new();
    for (trouble, error) in errors {
        let why = std::iter::once(error.message()).chain(error.causes().iter().map(String::as_str));
        let why = why.collect::<Vec<_>>().join("\n");
        let standard = trouble.error.standard.as_ref().map(|code| format!(" ({code})"));
        all = all.because(format!("{}{}: {why}", trouble.service, standard.unwrap_or_default()));
        let new = error.hints().iter().filter(|hint| !hints.contains(hint));
        let new: Vec<String> = new.cloned().collect();
        hints.extend(new);
    }
    Err(hints.into_iter().fold(all, Error::hint))
}

/// The code that all of them have, the standard's before skepd's; none where they have several.
fn code_of_all(refused: &[Trouble]) -> Option<String> {
    let code =
        |Trouble { error, .. }: &Trouble| error.standard.clone().unwrap_or(error.code.clone());
    let codes: BTreeSet<String> = refused.iter().map(code).collect();
    codes.first().filter(|_| codes.len() == 1).cloned()
}
