//! What a pull asks for: nothing twice, and what refers to a package comes with it or nothing is listed.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;

use skep_oci::Store;
use skep_oci::registry::{Carried, RegistryError};
use skep_spec::oci::{Descriptor, ImageManifest, Index};
use skep_spec::{Arch, Digest};
use skep_trust::key::KeyKind;
use skep_trust::{Blobs as _, SecretKey, Verified, admit};
use support::server::{Server, answer};
use support::{Fixture, blobs};

/// A registry without the referrers API that has the fixture and what refers to it; the API answers with this status.
fn serving(fixture: &Fixture, api: &'static str) -> Server {
    let (store, index) = (fixture.store.clone(), fixture.index);
    let mut fallback: BTreeMap<String, Vec<Descriptor>> = BTreeMap::new();
    for entry in store.index().unwrap().manifests {
        let manifest = ImageManifest::parse(&store.require(&entry.digest, 1 << 20).unwrap());
        if let Some(subject) = manifest.ok().and_then(|manifest| manifest.subject) {
            let tag = format!("sha256-{}", subject.digest.hex());
            fallback.entry(tag).or_default().push(entry);
        }
    }
    Server::new(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        let last = path.rsplit('/').next().unwrap();
        let digest = if last == "1.0.0" { Ok(index) } else { last.parse::<Digest>() };
        let listed =
            fallback.get(last).map(|listed| Index::new(listed.clone(), BTreeMap::new()).to_bytes());
        let blob = || digest.ok().and_then(|digest| store.read(&digest, 1 << 20).unwrap());
        let bytes = match (path.contains("/referrers/"), listed.or_else(blob)) {
            (false, Some(bytes)) => answer("200 OK", "", &bytes),
            (false, None) => answer("404 Not Found", "", b"{}"),
            (true, _) => answer(api, "", b"{}"),
        };
        let _ = stream.write_all(&bytes);
    })
}

async fn pull(server: &Server, into: &Store) -> Result<Carried, RegistryError> {
    let (registry, reference) = (server.registry(), server.reference());
    let index = registry.resolve(&reference).await?;
    let carried = registry.pull_whole(&reference, index, into).await?;
    assert_eq!(registry.progress().done(), registry.progress().expected());
    Ok(carried)
}

/// What a pull brings can be looked at before it is listed, and what it held against its digest is told from what it did not.
#[tokio::test]
async fn what_is_brought_is_checked_and_not_listed_yet() {
    let fixture = Fixture::new("1.0.0");
    let bundle = fixture.sign_well(&SecretKey::generate(KeyKind::Ed25519).unwrap());
    let server = serving(&fixture, "404 Not Found");
    let into = Store::create(&fixture.path("into")).unwrap();
    let brought = server.registry().bring(&server.reference(), fixture.index, &into).await.unwrap();
    assert!(into.packages().unwrap().is_empty());
    let is_checked = |digest: &Digest| brought.is_checked(digest);
    assert!(is_checked(&fixture.index) && !is_checked(&Digest::of(&bundle)));
    let index = Index::parse(&into.require(&fixture.index, 1 << 20).unwrap()).unwrap();
    for entry in &index.manifests {
        let manifest = into.require(&entry.digest, 1 << 20).unwrap();
        let ImageManifest { layers, config, .. } = ImageManifest::parse(&manifest).unwrap();
        let mut all = layers.iter().chain([&config, entry]).map(|part| part.digest);
        assert!(all.all(|digest| is_checked(&digest) && into.has(&digest)));
    }
    let unsigned = Verified::unsigned(fixture.index);
    let asked = "acme/exec:1.0.0".parse().unwrap();
    admit(unsigned, &brought, Arch::X86_64, &asked).unwrap();
    assert_eq!(brought.list().unwrap().signatures, 1);
    assert_eq!(into.packages().unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_is_asked_for_twice() {
    let fixture = Fixture::new("1.0.0");
    fixture.sign_well(&SecretKey::generate(KeyKind::Ed25519).unwrap());
    let server = serving(&fixture, "404 Not Found");
    let into = Store::create(&fixture.path("into")).unwrap();
    let carried = pull(&server, &into).await.unwrap();
    assert_eq!(carried, Carried { signatures: 1, others: 0, left: 0 });
    assert_eq!(blobs(into.root()), blobs(fixture.store.root()));
    let listed = |store: &Store| {
        let mut manifests = store.index().unwrap().manifests;
        manifests.sort_by_key(|entry| entry.digest);
        manifests
    };
    assert_eq!(listed(&into), listed(&fixture.store));
    let heads = server.heads.lock().unwrap();
    let mut paths: Vec<&str> = heads.iter().filter_map(|head| head.split(' ').nth(1)).collect();
    paths.sort_unstable();
    let before = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), before, "{heads:?}");
    let api = paths.iter().filter(|path| path.contains("/referrers/")).count();
    assert_eq!(api, 1, "a registry says once that it has none: {paths:?}");
    // Its index, by its tag; two platforms, each a manifest, a config and an object; manifest.json, the README; the list
    // of three, its three entries, their config and their bundle.
    assert_eq!(paths.len() - api, 1 + 2 * 3 + 2 + 3 + 3 + 2, "{paths:?}");
}

/// As `skep pull --verify` does it: what was looked at is what is listed.
#[tokio::test]
async fn what_was_looked_at_is_brought_and_not_asked_for_again() {
    let fixture = Fixture::new("1.0.0");
    let bundle = fixture.sign_well(&SecretKey::generate(KeyKind::Ed25519).unwrap());
    for api in ["404 Not Found", "200 OK"] {
        let server = match api {
            "200 OK" => with_api(&fixture),
            _ => serving(&fixture, api),
        };
        let (registry, reference) = (server.registry(), server.reference());
        let into = Store::create(&fixture.path(&api[..3])).unwrap();
        let index = registry.resolve(&reference).await.unwrap();
        let looked = registry.bundles(&reference, index).await.unwrap();
        assert_eq!(looked, std::slice::from_ref(&bundle));
        let brought = registry.bring(&reference, index, &into).await.unwrap();
        assert_eq!(brought.list().unwrap().signatures, 1);
        assert_eq!(blobs(into.root()), blobs(fixture.store.root()));
        let progress = registry.progress();
        assert_eq!(progress.done(), progress.expected(), "{api}");
        let heads = server.heads.lock().unwrap();
        let mut paths: Vec<&str> = heads.iter().filter_map(|head| head.split(' ').nth(1)).collect();
        paths.sort_unstable();
        let before = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), before, "{api}: {heads:?}");
    }
}

/// The same with the referrers API.
fn with_api(fixture: &Fixture) -> Server {
    let (store, index) = (fixture.store.clone(), fixture.index);
    Server::new(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        let last = path.rsplit('/').next().unwrap();
        let digest = if last == "1.0.0" { Ok(index) } else { last.parse::<Digest>() };
        let Ok(digest) = digest else { return };
        let bytes = match path.contains("/referrers/") {
            true => {
                let refers = |entry: &Descriptor| {
                    let manifest = store.require(&entry.digest, 1 << 20).unwrap();
                    let manifest = ImageManifest::parse(&manifest).ok();
                    manifest.and_then(|one| one.subject).is_some_and(|one| one.digest == digest)
                };
                let listed = store.index().unwrap().manifests.into_iter().filter(refers).collect();
                Index::new(listed, BTreeMap::new()).to_bytes()
            }
            false => store.require(&digest, 1 << 20).unwrap(),
        };
        let _ = stream.write_all(&answer("200 OK", "", &bytes));
    })
}

#[tokio::test]
async fn a_package_whose_referrers_do_not_come_is_not_listed() {
    let fixture = Fixture::new("1.0.0");
    let into = Store::create(&fixture.path("into")).unwrap();
    let error = pull(&serving(&fixture, "403 Forbidden"), &into).await.unwrap_err();
    assert!(matches!(error, RegistryError::Forbidden { .. }), "{error}");
    assert!(into.index().unwrap().manifests.is_empty());
    pull(&serving(&fixture, "404 Not Found"), &into).await.unwrap();
    assert_eq!(blobs(into.root()), blobs(fixture.store.root()), "and nothing is in the way");
}
