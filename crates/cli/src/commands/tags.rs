//! `skep tags`.

use clap::Args;
use serde::Serialize;
use skep_oci::registry;
use skep_spec::{Channel, Version};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::options::Transport;
use crate::output::Output;
use crate::place;

/// List a package's versions in a registry, the newest first
#[derive(Debug, Args)]
pub struct Tags {
    /// Which package: [registry/]publisher/name
    package: String,
    #[command(flatten)]
    transport: Transport,
}

#[derive(Serialize)]
struct Answer {
    package: String,
    versions: Vec<Version>,
    channels: Vec<Channel>,
}

impl Tags {
    /// Runs it.
    ///
    /// # Errors
    /// The registry has no such package, or does not list its tags.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let reference = place::reference(&self.package, config)?;
        if reference.version.is_some() || reference.digest.is_some() || reference.channel.is_some()
        {
            let name = &reference.name;
            return Err(Error::usage(format!("'{}' names a version already", self.package))
                .hint(format!("give the package alone: [registry/]{name}")));
        }
        let registry = place::registry(&reference, self.transport, config)?;
        let registry::Tags { versions, channels } = place::ask(registry.tags(&reference))?;
        let answer = Answer { package: reference.to_string(), versions, channels };
        output.answer(&answer, || {
            let versions = answer.versions.iter().map(ToString::to_string);
            let channels = answer.channels.iter().map(|channel| format!("@{channel}"));
            let lines: Vec<_> = versions.chain(channels).collect();
            match lines.is_empty() {
                true => format!("{} has no version there", answer.package),
                false => lines.join("\n"),
            }
        });
        Ok(())
    }
}
