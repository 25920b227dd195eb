//! Options that several commands have, with one meaning in all of them.

use clap::Args;
use skep_spec::PackageRef;

use crate::error::{Error, Result};

/// What a command that takes a place asks besides.
#[derive(Clone, Debug, Args)]
pub struct PlaceOptions {
    /// Of several packages.
    #[command(flatten)]
    pub choice: Choice,
    /// To registries.
    #[command(flatten)]
    pub transport: Transport,
}

/// Which package is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Choice {
    /// Which package of a layout or bundle that holds several
    #[arg(long, value_name = "NAME:VERSION")]
    pub package: Option<PackageRef>,
}

/// What of events is shown.
#[derive(Clone, Debug, Default, Args)]
pub struct Shown {
    /// Only events that are so, such as 'latency > 1ms && comm == "nginx"'
    #[arg(long = "where", value_name = "CONDITION")]
    pub filter: Option<String>,
    /// Only these fields of theirs
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub fields: Vec<String>,
}

/// How registries are spoken to.
#[derive(Clone, Copy, Debug, Args)]
pub struct Transport {
    /// Speak HTTP without TLS (loopback addresses always do)
    #[arg(long)]
    pub plain_http: bool,
}

impl Choice {
    /// For what is a package by itself, which `why` says, or is in none.
    ///
    /// # Errors
    /// One is chosen all the same.
    pub fn is_not_for(&self, why: &str) -> Result<()> {
        match self.package {
            None => Ok(()),
            Some(_) => Err(Error::usage(format!("--package is for layouts and bundles: {why}"))),
        }
    }

    /// The same beside a reference.
    ///
    /// # Errors
    /// One is chosen all the same.
    pub fn is_not_for_references(&self) -> Result<()> {
        self.is_not_for("a reference names its package")
    }
}
