//! The package of `spec/vectors/files/package`: packed again it has the same bytes, and each platform of it is admitted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use skep_oci::Store;
use skep_oci::pack::{Input, Labels, pack};
use skep_spec::{Arch, Digest, Manifest};
use skep_trust::{Verified, admit};

fn vector(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/files/package").join(path)
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn packed(layout: &Path) -> Digest {
    let object = |arch: &str| fs::read(vector(&format!("input/{arch}.txt"))).unwrap();
    let arches =
        BTreeMap::from([(Arch::X86_64, object("x86_64")), (Arch::Aarch64, object("aarch64"))]);
    let manifest = Manifest::parse(&fs::read(vector("input/manifest.json")).unwrap()).unwrap();
    let labels = Labels {
        programs: BTreeMap::from([("handle".to_owned(), "tracepoint".to_owned())]),
        maps: BTreeMap::from([("events".to_owned(), "ringbuf".to_owned())]),
    };
    let readme = fs::read_to_string(vector("input/README.md")).unwrap();
    let objects = BTreeMap::from([("exec".to_owned(), arches)]);
    let input =
        Input { manifest: &manifest, objects: &objects, readme: Some(&readme), labels: &labels };
    pack(&Store::create(layout).unwrap(), &input).unwrap()
}

#[test]
fn the_package_has_these_bytes() {
    let folder = tempfile::tempdir().unwrap();
    packed(folder.path());
    let blobs = Path::new("blobs/sha256");
    assert_eq!(files(&folder.path().join(blobs)), files(&vector("layout").join(blobs)));
    for file in ["index.json", "oci-layout"] {
        let expected = fs::read_to_string(vector("layout").join(file)).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), expected);
    }
}

#[test]
fn each_platform_of_it_is_admitted() {
    let store = Store::open(&vector("layout")).unwrap();
    let (reference, digest) = store.packages().unwrap().remove(0);
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let package = admit(Verified::unsigned(digest), &store, arch, &reference).unwrap();
        let object = fs::read(vector(&format!("input/{arch}.txt"))).unwrap();
        assert_eq!(package.objects["exec"], object);
        assert_eq!(package.manifest_bytes, fs::read(vector("input/manifest.json")).unwrap());
    }
}
