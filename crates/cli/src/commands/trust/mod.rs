//! `skep trust`.

mod add;
mod edit;
mod file;
mod list;
mod remove;
mod rotate;
mod test;

use clap::{Args, Subcommand};

use crate::config::Config;
use crate::error::Result;
use crate::output::Output;

/// Say whose packages this machine lets in: the rules of trust.toml
///
/// The file is edited as a person would do it: comments and layout stay, and it is there whole or as it was before. skepd
/// reads it again at each install and upgrade.
#[derive(Debug, Args)]
pub struct Trust {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(Debug, Subcommand)]
enum TrustCommand {
    Add(add::Add),
    List(list::List),
    Remove(remove::Remove),
    Rotate(rotate::Rotate),
    Test(test::Test),
}

impl Trust {
    /// Runs it.
    ///
    /// # Errors
    /// The file cannot be read or written, or would not be one that is read; a package that is tested is refused.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        match self.command {
            TrustCommand::Add(command) => command.run(output, config),
            TrustCommand::List(command) => command.run(output, config),
            TrustCommand::Remove(command) => command.run(output, config),
            TrustCommand::Rotate(command) => command.run(output, config),
            TrustCommand::Test(command) => command.run(output, config),
        }
    }
}
