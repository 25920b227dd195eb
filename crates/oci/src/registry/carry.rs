//! What refers to a package - signatures, attestations, whatever others attached - carried along with it, byte for byte.

use skep_spec::oci::{Descriptor, MAX_DOCUMENT};
use skep_spec::{Digest, PackageRef};

use super::Registry;
use super::error::RegistryError;
use crate::signatures::{REFERRERS_MAX, artifact_type, is_bundle_of, subject_descriptors};
use crate::store::Store;

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

impl Registry {
    /// Pulls what refers to a package, whose index is in `store`, and to its platform manifests, and lists it there. Nobody
    /// checks what it says.
    ///
    /// # Errors
    /// When the registry does not answer as it should, or the store cannot be read or written.
    pub async fn pull_referrers(
        &self,
        reference: &PackageRef,
        index: Digest,
        store: &Store,
    ) -> Result<Carried, RegistryError> {
        let action = format!("pull what refers to {}", reference.at(index));
        let bytes = store.require(&index, MAX_DOCUMENT as u64)?;
        let subjects =
            subject_descriptors(&bytes).map_err(|e| self.not_ours(&action, "index", &e))?;
        let mut carry = Carry {
            registry: self,
            store,
            repository: &reference.repository(),
            action: &action,
            room: Carried::BYTES,
            left: 0,
        };
        let mut carried = Carried::default();
        for subject in subjects.iter().map(|subject| subject.digest) {
            let (signatures, others) = carry.subject(subject).await?;
            if subject == index {
                carried = Carried { signatures, others, left: 0 };
            }
        }
        Ok(Carried { left: carry.left, ..carried })
    }
}

struct Carry<'a> {
    registry: &'a Registry,
    store: &'a Store,
    repository: &'a str,
    action: &'a str,
    /// Bytes that may still come.
    room: u64,
    left: usize,
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
        let listed = self.registry.candidates(self.action, self.repository, subject).await?;
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

    async fn take(&mut self, entry: &Descriptor, subject: Digest) -> Result<Taken, RegistryError> {
        let found = self.registry.referrer(self.action, self.repository, entry, subject).await?;
        let Some((manifest, bytes)) = found else { return Ok(Taken::Nothing) };
        let blobs: Vec<_> = manifest.layers.iter().chain([&manifest.config]).collect();
        let size = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size));
        let Some(rest) = self.room.checked_sub(size) else { return Ok(Taken::Left) };
        self.room = rest;
        if !self.blobs(&blobs).await? {
            return Ok(Taken::Nothing);
        }
        let digest = self.store.put(&bytes)?;
        self.store.list_referrer(artifact_type(&manifest), digest, bytes.len() as u64)?;
        let is_bundle = is_bundle_of(&manifest, subject);
        Ok(if is_bundle { Taken::Signature } else { Taken::Other })
    }

    /// Puts blobs into the store; says whether the registry has them all.
    async fn blobs(&self, blobs: &[&Descriptor]) -> Result<bool, RegistryError> {
        for blob in blobs.iter().filter(|blob| !self.store.holds(blob)) {
            let found =
                self.registry.blob(self.action, self.repository, &blob.digest, blob.size).await?;
            let Some(bytes) = found else { return Ok(false) };
            self.store.put(&bytes)?;
        }
        Ok(true)
    }
}
