//! Publishers whose keys rules of `trust.toml` follow by themselves: what was followed is kept in the state folder, so that it
//! stays, whatever a registry shows later.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use skep_oci::{durable, regular};
use skep_spec::PackageRef;
use skep_trust::{Policy, follow};

use crate::error::NodeError;

/// The folder with a file for each publisher: a bundle a line.
#[derive(Clone, Debug)]
pub struct Publishers(PathBuf);

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
    ) -> Result<Policy, NodeError> {
        let (name, registry) = (&package.name, package.registry.as_deref());
        let Some(rule) = policy.following(name, registry) else { return Ok(policy) };
        let publisher = name.publisher();
        let stopped = |source| NodeError::Keys { publisher: publisher.to_owned(), source };
        let _lock = self.lock()?; // until the end: nobody reads what another is about to raise
        let file = self.0.join(format!("{publisher}.keys"));
        let kept = lines(&file)?;
        let (revoked, now) = (policy.revoked_keys(), SystemTime::now());
        let followed = follow::reach(publisher, rule, &kept, came, revoked, now);
        let followed = followed.map_err(stopped)?;
        if let Some(error) = &followed.refused {
            tracing::warn!(publisher, "the new keys that came are not followed: {error}");
        }
        if let Some(keep) = &followed.keep {
            let text: Vec<u8> =
                keep.iter().flat_map(|one| one.iter().chain(b"\n")).copied().collect();
            durable::replace(&file, &text, 0o644).map_err(|error| written(&file, error))?;
        }
        let Some(keys) = &followed.keys else { return Ok(policy) };
        policy.with_keys(name, registry, keys).map_err(stopped)
    }

    fn lock(&self) -> Result<File, NodeError> {
        let locked = fs::create_dir_all(&self.0).and_then(|()| File::open(&self.0));
        let locked = locked.and_then(|folder| folder.lock().map(|()| folder));
        locked.map_err(|error| written(&self.0, error))
    }
}

fn lines(file: &Path) -> Result<Vec<Vec<u8>>, NodeError> {
    match regular::text(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(written(file, error)),
        Ok(text) => Ok(text.lines().map(|line| line.as_bytes().to_vec()).collect()),
    }
}

fn written(path: &Path, source: io::Error) -> NodeError {
    NodeError::Write { path: path.to_owned(), source }
}
