//! `skep new`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use skep_kit::template::{self, Template};
use skep_spec::PackageName;

use crate::error::{Context as _, Error, Result};
use crate::output::Output;

/// Start a new package: a folder that builds and runs as it is
///
/// Example: skep new acme/opens --template tracepoint
#[derive(Debug, Args)]
pub struct New {
    /// The package's name, with or without a publisher: opens, acme/opens
    name: String,
    /// What to start from
    #[arg(long, short, value_enum, default_value_t = Kind::Tracepoint)]
    template: Kind,
    /// The folder to make instead of ./NAME
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What a new package starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Events and a counter from a tracepoint
    Tracepoint,
    /// A packet counter on an interface
    Xdp,
}

/// The publisher of a package that does not name one.
const NO_PUBLISHER: &str = "example";

impl New {
    /// Runs it.
    ///
    /// # Errors
    /// The name is none, the folder is occupied or cannot be written.
    pub fn run(self, output: &Output) -> Result<()> {
        let name = if self.name.contains('/') {
            self.name
        } else {
            format!("{NO_PUBLISHER}/{}", self.name)
        };
        let name: PackageName = name.parse().map_err(|error| Error::usage(format!("{error}")))?;
        let folder = self.folder.unwrap_or_else(|| PathBuf::from(name.short()));
        let template = match self.template {
            Kind::Tracepoint => Template::Tracepoint,
            Kind::Xdp => Template::Xdp,
        };
        template::create(&folder, &name, template).context(|| format!("can't start {name}"))?;
        let shown = folder.display();
        // Every machine has a loopback interface.
        let at = if template == Template::Xdp { " --iface lo" } else { "" };
        output.done(&format!("Made {shown}/ for {name}. Next: skep run {shown}{at}"));
        Ok(())
    }
}
