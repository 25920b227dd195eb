//! What refers to a package - signatures, attestations, whatever others attached - carried along with it, byte for byte.

use std::collections::BTreeSet;

use skep_spec::oci::Descriptor;
use skep_spec::{Digest, PackageRef};

use super::error::RegistryError;
use super::pull::{Followed, Kept, Pull, settled};
use crate::signatures::{
    REFERRERS_MAX, SignatureError, artifact_type, is_bundle_of, subject_descriptors,
};
use crate::store::{Received, referrer_entry};

/// What came along with a package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Signature bundles of the package's index, attestations among them.
    pub signatures: usize,
    /// What else refers to the index.
    pub others: usize,
    /// What was left in the registry: beyond [`Self::MOST`] for a digest, or [`Self::BYTES`] together.
    pub left: usize,
}

impl Carried {
    /// Most that is carried along of what refers to one digest.
    pub const MOST: usize = REFERRERS_MAX;
    /// Most bytes that are carried along with one package: an SBOM has some 100 KB.
    pub const BYTES: u64 = 64 << 20;
}

impl Pull<'_> {
    /// Brings what refers to a package and to its platform manifests; gives what `index.json` is to say of it.
    pub(super) async fn referrers(
        &self,
        reference: &PackageRef,
        followed: &Followed,
    ) -> Result<(Carried, Vec<Descriptor>), RegistryError> {
        let action = format!("pull what refers to {}", reference.at(followed.digest));
        let subjects = subject_descriptors(&followed.bytes).map_err(|error| match error {
            SignatureError::Index { source, .. } => {
                self.registry.not_ours(&action, "index", &source)
            }
            SignatureError::Store(error) => error.into(),
        })?;
        let mut carry = Carry {
            pull: self,
            action: &action,
            room: Carried::BYTES,
            left: 0,
            kept: Vec::new(),
            came: BTreeSet::new(),
            listed: Vec::new(),
        };
        let mut carried = Carried::default();
        for subject in subjects.iter().map(|subject| subject.digest) {
            let (signatures, others) = carry.subject(subject).await?;
            if subject == followed.digest {
                carried = Carried { signatures, others, left: 0 };
            }
        }
        let Carry { left, kept, listed, .. } = carry;
        settled(kept).await?;
        Ok((Carried { left, ..carried }, listed))
    }
}

struct Carry<'a> {
    pull: &'a Pull<'a>,
    action: &'a str,
    /// Bytes that may still come.
    room: u64,
    left: usize,
    /// What waits for the disk.
    kept: Vec<Kept>,
    /// What came, so that nothing comes twice: referrers share their bundle.
    came: BTreeSet<Digest>,
    listed: Vec<Descriptor>,
}

/// What became of a manifest that a list names.
enum Taken {
    Signature,
    Other,
    /// There is no room for it.
    Left,
    /// It is not there, not whole, or refers to something else: nothing can be said of it.
    Nothing,
}

impl Carry<'_> {
    /// How many signatures of a subject came, and how many others.
    async fn subject(&mut self, subject: Digest) -> Result<(usize, usize), RegistryError> {
        let listed = self.candidates(subject).await?;
        self.left += listed.len().saturating_sub(REFERRERS_MAX);
        let (mut signatures, mut others) = (0, 0);
        for entry in listed.iter().take(REFERRERS_MAX) {
            match self.take(entry, subject).await? {
                Taken::Signature => signatures += 1,
                Taken::Other => others += 1,
                Taken::Left => self.left += 1,
                Taken::Nothing => {}
            }
        }
        Ok((signatures, others))
    }

    /// What is said to refer to a subject.
    async fn candidates(&self, subject: Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let Pull { registry, repository, .. } = self.pull;
        match registry.listed(&subject) {
            Some(listed) => Ok(listed),
            None => Ok(registry.candidates(self.action, repository, subject).await?.entries),
        }
    }

    async fn take(&mut self, entry: &Descriptor, subject: Digest) -> Result<Taken, RegistryError> {
        let Pull { registry, repository, .. } = self.pull;
        let found = registry.referrer(self.action, repository, entry, subject).await?;
        let Some((manifest, bytes)) = found else { return Ok(Taken::Nothing) };
        let blobs: Vec<_> = manifest.layers.iter().chain([&manifest.config]).collect();
        let size = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
        let Some(rest) = self.room.checked_sub(size) else { return Ok(Taken::Left) };
        self.room = rest;
        if !self.blobs(&blobs).await? {
            return Ok(Taken::Nothing);
        }
        let (digest, size) = (entry.digest, bytes.len() as u64);
        self.keep(bytes).await?;
        self.listed.push(referrer_entry(artifact_type(&manifest), digest, size));
        let is_bundle = is_bundle_of(&manifest, subject);
        Ok(if is_bundle { Taken::Signature } else { Taken::Other })
    }

    /// Keeps blobs; says whether the registry has them all.
    async fn blobs(&mut self, blobs: &[&Descriptor]) -> Result<bool, RegistryError> {
        let Pull { registry, repository, store, .. } = self.pull;
        registry.progress().expect(blobs.iter().map(|blob| blob.size).sum());
        for blob in blobs {
            let Descriptor { digest, size, .. } = blob;
            if let Some(bytes) = registry.document(digest).filter(|came| came.len() as u64 == *size)
            {
                if self.came.insert(*digest) {
                    self.keep(bytes).await?; // its bytes were counted as they came
                } else {
                    registry.progress().advance(*size);
                }
                continue;
            }
            if self.came.contains(digest) || store.holds(blob) {
                registry.progress().advance(*size);
                continue;
            }
            let found = registry.blob(self.action, repository, digest, *size).await?;
            let Some(bytes) = found else { return Ok(false) };
            self.keep(bytes).await?;
            self.came.insert(*digest);
        }
        Ok(true)
    }

    async fn keep(&mut self, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let whole = Received::Memory(bytes).whole().await?;
        self.kept.push(self.pull.keep(whole).await);
        Ok(())
    }
}
