//! `skep upgrade`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Instant;

use clap::Args;
use skep_api::{Client, ClientError, PackageSource, Plan, Upgrade as Request};
use skep_spec::ServiceName;

use super::show;
use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Result, of_daemon};
use crate::options::Choice;
use crate::output::Output;

/// Upgrade a service while it runs: no event lost, none counted twice, state kept or moved
///
/// The version that runs is kept for skep rollback until the next upgrade. What the new version needs is installed or upgraded
/// first, and undone if the service itself cannot be upgraded.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The service
    service: String,
    /// What to upgrade to: [registry/]publisher/name:version, the folder of an OCI layout, or a bundle; without it what skep
    /// outdated shows
    #[arg(value_name = "PACKAGE")]
    what: Option<OsString>,
    #[command(flatten)]
    choice: Choice,
    /// Change a parameter; the others stay as they are
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Forget the value of a parameter: the new version's default counts
    #[arg(long = "unset", value_name = "NAME")]
    unset: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Upgrade even if no trusted key signed it; it stays marked in skep list
    #[arg(long)]
    allow_unsigned: bool,
    /// Go to an older version than the one that runs
    #[arg(long)]
    allow_downgrade: bool,
}

impl Upgrade {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service, the package is refused, state would be lost, the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let service = daemon::service(&self.service)?;
        let params = self.params()?;
        let client = daemon::client(config);
        let package = match &self.what {
            Some(what) => Some(daemon::package(what, self.choice, config)?),
            None => newest(&client, &service)?,
        };
        let Some(package) = package else {
            let nothing = Plan { already: true, ..Plan::default() };
            output.done(&nothing, || format!("Nothing is newer than what {service} runs"));
            return Ok(());
        };
        let request = Request {
            package,
            params,
            unset: self.unset.iter().cloned().collect(),
            allow_unsigned: self.allow_unsigned,
            allow_downgrade: self.allow_downgrade,
        };
        if self.dry_run {
            let plan = daemon::ask_about(&client, &service, client.plan(&service, &request))?;
            output.answer(&plan, || described(&plan));
            return Ok(());
        }
        let work = client.upgrade(&service, &request);
        let (plan, detail) = daemon::ask_about(&client, &service, work)?;
        let took = clock.elapsed().as_millis();
        output.done(&(&plan, &detail), || {
            let status = &detail.status;
            if plan.already {
                return format!("{service} runs {} already", status.version);
            }
            let mut lines = vec![format!(
                "Upgraded {service} to {} (generation {}) in {took} ms, {}",
                status.version, status.generation, status.origin
            )];
            lines.extend(detail.together.iter().map(show::member));
            lines.extend(detail.hooks.iter().map(show::hook));
            lines.extend(maps(&plan));
            lines.extend(show::no_room(&detail));
            lines.extend(show::unheeded(&detail));
            lines.join("\n")
        });
        Ok(())
    }
}

impl Upgrade {
    fn params(&self) -> Result<BTreeMap<String, String>> {
        let params = daemon::pairs("--set", "NAME=VALUE", &self.set)?;
        match self.unset.iter().find(|name| params.contains_key(*name)) {
            Some(name) => Err(Error::usage(format!("{name} is given to --set and to --unset"))),
            None => Ok(params),
        }
    }
}

/// What is newer than what a service runs.
fn newest(client: &Client, service: &ServiceName) -> Result<Option<PackageSource>> {
    let asked = client.outdated(std::slice::from_ref(service));
    let found = daemon::ask_about(client, service, asked)?.pop();
    match found.map(|found| (found.error, found.newest)) {
        Some((Some(error), _)) => Err(of_daemon(ClientError::Answered(error))
            .hint(format!("or name what to upgrade to: skep upgrade {service} PACKAGE"))),
        Some((None, Some(newest))) => Ok(Some(PackageSource::Reference(newest.reference))),
        _ => Ok(None),
    }
}

fn described(plan: &Plan) -> String {
    if plan.already {
        return "Nothing to do: that is what runs".to_owned();
    }
    let first = "Would upgrade; nothing was touched.".to_owned();
    std::iter::once(first).chain(changes(plan)).collect::<Vec<_>>().join("\n")
}

/// What a switch changes.
pub fn changes(plan: &Plan) -> Vec<String> {
    let mut lines: Vec<String> = plan.together.iter().map(show::member).collect();
    lines.extend(
        plan.hooks
            .iter()
            .map(|hook| format!("  hook {}: {}, by {}", hook.target, hook.change, hook.mechanism)),
    );
    lines.extend(maps(plan));
    if !plan.separately.is_empty() {
        lines.push("These switch separately:".to_owned());
        lines.extend(plan.separately.iter().map(|why| format!("  {why}")));
    }
    lines.extend(plan.notes.iter().cloned());
    lines
}

fn maps(plan: &Plan) -> impl Iterator<Item = String> {
    plan.maps.iter().map(|(name, map)| format!("  map {name}: {} ({})", map.why, map.exactness))
}
