//! Publishers whose keys rules of `trust.toml` follow by themselves: what was followed is kept in the state folder, so that it
//! stays, whatever a registry shows later.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use skep_oci::{durable, regular};
use skep_spec::{Digest, PackageRef};
use skep_trust::policy::Rule;
use skep_trust::{Policy, ways};

use crate::error::NodeError;

/// The folder with a file for each way that keys were followed on, a bundle a line: `PUBLISHER.WAY.keys`.
#[derive(Clone, Debug)]
pub struct Publishers(PathBuf);

/// The bundles of a way, the oldest version's first.
type Way = Vec<Vec<u8>>;

impl Publishers {
    /// Those of a state folder.
    pub fn of(state: &Path) -> Self {
        Self(state.join("keys"))
    }

    /// The rules for a package: where its own follows the publisher, with the keys that this has come to, by what was kept and
    /// by what came now. What leads on is kept before this returns.
    ///
    /// # Errors
    /// What was kept counts no more, or cannot be read or written.
    pub fn rules(
        &self,
        policy: Policy,
        package: &PackageRef,
        came: &[Vec<u8>],
        now: SystemTime,
    ) -> Result<Policy, NodeError> {
        let (name, registry) = (&package.name, package.registry.as_deref());
        let Some(rule) = policy.following(name, registry) else { return Ok(policy) };
        let publisher = name.publisher();
        let stopped = |source| NodeError::Keys { publisher: publisher.to_owned(), source };
        let _lock = self.lock()?; // until the end: nobody reads what another is about to raise
        let (files, kept): (Vec<_>, Vec<_>) = self.ways(publisher)?.into_iter().unzip();
        let revoked = policy.revoked_keys();
        let followed = ways::reach(publisher, rule, &kept, came, revoked, now);
        let followed = followed.map_err(stopped)?;
        if let Some(error) = &followed.refused {
            tracing::warn!(publisher, "not all keys that came are followed: {error}");
        }
        if let Some(keep) = &followed.keep {
            let there = followed.way.and_then(|way| files.get(way));
            let file = there.cloned().unwrap_or_else(|| self.0.join(name_of(publisher, rule)));
            let text: Vec<u8> =
                keep.iter().flat_map(|one| one.iter().chain(b"\n")).copied().collect();
            durable::replace(&file, &text, 0o644).map_err(|error| written(&file, error))?;
        }
        let Some(keys) = &followed.keys else { return Ok(policy) };
        policy.with_keys(name, registry, keys).map_err(stopped)
    }

    /// What was kept of a publisher, by file.
    fn ways(&self, publisher: &str) -> Result<Vec<(PathBuf, Way)>, NodeError> {
        let listed = fs::read_dir(&self.0).map_err(|error| written(&self.0, error))?;
        let is_its = |name: &str| {
            let stem = name.strip_suffix(".keys");
            stem.and_then(|stem| stem.split('.').next()) == Some(publisher)
        };
        let names = listed.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let files = names.filter(|name| is_its(name)).map(|name| self.0.join(name));
        let read = |file: PathBuf| lines(&file).map(|lines| (file, lines));
        files.map(read).collect()
    }

    fn lock(&self) -> Result<File, NodeError> {
        let locked = fs::create_dir_all(&self.0).and_then(|()| File::open(&self.0));
        let locked = locked.and_then(|folder| folder.lock().map(|()| folder));
        locked.map_err(|error| written(&self.0, error))
    }
}

/// The file of a way that begins at the keys of a rule.
fn name_of(publisher: &str, rule: &Rule) -> String {
    let ids: BTreeSet<String> = rule.keys().iter().map(|one| one.key.id().to_string()).collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let digest = Digest::of(format!("{} of {}", rule.threshold(), ids.join(" ")).as_bytes());
    format!("{publisher}.{}.keys", &digest.hex()[..16])
}

fn lines(file: &Path) -> Result<Way, NodeError> {
    match regular::text(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(written(file, error)),
        Ok(text) => Ok(text.lines().map(|line| line.as_bytes().to_vec()).collect()),
    }
}

fn written(path: &Path, source: io::Error) -> NodeError {
    NodeError::Write { path: path.to_owned(), source }
}
