//! Parts 2 and 3: what a package says about itself.

use std::collections::BTreeMap;

use skep_spec::oci::{ImageConfig, ImageManifest, Index};
use skep_spec::source;
use skep_spec::{Arch, Digest, Manifest, json};

/// `skep.toml`.
pub(crate) fn source(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match source::parse(text) {
        Ok(source) => {
            let digests = BTreeMap::from([(Arch::X86_64, Digest::of(data))]);
            let objects = source.object.keys().map(|name| (name.clone(), digests.clone()));
            let canonical = source.resolve(&objects.collect()).canonical();
            let read = Manifest::parse(&canonical);
            assert!(read.is_ok(), "what it resolves to is a manifest: {read:?}");
        }
        Err(mistakes) => {
            let lines = text.lines().count() + 1;
            assert!(!mistakes.is_empty());
            assert!(mistakes.iter().all(|at| (1..=lines).contains(&at.line) && at.column > 0));
        }
    }
    _ = source::place(text, &["package", "name"]);
}

/// `manifest.json`.
pub(crate) fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else { return };
    let canonical = manifest.canonical();
    let again = Manifest::parse(&canonical).map(|manifest| manifest.canonical());
    assert_eq!(again.ok(), Some(canonical), "its canonical form is its own");
}

/// Indexes, image manifests, configs, and any other JSON.
pub(crate) fn oci(data: &[u8]) {
    if let Ok(index) = Index::parse(data) {
        let again = Index::parse(&index.to_bytes());
        assert_eq!(again.ok().as_ref(), Some(&index));
        Arch::ALL.into_iter().for_each(|arch| _ = index.platform(arch));
    }
    if let Ok(manifest) = ImageManifest::parse(data) {
        assert_eq!(ImageManifest::parse(&manifest.to_bytes()).ok(), Some(manifest));
    }
    _ = json::read::<ImageConfig>(data, 1 << 20);
    _ = json::parse_exact(data, 1 << 20);
}
