//! Pulls that break off: they go on where they ended, several blobs at once, and nobody is believed the more for it.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use skep_oci::Store;
use skep_oci::registry::{Part, RegistryError};
use skep_spec::Digest;
use support::server::{Server, answer};
use support::{Fixture, blobs};

/// How the server gives a blob of at least 64 KiB.
type Giving = dyn Fn(&Request<'_>, &mut TcpStream) + Send + Sync;

struct Request<'a> {
    /// Where it is to begin.
    from: Option<usize>,
    blob: &'a [u8],
}

impl Request<'_> {
    /// All that was asked for.
    fn give(&self, stream: &mut TcpStream) {
        self.give_part(stream, usize::MAX);
    }

    /// So many bytes of what was asked for, whose length is announced whole.
    fn give_part(&self, stream: &mut TcpStream, most: usize) {
        let rest = &self.blob[self.from.unwrap_or(0)..];
        let (status, range) = match self.from {
            None => ("200 OK", String::new()),
            Some(from) => {
                let (last, size) = (self.blob.len() - 1, self.blob.len());
                ("206 Partial", format!("Content-Range: bytes {from}-{last}/{size}\r\n"))
            }
        };
        let whole = answer(status, &range, rest);
        let head = whole.len() - rest.len();
        let end = head.saturating_add(most).min(whole.len());
        let _ = stream.write_all(&whole[..end]); // the other side may have had enough
    }
}

/// A registry that has the fixture, and gives its large blobs in a way of its own.
fn serving(
    fixture: &Fixture,
    giving: impl Fn(&Request<'_>, &mut TcpStream) + Send + Sync + 'static,
) -> Server {
    let (store, index): (Store, Digest) = (fixture.store.clone(), fixture.index);
    let giving: Box<Giving> = Box::new(giving);
    Server::new(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        let last = path.rsplit('/').next().unwrap();
        let digest = if last == "1.0.0" { Ok(index) } else { last.parse() };
        let bytes = digest.ok().and_then(|digest| store.read(&digest, 1 << 20).unwrap());
        let Some(bytes) = bytes else {
            return stream.write_all(&answer("404 Not Found", "", b"{}")).unwrap();
        };
        let from = head.lines().find_map(|line| {
            let range = line.to_ascii_lowercase().strip_prefix("range: bytes=")?.to_owned();
            range.trim_end_matches('-').parse().ok()
        });
        match path.contains("/blobs/") && bytes.len() >= 64 * 1024 {
            true => giving(&Request { from, blob: &bytes }, stream),
            false => drop(stream.write_all(&answer("200 OK", "", &bytes))),
        }
    })
}

async fn pull(server: &Server, fixture: &Fixture, into: &Store) -> Result<(), RegistryError> {
    let (registry, reference) = (server.registry(), server.reference());
    let pulled = registry.pull(&reference, fixture.index, Part::Whole, into).await;
    if pulled.is_ok() {
        let progress = registry.progress();
        assert!(progress.expected() > 140_000, "{progress:?}");
        assert_eq!(progress.done(), progress.expected());
    }
    pulled
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(&folder.path().join("layout")).unwrap();
    (folder, store)
}

/// What is there of large blobs that are not whole.
fn parts(store: &Store) -> Vec<String> {
    blobs(store.root()).into_iter().filter(|name| name.starts_with(".part-")).collect()
}

fn is_whole(store: &Store, fixture: &Fixture) {
    assert_eq!(blobs(store.root()), blobs(fixture.store.root()));
    for name in blobs(store.root()) {
        store.require(&format!("sha256:{name}").parse().unwrap(), 1 << 20).unwrap();
    }
}

#[tokio::test]
async fn what_breaks_off_goes_on_and_no_byte_comes_twice() {
    let fixture = Fixture::new("1.0.0");
    let given = Arc::new(AtomicUsize::new(0));
    let counted = given.clone();
    let server = serving(&fixture, move |request, stream| {
        let most = 30_000;
        let rest = request.blob.len() - request.from.unwrap_or(0);
        counted.fetch_add(rest.min(most), Ordering::Relaxed);
        request.give_part(stream, most);
    });
    let (_folder, into) = store();
    pull(&server, &fixture, &into).await.unwrap();
    is_whole(&into, &fixture);
    let large: u64 = blobs(into.root())
        .iter()
        .map(|name| into.root().join("blobs/sha256").join(name).metadata().unwrap().len())
        .filter(|size| *size >= 64 * 1024)
        .sum();
    assert_eq!(given.load(Ordering::Relaxed) as u64, large);
    let heads = server.heads.lock().unwrap().join("").to_ascii_lowercase();
    assert!(heads.contains("range: bytes=30000-\r\n") && heads.contains("range: bytes=60000-\r\n"));
}

#[tokio::test]
async fn the_next_pull_goes_on_where_one_was_given_up() {
    let fixture = Fixture::new("1.0.0");
    let server = serving(&fixture, |request, stream| match request.from {
        None => request.give_part(stream, 50_000),
        Some(_) => drop(stream.write_all(&answer("403 Forbidden", "", b"{}"))),
    });
    let (_folder, into) = store();
    let error = pull(&server, &fixture, &into).await.unwrap_err();
    assert!(matches!(error, RegistryError::Forbidden { .. }), "{error}");
    let size = |part| into.root().join("blobs/sha256").join(part).metadata().unwrap().len();
    let sizes: Vec<u64> = parts(&into).into_iter().map(size).collect();
    assert!(sizes.contains(&50_000), "what came is kept: {sizes:?}");
    let again = serving(&fixture, |request, stream| request.give(stream));
    pull(&again, &fixture, &into).await.unwrap();
    is_whole(&into, &fixture);
    let heads = again.heads.lock().unwrap().join("").to_ascii_lowercase();
    assert!(heads.contains("range: bytes=50000-"), "{heads}");
}

/// The server knows nothing of parts, or says that it does not go on there: all of it comes again.
#[tokio::test]
async fn a_registry_without_parts_is_asked_for_the_whole() {
    let fixture = Fixture::new("1.0.0");
    for refusal in [false, true] {
        let begun = Mutex::new(BTreeSet::new());
        let server = serving(&fixture, move |request, stream| {
            if refusal && request.from.is_some() {
                return drop(stream.write_all(&answer("416 Range Not Satisfiable", "", b"")));
            }
            // Each once, whichever of them is asked for first and again.
            let first = begun.lock().unwrap().insert(Digest::of(request.blob));
            let whole = Request { from: None, blob: request.blob };
            whole.give_part(stream, if first { 40_000 } else { usize::MAX });
        });
        let (_folder, into) = store();
        pull(&server, &fixture, &into).await.unwrap();
        is_whole(&into, &fixture);
    }
}

#[tokio::test]
async fn nobody_is_asked_without_end_nor_believed() {
    let fixture = Fixture::new("1.0.0");
    let (_folder, into) = store();
    // Breaks off at the same byte again and again.
    let server = serving(&fixture, |request, stream| {
        Request { from: None, blob: request.blob }.give_part(stream, 40_000);
    });
    let error = pull(&server, &fixture, &into).await.unwrap_err();
    assert!(matches!(error, RegistryError::Length { .. }), "{error}");
    assert!(server.requests() < 20, "{}", server.requests());
    // Sends another part than it was asked for.
    let server = serving(&fixture, |request, stream| {
        Request { from: Some(request.from.map_or(0, |_| 7)), blob: request.blob }.give(stream);
    });
    let error = pull(&server, &fixture, &into).await.unwrap_err();
    assert!(error.to_string().contains("another part than it was asked for"), "{error}");
    // A beginning that is not this blob's, as a crash may leave it: nobody's lie, and all of it comes again.
    for part in parts(&into) {
        let path = into.root().join("blobs/sha256").join(part);
        std::fs::write(path, vec![0; 40_000]).unwrap();
    }
    let good = serving(&fixture, |request, stream| request.give(stream));
    pull(&good, &fixture, &into).await.unwrap();
    is_whole(&into, &fixture);
}

#[tokio::test]
async fn who_breaks_off_after_a_few_bytes_is_not_asked_for_each_few() {
    let fixture = Fixture::new("1.0.0");
    let server = serving(&fixture, |request, stream| request.give_part(stream, 22));
    let (_folder, into) = store();
    let error = pull(&server, &fixture, &into).await.unwrap_err();
    assert!(matches!(error, RegistryError::Length { .. }), "{error}");
    assert!(server.requests() < 20, "{}", server.requests());
}

/// Each large blob is held back until another one was asked for, too.
#[tokio::test]
async fn several_blobs_come_at_once() {
    let fixture = Fixture::new("1.0.0");
    let asked = Arc::new((Mutex::new(0), Condvar::new()));
    let server = serving(&fixture, move |request, stream| {
        let (count, more) = &*asked;
        let mut count = count.lock().unwrap();
        *count += 1;
        more.notify_all();
        let patience = Duration::from_secs(60);
        let (count, waited) = more.wait_timeout_while(count, patience, |count| *count < 2).unwrap();
        drop(count);
        assert!(!waited.timed_out(), "one after the other");
        request.give(stream);
    });
    let (_folder, into) = store();
    pull(&server, &fixture, &into).await.unwrap();
    is_whole(&into, &fixture);
}
