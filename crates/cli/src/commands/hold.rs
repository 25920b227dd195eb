//! `skep hold` and `skep unhold`.

use clap::Args;
use skep_api::Status;

use crate::config::Config;
use crate::daemon;
use crate::error::Result;
use crate::output::Output;

/// Keep services at their versions: upgrades of them are refused, also as a part of what others need
#[derive(Debug, Args)]
pub struct Hold {
    /// The services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// Let upgrades of services through again
#[derive(Debug, Args)]
pub struct Unhold {
    /// The services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

impl Hold {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, no such service.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        held(&self.services, true, output, config)
    }
}

impl Unhold {
    /// Runs it.
    ///
    /// # Errors
    /// As [`Hold::run`].
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        held(&self.services, false, output, config)
    }
}

fn held(services: &[String], held: bool, output: &Output, config: &Config) -> Result<()> {
    let names = services.iter().map(|text| daemon::service(text)).collect::<Result<Vec<_>>>()?;
    let client = daemon::client(config);
    let hold = |name| daemon::ask_about(&client, name, client.hold(name, held));
    let answers = names.iter().map(hold).collect::<Result<Vec<Status>>>()?;
    let line = |status: &Status| match held {
        true => format!(
            "{} stays at {} until skep unhold {}",
            status.service, status.version, status.service
        ),
        false => format!("{} may be upgraded again", status.service),
    };
    output.done(&answers, || answers.iter().map(line).collect::<Vec<_>>().join("\n"));
    Ok(())
}
