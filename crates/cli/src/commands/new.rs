//! `skep new`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use skep_kit::folder::FolderError;
use skep_kit::template::{self, Template};
use skep_spec::PackageName;

use crate::error::{Error, Kind, Result};
use crate::output::{Output, lossy};

/// Start a new package: a folder that builds and runs as it is
///
/// Example: skep new acme/opens --template tracepoint
#[derive(Debug, Args)]
pub struct New {
    /// The package's name, with or without a publisher: opens, acme/opens
    name: String,
    /// What to start from
    #[arg(long, short, value_enum, default_value_t = Start::Tracepoint)]
    template: Start,
    /// The folder to make instead of ./NAME
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What a new package starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Start {
    /// Events and a counter from a tracepoint
    Tracepoint,
    /// A packet counter on an interface
    Xdp,
}

#[derive(Serialize)]
struct Answer<'a> {
    package: &'a PackageName,
    #[serde(serialize_with = "lossy")]
    folder: &'a Path,
}

/// The publisher of a package that does not name one.
const NO_PUBLISHER: &str = "example";

impl New {
    /// Runs it.
    ///
    /// # Errors
    /// The name is none, the folder is occupied or cannot be written.
    pub fn run(self, output: &Output) -> Result<()> {
        let name = package(&self.name)?;
        let folder = self.folder.unwrap_or_else(|| PathBuf::from(name.short()));
        let template = match self.template {
            Start::Tracepoint => Template::Tracepoint,
            Start::Xdp => Template::Xdp,
        };
        let made = template::create(&folder, &name, template);
        made.map_err(|error| {
            let failed = Error::caused(Kind::Failed, format!("can't start {name}"), &error);
            match error {
                FolderError::Occupied(_) => failed.hint("name another folder with --folder"),
                FolderError::Write { .. } => failed,
            }
        })?;
        let shown = folder.display();
        // Every machine has a loopback interface.
        let at = if template == Template::Xdp { " --iface lo" } else { "" };
        output.done(&Answer { package: &name, folder: &folder }, || {
            format!("Made {shown}/ for {name}. Next: skep run {shown}{at}")
        });
        Ok(())
    }
}

/// A package's name; an error names what was typed.
fn package(text: &str) -> Result<PackageName> {
    let whole = if text.contains('/') { text.to_owned() } else { format!("{NO_PUBLISHER}/{text}") };
    whole.parse().or_else(|_| text.parse()).map_err(|error| Error::usage(format!("{error}")))
}
