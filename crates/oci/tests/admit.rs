//! From packing to admission, and each way in which a package is refused on it.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::SystemTime;

use skep_oci::pack::{Input, PackError, pack};
use skep_oci::{Store, signatures};
use skep_spec::oci::{Annotations, Descriptor, ImageManifest, Index, Platform};
use skep_spec::{Arch, Digest, PackageRef, media};
use skep_trust::key::KeyKind;
use skep_trust::{
    AdmitError, Asked, Origin, Policy, SecretKey, Verified, admit, check, layer, verify,
};
use support::{Fixture, blobs, labels, manifest, objects};

fn reference() -> PackageRef {
    "acme/exec:1.0.0".parse().unwrap()
}

#[test]
fn the_same_input_gives_the_same_digest_for_ever() {
    let (one, two) = (Fixture::new("1.0.0"), Fixture::new("1.0.0"));
    assert_eq!(one.index, two.index);
    assert_eq!(blobs(one.store.root()), blobs(two.store.root()));
    assert_eq!(one.index.short(), "71085f48d171");
    let bytes = one.store.require(&one.index, 1 << 20).unwrap();
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
    let index = Index::parse(&one.store.require(&one.index, 1 << 20).unwrap()).unwrap();
    let bytes = one.store.require(&index.manifests[0].digest, 1 << 20).unwrap();
    insta::assert_snapshot!(String::from_utf8(bytes.clone()).unwrap());
    let config = ImageManifest::parse(&bytes).unwrap().config;
    let bytes = one.store.require(&config.digest, 1 << 20).unwrap();
    insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
}

#[test]
fn a_signed_package_is_admitted_with_its_origin() {
    let fixture = Fixture::new("1.0.0");
    let key = SecretKey::generate(KeyKind::P256).unwrap();
    fixture.sign_well(&key);
    let bundles = signatures::bundles(&fixture.store, fixture.index).unwrap();
    let reference = reference();
    let asked = Asked { name: &reference.name, registry: None, digest: fixture.index };
    let policy = Policy::of_keys(vec![key.public().unwrap()], 1);
    let verified = verify(&asked, &bundles, &policy, SystemTime::now()).unwrap();
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let package = admit(verified.clone(), &fixture.store, arch, &reference).unwrap();
        assert_eq!(package.objects["exec"], objects()["exec"][&arch]);
        assert_eq!(package.readme.as_deref(), Some("# exec\n"));
        assert_eq!(package.index, fixture.index);
        assert!(matches!(package.origin(), Origin::Signed { .. }));
    }
    // A copy of one platform still verifies.
    let platform = signatures::subjects(&fixture.store, fixture.index).unwrap()[1].digest;
    let bundles = signatures::bundles(&fixture.store, platform).unwrap();
    let asked = Asked { digest: platform, ..asked };
    verify(&asked, &bundles, &policy, SystemTime::now()).unwrap();
}

fn refusal(store: &Store, index: Digest, arch: Arch, reference: &str) -> String {
    let (verified, asked) = (Verified::unsigned(index), reference.parse().unwrap());
    let looked_at = skep_spec::chain(&check(&verified, store, arch, &asked).unwrap_err());
    let refused = skep_spec::chain(&admit(verified, store, arch, &asked).unwrap_err());
    assert_eq!(looked_at, refused, "who only looks is told the same");
    refused
}

#[test]
fn another_package_than_asked_for_is_refused() {
    let f = Fixture::new("1.0.0");
    let errors = [
        refusal(&f.store, f.index, Arch::X86_64, "acme/other:1.0.0"),
        refusal(&f.store, f.index, Arch::X86_64, "acme/exec:1.0.1"),
        refusal(&f.store, f.index, Arch::S390x, "acme/exec:1.0.0"),
        refusal(&f.store, Digest::of(b"nothing"), Arch::X86_64, "acme/exec:1.0.0"),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

/// A role, the layer's bytes, and by how much its descriptor lies about their number.
type Layer = (&'static str, Vec<u8>, i64);

/// A package of one platform whose layers are made by hand.
fn forged(store: &Store, artifact_type: &str, layers: &[Layer]) -> Digest {
    let layers = layers.iter().map(|(role, bytes, more)| {
        store.put(bytes).unwrap();
        let mut layer = Descriptor::of(media::LAYER, bytes);
        layer.size = layer.size.checked_add_signed(*more).unwrap();
        layer.annotations.insert(media::ROLE.into(), (*role).into());
        layer
    });
    let config = Descriptor::of(media::CONFIG, b"{}");
    let manifest =
        ImageManifest::new(artifact_type, config, layers.collect(), Annotations::new()).to_bytes();
    store.put(&manifest).unwrap();
    let platform = Some(Platform::linux(Arch::X86_64));
    let entry = Descriptor { platform, ..Descriptor::of(media::MANIFEST, &manifest) };
    store.put(&Index::new(vec![entry], Annotations::new()).to_bytes()).unwrap()
}

#[test]
fn forged_packages_are_refused_with_their_reason() {
    let f = Fixture::new("1.0.0");
    let given =
        BTreeMap::from([("exec".to_owned(), BTreeMap::from([(Arch::X86_64, b"ELF".to_vec())]))]);
    let file = |data: &[u8]| layer::write("f", data).unwrap();
    let good = file(&manifest("1.0.0", &given).canonical());
    let no_arch = file(
        &manifest("1.0.0", &BTreeMap::from([("exec".to_owned(), BTreeMap::new())])).canonical(),
    );
    let elf = file(b"ELF");
    let bomb = file(&vec![0; 2 * 1024 * 1024]);
    let cases: [(&str, &str, Vec<Layer>); 12] = [
        ("another artifact", "application/x", vec![]),
        ("no manifest", media::PACKAGE, vec![("object", elf.clone(), 0)]),
        (
            "two manifests",
            media::PACKAGE,
            vec![("manifest", good.clone(), 0), ("manifest", good.clone(), 0)],
        ),
        ("no object", media::PACKAGE, vec![("manifest", good.clone(), 0)]),
        (
            "another object",
            media::PACKAGE,
            vec![("manifest", good.clone(), 0), ("object", file(b"other"), 0)],
        ),
        (
            "one object more",
            media::PACKAGE,
            vec![
                ("manifest", good.clone(), 0),
                ("object", elf.clone(), 0),
                ("object", file(b"other"), 0),
            ],
        ),
        ("no digest", media::PACKAGE, vec![("manifest", no_arch, 0), ("object", elf.clone(), 0)]),
        ("shorter than said", media::PACKAGE, vec![("manifest", good.clone(), 1)]),
        ("longer than said", media::PACKAGE, vec![("manifest", good.clone(), -1)]),
        ("huge", media::PACKAGE, vec![("manifest", good.clone(), 1 << 40)]),
        ("a manifest without end", media::PACKAGE, vec![("manifest", bomb, 0)]),
        ("no tar", media::PACKAGE, vec![("manifest", b"hello".to_vec(), 0)]),
    ];
    let mut texts = Vec::new();
    for (case, artifact_type, layers) in cases {
        let index = forged(&f.store, artifact_type, &layers);
        texts
            .push(format!("{case}: {}", refusal(&f.store, index, Arch::X86_64, "acme/exec:1.0.0")));
    }
    insta::assert_snapshot!(texts.join("\n"));
    let index = forged(
        &f.store,
        media::PACKAGE,
        &[("manifest", good, 0), ("object", elf, 0), ("unknown", b"x".to_vec(), 0)],
    );
    let package = admit(Verified::unsigned(index), &f.store, Arch::X86_64, &reference()).unwrap();
    assert_eq!(*package.origin(), Origin::Unsigned);
}

/// One blob under many names would be held once for each.
#[test]
fn all_objects_together_stay_within_what_a_platform_may_have() {
    let f = Fixture::new("1.0.0");
    let elf = |size: usize, fill| (Arch::X86_64, vec![fill; size]);
    let named = |names: &[&str], elf: &(Arch, Vec<u8>)| -> BTreeMap<_, _> {
        names.iter().map(|name| ((*name).to_owned(), BTreeMap::from([elf.clone()]))).collect()
    };
    let admitted = |objects: &BTreeMap<String, BTreeMap<Arch, Vec<u8>>>, layers: &[&[u8]]| {
        let file = |bytes: &[u8]| layer::write("f", bytes).unwrap();
        let mut all = vec![("manifest", file(&manifest("1.0.0", objects).canonical()), 0)];
        all.extend(layers.iter().map(|bytes| ("object", file(bytes), 0)));
        let index = forged(&f.store, media::PACKAGE, &all);
        let (verified, asked) = (Verified::unsigned(index), reference());
        let checked = check(&verified, &f.store, Arch::X86_64, &asked);
        let admitted = admit(verified, &f.store, Arch::X86_64, &asked);
        // Who only looks comes to the same.
        match (&checked, &admitted) {
            (Ok(checked), Ok(package)) => {
                assert_eq!(checked.platform, package.platform);
                assert!(checked.objects.iter().eq(package.objects.keys()));
            }
            (checked, admitted) => {
                assert_eq!(
                    checked.as_ref().err().map(AdmitError::code),
                    admitted.as_ref().err().map(AdmitError::code)
                );
            }
        }
        admitted
    };
    let small = elf(300_000, 1);
    let two = named(&["a", "b"], &small);
    let package = admitted(&two, &[&small.1]).unwrap();
    assert_eq!(package.objects["a"], small.1);
    assert_eq!(package.objects["b"], small.1);
    let large = elf(33 << 20, 2);
    let error = admitted(&named(&["a", "b", "c", "d"], &large), &[&large.1]).unwrap_err();
    assert_eq!(error.code(), Some("oci.too-large"), "{error}");
    let mut several = BTreeMap::new();
    let bytes: Vec<_> = (3..7).map(|fill| elf(33 << 20, fill)).collect();
    for (name, elf) in ["a", "b", "c", "d"].iter().zip(&bytes) {
        several.extend(named(&[name], elf));
    }
    let layers: Vec<&[u8]> = bytes.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let error = admitted(&several, &layers).unwrap_err();
    assert_eq!(error.code(), Some("layer.too-large"), "{error}");
    several.remove("d");
    assert_eq!(admitted(&several, &layers[..3]).unwrap().objects.len(), 3);
}

#[test]
fn no_byte_of_any_blob_can_be_changed() {
    for number in 0..blobs(Fixture::new("1.0.0").store.root()).len() {
        let f = Fixture::new("1.0.0");
        let name = &blobs(f.store.root())[number];
        let path = f.store.root().join("blobs/sha256").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let damaged: Digest = format!("sha256:{name}").parse().unwrap();
        assert!(f.store.read(&damaged, u64::MAX).unwrap_err().to_string().contains("is damaged"));
        let both = [Arch::X86_64, Arch::Aarch64]
            .map(|arch| admit(Verified::unsigned(f.index), &f.store, arch, &reference()).is_ok());
        // A config is in no digest that a node follows; everything else is.
        let manifest = f.store.require(&damaged, 0).is_err();
        let is_config = String::from_utf8_lossy(&std::fs::read(&path).unwrap())
            .contains("diff_ids")
            || String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("rootfs");
        assert!(manifest && (is_config || both.contains(&false)), "{name}");
    }
}

#[test]
fn what_cannot_be_packed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let (all, labels) = (objects(), labels());
    let named = manifest("1.0.0", &all);
    let try_pack = |manifest: &skep_spec::Manifest, objects: &BTreeMap<_, _>| -> PackError {
        let input = Input { manifest, objects, readme: None, labels: &labels };
        pack(&store, &input).unwrap_err()
    };
    let mut other = all.clone();
    other.get_mut("exec").unwrap().insert(Arch::X86_64, b"other".to_vec());
    let mut more = all.clone();
    more.insert("more".into(), BTreeMap::from([(Arch::X86_64, b"x".to_vec())]));
    let named_more = manifest("1.0.0", &more);
    let mut licence = named.clone();
    licence.package.license = "A & B".into();
    let errors = [
        try_pack(&named, &BTreeMap::new()),
        try_pack(&named, &other),
        try_pack(&named, &more),
        try_pack(&named_more, &more),
        try_pack(&licence, &all),
    ];
    insta::assert_snapshot!(errors.map(|e| skep_spec::chain(&e)).join("\n"));
    assert!(store.packages().unwrap().is_empty());
}
