//! An object as an ordinary image of one layer: what bpfman's specification of bytecode images asks for, which has no place
//! for a second object or a manifest of ours.

use std::collections::BTreeMap;

use skep_spec::oci::{Annotations, Descriptor, ImageConfig, ImageManifest, Index, Platform};
use skep_spec::{Arch, Digest, media};

use crate::pack::{Labels, PackError, Packed, ebpf, packed};
use crate::store::Store;

/// Keeps an image of an object in `store`, an index where it is for several architectures, and lists it there under `name`.
///
/// # Errors
/// When there is no object, one is too large, or the store cannot be written.
pub fn flat(
    store: &Store,
    name: &str,
    object: &BTreeMap<Arch, Vec<u8>>,
    labels: &Labels,
) -> Result<Digest, PackError> {
    let mut manifests = Vec::new();
    for (arch, bytes) in object {
        let entry = platform(store, &format!("{name}.o"), *arch, bytes, labels)?;
        manifests.push(Descriptor { platform: Some(Platform::linux(*arch)), ..entry });
    }
    let mut entry = match manifests.as_slice() {
        [] => return Err(PackError::NoObjects(name.to_owned())),
        [only] => Descriptor { platform: None, ..only.clone() },
        _ => {
            let bytes = Index::new(manifests, Annotations::new()).to_bytes();
            store.put(&bytes)?;
            Descriptor::of(media::INDEX, &bytes)
        }
    };
    let digest = entry.digest;
    entry.annotations.insert(media::REF_NAME.into(), name.into());
    store.list(vec![entry])?;
    Ok(digest)
}

fn platform(
    store: &Store,
    title: &str,
    arch: Arch,
    bytes: &[u8],
    labels: &Labels,
) -> Result<Descriptor, PackError> {
    let Packed { mut layer, diff_id } = packed(store, title, "object", bytes)?;
    layer.annotations.remove(media::ROLE);
    let config = ImageConfig::new(arch, ebpf(labels), vec![diff_id]).to_bytes();
    store.put(&config)?;
    let config = Descriptor::of(media::CONFIG, &config);
    let manifest = ImageManifest::new("", config, vec![layer], Annotations::new());
    let manifest = ImageManifest { artifact_type: None, ..manifest }.to_bytes();
    store.put(&manifest)?;
    Ok(Descriptor::of(media::MANIFEST, &manifest))
}
