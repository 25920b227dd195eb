//! Removing what no package that is kept needs.

use std::collections::BTreeSet;
use std::fs;

use skep_spec::oci::{Descriptor, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Digest, media};

use super::part::PART;
use super::{Store, StoreError, io_error};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Removes every blob, and its entry in `index.json`, that the packages with these indexes and their signatures do not
    /// need. Cut off half-way, it leaves what is needed whole, and goes on the next time. Nobody may write packages meanwhile:
    /// theirs would go.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn collect(&self, keep: &BTreeSet<Digest>) -> Result<Collected, StoreError> {
        let mut needed = BTreeSet::new();
        for index in keep {
            self.need_package(*index, &mut needed)?;
        }
        for entry in self.index()?.manifests {
            self.need_referrer(&entry, &mut needed)?;
        }
        self.unlist(|entry| needed.contains(&entry.digest))?;
        let mut collected = Collected::default();
        let folder = self.blobs();
        for entry in fs::read_dir(&folder).map_err(io_error("list", &folder))?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(PART.as_bytes()) {
                let path = entry.path();
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
                continue;
            }
            // What is being written has another name.
            let digest =
                entry.file_name().to_str().and_then(|name| format!("sha256:{name}").parse().ok());
            if let Some(digest) = digest.filter(|digest| !needed.contains(digest)) {
                collected.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                collected.blobs += 1;
                self.remove(&digest)?;
            }
        }
        Ok(collected)
    }

    fn need_package(&self, index: Digest, needed: &mut BTreeSet<Digest>) -> Result<(), StoreError> {
        needed.insert(index);
        let Some(index) = self.document(&index)?.and_then(|bytes| Index::parse(&bytes).ok()) else {
            return Ok(());
        };
        for platform in index.manifests {
            needed.insert(platform.digest);
            needed.extend(self.manifest(&platform.digest)?.iter().flat_map(blobs_of));
        }
        Ok(())
    }

    /// A signature is needed for what it signs, and so is whatever else refers to what is needed.
    fn need_referrer(
        &self,
        entry: &Descriptor,
        needed: &mut BTreeSet<Digest>,
    ) -> Result<(), StoreError> {
        if entry.media_type != media::MANIFEST || entry.artifact_type.is_none() {
            return Ok(());
        }
        let Some(manifest) = self.manifest(&entry.digest)? else { return Ok(()) };
        if manifest.subject.as_ref().is_some_and(|subject| needed.contains(&subject.digest)) {
            needed.insert(entry.digest);
            needed.extend(blobs_of(&manifest));
        }
        Ok(())
    }

    fn manifest(&self, digest: &Digest) -> Result<Option<ImageManifest>, StoreError> {
        Ok(self.document(digest)?.and_then(|bytes| ImageManifest::parse(&bytes).ok()))
    }

    /// A document; none where it is absent or damaged: such a package cannot be used before it is pulled again.
    fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        match self.read(digest, MAX_DOCUMENT as u64) {
            Err(StoreError::Damaged { .. } | StoreError::TooLarge { .. }) => Ok(None),
            other => other,
        }
    }
}

fn blobs_of(manifest: &ImageManifest) -> impl Iterator<Item = Digest> {
    manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest)
}
