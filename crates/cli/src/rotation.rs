//! A publisher's keys over time: in a file a Sigstore bundle a line, those of a version together, the oldest first; the same
//! bundles beside a package in a registry, and in a layout or bundle that was made of that.

use std::io;
use std::path::Path;

use skep_oci::{durable, regular};
use skep_trust::PublicKey;
use skep_trust::rotation::Keys;

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
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
        Self::of(lines.map(|(number, line)| {
            (format!("'{}', line {number}", path.display()), line.as_bytes().to_vec())
        }))
    }

    /// Of bundles, each with its place.
    ///
    /// # Errors
    /// One is none of the version before it, nor of the next.
    pub fn of(bundles: impl Iterator<Item = (String, Vec<u8>)>) -> Result<Self> {
        let mut chain = Self::default();
        for (place, bundle) in bundles {
            let wrong = || Error::usage(format!("{place} holds no keys"));
            let keys = Keys::unchecked(&bundle).map_err(|why| wrong().because(why))?;
            chain.add(keys, bundle).map_err(|why| Error::usage(place).because(why))?;
        }
        Ok(chain)
    }

    /// Whose keys bundles say that they are, and the newest version.
    #[must_use]
    pub fn said(bundles: &[Vec<u8>]) -> Option<(String, u64)> {
        let keys = bundles.iter().filter_map(|bundle| Keys::unchecked(bundle).ok());
        keys.max_by_key(|keys| keys.version).map(|keys| (keys.publisher, keys.version))
    }

    /// All bundles, the oldest version's first.
    #[must_use]
    pub fn bundles(&self) -> Vec<Vec<u8>> {
        self.0.iter().flat_map(|version| version.bundles.clone()).collect()
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

    /// The keys of all versions.
    pub fn all_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().flat_map(|version| &version.keys.keys)
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
        for bundle in self.bundles() {
            bytes.extend_from_slice(&bundle);
            bytes.push(b'\n');
        }
        durable::replace(path, &bytes, 0o644)
            .context(|| format!("can't write '{}'", path.display()))
    }
}
