//! `trust.toml`: the rules of this machine.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use skep_oci::regular;
use skep_trust::Policy;

use crate::commands::key;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::named;

/// By whose signatures a package is checked.
#[derive(Clone, Debug, Args)]
pub struct Signers {
    /// Trust this public key alone
    #[arg(long, value_name = "PUB", conflicts_with = "policy")]
    key: Option<PathBuf>,
    /// Trust as this file says, instead of /etc/skep/trust.toml
    #[arg(long, value_name = "trust.toml")]
    policy: Option<PathBuf>,
}

impl Signers {
    /// Whether the command line names any.
    #[must_use]
    pub const fn are_named(&self) -> bool {
        self.key.is_some() || self.policy.is_some()
    }

    /// The rules that say so.
    ///
    /// # Errors
    /// There are none, or the file that is named is none.
    pub fn rules(&self, config: &Config) -> Result<Policy> {
        if let Some(file) = &self.key {
            return Ok(Policy::of_keys(vec![key::public(file)?], 1));
        }
        must(&self.policy.clone().unwrap_or_else(|| config.config_dir.join("trust.toml")))
    }
}

/// This machine's rules. Where there are none nobody is trusted; rules that cannot be read are no such case, for they may
/// revoke.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn of_machine(config: &Config) -> Result<Policy> {
    read(&config.config_dir.join("trust.toml")).map(|(_, policy)| policy)
}

/// The text and the rules of a file; of one that is not there, none.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read(file: &Path) -> Result<(String, Policy)> {
    let or_none = |file: &Path| match regular::text(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    };
    let text = named::read(file, or_none)?;
    let policy = parse(&text, file)?;
    Ok((text, policy))
}

/// The rules of a file that must be there.
///
/// # Errors
/// As [`read`].
pub fn must(file: &Path) -> Result<Policy> {
    let text = named::read(file, regular::text);
    parse(&text.map_err(|e| e.hint("name a key with --key, or rules with --policy"))?, file)
}

fn parse(text: &str, file: &Path) -> Result<Policy> {
    let shown = file.display();
    Policy::parse(text).map_err(|error| Error::caused(Kind::Usage, format!("'{shown}'"), &error))
}
