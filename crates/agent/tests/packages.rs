//! The shelf of packages: what it keeps of each one that it let in.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use skep_agent::config::Config;
use skep_agent::packages::Shelf;
use skep_api::PackageSource;
use skep_oci::{RegistryError, keys_and_channels, signatures};
use skep_runtime::Packages;
use skep_spec::media;
use skep_trust::key::KeyKind;
use skep_trust::rotation::Keys;
use skep_trust::{Origin, SecretKey, time};
use support::{DockerRegistry, Fixture};

fn shelf(fixture: &Fixture) -> Shelf {
    Shelf::open(&fixture.path("state"), &fixture.path("config"), Config::default()).unwrap()
}

fn admit(shelf: &Shelf, layout: &Path) {
    let wanted = PackageSource::Layout { path: layout.to_owned(), package: None };
    let package = shelf.admit(&wanted, true).unwrap();
    shelf.keep(&package.index).unwrap();
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
    keys_and_channels::keep(&fixture.store, media::KEYS, &chain).unwrap();
    trusts(&fixture, &a, "");
    assert!(let_in(&shelf(&fixture), &fixture).unwrap_err().contains("by another key"));
    trusts(&fixture, &a, "follow = true\n");
    let_in(&shelf(&fixture), &fixture).unwrap();
    // What was followed stays when nothing comes, or less; the old key's time is over.
    let later = signed("1.1.0", &b);
    let_in(&shelf(&fixture), &later).unwrap();
    keys_and_channels::keep(&later.store, media::KEYS, &chain[..1]).unwrap();
    let_in(&shelf(&fixture), &later).unwrap();
    let old = signed("1.2.0", &a);
    keys_and_channels::keep(&old.store, media::KEYS, &chain[..1]).unwrap();
    assert!(let_in(&shelf(&fixture), &old).unwrap_err().contains("by another key"));
    // A key that is revoked takes what it signed with it: nobody goes back to the keys before.
    let revoked = format!("follow = true\n[revoked]\nkeys = [\"{}\"]\n", b.public().unwrap().id());
    trusts(&fixture, &a, &revoked);
    let error = let_in(&shelf(&fixture), &old).unwrap_err();
    assert!(error.contains("nobody knows whose keys count for acme"), "{error}");
}

/// How many bundles each way of a publisher has that was kept.
fn ways(fixture: &Fixture) -> Vec<usize> {
    let files = fs::read_dir(fixture.path("state/keys")).unwrap();
    let lines = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap().lines().count());
    let mut lines: Vec<usize> = lines.collect();
    lines.sort_unstable();
    lines
}

/// A publisher that lost its keys, or another one of that name elsewhere: what was kept of the way before is no part of it.
#[test]
fn a_publisher_that_begins_anew_is_followed_anew_also_after_a_restart() {
    let ([a, b], chain) = rotated();
    let ([c, d], anew) = rotated();
    let fixture = signed("1.0.0", &b);
    keys_and_channels::keep(&fixture.store, media::KEYS, &chain).unwrap();
    let let_in = |fixture_of: &Fixture| {
        let path = fixture_of.store.root().to_owned();
        let wanted = PackageSource::Layout { path, package: None };
        let shelf = shelf(&fixture);
        let admitted = shelf.admit(&wanted, false).and_then(|package| shelf.keep(&package.index));
        admitted.map_err(|error| error.text())
    };
    trusts(&fixture, &a, "follow = true\n");
    let_in(&fixture).unwrap();
    let later = signed("2.0.0", &c);
    keys_and_channels::keep(&later.store, media::KEYS, &anew[..1]).unwrap();
    trusts(&fixture, &c, "follow = true\n");
    let_in(&later).unwrap();
    let_in(&later).unwrap();
    assert_eq!(ways(&fixture), [1, 3]);
    let last = signed("3.0.0", &d);
    keys_and_channels::keep(&last.store, media::KEYS, &anew).unwrap();
    let_in(&last).unwrap();
    assert_eq!(ways(&fixture), [3, 3]);
    // Whoever goes back to the rule of before goes on from where that had come to.
    trusts(&fixture, &a, "follow = true\n");
    let old = signed("1.1.0", &a);
    assert!(let_in(&old).unwrap_err().contains("by another key"));
    // What runs goes on although nobody knows whose keys count; what is revoked does not.
    let revoked = |key: &SecretKey| {
        format!("follow = true\n[revoked]\nkeys = [\"{}\"]\n", key.public().unwrap().id())
    };
    trusts(&fixture, &a, &revoked(&a));
    assert!(let_in(&fixture).unwrap_err().contains("nobody knows whose keys count"));
    Packages::package(&shelf(&fixture), &fixture.index).unwrap();
    trusts(&fixture, &a, &revoked(&b));
    assert!(Packages::package(&shelf(&fixture), &fixture.index).is_err());
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
    assert_eq!(ways(&fixture), [3]);
    // What lies there in their place is followed by nobody, and holds nobody up.
    let index = fixture.store.require(&fixture.index, 1 << 20).unwrap();
    let head = format!(
        "PUT /v2/{}/manifests/{} HTTP/1.1\r\nHost: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        reference.repository(),
        media::KEYS_TAG,
        registry.host,
        media::INDEX,
        index.len()
    );
    let mut stream = TcpStream::connect(&registry.host).unwrap();
    stream.write_all(&[head.as_bytes(), &index].concat()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
    let junk = runtime.block_on(client.keys(&reference)).unwrap_err();
    assert!(matches!(junk, RegistryError::Junk { .. }), "{junk}");
    let_in().unwrap();
    assert_eq!(ways(&fixture), [3]);
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
    let none = "asks for an attestation of the kind 'sbom' by one of its keys, and none ";
    let is_refused = |why: &str| {
        let error = let_in(false).unwrap_err();
        assert!(error.contains(&format!("{none}{why}")), "{error}");
    };
    is_refused("is beside it");
    attest(&b);
    is_refused("that is beside it counts: a signature is by another key");
    let other = Fixture::new("1.1.0").sign(&a, media::PREDICATE_SBOM);
    signatures::attach(&fixture.store, fixture.index, &other).unwrap();
    assert!(let_in(false).unwrap_err().contains("the attestation is about something else than"));
    // Who lets it in all the same has it marked as unsigned.
    assert_eq!(*let_in(true).unwrap().origin(), Origin::Unsigned);
    attest(&a);
    assert!(matches!(let_in(false).unwrap().origin(), Origin::Signed { .. }));
}

#[test]
fn a_clock_that_was_set_back_brings_no_key_back() {
    let ([a, _], _) = rotated();
    let fixture = signed("1.0.0", &a);
    let in_days = |days: u64| {
        let moment = SystemTime::now() + Duration::from_secs(days * 86_400);
        time::format(moment).unwrap()
    };
    trusts(&fixture, &a, "");
    let rules = fixture.path("config/trust.toml");
    let text = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, text.replace(" }]", &format!(", not_after = {} }}]", in_days(30)))).unwrap();
    let let_in = || {
        let path = fixture.store.root().to_owned();
        let wanted = PackageSource::Layout { path, package: None };
        let shelf = shelf(&fixture);
        let admitted = shelf.admit(&wanted, false).and_then(|package| shelf.keep(&package.index));
        admitted.map_err(|error| error.text())
    };
    let_in().unwrap();
    // The moment is kept although no channel was followed, and none that is earlier.
    let kept = fixture.path("state/channels.json");
    let moment = || {
        let kept: serde_json::Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
        kept["time"].as_str().unwrap().to_owned()
    };
    assert!(moment() <= in_days(0));
    fs::write(&kept, format!(r#"{{"time": "{}"}}"#, in_days(20))).unwrap();
    let later = moment();
    let_in().unwrap();
    assert_eq!(moment(), later);
    fs::write(&kept, format!(r#"{{"time": "{}"}}"#, in_days(60))).unwrap();
    let error = let_in().unwrap_err();
    assert!(error.contains("only until its not_after") && error.contains("wrong clock"), "{error}");
    let error = shelf(&fixture).check_again(&fixture.index).unwrap_err();
    assert_eq!((error.code(), error.status()), ("refused", 403));
    // What runs goes on, also where nobody can read what was seen.
    fs::write(&kept, "{").unwrap();
    Packages::package(&shelf(&fixture), &fixture.index).unwrap();
    assert!(let_in().unwrap_err().contains("keeps what was seen of channels"));
}

/// A look at what would happen is no leave for later, nor is that it was let in unsigned once.
#[test]
fn what_nobody_signed_comes_back_by_a_command_that_says_so_alone() {
    let ([a, b], _) = rotated();
    let fixture = signed("1.0.0", &a);
    trusts(&fixture, &a, "");
    let shelf = shelf(&fixture);
    let (path, package) = (fixture.store.root().to_owned(), None);
    let wanted = PackageSource::Layout { path, package };
    shelf.admit(&wanted, false).unwrap();
    let digest = &fixture.index;
    shelf.keep(digest).unwrap();
    shelf.check_return(digest, false).unwrap();
    trusts(&fixture, &b, "");
    let is_refused = || shelf.check_return(digest, false).unwrap_err().code() == "refused";
    assert!(is_refused());
    let answers = shelf.answers(digest);
    assert!(!answers.unsigned && answers.untrusted.unwrap().contains("by another key"));
    // A dry run.
    shelf.admit(&wanted, true).unwrap();
    assert!(is_refused() && !shelf.answers(digest).unsigned);
    shelf.keep(digest).unwrap();
    assert!(is_refused());
    let answers = shelf.answers(digest);
    assert!(answers.unsigned && answers.untrusted.is_none());
    shelf.check_again(digest).unwrap();
    shelf.check_return(digest, true).unwrap();
    Packages::package(&shelf, digest).unwrap();
    let revoked = format!("[revoked]\ndigests = [\"{digest}\"]\n");
    trusts(&fixture, &b, &revoked);
    assert_eq!(shelf.check_return(digest, true).unwrap_err().code(), "refused");
}
