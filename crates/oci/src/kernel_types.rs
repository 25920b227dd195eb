//! Types of kernels that carry none, on their way to those: each a manifest with one layer (part 11).

use skep_spec::oci::{Annotations, Descriptor, ImageManifest, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, media};
use skep_trust::admit::LAYER_MAX;

use crate::signatures::EMPTY;
use crate::store::{Store, StoreError, referrer_entry};

/// Most characters of a release (`__NEW_UTS_LEN`, include/uapi/linux/utsname.h).
const RELEASE_MAX: usize = 64;

/// The types of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelTypes {
    release: String,
    arch: Arch,
    /// Raw BTF, at most 64 MiB.
    pub btf: Vec<u8>,
}

impl KernelTypes {
    /// Of the kernel that has this release; none where that is no `uname -r`, which becomes the name of a file.
    #[must_use]
    pub fn new(release: &str, arch: Arch, btf: Vec<u8>) -> Option<Self> {
        let is_fine = |c: u8| c.is_ascii_alphanumeric() || b"._+~-".contains(&c);
        let fine = (1..=RELEASE_MAX).contains(&release.len())
            && release.bytes().all(is_fine)
            && !release.starts_with('.');
        fine.then(|| Self { release: release.to_owned(), arch, btf })
    }

    /// `uname -r`.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Its architecture.
    #[must_use]
    pub const fn arch(&self) -> Arch {
        self.arch
    }

    /// The file that holds them, where a node looks for those of its kernel.
    #[must_use]
    pub fn file_name(release: &str, arch: Arch) -> String {
        format!("{release}-{arch}.btf")
    }

    /// Puts them into a layout, and lists them there.
    ///
    /// # Errors
    /// The layout cannot be written.
    pub fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let layer = Descriptor::of(media::BTF, &self.btf);
        let annotations = Annotations::from([
            (media::BTF_RELEASE.to_owned(), self.release.clone()),
            (media::BTF_ARCH.to_owned(), self.arch.to_string()),
        ]);
        let config = Descriptor::of(media::EMPTY, EMPTY);
        let manifest = ImageManifest::new(media::BTF, config, vec![layer], annotations).to_bytes();
        for blob in [&self.btf, EMPTY, &manifest] {
            store.put_checked(&Digest::of(blob), blob)?;
        }
        store.settle()?;
        let (digest, size) = (Digest::of(&manifest), manifest.len() as u64);
        store.list(vec![referrer_entry(media::BTF, digest, size)])
    }

    /// Those that a layout lists, each read when it is asked for. What says no kernel, or is damaged, is left out.
    ///
    /// # Errors
    /// `index.json` cannot be read.
    pub fn kept(store: &Store) -> Result<impl Iterator<Item = Self>, StoreError> {
        let entries = store.index()?.manifests.into_iter();
        let of_kind = entries.filter(|entry| entry.artifact_type.as_deref() == Some(media::BTF));
        let types = move |entry: Descriptor| {
            let read = |digest: &Digest, most| store.read(digest, most).ok().flatten();
            let manifest = ImageManifest::parse(&read(&entry.digest, MAX_DOCUMENT as u64)?).ok()?;
            let [layer] = manifest.layers.as_slice() else { return None };
            let annotation = |name| manifest.annotations.get(name);
            let arch = annotation(media::BTF_ARCH)?.parse().ok()?;
            let btf = read(&layer.digest, LAYER_MAX)?;
            Self::new(annotation(media::BTF_RELEASE)?, arch, btf)
        };
        Ok(of_kind.filter_map(types))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_word() {
        let fine = |release: &str| KernelTypes::new(release, Arch::X86_64, Vec::new()).is_some();
        for release in
            ["5.4.0-42-generic", "6.1.0-13-amd64", "4.18.0-553.el8_10.x86_64", "6.9~rc1+"]
        {
            assert!(fine(release), "{release}");
        }
        for release in ["", "..", ".hidden", "a/b", "a\n", "../x", &"1".repeat(65)] {
            assert!(!fine(release), "{release}");
        }
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("layout")).unwrap();
        let types = KernelTypes::new("5.4.0-42-generic", Arch::Aarch64, vec![7; 100]).unwrap();
        types.keep(&store).unwrap();
        types.keep(&store).unwrap();
        assert!(KernelTypes::kept(&store).unwrap().eq([types]));
    }
}
