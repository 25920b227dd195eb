//! Registries that refuse, lie or hang: each ends as its own error, in bounded time, with nothing kept.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skep_oci::Store;
use skep_oci::registry::{Credentials, Options, Part, Registry, RegistryError, TimeLimits};
use skep_spec::oci::{Descriptor, Index};
use skep_spec::{Channel, Digest, PackageRef, media};
use support::Fixture;
use support::server::{Server, answer};

/// Says nothing more till the client hangs up.
fn held(stream: &mut TcpStream) {
    while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
}

#[tokio::test]
async fn each_status_has_its_own_error() {
    let body = br#"{"errors":[{"code":"X","message":"because \u001b[31m I say so"}]}"#;
    let mut texts = Vec::new();
    for status in ["401 x", "403 x", "404 x", "429 x", "500 x", "503 x", "418 x"] {
        let server = Server::saying(answer(status, "", body));
        let error = server.resolve().await.unwrap_err();
        texts.push(server.said(&error));
        // What may pass is tried three times, the rest once.
        let expected = if matches!(&status[..1], "5") || status.starts_with("429") { 3 } else { 1 };
        assert_eq!(server.requests(), expected, "{status}");
    }
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let count = Mutex::new(0);
    let server = Server::new(move |_, stream| {
        *count.lock().unwrap() += 1;
        let status = if *count.lock().unwrap() < 3 { "502 x" } else { "200 OK" };
        drop(stream.write_all(&answer(status, "", b"{}")));
    });
    assert_eq!(server.resolve().await.unwrap(), Digest::of(b"{}"));
}

#[tokio::test]
async fn a_registry_that_says_when_is_asked_then() {
    let first = std::sync::Once::new();
    let server = Server::new(move |_, stream| {
        let (mut status, mut headers) = ("200 OK", "");
        first.call_once(|| (status, headers) = ("429 x", "Retry-After: 1\r\n"));
        drop(stream.write_all(&answer(status, headers, b"{}")));
    });
    let begun = std::time::Instant::now();
    assert_eq!(server.resolve().await.unwrap(), Digest::of(b"{}"));
    assert!(begun.elapsed() >= Duration::from_secs(1) && server.requests() == 2);
    // Nobody is held up for an hour, and what is no number of seconds says nothing.
    for (after, tries, words) in
        [("3600", 1, "try again in 3600 s"), ("soon", 3, "try again later")]
    {
        for status in ["429 x", "503 x"] {
            let headers = format!("Retry-After: {after}\r\n");
            let server = Server::saying(answer(status, &headers, b""));
            let error = server.resolve().await.unwrap_err().to_string();
            assert!(
                error.contains(words) && server.requests() == tries,
                "{status} {after}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn more_tags_than_a_package_has_are_not_read() {
    let tags = |form: &str, count: usize| {
        let tags: Vec<String> = (0..count).map(|at| form.replace('N', &at.to_string())).collect();
        answer("200 OK", "", serde_json::json!({ "tags": tags }).to_string().as_bytes())
    };
    let (version, channel) = ("1.0.N", "skep-channel-cN");
    for (form, most) in [(version, 10_000), (channel, 64)] {
        let server = Server::saying(tags(form, most));
        let found = server.registry().tags(&server.reference()).await.unwrap();
        assert_eq!(found.versions.len() + found.channels.len(), most);
        let server = Server::saying(tags(form, most + 1));
        let error = server.registry().tags(&server.reference()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("has more than {most} ")), "{error}");
    }
    // Pages that each come in time, and never end.
    let server = Server::new(|head, stream| {
        std::thread::sleep(Duration::from_millis(50)); // the server's pace, not a wait for something
        let path = head.split(' ').nth(1).unwrap();
        let link = format!("Link: <{path}>; rel=\"next\"\r\n");
        drop(stream.write_all(&answer("200 OK", &link, br#"{"tags": ["1.0.0"]}"#)));
    });
    let registry = server.hasty_registry();
    let error = while_held(registry.tags(&server.reference())).await.unwrap_err();
    assert!(matches!(error, RegistryError::Hangs { .. }), "{error}");
}

/// An empty list is `[]` or `null`; an answer without one says nothing of versions.
#[tokio::test]
async fn an_answer_without_tags_is_no_empty_list() {
    for none in [r#"{"tags": []}"#, r#"{"name": "a/b", "tags": null}"#] {
        let server = Server::saying(answer("200 OK", "", none.as_bytes()));
        let found = server.registry().tags(&server.reference()).await.unwrap();
        assert!(found.versions.is_empty(), "{none}");
    }
    let server = Server::saying(answer("200 OK", "", b"{}"));
    let error = server.registry().tags(&server.reference()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Misbehaves { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let reference: PackageRef = format!("{host}/acme/exec:1.0.0").parse().unwrap();
    let time = TimeLimits { back_off: Duration::from_millis(1), ..TimeLimits::default() };
    let registry = Registry::of(&reference, Options { time, ..Options::default() }).unwrap();
    let error = registry.resolve(&reference).await.unwrap_err();
    assert_eq!(
        error.to_string().replace(&host, "REGISTRY"),
        "cannot look up REGISTRY/acme/exec:1.0.0: no connection to REGISTRY: Connection refused (os error 111); check the name, the network and whether the registry runs"
    );
}

#[tokio::test]
async fn what_speaks_no_http_is_said() {
    for bytes in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nContent-Le", ""] {
        let server = Server::saying(bytes);
        let error = server.resolve().await.unwrap_err();
        assert!(matches!(error, RegistryError::Broken { .. }), "{error}");
        let said = server.said(&error);
        let start =
            "cannot look up REGISTRY/acme/exec:1.0.0: REGISTRY broke off or does not speak HTTP: ";
        assert!(said.starts_with(start) && !said.contains("url"), "{said}");
        assert_eq!(server.requests(), 3, "what may pass is tried again");
    }
}

/// What happens while no server of the test goes on; the deadline ends a test that hangs.
async fn while_held<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(300), work).await.unwrap()
}

#[tokio::test]
async fn a_registry_that_hangs_is_left() {
    let never = Server::new(|_, stream| held(stream));
    let midway = Server::new(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin"));
        held(stream);
    });
    let drip = Server::new(move |_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"));
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50)); // the server's pace, not a wait for something
        }
    });
    for server in [never, midway, drip] {
        let registry = server.hasty_registry();
        let error = while_held(registry.resolve(&server.reference())).await.unwrap_err();
        assert!(matches!(error, RegistryError::Hangs { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let endless = Server::new(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
        let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
        while stream.write_all(&chunk).is_ok() {}
    });
    let error = endless.resolve().await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { limit: 4_194_304, .. }), "{error}");
    let announced = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
    let error = announced.resolve().await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    let error_page = Server::new(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 403 x\r\n\r\n"));
        while stream.write_all(&[b' '; 0x10000]).is_ok() {}
    });
    let error = error_page.resolve().await.unwrap_err();
    assert!(matches!(error, RegistryError::Forbidden { .. }), "{error}");
}

/// A registry that holds a package, but answers one path as `bad` says.
fn holding(fixture: &Fixture, path: String, bad: Vec<u8>) -> Server {
    let store = fixture.store.clone();
    Server::new(move |head, stream| {
        let digest = head.split_whitespace().nth(1).and_then(|path| path.rsplit('/').next());
        let blob = digest.and_then(|digest| digest.parse().ok());
        let blob = blob.and_then(|digest| store.read(&digest, u64::MAX).unwrap());
        let bytes = match blob {
            _ if head.contains(&path) => bad.clone(),
            Some(blob) => answer("200 OK", "", &blob),
            None => answer("404 x", "", b""),
        };
        drop(stream.write_all(&bytes));
    })
}

#[tokio::test]
async fn lies_about_blobs_are_found_and_nothing_is_listed() {
    let fixture = Fixture::new("1.0.0");
    let index = Index::parse(&fixture.store.require(&fixture.index, 1 << 20).unwrap()).unwrap();
    let platform = index.manifests[0].digest;
    let manifest = fixture.store.require(&platform, 1 << 20).unwrap();
    let manifest = skep_spec::oci::ImageManifest::parse(&manifest).unwrap();
    let layer = &manifest.layers[0];
    let good = fixture.store.require(&layer.digest, 1 << 20).unwrap();
    let mut altered = good.clone();
    altered[500] ^= 1;
    let longer = [good.as_slice(), b"x"].concat();
    let cut = [answer("200 OK", "", &good)[..].to_vec()].concat();
    let chunked = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
        format!("{:x}\r\n", longer.len()).as_bytes(),
        &longer,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let layer_path = layer.digest.to_string();
    let cases = [
        ("shorter", &layer_path, answer("200 OK", "", &good[..10])),
        ("longer", &layer_path, answer("200 OK", "", &longer)),
        ("longer, unannounced", &layer_path, chunked),
        ("cut off", &layer_path, cut[..cut.len() - 100].to_vec()),
        ("altered", &layer_path, answer("200 OK", "", &altered)),
        ("gone", &layer_path, answer("404 x", "", b"")),
        ("another manifest", &platform.to_string(), answer("200 OK", "", b"{}")),
        ("no index", &fixture.index.to_string(), answer("200 OK", "", b"hello")),
    ];
    let mut texts = Vec::new();
    for (case, path, bad) in cases {
        let server = holding(&fixture, path.clone(), bad);
        let store = Store::create(&fixture.path(&case.replace([' ', ','], "-"))).unwrap();
        let reference = server.reference();
        let pulled = server.registry().pull(&reference, fixture.index, Part::Whole, &store).await;
        let error = pulled.unwrap_err();
        let code = error.code().expect(case);
        assert!(error.is_altered(), "{case}");
        texts.push(format!("{case} ({code}): {}", server.said(&error)));
        assert!(store.packages().unwrap().is_empty(), "{case}");
        assert!(!store.has(&fixture.index) && !store.has(&layer.digest), "{case}");
    }
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test]
async fn a_tag_whose_bytes_are_not_those_of_its_own_digest_is_altered() {
    let announcing = |digest: String| {
        let header = format!("Docker-Content-Digest: {digest}\r\n");
        Server::saying(answer("200 OK", &header, b"{}"))
    };
    let server = announcing(Digest::of(b"other").to_string());
    let error = server.resolve().await.unwrap_err();
    assert!(error.is_altered(), "{error}");
    let said = server.said(&error);
    let (announced, found) = (Digest::of(b"other"), Digest::of(b"{}"));
    let words = format!("REGISTRY sends what has the digest {found}, and calls it {announced} (");
    assert!(said.contains(&words), "{said}");
    for digest in [Digest::of(b"{}").to_string(), "sha512:00".to_owned(), "nothing".to_owned()] {
        assert_eq!(announcing(digest).resolve().await.unwrap(), Digest::of(b"{}"));
    }
}

/// What is asked for by its digest is that, or is not, whatever the answer calls it.
#[tokio::test]
async fn what_fits_its_digest_counts_whatever_it_is_called() {
    let header = format!("Docker-Content-Digest: {}\r\n", Digest::of(b"other"));
    let server = Server::saying(answer("200 OK", &header, b"{}"));
    let asked = |digest: Digest| server.reference().at(digest);
    let registry = server.registry();
    assert_eq!(registry.index(&asked(Digest::of(b"{}"))).await.unwrap(), b"{}");
    let error = registry.index(&asked(Digest::of(b"other"))).await.unwrap_err();
    assert!(matches!(error, RegistryError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn a_descriptor_of_a_huge_layer_is_not_followed() {
    let fixture = Fixture::new("1.0.0");
    let mut manifest = skep_spec::oci::ImageManifest::new(
        media::PACKAGE,
        Descriptor::of(media::CONFIG, b"{}"),
        vec![Descriptor { size: 1 << 40, ..Descriptor::of(media::LAYER, b"x") }],
        Default::default(),
    );
    manifest.layers[0].annotations.insert(media::ROLE.into(), "object".into());
    let bytes = manifest.to_bytes();
    let entry = Descriptor {
        platform: Some(skep_spec::oci::Platform::linux(skep_spec::Arch::X86_64)),
        ..Descriptor::of(media::MANIFEST, &bytes)
    };
    let index = Index::new(vec![entry], Default::default()).to_bytes();
    for blob in [bytes.as_slice(), &index, b"{}"] {
        fixture.store.put(blob).unwrap();
    }
    let server = holding(&fixture, "nothing".into(), Vec::new());
    let store = Store::create(&fixture.path("into")).unwrap();
    let (registry, reference) = (server.registry(), server.reference());
    let pulled = registry.pull(&reference, Digest::of(&index), Part::Whole, &store).await;
    let error = pulled.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

fn secret() -> Credentials {
    Credentials::Basic { user: "me".into(), password: "secret".into() }
}

#[tokio::test]
async fn redirects_go_without_credentials() {
    let target = Server::saying(answer("200 OK", "", b"{}"));
    let to = target.host.clone();
    let server = Server::new(move |head, stream| {
        let bytes = if head.contains("authorization: Basic") {
            answer("307 x", &format!("Location: http://{to}/elsewhere\r\n"), b"")
        } else {
            answer("401 x", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"")
        };
        drop(stream.write_all(&bytes));
    });
    let registry = server.registry_with(secret());
    assert_eq!(registry.resolve(&server.reference()).await.unwrap(), Digest::of(b"{}"));
    let heads = target.heads.lock().unwrap();
    assert!(heads[0].starts_with("GET /elsewhere"), "{heads:?}");
    assert!(!heads[0].to_lowercase().contains("authorization"), "{heads:?}");
}

#[tokio::test]
async fn redirects_without_end_or_to_other_schemes_are_refused() {
    let host = Arc::new(Mutex::new(String::new()));
    let own = host.clone();
    let server = Server::new(move |_, stream| {
        let location = format!("Location: http://{}/x\r\n", own.lock().unwrap());
        drop(stream.write_all(&answer("302 x", &location, b"")));
    });
    host.lock().unwrap().clone_from(&server.host);
    let error = server.resolve().await.unwrap_err();
    assert!(error.to_string().contains("redirects more than 5 times"), "{error}");
    let server = Server::saying(answer("302 x", "Location: file:///etc/passwd\r\n", b""));
    let error = server.resolve().await.unwrap_err();
    assert!(matches!(error, RegistryError::Misbehaves { .. }), "{error}");
}

#[tokio::test]
async fn the_token_flow_works_and_its_lies_are_refused() {
    let with_token = |token: &'static [u8]| {
        let host = Arc::new(Mutex::new(String::new()));
        let own = host.clone();
        let server = Server::new(move |head, stream| {
            let realm = format!("http://{}/token", own.lock().unwrap());
            let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n");
            let bytes = if head
                .starts_with("GET /token?service=s&scope=repository%3Aacme%2Fexec%3Apull ")
            {
                answer("200 OK", "", token)
            } else if head.contains("authorization: Bearer abc\r\n") {
                answer("200 OK", "", b"{}")
            } else {
                answer("401 x", &challenge, b"")
            };
            drop(stream.write_all(&bytes));
        });
        host.lock().unwrap().clone_from(&server.host);
        server
    };
    for token in [br#"{"token":"abc"}"#.as_slice(), br#"{"access_token":"abc","expires_in":1}"#] {
        let server = with_token(token);
        let registry = server.registry_with(secret());
        assert_eq!(registry.resolve(&server.reference()).await.unwrap(), Digest::of(b"{}"));
        assert_eq!(server.requests(), 3);
        registry.resolve(&server.reference()).await.unwrap();
        assert_eq!(server.requests(), 4, "the token is kept");
    }
    let mut texts = Vec::new();
    for token in
        [br#"{"token":"wrong"}"#.as_slice(), br#"{"token":""}"#, b"<html>", &[b' '; 70_000]]
    {
        let server = with_token(token);
        texts.push(server.said(&server.resolve().await.unwrap_err()).replace("127.0.0.1", "HOST"));
    }
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test]
async fn a_token_server_that_is_not_there_is_said() {
    let challenge = "WWW-Authenticate: Bearer realm=\"ftp://example.com/\"\r\n";
    let server = Server::saying(answer("401 x", challenge, b""));
    let error = server.registry_with(secret()).resolve(&server.reference()).await.unwrap_err();
    assert!(error.to_string().contains("without https"), "{error}");
}

/// A registry on this machine is spoken to without TLS because nobody is in between: that is not so of another machine.
#[tokio::test]
async fn a_registry_on_this_machine_sends_no_password_beyond_it_without_tls() {
    let server = with_token_server("tokens.invalid".to_owned());
    let error = server.registry_with(secret()).resolve(&server.reference()).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("beyond this machine") && said.contains("--plain-http"), "{said}");
}

/// A registry whose challenge names a token server that answers so.
fn with_token_server(host: String) -> Server {
    let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n");
    Server::saying(answer("401 x", &challenge, b""))
}

#[tokio::test]
async fn what_a_token_server_does_is_not_the_registrys_fault() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let not_there = Server::saying(answer("404 x", "", b""));
    let broken = Server::saying(answer("500 x", "", b""));
    let forbids = Server::saying(answer("403 x", "", b""));
    let mut texts = Vec::new();
    for host in [&gone, &not_there.host, &broken.host, &forbids.host] {
        let server = with_token_server(host.clone());
        let error = server.registry_with(secret()).resolve(&server.reference()).await.unwrap_err();
        texts.push(server.said(&error).replace(host, "TOKENS"));
    }
    insta::assert_snapshot!(texts.join("\n"));
}

#[tokio::test]
async fn who_is_refused_with_credentials_is_not_told_to_log_in_as_if_there_were_none() {
    let tokens = Server::saying(answer("401 x", "", b"{\"errors\":[{\"message\":\"bad\"}]}"));
    let bearer = with_token_server(tokens.host.clone());
    let basic = Server::saying(answer("401 x", "WWW-Authenticate: Basic realm=\"x\"\r\n", b""));
    for server in [bearer, basic] {
        for (credentials, words) in [
            (Credentials::Anonymous, "wants to know who asks (401)"),
            (secret(), "refuses the token or password that it was given (401)"),
        ] {
            let registry = server.registry_with(credentials);
            let error = registry.resolve(&server.reference()).await.unwrap_err();
            let said = server.said(&error);
            assert!(said.contains(&format!("REGISTRY {words}")), "{said}");
            let error = registry.check_login().await.unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

#[tokio::test]
async fn an_error_whose_words_do_not_come_is_told_without_them() {
    let server = Server::new(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 403 x\r\nContent-Length: 100\r\n\r\n{"));
        held(stream);
    });
    let error = while_held(server.resolve()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Forbidden { said: None, .. }), "{error}");
}

#[tokio::test]
async fn an_error_is_not_no_signature() {
    for status in ["500 x", "403 x", "200 OK"] {
        let server = Server::saying(answer(status, "", b"<html>"));
        let found = server.registry().bundles(&server.reference(), Digest::of(b"x")).await;
        assert!(found.is_err(), "{status}");
    }
    let server = Server::saying(answer("404 x", "", b""));
    let found = server.registry().bundles(&server.reference(), Digest::of(b"x")).await;
    assert!(found.unwrap().is_empty());
    assert_eq!(server.requests(), 2, "the API, then the fallback tag");
}

#[tokio::test]
async fn pages_of_referrers_are_followed_but_never_elsewhere_or_for_ever() {
    let fixture = Fixture::new("1.0.0");
    let key = skep_trust::SecretKey::generate(skep_trust::key::KeyKind::Ed25519).unwrap();
    let bundle = fixture.sign_well(&key);
    let entries = fixture.store.index().unwrap().manifests;
    let ours = entries.into_iter().filter(|entry| entry.artifact_type.is_some()).collect();
    let second = Index::new(ours, Default::default()).to_bytes();
    let empty = Index::new(Vec::new(), Default::default()).to_bytes();
    let store = fixture.store.clone();
    let paged = Server::new(move |head, stream| {
        let path = head.split_whitespace().nth(1).unwrap();
        let bytes = if path.contains("page=2") {
            answer("200 OK", "", &second)
        } else if path.contains("/referrers/") {
            answer("200 OK", "Link: <?page=2>; rel=\"next\"\r\n", &empty)
        } else {
            let digest = path.rsplit('/').next().unwrap().parse().unwrap();
            answer("200 OK", "", &store.require(&digest, 1 << 20).unwrap())
        };
        drop(stream.write_all(&bytes));
    });
    let found = paged.registry().bundles(&paged.reference(), fixture.index).await.unwrap();
    assert_eq!(found, [bundle]);

    let empty = Index::new(Vec::new(), Default::default()).to_bytes();
    let endless = Server::saying(answer("200 OK", "Link: <?page=2>; rel=\"next\"\r\n", &empty));
    let found = endless.registry().bundles(&endless.reference(), fixture.index).await;
    let error = found.unwrap_err();
    assert!(error.is_flooded(), "that is not 'unsigned': {error}");
    assert_eq!(endless.requests(), 16);

    let link = "Link: <http://example.com/>; rel=\"next\"\r\n";
    let elsewhere = Server::saying(answer("200 OK", link, &empty));
    let error =
        elsewhere.registry().bundles(&elsewhere.reference(), fixture.index).await.unwrap_err();
    assert!(error.to_string().contains("another registry"), "{error}");
}

#[tokio::test]
async fn pushes_end_as_typed_errors_too() {
    let fixture = Fixture::new("1.0.0");
    let post = |status: &'static str, headers: &'static str| {
        Server::new(move |head, stream| {
            let bytes = match head.split_whitespace().next().unwrap() {
                "HEAD" => answer("404 x", "", b""),
                "GET" => answer("200 OK", "", b"{}"),
                _ => answer(status, headers, b"{\"errors\":[{\"message\":\"no\"}]}"),
            };
            drop(stream.write_all(&bytes));
        })
    };
    let hangs = Server::new(|head, stream| {
        match head.split_whitespace().next().unwrap() {
            "HEAD" => drop(stream.write_all(&answer("404 x", "", b""))),
            "GET" => drop(stream.write_all(&answer("200 OK", "", b"{}"))),
            _ => held(stream),
        };
    });
    let servers = [
        ("401", post("401 x", "")),
        ("403", post("403 x", "")),
        ("500", post("500 x", "")),
        ("no Location", post("202 x", "")),
        ("a broken Location", post("202 x", "Location: http://[\r\n")),
        ("hangs", hangs),
    ];
    let mut texts = Vec::new();
    for (case, server) in servers {
        let reference = server.reference();
        let registry = if case == "hangs" { server.hasty_registry() } else { server.registry() };
        let pushed = registry.push(&fixture.store, fixture.index, &reference).await;
        texts.push(format!("{case}: {}", server.said(&pushed.unwrap_err())));
    }
    insta::assert_snapshot!(texts.join("\n"));
}

/// Who is told "pushed" takes it that the package is there under its digest.
#[tokio::test]
async fn a_push_that_is_kept_under_another_digest_is_none() {
    let fixture = Fixture::new("1.0.0");
    for (algorithm, digit, altered) in [("sha256", "0", true), ("sha512", "00", false)] {
        let kept = format!("Docker-Content-Digest: {algorithm}:{}\r\n", digit.repeat(64));
        let server = Server::new(move |head, stream| {
            let bytes = match head.split_whitespace().next().unwrap() {
                "PUT" => answer("201 Created", &kept, b""),
                _ => answer("200 OK", "", b""),
            };
            drop(stream.write_all(&bytes));
        });
        let registry = server.registry();
        let pushed = registry.push(&fixture.store, fixture.index, &server.reference()).await;
        match altered {
            false => drop(pushed.unwrap()),
            true => {
                let error = pushed.unwrap_err();
                assert_eq!(error.code(), Some("oci.altered"), "{error}");
                assert!(error.is_altered() && server.requests() < 20, "{error}");
            }
        }
    }
}

#[tokio::test]
async fn credentials_come_from_dockers_config() {
    let server = Server::new(|head, stream| {
        let fine = head.contains("authorization: Basic bWU6c2VjcmV0\r\n");
        let challenge = "WWW-Authenticate: Basic realm=\"x\"\r\n";
        let bytes =
            if fine { answer("200 OK", "", b"{}") } else { answer("401 x", challenge, b"") };
        drop(stream.write_all(&bytes));
    });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let resolve = || async {
        let credentials = Credentials::DockerConfig(config.clone());
        server.registry_with(credentials).resolve(&server.reference()).await
    };
    assert!(matches!(resolve().await, Err(RegistryError::Unauthorized { .. })), "no file: nobody");
    let auth = format!(r#"{{"auths":{{"{}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#, server.host);
    std::fs::write(&config, auth).unwrap();
    resolve().await.unwrap();
    for (text, why) in [
        ("{", "config.json is not docker's JSON: "),
        (
            r#"{"auths":{"HOST":{"auth":"bWU"}}}"#,
            "the 'auth' of HOST is not NAME:PASSWORD in base64",
        ),
        (r#"{"auths":[1]}"#, "has not the form of docker's config.json"),
        (r#"{"credsStore":"skep-none"}"#, "helper 'docker-credential-skep-none' that "),
        (
            r#"{"credHelpers":{"HOST":"skep-none"}}"#,
            "cannot be asked: No such file or directory (os error 2); is it in the PATH?",
        ),
    ] {
        std::fs::write(&config, text.replace("HOST", &server.host)).unwrap();
        let error = resolve().await.unwrap_err().to_string().replace(&server.host, "HOST");
        assert!(error.starts_with("cannot read the credentials for HOST: "), "{error}");
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(!format!("{:?}", secret()).contains("secret"));
}

/// A registry without a referrers API, which keeps nothing that is put under a tag: as if others wrote it each time.
fn forgetful() -> Server {
    Server::new(|head, stream| {
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        read_body(head, stream);
        let bytes = match method {
            "PUT" => answer("201 Created", &format!("Location: {path}\r\n"), b""),
            "GET" if path != "/v2/" => answer("404 x", "", b""),
            _ => answer("200 OK", "", b""),
        };
        drop(stream.write_all(&bytes));
    })
}

fn read_body(head: &str, stream: &mut TcpStream) {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
}

#[tokio::test]
async fn a_lost_race_for_a_tag_is_nobodys_lie() {
    let (server, fixture) = (forgetful(), Fixture::new("1.0.0"));
    let (registry, reference) = (server.registry(), server.reference());
    let index = fixture.store.require(&fixture.index, 1 << 20).unwrap();
    let signed = registry.attach_bundle(&reference, &index, b"{}").await.unwrap_err();
    let moved = registry.put_channel(&reference, &Channel::stable(), &[b"{}".to_vec()]).await;
    let said = [signed, moved.unwrap_err()].map(|error| server.said(&error));
    let digest = fixture.index.to_string();
    insta::assert_snapshot!(said.join("\n").replace(&digest, "DIGEST"), @r"
    cannot attach a signature to REGISTRY/acme/exec:1.0.0@DIGEST: others write the list of its signatures in REGISTRY at the same time, and ours did not stay; look at what is there when they are done, and try again
    cannot move the channel 'stable' of acme/exec: others write its tag in REGISTRY at the same time, and ours did not stay; look at what is there when they are done, and try again
    ");
}

/// Uploads are tried again as often as what is read is.
#[tokio::test]
async fn an_upload_that_passes_is_tried_again() {
    for failures in [2, 3] {
        let left = Mutex::new(failures);
        let server = Server::new(move |head, stream| {
            read_body(head, stream);
            let mut left = left.lock().unwrap();
            let bytes = if head.starts_with("PUT") && *left > 0 {
                *left -= 1;
                answer("503 x", "", b"")
            } else {
                answer("201 Created", "Location: /v2/x\r\n", b"")
            };
            drop(stream.write_all(&bytes));
        });
        let (registry, reference) = (server.registry(), server.reference());
        let put = registry.put_channel(&reference, &Channel::stable(), &[]).await;
        let error = put.unwrap_err();
        let gave_up = matches!(error, RegistryError::Status { status: 503, .. });
        assert_eq!(gave_up, failures == 3, "{error}");
        let heads = server.heads.lock().unwrap();
        assert_eq!(heads.iter().filter(|head| head.starts_with("PUT")).count(), 3);
    }
}

/// An upload may go on at another server, who is not told who sends; and a redirect of one is followed.
#[tokio::test]
async fn uploads_go_elsewhere_without_credentials() {
    let elsewhere = Server::new(|head, stream| {
        read_body(head, stream);
        drop(stream.write_all(&answer("201 Created", "", b"")));
    });
    for status in ["202 Accepted", "307 x"] {
        let (to, before) = (elsewhere.host.clone(), elsewhere.requests());
        let server = Server::new(move |head, stream| {
            read_body(head, stream);
            let method = head.split(' ').next().unwrap();
            let sent_on = match status {
                "307 x" => method == "PUT",
                _ => method == "POST",
            };
            let bytes = if !head.contains("authorization: Basic") {
                answer("401 x", "WWW-Authenticate: Basic realm=\"x\"\r\n", b"")
            } else if sent_on {
                answer(status, &format!("Location: http://{to}/there\r\n"), b"")
            } else {
                match method {
                    "POST" => answer("202 Accepted", "Location: /v2/here\r\n", b""),
                    "PUT" => answer("201 Created", "", b""),
                    "GET" => answer("200 OK", "", b"{}"),
                    _ => answer("404 x", "", b""),
                }
            };
            drop(stream.write_all(&bytes));
        });
        let (registry, reference) = (server.registry_with(secret()), server.reference());
        let put = registry.put_channel(&reference, &Channel::stable(), &[]).await;
        assert!(matches!(put, Err(RegistryError::Overwritten { .. })), "{status}: {put:?}");
        assert!(elsewhere.requests() > before, "{status}");
    }
    let heads = elsewhere.heads.lock().unwrap();
    for head in heads.iter() {
        assert!(head.starts_with("PUT /there"), "{head}");
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
    }
}
