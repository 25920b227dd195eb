//! A package from one layout into another.

use skep_spec::oci::{DocumentError, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, PackageRef};
use skep_trust::admit::LAYER_MAX;

use super::{Store, StoreError};

impl Store {
    /// Copies what a node of `arch` needs of the package whose index has `digest`, and lists it here. As with a pull, the
    /// digest is verified before: documents are read here to follow them, the package's own files are not.
    ///
    /// # Errors
    /// When something is not there or not what its digest says, or cannot be written. What came until then stays, unlisted.
    pub fn copy_from(
        &self,
        from: &Self,
        digest: Digest,
        reference: &PackageRef,
        arch: Arch,
    ) -> Result<(), StoreError> {
        let document = from.require(&digest, MAX_DOCUMENT as u64)?;
        let index = Index::parse(&document).map_err(no_part("index", digest))?;
        if let Some(entry) = index.platform(arch) {
            let bytes = from.require(&entry.digest, MAX_DOCUMENT as u64)?;
            let manifest =
                ImageManifest::parse(&bytes).map_err(no_part("platform manifest", entry.digest))?;
            for layer in manifest.layers.iter().chain([&manifest.config]) {
                self.put_checked(&layer.digest, &from.require(&layer.digest, LAYER_MAX)?)?;
            }
            self.put_checked(&entry.digest, &bytes)?;
        }
        self.put_checked(&digest, &document)?;
        self.settle()?;
        match &reference.version {
            Some(version) => {
                self.list_package(&reference.name, version, digest, document.len() as u64)
            }
            None => Ok(()),
        }
    }
}

fn no_part(what: &'static str, digest: Digest) -> impl FnOnce(DocumentError) -> StoreError {
    move |source| StoreError::Document { what, digest, source: Box::new(source) }
}
