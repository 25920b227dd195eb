//! `trust.toml` as a file: read, and replaced whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use skep_oci::{durable, trust_file};
use skep_trust::Policy;
use skep_trust::policy::{Identity, Rule};

use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result};
use crate::rules;

/// Which file.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The file, instead of /etc/skep/trust.toml
    #[arg(long, value_name = "trust.toml")]
    policy: Option<PathBuf>,
}

/// A `trust.toml` that may not be there yet.
pub(super) struct TrustFile {
    pub(super) path: PathBuf,
}

impl Which {
    /// Through links, so that one is not replaced by a file.
    pub(super) fn file(&self, config: &Config) -> TrustFile {
        let path = self.policy.clone().unwrap_or_else(|| config.config_dir.join("trust.toml"));
        TrustFile { path: path.canonicalize().unwrap_or(path) }
    }
}

impl TrustFile {
    /// Its text and rules. What is not there has none.
    pub(super) fn read(&self) -> Result<(String, Policy)> {
        rules::read(&self.path)
    }

    /// Replaces its text by what `edit` makes of it; none leaves it as it is. Two that edit at once do so one after the other.
    ///
    /// # Errors
    /// As `edit`; the file cannot be read or written, or what was made would be refused: it stays as it was then.
    pub(super) fn change<T>(
        &self,
        edit: impl FnOnce(&str, &Policy) -> Result<(Option<String>, T)>,
    ) -> Result<(Policy, T)> {
        let shown = self.path.display();
        let cannot = || format!("can't write '{shown}'");
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::create_dir_all(folder).context(cannot)?;
        let lock = File::open(folder).context(cannot)?;
        lock.lock().context(cannot)?; // until it is dropped
        let (text, before) = self.read()?;
        let (after, told) = edit(&text, &before)?;
        let Some(after) = after else { return Ok((before, told)) };
        let policy = trust_file::rules(&after, &self.path).map_err(|error| {
            Error::caused(Kind::Usage, format!("'{shown}' stays as it was"), &error)
        })?;
        let mut identities = policy.rules().iter().flat_map(Rule::identities);
        if let Some(why) = identities.find_map(Identity::problem) {
            return Err(Error::usage(format!("'{shown}' stays as it was: {why}")));
        }
        let mode = fs::metadata(&self.path).map_or(0o644, |there| there.permissions().mode());
        let written = durable::replace(&self.path, after.as_bytes(), mode & 0o777);
        let is_roots =
            written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        written.context(cannot).map_err(|error| match is_roots {
            true => error.hint("the rules of a machine are root's: use sudo, or name a file of your own with --policy"),
            false => error,
        })?;
        Ok((policy, told))
    }
}
