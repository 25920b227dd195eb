//! The shelf of packages: what it keeps of each one that it let in.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use skep_agent::config::Config;
use skep_agent::packages::Shelf;
use skep_api::PackageSource;
use skep_oci::{apart, signatures};
use skep_spec::media;
use skep_trust::key::KeyKind;
use skep_trust::rotation::Keys;
use skep_trust::{Origin, SecretKey};
use support::{DockerRegistry, Fixture};

fn shelf(fixture: &Fixture) -> Shelf {
    Shelf::open(&fixture.path("state"), &fixture.path("config"), Config::default()).unwrap()
}

fn admit(shelf: &Shelf, layout: &Path) {
    let wanted = PackageSource::Layout { path: layout.to_owned(), package: None };
    shelf.admit(&wanted, true).unwrap();
}

fn note(fixture: &Fixture) -> PathBuf {
    fixture.path("state/admitted").join(format!("{}.json", fixture.index.hex()))
}

/// A crash in the middle of letting in what runs already must not take away that it was let in.
#[test]
fn a_note_is_replaced_and_never_written_over() {
    let fixture = Fixture::new("1.0.0");
    let shelf = shelf(&fixture);
    admit(&shelf, fixture.store.root());
    let before = fs::metadata(note(&fixture)).unwrap().ino();
    let kept = fixture.path("kept.json");
    fs::hard_link(note(&fixture), &kept).unwrap();
    admit(&shelf, fixture.store.root());
    assert_ne!(fs::metadata(note(&fixture)).unwrap().ino(), before);
    assert_eq!(fs::read(&kept).unwrap(), fs::read(note(&fixture)).unwrap());
    assert_eq!(fs::read_dir(fixture.path("state/admitted")).unwrap().count(), 1);
}

#[test]
fn half_a_note_of_a_daemon_that_died_is_removed_by_the_next_one() {
    let fixture = Fixture::new("1.0.0");
    let half = fixture.path("state/admitted/.tmp-4194304-x"); // above the largest pid
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    fs::write(&half, "{").unwrap();
    shelf(&fixture);
    assert!(!half.exists());
}

/// Keys a and b, and a chain that leads from a to b.
fn rotated() -> ([SecretKey; 2], Vec<Vec<u8>>) {
    let keys = [(); 2].map(|()| SecretKey::generate(KeyKind::Ed25519).unwrap());
    let version = |version, key: &SecretKey, by: &[&SecretKey]| {
        let (publisher, keys) = ("acme".to_owned(), vec![key.public().unwrap()]);
        let keys = Keys { publisher, version, threshold: 1, keys, expires: None };
        by.iter().map(|key| keys.sign(*key).unwrap()).collect::<Vec<_>>()
    };
    let [a, b] = &keys;
    let chain = [version(1, a, &[a]), version(2, b, &[a, b])].concat();
    (keys, chain)
}

fn trusts(fixture: &Fixture, key: &SecretKey, more: &str) {
    let spki = key.public().unwrap().spki_base64();
    let rule =
        format!("[[rule]]\npackages = [\"acme/*\"]\nkeys = [{{ spki = \"{spki}\" }}]\n{more}");
    fs::create_dir_all(fixture.path("config")).unwrap();
    fs::write(fixture.path("config/trust.toml"), rule).unwrap();
}

fn signed(version: &str, key: &SecretKey) -> Fixture {
    let fixture = Fixture::new(version);
    let bundle = fixture.sign_well(key);
    signatures::attach(&fixture.store, fixture.index, &bundle).unwrap();
    fixture
}

#[test]
fn keys_that_a_package_brings_are_followed_where_a_rule_says_so_and_stay() {
    let ([a, b], chain) = rotated();
    let fixture = signed("1.0.0", &b);
    let let_in = |shelf: &Shelf, fixture: &Fixture| {
        let path = fixture.store.root().to_owned();
        let admitted = shelf.admit(&PackageSource::Layout { path, package: None }, false);
        admitted.map(drop).map_err(|error| error.text())
    };
    trusts(&fixture, &a, "follow = true\n");
    assert!(let_in(&shelf(&fixture), &fixture).unwrap_err().contains("by another key"));
    apart::keep(&fixture.store, media::KEYS, &chain).unwrap();
    trusts(&fixture, &a, "");
    assert!(let_in(&shelf(&fixture), &fixture).unwrap_err().contains("by another key"));
    trusts(&fixture, &a, "follow = true\n");
    let_in(&shelf(&fixture), &fixture).unwrap();
    // What was followed stays when nothing comes, or less; the old key's time is over.
    let later = signed("1.1.0", &b);
    let_in(&shelf(&fixture), &later).unwrap();
    apart::keep(&later.store, media::KEYS, &chain[..1]).unwrap();
    let_in(&shelf(&fixture), &later).unwrap();
    let old = signed("1.2.0", &a);
    apart::keep(&old.store, media::KEYS, &chain[..1]).unwrap();
    assert!(let_in(&shelf(&fixture), &old).unwrap_err().contains("by another key"));
    // A key that is revoked takes what it signed with it: nobody goes back to the keys before.
    let revoked = format!("follow = true\n[revoked]\nkeys = [\"{}\"]\n", b.public().unwrap().id());
    trusts(&fixture, &a, &revoked);
    let error = let_in(&shelf(&fixture), &old).unwrap_err();
    assert!(error.contains("nobody knows whose keys count for acme"), "{error}");
}

#[test]
fn keys_beside_a_package_in_a_registry_are_followed() {
    let ([a, b], chain) = rotated();
    let (registry, fixture) = (DockerRegistry::start(), signed("1.0.0", &b));
    trusts(&fixture, &a, "follow = true\n");
    let reference = registry.reference("1.0.0");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client = registry.client();
    runtime.block_on(client.push(&fixture.store, fixture.index, &reference)).unwrap();
    let let_in = || {
        let (shelf, wanted) = (shelf(&fixture), PackageSource::Reference(reference.clone()));
        let admitted = runtime.block_on(async {
            tokio::task::spawn_blocking(move || shelf.admit(&wanted, false).map(drop))
                .await
                .unwrap()
        });
        admitted.map_err(|error| error.text())
    };
    assert!(let_in().unwrap_err().contains("by another key"));
    runtime.block_on(client.put_keys(&reference, &chain)).unwrap();
    let_in().unwrap();
    assert_eq!(
        fs::read_to_string(fixture.path("state/keys/acme.keys")).unwrap().lines().count(),
        3
    );
}

#[test]
fn a_rule_that_asks_for_attestations_is_held() {
    let ([a, b], _) = rotated();
    let fixture = signed("1.0.0", &a);
    trusts(&fixture, &a, "attestations = [\"sbom\"]\n");
    let attest = |key: &SecretKey| {
        let bundle = fixture.sign(key, media::PREDICATE_SBOM);
        signatures::attach(&fixture.store, fixture.index, &bundle).unwrap();
    };
    let let_in = |allow_unsigned| {
        let path = fixture.store.root().to_owned();
        let wanted = PackageSource::Layout { path, package: None };
        shelf(&fixture).admit(&wanted, allow_unsigned).map_err(|error| error.text())
    };
    let none = "asks for an attestation of the kind 'sbom' by one of its keys";
    assert!(let_in(false).unwrap_err().contains(none));
    attest(&b);
    assert!(let_in(false).unwrap_err().contains(none));
    // Who lets it in all the same has it marked as unsigned.
    assert_eq!(*let_in(true).unwrap().origin(), Origin::Unsigned);
    attest(&a);
    assert!(matches!(let_in(false).unwrap().origin(), Origin::Signed { .. }));
    shelf(&fixture).check_again(&fixture.index).unwrap();
}
