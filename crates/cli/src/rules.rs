//! `trust.toml`: the rules of this machine.

use std::io;
use std::path::Path;

use skep_oci::regular;
use skep_trust::Policy;

use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result};

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
    let shown = file.display();
    let text = match regular::text(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read
            .map_err(|error| Error::caused(Kind::Usage, format!("can't read '{shown}'"), &error))?,
    };
    let policy = parse(&text, file)?;
    Ok((text, policy))
}

/// The rules of a file that must be there.
///
/// # Errors
/// As [`read`].
pub fn must(file: &Path) -> Result<Policy> {
    let text = regular::text(file).context(|| format!("can't read '{}'", file.display()));
    parse(&text.map_err(|e| e.hint("name a key with --key, or rules with --policy"))?, file)
}

fn parse(text: &str, file: &Path) -> Result<Policy> {
    let shown = file.display();
    Policy::parse(text).map_err(|error| Error::caused(Kind::Usage, format!("'{shown}'"), &error))
}
