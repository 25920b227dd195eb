//! What travels with packages and refers to none: a publisher's keys and the pointers of channels, each a manifest whose layers
//! are bundles. Nobody here checks a signature.

use skep_spec::oci::{Annotations, Descriptor, ImageManifest, MAX_DOCUMENT};
use skep_spec::{Digest, media};
use skep_trust::bundle::BUNDLE_MAX;
use skep_trust::verify::BUNDLES_MAX;

use crate::signatures::EMPTY;
use crate::store::{Store, StoreError, referrer_entry};

/// The `artifactType`s of such manifests.
pub const KINDS: [&str; 2] = [media::CHANNEL, media::KEYS];

/// Most bundles of a publisher's keys: those of 64 versions and more, each signed by two keys before and two of its own.
pub const KEYS_MAX: usize = 256;

/// The manifest of bundles.
pub(crate) fn manifest(artifact_type: &str, bundles: &[Vec<u8>]) -> ImageManifest {
    let layers = bundles.iter().map(|bundle| Descriptor::of(media::BUNDLE, bundle)).collect();
    let config = Descriptor::of(media::EMPTY, EMPTY);
    ImageManifest::new(artifact_type, config, layers, Annotations::new())
}

/// The bundles of a manifest; or why it is none of this kind that anybody would read whole.
pub(crate) fn layers<'a>(
    manifest: &'a ImageManifest,
    artifact_type: &str,
) -> Result<&'a [Descriptor], String> {
    if manifest.artifact_type.as_deref() != Some(artifact_type) {
        return Err("is of another kind".to_owned());
    }
    let most = if artifact_type == media::KEYS { KEYS_MAX } else { BUNDLES_MAX };
    let layers = &manifest.layers;
    if layers.len() > most {
        return Err(format!("has {} bundles, more than {most}", layers.len()));
    }
    let sizes = layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
    if sizes > BUNDLE_MAX as u64 { Err("has more than 1 MiB".to_owned()) } else { Ok(layers) }
}

/// Puts bundles into a layout, and lists them there.
///
/// # Errors
/// The layout cannot be written.
pub fn keep(store: &Store, artifact_type: &str, bundles: &[Vec<u8>]) -> Result<(), StoreError> {
    let manifest = manifest(artifact_type, bundles).to_bytes();
    let digest = Digest::of(&manifest);
    for blob in bundles.iter().map(Vec::as_slice).chain([EMPTY, &manifest]) {
        store.put_checked(&Digest::of(blob), blob)?;
    }
    store.settle()?;
    store.list(vec![referrer_entry(artifact_type, digest, manifest.len() as u64)])
}

/// The bundles of each manifest of a kind that a layout lists; a damaged one counts for nothing.
///
/// # Errors
/// `index.json` cannot be read.
pub fn kept(store: &Store, artifact_type: &str) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
    let entries = store.index()?.manifests.into_iter();
    let of_kind = entries.filter(|entry| entry.artifact_type.as_deref() == Some(artifact_type));
    let read = |digest: &Digest, most| store.read(digest, most).ok().flatten();
    let bundles = |entry: Descriptor| {
        let manifest = ImageManifest::parse(&read(&entry.digest, MAX_DOCUMENT as u64)?).ok()?;
        let layers = layers(&manifest, artifact_type).ok()?;
        layers.iter().map(|layer| read(&layer.digest, BUNDLE_MAX as u64)).collect()
    };
    Ok(of_kind.filter_map(bundles).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_puts_what_nobody_reads() {
        for (kind, most) in [(media::KEYS, KEYS_MAX), (media::CHANNEL, BUNDLES_MAX)] {
            let of = |count: usize| manifest(kind, &vec![b"{}".to_vec(); count]);
            assert_eq!(layers(&of(most), kind).unwrap().len(), most);
            let why = layers(&of(most + 1), kind).unwrap_err();
            assert_eq!(why, format!("has {} bundles, more than {most}", most + 1));
        }
        let large = manifest(media::KEYS, &[vec![b' '; BUNDLE_MAX], b"{}".to_vec()]);
        assert_eq!(layers(&large, media::KEYS).unwrap_err(), "has more than 1 MiB");
    }
}
