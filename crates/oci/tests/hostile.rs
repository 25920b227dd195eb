//! One store, and one hostile registry after the other: each is refused, nothing is listed or written elsewhere, and the store
//! serves an honest one afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use skep_oci::Store;
use skep_oci::registry::{Registry, RegistryError};
use skep_spec::oci::{Descriptor, Index};
use skep_spec::{Digest, media};
use skep_trust::SecretKey;
use skep_trust::key::KeyKind;
use support::server::{Server, answer};
use support::{Fixture, blobs, fallback};

/// What is asked for, and what an honest registry would answer.
struct Question<'a> {
    path: &'a str,
    honest: Option<Vec<u8>>,
}

impl Question<'_> {
    fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    fn is_api(&self) -> bool {
        self.path.contains("/referrers/")
    }

    fn is_fallback(&self) -> bool {
        self.path.contains("/manifests/sha256-")
    }

    fn honestly(&self, stream: &mut TcpStream) {
        let bytes = match &self.honest {
            Some(bytes) => answer("200 OK", "", bytes),
            None => answer("404 Not Found", "", b"{}"),
        };
        say(stream, &bytes);
    }
}

/// The other side may have had enough.
fn say(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// A registry of the fixture without the referrers API, which answers as `answering` has it.
fn registry(
    fixture: &Fixture,
    answering: impl Fn(&Question<'_>, &mut TcpStream) + Send + Sync + 'static,
) -> Server {
    let (store, index) = (fixture.store.clone(), fixture.index);
    Server::new(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        let last = path.rsplit('/').next().unwrap();
        let digest = if last == "1.0.0" { Ok(index) } else { last.parse::<Digest>() };
        let held = digest.ok().filter(|_| !path.contains("/referrers/"));
        let honest = held.and_then(|digest| store.read(&digest, 1 << 20).unwrap());
        let honest = honest.or_else(|| fallback(&store, last));
        answering(&Question { path, honest }, stream);
    })
}

/// As skep pull does it: what the tag means, who signed it, all of it.
async fn pull(client: Registry, server: &Server, into: &Store) -> Result<usize, RegistryError> {
    let reference = server.reference();
    let index = client.resolve(&reference).await?;
    let bundles = client.bundles(&reference, index).await?;
    client.pull_whole(&reference, index, into).await?;
    Ok(bundles.len())
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { [path].into() }).collect()
}

/// The fixture, signed, and a folder that holds one store and something else.
struct Site {
    fixture: Fixture,
    folder: tempfile::TempDir,
    store: Store,
}

impl Site {
    fn new() -> Self {
        let fixture = Fixture::new("1.0.0");
        fixture.sign_well(&SecretKey::generate(KeyKind::Ed25519).unwrap());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("beside"), "mine").unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        Self { fixture, folder, store }
    }

    /// What is not the store's.
    fn outside(&self) -> BTreeSet<PathBuf> {
        let all = files(self.folder.path());
        all.into_iter().filter(|path| !path.starts_with(self.store.root())).collect()
    }

    /// Refused, with nothing listed, and nothing written elsewhere.
    async fn refuses(&self, case: &str, client: Registry, server: &Server) -> RegistryError {
        let error = pull(client, server, &self.store).await.expect_err(case);
        assert!(self.store.packages().unwrap().is_empty(), "{case}");
        assert_eq!(self.outside(), [self.folder.path().join("beside")].into(), "{case}");
        for name in blobs(self.store.root()).iter().filter(|name| !name.starts_with('.')) {
            let digest: Digest = format!("sha256:{name}").parse().unwrap();
            self.store.require(&digest, 1 << 20).expect(case); // what is kept is what its name says
        }
        error
    }

    /// An honest registry is pulled from into the same store.
    async fn is_usable(&self) {
        let honest = registry(&self.fixture, |question, stream| question.honestly(stream));
        // A beginning that is not its blob's is found out when it is whole, once for each blob.
        for _ in 0..8 {
            if pull(honest.registry(), &honest, &self.store).await.is_ok() {
                break;
            }
        }
        assert_eq!(blobs(self.store.root()), blobs(self.fixture.store.root()));
        assert_eq!(self.store.packages().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_byte_that_differs_is_found_wherever_it_is() {
    let site = Site::new();
    let layout = site.fixture.store.root().join("blobs/sha256");
    let index = site.fixture.index.hex();
    // The index comes by its tag: one that differs is another one, and nobody signed it.
    for name in blobs(site.fixture.store.root()).into_iter().filter(|name| *name != index) {
        let last = std::fs::metadata(layout.join(&name)).unwrap().len() as usize - 1;
        for at in BTreeSet::from([0, last / 2, last]) {
            let wanted = name.clone();
            let server = registry(&site.fixture, move |question, stream| {
                let Some(mut bytes) = question.honest.clone() else {
                    return question.honestly(stream);
                };
                if question.path.ends_with(&wanted) && !question.is_fallback() {
                    bytes[at] ^= 1;
                }
                say(stream, &answer("200 OK", "", &bytes));
            });
            let fresh = tempfile::tempdir_in(site.folder.path()).unwrap();
            let into = Store::create(&fresh.path().join("store")).unwrap();
            let error = pull(server.registry(), &server, &into).await.expect_err(&name);
            assert!(error.is_altered(), "{name} at {at}: {error}");
            assert!(into.packages().unwrap().is_empty(), "{name} at {at}");
            let is_there = into.has(&format!("sha256:{name}").parse().unwrap());
            assert!(!is_there, "{name} at {at}");
        }
    }
    site.is_usable().await;
}

#[tokio::test]
async fn lengths_that_lie_and_answers_that_drip_are_refused() {
    let site = Site::new();
    let announces = |extra: i64| {
        move |question: &Question<'_>, stream: &mut TcpStream| {
            let Some(bytes) = question.honest.as_ref().filter(|_| question.is_blob()) else {
                return question.honestly(stream);
            };
            let size = bytes.len() as i64 + extra;
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
            say(stream, head.as_bytes());
            say(stream, bytes);
        }
    };
    for extra in [-1, 1, 1 << 40] {
        let server = registry(&site.fixture, announces(extra));
        let error = site.refuses("length", server.registry(), &server).await;
        assert!(matches!(error, RegistryError::Length { .. }), "{extra}: {error}");
        assert!(error.is_altered() && error.code() == Some("oci.size"), "{extra}: {error}");
    }
    let drips = registry(&site.fixture, |question, stream| {
        let Some(bytes) = question.honest.as_ref().filter(|_| question.is_blob()) else {
            return question.honestly(stream);
        };
        let whole = answer("200 OK", "", bytes);
        let (head, body) = whole.split_at(whole.len() - bytes.len());
        say(stream, head);
        for byte in body {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50)); // its pace, not a wait for something
        }
    });
    let error = site.refuses("drips", drips.hasty_registry(), &drips).await;
    assert!(matches!(error, RegistryError::Hangs { .. }), "{error}");
    site.is_usable().await;
}

#[tokio::test]
async fn what_refers_to_a_package_is_neither_made_up_nor_endless() {
    let site = Site::new();
    // The API is not there, and the tag that stands for it fails: that is no "unsigned".
    for status in ["500 x", "403 x", "429 x"] {
        let server =
            registry(&site.fixture, move |question, stream| match question.is_fallback() {
                true => say(stream, &answer(status, "", b"{}")),
                false => question.honestly(stream),
            });
        let error = site.refuses("fallback", server.registry(), &server).await;
        assert!(!matches!(error, RegistryError::NotFound { .. }), "{status}: {error}");
    }
    let html = registry(&site.fixture, |question, stream| match question.is_fallback() {
        true => say(stream, &answer("200 OK", "", b"<html>")),
        false => question.honestly(stream),
    });
    site.refuses("html", html.registry(), &html).await;
    // Hidden: there is no signature, which whoever asks for one refuses.
    let hides = registry(&site.fixture, |question, stream| match question.is_fallback() {
        true => say(stream, &answer("404 x", "", b"{}")),
        false => question.honestly(stream),
    });
    let (client, reference) = (hides.registry(), hides.reference());
    assert!(client.bundles(&reference, site.fixture.index).await.unwrap().is_empty());
    // Flooded: no more than 64 are looked at, and the pages end.
    let flood: Vec<Descriptor> = (0..5000_u32)
        .map(|number| Descriptor {
            artifact_type: Some(media::BUNDLE.to_owned()),
            ..Descriptor::of(media::MANIFEST, &number.to_le_bytes())
        })
        .collect();
    let flood = Index::new(flood, Default::default()).to_bytes();
    let floods = registry(&site.fixture, move |question, stream| match question.is_api() {
        true => say(stream, &answer("200 OK", "Link: <?page=2>; rel=\"next\"\r\n", &flood)),
        false => question.honestly(stream),
    });
    let found = floods.registry().bundles(&floods.reference(), site.fixture.index).await;
    let error = found.unwrap_err();
    assert!(error.is_flooded() && error.code() == Some("trust.not-enough"), "{error}");
    assert!(floods.requests() <= 64 + 1, "{}", floods.requests());
    site.is_usable().await;
}
