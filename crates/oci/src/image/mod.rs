//! Images of others, such as bpfman's and Inspektor Gadget's: read within limits from a registry or a layout. Nothing of
//! them is kept, and what is in them is for the caller to judge.

mod error;
mod reference;
mod source;

use std::collections::BTreeMap;

use skep_spec::oci::{Annotations, Descriptor, ImageManifest, Index, Platform};
use skep_spec::{Arch, Digest};
use skep_trust::admit::LAYER_MAX;
use skep_trust::layer;

pub use self::error::ImageError;
pub use self::reference::{ImageRef, ImageRefError};
use self::source::Document;
pub use self::source::ImagePlace;
pub use skep_trust::layer::LayerError;

/// Docker's words for what OCI made standards of.
pub mod docker {
    /// A manifest (Image Manifest Version 2, Schema 2).
    pub const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A list of manifests, one for each platform.
    pub const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// An image config.
    pub const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// A layer: a gzipped tar.
    pub const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
}

/// Most bytes of an image's config.
const CONFIG_MAX: u64 = 1024 * 1024;
/// Most bytes of all layers of an image that are read.
const IMAGE_MAX: u64 = 256 * 1024 * 1024;

/// An image, whose layers come when they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Of its index, if it has one.
    pub annotations: Annotations,
    /// One for each architecture of ours; one alone, whatever it is for, where there is no index.
    pub platforms: Vec<ImagePlatform>,
}

/// An image for one platform.
#[derive(Clone, Debug)]
pub struct ImagePlatform {
    /// The architecture that the index gives it.
    pub arch: Option<Arch>,
    /// Its manifest.
    pub manifest: ImageManifest,
    /// Its config, in whatever language.
    pub config: Vec<u8>,
    layers: BTreeMap<Digest, Vec<u8>>,
}

impl ImagePlatform {
    /// An image whose bytes are at hand: its config, and each layer that is one of its manifest's.
    #[must_use]
    pub fn new(
        arch: Option<Arch>,
        manifest: ImageManifest,
        config: Vec<u8>,
        layers: impl IntoIterator<Item = Vec<u8>>,
    ) -> Self {
        let layers = layers.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect();
        Self { arch, manifest, config, layers }
    }

    /// The bytes of a layer, as they are stored, once it was brought.
    #[must_use]
    pub fn layer(&self, entry: &Descriptor) -> Option<&[u8]> {
        self.layers.get(&entry.digest).map(Vec::as_slice)
    }
}

/// The one file of a layer that is a gzipped tar. Its name is for people: nothing is written to it.
///
/// # Errors
/// As [`layer::read`].
pub fn file(layer: &[u8]) -> Result<layer::File, LayerError> {
    layer::read(layer, layer::FILE_MAX)
}

impl Image {
    /// Reads an image's documents: its index, if it has one, its manifests and configs.
    ///
    /// # Errors
    /// It is not there, is larger than an image may be, or is no image for Linux.
    pub async fn open(place: &ImagePlace) -> Result<Self, ImageError> {
        let index = match place.root().await? {
            Document::Manifest(manifest) => {
                let platforms = vec![platform(place, None, *manifest).await?];
                return Ok(Self { annotations: Annotations::new(), platforms });
            }
            Document::Index(index) => index,
        };
        let mut platforms = Vec::new();
        for (arch, entry) in wanted(place, &index)? {
            let Document::Manifest(manifest) = place.document(entry).await? else {
                return Err(ImageError::Nested { image: place.to_string() });
            };
            platforms.push(platform(place, arch, *manifest).await?);
        }
        Ok(Self { annotations: index.annotations, platforms })
    }

    /// Brings the layers that `wanted` names of each platform.
    ///
    /// # Errors
    /// One is not there, not what its descriptor says, or they are larger than an image may be.
    pub async fn bring(
        &mut self,
        place: &ImagePlace,
        wanted: impl Fn(&ImagePlatform) -> Vec<Descriptor>,
    ) -> Result<(), ImageError> {
        let mut room = IMAGE_MAX;
        let mut came = BTreeMap::<Digest, Vec<u8>>::new();
        for platform in &mut self.platforms {
            for entry in wanted(platform) {
                let bytes = match came.get(&entry.digest) {
                    Some(bytes) => bytes.clone(),
                    None => place.blob("a layer", &entry, LAYER_MAX.min(room)).await?,
                };
                room = room.saturating_sub(bytes.len() as u64);
                came.insert(entry.digest, bytes.clone());
                platform.layers.insert(entry.digest, bytes);
            }
        }
        Ok(())
    }
}

async fn platform(
    place: &ImagePlace,
    arch: Option<Arch>,
    manifest: ImageManifest,
) -> Result<ImagePlatform, ImageError> {
    let config = place.blob("the config", &manifest.config, CONFIG_MAX).await?;
    Ok(ImagePlatform::new(arch, manifest, config, []))
}

/// The manifests of an index that are for our architectures, the first of each. Others lie beside them: attestations, and
/// platforms that nobody here runs.
fn wanted<'i>(
    place: &ImagePlace,
    index: &'i Index,
) -> Result<Vec<(Option<Arch>, &'i Descriptor)>, ImageError> {
    let mut wanted = BTreeMap::new();
    for entry in &index.manifests {
        if let Some(arch) = entry.platform.as_ref().and_then(Platform::arch) {
            wanted.entry(arch).or_insert(entry);
        }
    }
    if !wanted.is_empty() {
        return Ok(wanted.into_iter().map(|(arch, entry)| (Some(arch), entry)).collect());
    }
    match index.manifests.as_slice() {
        [only] if only.platform.is_none() => Ok(vec![(None, only)]),
        all => {
            let named = |platform: &Platform| format!("{}/{}", platform.os, platform.architecture);
            let there = all.iter().filter_map(|entry| entry.platform.as_ref().map(named));
            Err(ImageError::Platforms { image: place.to_string(), there: there.collect() })
        }
    }
}
