//! One command a file; its doc comment is its help.

mod apply;
mod attest;
pub(crate) mod build;
mod bundle;
mod cache;
mod channel;
mod commit;
mod completion;
mod conformance;
mod copy;
mod diff;
mod doctor;
mod events;
mod export;
mod history;
mod hold;
mod import;
mod inspect;
mod install;
pub(crate) mod key;
mod lint;
mod list;
mod login;
mod man;
mod map;
mod metrics;
mod new;
mod outdated;
mod pack;
mod prog;
mod pull;
mod push;
mod release;
mod remove;
mod rollback;
mod run;
mod set;
mod show;
mod sign;
mod start;
mod stop;
mod tags;
mod top;
mod trust;
mod upgrade;
mod verify;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::error::Result;
use crate::output::{Global, Output};

/// Package, publish, install and warm-upgrade eBPF software
#[derive(Debug, Parser)]
#[command(name = "skep", version, propagate_version = true, max_term_width = 100)]
#[allow(missing_docs, reason = "a doc comment here would replace the help")]
pub struct Skep {
    /// Options that every command has.
    #[command(flatten)]
    pub global: Global,

    #[command(subcommand)]
    pub command: Command,
}

/// The commands; their help is the doc comment of each one.
#[allow(missing_docs, reason = "a doc comment here would replace the help")]
#[derive(Debug, Subcommand)]
pub enum Command {
    Apply(apply::Apply),
    Attest(attest::Attest),
    Build(build::Build),
    Bundle(bundle::Bundle),
    Cache(cache::Cache),
    Channel(channel::Channel),
    Commit(commit::Commit),
    Completion(completion::Completion),
    Conformance(conformance::Conformance),
    Copy(copy::Copy),
    Diff(diff::Diff),
    Doctor(doctor::Doctor),
    Events(events::Events),
    Export(export::Export),
    History(history::History),
    Hold(hold::Hold),
    Import(import::Import),
    Inspect(inspect::Inspect),
    Install(install::Install),
    Key(key::Key),
    Lint(lint::Lint),
    List(list::List),
    Login(login::Login),
    Logout(login::Logout),
    Man(man::Man),
    Map(map::Map),
    Metrics(metrics::Metrics),
    New(new::New),
    Outdated(outdated::Outdated),
    Pack(pack::Pack),
    Prog(prog::Prog),
    Pull(pull::Pull),
    Push(push::Push),
    Release(release::Release),
    Remove(remove::Remove),
    Restart(start::Restart),
    Rollback(rollback::Rollback),
    Run(run::Run),
    Set(set::Set),
    Show(show::Show),
    Sign(sign::Sign),
    Start(start::Start),
    Stop(stop::Stop),
    Tags(tags::Tags),
    Top(top::Top),
    Trust(trust::Trust),
    Unbundle(bundle::Unbundle),
    Unhold(hold::Unhold),
    Upgrade(upgrade::Upgrade),
    Verify(verify::Verify),
}

impl Command {
    /// Whether it shows rows as they come.
    #[must_use]
    pub const fn has_rows(&self) -> bool {
        match self {
            Self::Events(_) | Self::Run(_) => true,
            Self::Map(command) => command.has_rows(),
            _ => false,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What the command says.
    pub fn run(self, output: &Output) -> Result<()> {
        let config = Config::from_environment();
        match self {
            Self::Apply(command) => command.run(output, &config),
            Self::Attest(command) => command.run(output, &config),
            Self::Build(command) => command.run(output, &config),
            Self::Bundle(command) => command.run(output, &config),
            Self::Cache(command) => command.run(output, &config),
            Self::Channel(command) => command.run(output, &config),
            Self::Commit(command) => command.run(output, &config),
            Self::Completion(command) => command.run(output),
            Self::Conformance(command) => command.run(output),
            Self::Copy(command) => command.run(output, &config),
            Self::Diff(command) => command.run(output, &config),
            Self::Doctor(command) => command.run(output, &config),
            Self::Events(command) => command.run(output, &config),
            Self::Export(command) => command.run(output, &config),
            Self::History(command) => command.run(output, &config),
            Self::Hold(command) => command.run(output, &config),
            Self::Import(command) => command.run(output, &config),
            Self::Inspect(command) => command.run(output, &config),
            Self::Install(command) => command.run(output, &config),
            Self::Key(command) => command.run(output, &config),
            Self::Lint(command) => command.run(output),
            Self::List(command) => command.run(output, &config),
            Self::Login(command) => command.run(output, &config),
            Self::Logout(command) => command.run(output, &config),
            Self::Man(command) => command.run(output),
            Self::Map(command) => command.run(output, &config),
            Self::Metrics(command) => command.run(output, &config),
            Self::New(command) => command.run(output),
            Self::Outdated(command) => command.run(output, &config),
            Self::Pack(command) => command.run(output, &config),
            Self::Prog(command) => command.run(output, &config),
            Self::Pull(command) => command.run(output, &config),
            Self::Push(command) => command.run(output, &config),
            Self::Release(command) => command.run(output, &config),
            Self::Remove(command) => command.run(output, &config),
            Self::Restart(command) => command.run(output, &config),
            Self::Rollback(command) => command.run(output, &config),
            Self::Run(command) => command.run(output, &config),
            Self::Set(command) => command.run(output, &config),
            Self::Show(command) => command.run(output, &config),
            Self::Sign(command) => command.run(output, &config),
            Self::Start(command) => command.run(output, &config),
            Self::Stop(command) => command.run(output, &config),
            Self::Tags(command) => command.run(output, &config),
            Self::Top(command) => command.run(output, &config),
            Self::Trust(command) => command.run(output, &config),
            Self::Unbundle(command) => command.run(output, &config),
            Self::Unhold(command) => command.run(output, &config),
            Self::Upgrade(command) => command.run(output, &config),
            Self::Verify(command) => command.run(output, &config),
        }
    }
}
