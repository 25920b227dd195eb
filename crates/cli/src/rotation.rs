//! A publisher's keys over time, in a file: a Sigstore bundle a line, those of a version together, the oldest first. And which
//! version a `trust.toml` has come to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use skep_oci::{durable, regular};
use skep_trust::rotation::Keys;

use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::named;

/// All versions of a publisher's keys, as a file has them: nobody checked a signature.
#[derive(Default)]
pub struct Chain(Vec<Version>);

/// One version.
pub struct Version {
    /// What it says.
    pub keys: Keys,
    /// Who signed it, a bundle each.
    pub bundles: Vec<Vec<u8>>,
}

impl Chain {
    /// Of a file that may not be there yet: that has none.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = named::read(path, |path| match regular::text(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            text => text,
        })?;
        Self::parse(&text, path)
    }

    /// Of a file that must be there.
    ///
    /// # Errors
    /// As [`Chain::read`].
    pub fn must(path: &Path) -> Result<Self> {
        Self::parse(&named::read(path, regular::text)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut chain = Self::default();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            let place = || format!("'{}', line {number}", path.display());
            let keys = Keys::unchecked(line.as_bytes())
                .map_err(|why| Error::usage(format!("{} holds no keys", place())).because(why))?;
            chain.add(keys, line.into()).map_err(|why| Error::usage(place()).because(why))?;
        }
        Ok(chain)
    }

    /// Adds a bundle of the newest version, or of the one after it.
    ///
    /// # Errors
    /// It is another version's or publisher's.
    pub fn add(&mut self, keys: Keys, bundle: Vec<u8>) -> std::result::Result<(), String> {
        match self.0.last_mut() {
            Some(newest) if newest.keys == keys => {
                if !newest.bundles.contains(&bundle) {
                    newest.bundles.push(bundle);
                }
                return Ok(());
            }
            Some(Version { keys: newest, .. }) if newest.publisher != keys.publisher => {
                let (found, asked) = (keys.publisher, &newest.publisher);
                return Err(format!(
                    "these are the keys of '{found}', and those before of '{asked}'"
                ));
            }
            Some(Version { keys: newest, .. }) if newest.version + 1 != keys.version => {
                let (found, after) = (keys.version, newest.version);
                return Err(format!("version {found} of the keys comes after version {after}"));
            }
            _ => self.0.push(Version { keys, bundles: vec![bundle] }),
        }
        Ok(())
    }

    /// The versions, the oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.0
    }

    /// The newest version, and the one before it.
    pub fn newest(&self) -> Option<(Option<&Version>, &Version)> {
        let (newest, before) = self.0.split_last()?;
        Some((before.last(), newest))
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        for bundle in self.0.iter().flat_map(|version| &version.bundles) {
            bytes.extend_from_slice(bundle);
            bytes.push(b'\n');
        }
        durable::replace(path, &bytes, 0o644)
            .context(|| format!("can't write '{}'", path.display()))
    }
}

/// Which versions a `trust.toml` has come to, by its path and the publisher: an older one is not gone back to.
pub struct Come {
    path: PathBuf,
    versions: BTreeMap<String, BTreeMap<String, u64>>,
    of: String,
}

impl Come {
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
        let mut come = Self::read(of, config)?;
        let kept = come.versions.entry(come.of).or_default().entry(publisher.to_owned());
        kept.and_modify(|kept| *kept = version.max(*kept)).or_insert(version);
        let text = serde_json::to_string(&come.versions).context(cannot)?;
        durable::replace(&come.path, text.as_bytes(), 0o644).context(cannot)
    }
}
