//! Mirrors: what a digest names comes from them first, what a name means is the registry's word, and no failure of theirs
//! shows, but where the registry is away as well.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::time::Duration;

use skep_oci::Store;
use skep_oci::image::{Image, ImagePlace};
use skep_oci::registry::{Credentials, Options, Registry, RegistryError, Settings, TimeLimits};
use skep_spec::oci::Index;
use skep_spec::{Digest, PackageRef};
use skep_trust::SecretKey;
use skep_trust::key::KeyKind;
use support::server::{Server, answer};
use support::{Fixture, OciRegistry, blobs};

/// How a server answers a request for what it has.
type Giving = fn(&str, &[u8]) -> Vec<u8>;

/// A registry that has the fixture under every name, and answers as `giving` says.
fn serving(fixture: &Fixture, giving: Giving) -> Server {
    let (store, index) = (fixture.store.clone(), fixture.index);
    let listed = store.index().unwrap().manifests;
    let listed = listed.into_iter().filter(|entry| entry.artifact_type.is_some()).collect();
    let listed = Index::new(listed, Default::default()).to_bytes();
    Server::new(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        let last = path.rsplit('/').next().unwrap();
        let digest = if last == "1.0.0" { Ok(index) } else { last.parse::<Digest>() };
        let found = match path.contains("/referrers/") {
            true => Some(listed.clone()),
            false => digest.ok().and_then(|digest| store.read(&digest, 1 << 20).unwrap()),
        };
        let bytes = found.map_or_else(|| answer("404 x", "", b""), |bytes| giving(path, &bytes));
        let _ = stream.write_all(&bytes);
    })
}

fn well(_: &str, bytes: &[u8]) -> Vec<u8> {
    answer("200 OK", "", bytes)
}

fn altered(_: &str, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    answer("200 OK", "", &bytes)
}

/// The client of a registry whose mirrors are these.
fn client(registry: &str, mirrors: &[&str], credentials: Credentials) -> Registry {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registries.toml");
    let text = format!("[registry.\"{registry}\"]\nmirrors = {mirrors:?}\n");
    std::fs::write(&file, text).unwrap();
    let settings = Settings::read(&file).unwrap();
    let time = TimeLimits { back_off: Duration::from_millis(5), ..TimeLimits::default() };
    Registry::new(registry, Options { settings, credentials, time, ..Options::default() }).unwrap()
}

/// Pulls by a client and holds what came against the fixture.
async fn pulls(client: &Registry, reference: &PackageRef, fixture: &Fixture, into: &str) {
    let store = Store::create(&fixture.path(into)).unwrap();
    let index = client.resolve(reference).await.unwrap();
    assert_eq!(index, fixture.index);
    let carried = client.pull_whole(reference, index, &store).await.unwrap();
    assert_eq!(carried.signatures, 1);
    assert_eq!(blobs(store.root()), blobs(fixture.store.root()));
    assert_eq!(client.progress().done(), client.progress().expected());
}

/// The paths that a server was asked for, of which something is true.
fn asked(server: &Server, what: impl Fn(&str) -> bool) -> usize {
    let heads = server.heads.lock().unwrap();
    heads.iter().filter(|head| what(head.split(' ').nth(1).unwrap())).count()
}

fn signed() -> Fixture {
    let fixture = Fixture::new("1.0.0");
    fixture.sign_well(&SecretKey::generate(KeyKind::Ed25519).unwrap());
    fixture
}

fn is_name(path: &str) -> bool {
    path.contains("/referrers/") || path.ends_with("/1.0.0")
}

#[tokio::test]
async fn content_comes_from_a_mirror_and_names_from_the_registry() {
    let fixture = signed();
    let (registry, mirror) = (serving(&fixture, well), serving(&fixture, well));
    let secret = Credentials::Basic { user: "me".into(), password: "secret".into() };
    let client = client(&registry.host, &[&format!("{}/copy/of", mirror.host)], secret);
    pulls(&client, &registry.reference(), &fixture, "into").await;
    assert_eq!(asked(&registry, |path| !is_name(path)), 0, "all content from the mirror");
    assert_eq!(asked(&mirror, is_name), 0, "no name from the mirror");
    assert!(asked(&mirror, |path| path.starts_with("/v2/copy/of/acme/exec/blobs/sha256:")) > 5);
    assert_eq!(asked(&mirror, |path| !path.starts_with("/v2/copy/of/acme/exec/")), 0);
    let heads = mirror.heads.lock().unwrap().join("").to_lowercase();
    assert!(!heads.contains("authorization"), "{heads}");
}

#[tokio::test]
async fn no_failure_of_a_mirror_shows() {
    let fixture = signed();
    let registry = serving(&fixture, well);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = nobody.to_string();
    let broken: Giving = |_, bytes| answer("200 OK", "", bytes)[..60].to_vec();
    let empty: Giving = |_, _| answer("404 x", "", b"");
    let angry: Giving = |_, _| answer("500 x", "", b"");
    let strict: Giving = |_, _| answer("401 x", "", b"");
    for (case, giving) in [
        ("altered", altered as Giving),
        ("broken", broken),
        ("empty", empty),
        ("angry", angry),
        ("strict", strict),
    ] {
        let mirror = serving(&fixture, giving);
        let mirrors = [nobody.as_str(), &mirror.host];
        let client = client(&registry.host, &mirrors, Credentials::Anonymous);
        pulls(&client, &registry.reference(), &fixture, case).await;
        assert!(mirror.requests() > 0, "{case}");
        let client = self::client(&registry.host, &mirrors, Credentials::Anonymous);
        let image = format!("{}/acme/exec:1.0.0", registry.host).parse().unwrap();
        let image = Image::open(&ImagePlace::Registry(Box::new(client), image)).await.unwrap();
        assert_eq!(image.platforms.len(), 2, "{case}");
        // Only where it has nothing to say it is asked again and again.
        assert!(case == "empty" || mirror.requests() <= 24, "{case}: {}", mirror.requests());
    }
}

#[tokio::test]
async fn where_the_registry_is_away_mirrors_say_what_names_mean() {
    let fixture = signed();
    let mirror = serving(&fixture, well);
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client(&away.to_string(), &[&mirror.host], Credentials::Anonymous);
    let reference = |version: &str| format!("{away}/acme/exec:{version}").parse().unwrap();
    pulls(&client, &reference("1.0.0"), &fixture, "into").await;
    let error = client.resolve(&reference("2.0.0")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Connect { .. }), "absent there is not absent: {error}");
}

#[tokio::test]
async fn what_is_pushed_is_the_registrys_alone() {
    let fixture = signed();
    let (registry, mirror) = (OciRegistry::start(), serving(&fixture, well));
    let fresh = || client(&registry.host, &[&mirror.host], Credentials::Anonymous);
    let reference: PackageRef = registry.reference("1.0.0").parse().unwrap();
    let pushed = fresh().push(&fixture.store, fixture.index, &reference).await.unwrap();
    assert!(pushed.blobs > 5, "what a mirror has is not there yet: {pushed:?}");
    assert_eq!(mirror.requests(), 0);
    pulls(&fresh(), &reference, &fixture, "into").await;
}
