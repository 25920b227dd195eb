//! Which version of its publishers' keys a `trust.toml` has come to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use skep_oci::{durable, regular};

use crate::config::Config;
use crate::error::{Context as _, Result};

/// Which versions a `trust.toml` has come to, by its path and the publisher: an older one is not gone back to.
pub struct KeyVersions {
    path: PathBuf,
    versions: BTreeMap<String, BTreeMap<String, u64>>,
    of: String,
}

impl KeyVersions {
    /// What this user keeps of a `trust.toml`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(of: &Path, config: &Config) -> Result<Self> {
        let path = config.state_dir.join("keys.json");
        let cannot =
            || format!("can't read '{}', which keeps what was seen of keys", path.display());
        let versions = match regular::text(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            text => serde_json::from_str(&text.context(cannot)?).context(cannot)?,
        };
        let of = of.to_string_lossy().into_owned();
        Ok(Self { path, versions, of })
    }

    /// The version of a publisher's keys, if one was followed.
    pub fn version(&self, publisher: &str) -> Option<u64> {
        self.versions.get(&self.of)?.get(publisher).copied()
    }

    /// Keeps a version, unless a later one is kept.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn keep(of: &Path, publisher: &str, version: u64, config: &Config) -> Result<()> {
        let folder = &config.state_dir;
        let cannot =
            || format!("can't write in '{}', which keeps what was seen of keys", folder.display());
        std::fs::create_dir_all(folder).context(cannot)?;
        let lock = File::open(folder).context(cannot)?;
        lock.lock().context(cannot)?; // until the end: nobody reads what another is about to raise
        let mut all = Self::read(of, config)?;
        let kept = all.versions.entry(all.of).or_default().entry(publisher.to_owned());
        kept.and_modify(|kept| *kept = version.max(*kept)).or_insert(version);
        let text = serde_json::to_string(&all.versions).context(cannot)?;
        durable::replace(&all.path, text.as_bytes(), 0o644).context(cannot)
    }
}
