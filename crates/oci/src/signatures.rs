//! Signatures in a layout: a bundle's blob, and one referrer of the index and of each platform manifest. What else refers to
//! those is carried along.

use skep_spec::oci::{Annotations, Descriptor, ImageManifest, Index, MAX_DOCUMENT};
use skep_spec::{Digest, media};
use skep_trust::bundle::{BUNDLE_MAX, Bundle, Subject};

use crate::store::{Store, StoreError, referrer_entry};

/// The empty config of a referrer.
pub(crate) const EMPTY: &[u8] = b"{}";
/// Most referrers of one digest that are looked at.
pub(crate) const REFERRERS_MAX: usize = 64;

/// Why a package in a layout cannot be signed or its signatures not be read.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The package's index cannot be read.
    #[error("cannot read the index {digest}")]
    Index {
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: Box<skep_spec::oci::DocumentError>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SignatureError {
    /// As [`StoreError::is_altered`].
    #[must_use]
    pub const fn is_altered(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_altered())
    }

    /// The standard's code, where it has one for that.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Index { source, .. } => Some(source.code()),
            Self::Store(error) => error.code(),
        }
    }
}

/// What a signature of the package with this index, given by its bytes, speaks of: the index, and each platform's
/// manifest, so that a copy of one platform still verifies.
///
/// # Errors
/// When the bytes are no index.
pub fn subjects_of(index: &[u8]) -> Result<Vec<Subject>, SignatureError> {
    let digest = Digest::of(index);
    let platforms = parse(index)?.manifests.into_iter().filter_map(|entry| {
        let platform = entry.platform?;
        let name = format!("{}/{}", platform.os, platform.architecture);
        Some(Subject { name, digest: entry.digest })
    });
    Ok(std::iter::once(Subject { name: "index".into(), digest }).chain(platforms).collect())
}

/// [`subjects_of`] an index in a layout.
///
/// # Errors
/// When the index is not there or is none.
pub fn subjects(store: &Store, index: Digest) -> Result<Vec<Subject>, SignatureError> {
    subjects_of(&store.require(&index, MAX_DOCUMENT as u64)?)
}

/// Keeps a bundle as a referrer of the index and of each platform manifest, and lists those in `index.json`.
///
/// # Errors
/// When the index is not there or is none, or the store cannot be written.
pub fn attach(store: &Store, index: Digest, bundle: &[u8]) -> Result<(), SignatureError> {
    let index = store.require(&index, MAX_DOCUMENT as u64)?;
    let keep = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        store.put_checked(&digest, bytes).map(|()| digest)
    };
    keep(EMPTY)?;
    keep(bundle)?;
    let mut listed = Vec::new();
    for subject in subject_descriptors(&index)? {
        let manifest = referrer(bundle, &subject);
        listed.push(referrer_entry(media::BUNDLE, keep(&manifest)?, manifest.len() as u64));
    }
    store.settle()?;
    Ok(store.list(listed)?)
}

/// The bundles that refer to `subject` in this layout, in the order of `index.json`.
///
/// A damaged one comes as it lies there, so that the others count and it is refused by its signature; so does a damaged
/// referrer, which does not say any more what it refers to.
///
/// # Errors
/// When `index.json` or a file cannot be read.
pub fn bundles(store: &Store, subject: Digest) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut found = Vec::new();
    let is_bundle = |entry: &Descriptor| entry.artifact_type.as_deref() == Some(media::BUNDLE);
    for referrer in listed(store)?.filter(is_bundle).map(|entry| entry.digest) {
        if found.len() == REFERRERS_MAX {
            break;
        }
        let bundle = match store.read(&referrer, MAX_DOCUMENT as u64) {
            Ok(bytes) => {
                let manifest = bytes.and_then(|bytes| bundle_manifest(&bytes, subject));
                manifest.and_then(|manifest| manifest.layers.first().map(|layer| layer.digest))
            }
            Err(StoreError::Damaged { .. } | StoreError::TooLarge { .. }) => Some(referrer),
            Err(error) => return Err(error),
        };
        let bytes =
            bundle.map(|bundle| store.as_it_lies(&bundle, BUNDLE_MAX as u64)).transpose()?;
        found.extend(bytes.flatten());
    }
    Ok(found)
}

/// The manifests of what refers to `subject`, signatures or not, each with its bytes.
pub(crate) fn referrers(
    store: &Store,
    subject: Digest,
) -> Result<Vec<(ImageManifest, Vec<u8>)>, StoreError> {
    let mut found = Vec::new();
    for entry in listed(store)? {
        let bytes = store.require(&entry.digest, MAX_DOCUMENT as u64)?;
        let manifest = ImageManifest::parse(&bytes).ok().filter(|m| refers_to(m, subject));
        found.extend(manifest.map(|manifest| (manifest, bytes)));
    }
    Ok(found)
}

/// What `index.json` lists as referrers.
fn listed(store: &Store) -> Result<impl Iterator<Item = Descriptor>, StoreError> {
    let manifests =
        |entry: &Descriptor| entry.media_type == media::MANIFEST && entry.artifact_type.is_some();
    Ok(store.index()?.manifests.into_iter().filter(manifests))
}

/// What a referrer is: its `artifactType`, or where older ones have none, its config's type (image-spec, manifest.md).
pub(crate) fn artifact_type(manifest: &ImageManifest) -> &str {
    manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type)
}

fn refers_to(manifest: &ImageManifest, subject: Digest) -> bool {
    manifest.subject.as_ref().is_some_and(|found| found.digest == subject)
}

fn bundle_manifest(bytes: &[u8], subject: Digest) -> Option<ImageManifest> {
    ImageManifest::parse(bytes).ok().filter(|manifest| is_bundle_of(manifest, subject))
}

/// Whether a fetched manifest is a bundle's and refers to `subject`: descriptors that lead here may say anything.
pub(crate) fn is_bundle_of(manifest: &ImageManifest, subject: Digest) -> bool {
    let layer = manifest.layers.first();
    manifest.artifact_type.as_deref() == Some(media::BUNDLE)
        && refers_to(manifest, subject)
        && layer.is_some_and(|layer| layer.media_type == media::BUNDLE)
}

/// The manifest that makes a bundle a referrer of `subject`, as cosign v3 writes it.
pub(crate) fn referrer(bundle: &[u8], subject: &Descriptor) -> Vec<u8> {
    let mut annotations = Annotations::new();
    annotations.insert("dev.sigstore.bundle.content".into(), "dsse-envelope".into());
    let statement = Bundle::parse(bundle).and_then(|bundle| bundle.unchecked_statement());
    if let Ok(statement) = statement {
        annotations.insert("dev.sigstore.bundle.predicateType".into(), statement.predicate_type);
    }
    let mut manifest = ImageManifest::new(
        media::BUNDLE,
        Descriptor::of(media::EMPTY, EMPTY),
        vec![Descriptor::of(media::BUNDLE, bundle)],
        annotations,
    );
    manifest.subject = Some(subject.clone());
    manifest.to_bytes()
}

/// The index and each platform manifest, as subjects: type, digest and size only.
pub(crate) fn subject_descriptors(index: &[u8]) -> Result<Vec<Descriptor>, SignatureError> {
    let platforms = parse(index)?.manifests.into_iter().map(bare);
    Ok(std::iter::once(Descriptor::of(media::INDEX, index)).chain(platforms).collect())
}

fn bare(entry: Descriptor) -> Descriptor {
    Descriptor { digest: entry.digest, size: entry.size, ..Descriptor::of(&entry.media_type, b"") }
}

fn parse(index: &[u8]) -> Result<Index, SignatureError> {
    let digest = Digest::of(index);
    Index::parse(index).map_err(|source| SignatureError::Index { digest, source: Box::new(source) })
}
