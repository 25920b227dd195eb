//! Pages, in a real browser.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::browser::Browser;
use super::package::{Package, object};
use super::server::{Server, token};

/// Gives a package a second program, which it runs.
fn also_xdp(package: &mut Package) {
    let program = |name| json!({"function": name, "optional": false});
    let both = json!({"handle_exec": program("handle_exec"), "shorten": program("shorten")});
    package.object = object(&["-DWITH_XDP"]);
    package.manifest.insert("program".into(), both);
}

async fn furnish(server: &Server, data: &Path) {
    let pusher_token = token(data, "acme");
    let acme = server.pusher(&pusher_token);
    Package::new("acme/exec", "1.0.0").push(&acme).await;
    let mut newer = Package::new("acme/exec", "1.1.0");
    also_xdp(&mut newer);
    newer.push(&acme).await;
    for (name, summary, xdp) in [
        ("acme/blockstat", "Latency, errors and size of block requests, by device", false),
        ("acme/dropwatch", "Why the kernel drops packets, with the place in its code", true),
        ("acme/runq", "How long programs wait for a CPU", false),
        ("acme/tcplife", "Each TCP connection with its bytes and how long it lived", false),
    ] {
        let mut package = Package::new(name, "0.9.1");
        package.summary = summary.into();
        if xdp {
            also_xdp(&mut package);
        }
        package.push(&acme).await;
    }
    let long = "a-publisher-whose-name-is-as-long-as-the-standard-lets-it-be-0064";
    let long_token = token(data, &long[..64]);
    let mut wide = Package::new(&format!("{}/{}", &long[..64], &long[..64]), VERSION);
    wide.readme = format!("# Deep\n\n{}word\n\n- a list\n", "* ".repeat(200));
    wide.summary =
        "Awordthatissolongthatnophonecanshowitononelinewithoutbreakingitsomewhereinitsmiddle"
            .into();
    wide.push(&server.pusher(&long_token)).await;
}

/// As long as tags may be, with nowhere to break it.
const VERSION: &str = "1.0.0-aprereleaseaslongasatagmaybeaprereleaseaslongasatagmaybeaprereleaseaslongasatagmaybeaprereleaseaslongasat+build.20261";
const WIDE: &str = "/p/a-publisher-whose-name-is-as-long-as-the-standard-lets-it-be-006/a-publisher-whose-name-is-as-long-as-the-standard-lets-it-be-006";

#[tokio::test]
async fn pages_fit_a_phone_and_a_desk_in_chromium() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    furnish(&server, data.path()).await;
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hub-pages");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut browser = Browser::start();
    for (name, path, status) in [
        ("list", "/", 200),
        ("package", "/p/acme/exec", 200),
        ("old", "/p/acme/exec/1.0.0", 200),
        ("wide", WIDE, 200),
        ("search", "/?q=tracepoint", 200),
        ("none", "/?q=nothing%20like%20it", 200),
        ("missing", "/nowhere", 404),
    ] {
        for (device, width, scheme) in
            [("phone", 390, "light"), ("phone-dark", 390, "dark"), ("desktop", 1280, "light")]
        {
            browser.look(width, 844, scheme);
            assert_eq!(browser.open(&server.url(path)), status, "{path}");
            let inner = browser.evaluate("document.documentElement.scrollWidth");
            assert!(inner.as_u64() <= Some(width.into()), "{path} is {inner} wide on a {device}");
            assert_eq!(browser.evaluate("document.querySelectorAll('h1').length"), 1, "{path}");
            let cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length";
            assert_eq!(browser.evaluate(cut), 0, "{path}: a table is cut on a {device}");
            let over = "Math.max(0, ...[...document.querySelectorAll('.readme')].map(box => Math.max(...[...box.querySelectorAll('p, li')].map(part => part.getBoundingClientRect().right)) - box.getBoundingClientRect().right))";
            assert_eq!(
                browser.evaluate(over),
                0,
                "{path}: the README leaves its box on a {device}"
            );
            let unstyled = browser.evaluate("getComputedStyle(document.body).margin");
            assert_eq!(unstyled, "0px", "the style sheet came");
            let complaints = browser.complaints().iter().filter(|text| !text.contains("404"));
            assert_eq!(complaints.count(), 0, "{path}: {:?}", browser.complaints());
            browser.picture(&pictures.join(format!("{name}-{device}.png")));
        }
    }
}

#[tokio::test]
async fn what_a_package_says_stays_text() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let mut hostile = Package::new("acme/exec", "1.0.0");
    hostile.summary = "\u{202e}\"><script>document.title='taken'</script>".into();
    hostile.readme = "<img src=x onerror=\"document.title='taken'\"><h1>Taken</h1><style>*{display:none}</style>".into();
    hostile.manifest.insert(
        "param".into(),
        json!({"script": {"type": "string", "default": "<script>document.title='taken'</script>", "doc": "</dd><script>"}}),
    );
    hostile.push(&server.pusher(&secret)).await;
    let mut browser = Browser::start();
    for path in ["/", "/p/acme/exec", "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"] {
        browser.look(1280, 844, "light");
        assert_eq!(browser.open(&server.url(path)), 200);
        assert_eq!(browser.evaluate("document.scripts.length"), 0, "{path}");
        assert_ne!(browser.evaluate("document.title"), "taken", "{path}");
        assert_eq!(
            browser.evaluate("document.querySelectorAll('main style, main [style]').length"),
            0
        );
    }
    browser.open(&server.url("/p/acme/exec"));
    let summary = browser.evaluate("document.querySelector('.summary').textContent");
    let shown = hostile.summary.replace('\u{202e}', "\\u{202e}");
    assert_eq!(
        summary.as_str(),
        Some(shown.as_str()),
        "shown as it is, but for what turns text around"
    );
}

#[tokio::test]
async fn every_answer_forbids_scripts_and_foreign_content() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    for path in [
        "/",
        "/nowhere",
        "/p/acme/none",
        "/style.css",
        "/icon.svg",
        "/healthz",
        "/api/v1/packages",
        "/v2/",
    ] {
        let answer = server.get(path).await;
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'"), "{path}");
        assert!(!policy.contains("script") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
    }
    assert_eq!(server.get("/healthz").await.text().await.unwrap(), "ok\n");
}

#[tokio::test]
async fn the_catalogue_is_json_too() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    furnish(&server, data.path()).await;
    let json = async |path: &str| server.get(path).await.json::<Value>().await.unwrap();
    let list = json("/api/v1/packages?q=XDP%20starts").await;
    assert_eq!(list["packages"].as_array().unwrap().len(), 1);
    assert_eq!(list["packages"][0]["name"], "acme/exec");
    assert_eq!(list["packages"][0]["version"], "1.1.0");
    assert_eq!(json("/api/v1/packages?limit=1").await["next"], 1);
    assert_eq!(json("/api/v1/packages?limit=1&offset=5").await["next"], Value::Null);
    let package = json("/api/v1/packages/acme/exec").await;
    assert_eq!(package["versions"].as_array().unwrap().len(), 2);
    assert_eq!(package["newest"]["touches"][0]["severity"], "changes");
    let missing = server.get("/api/v1/packages/acme/none").await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.json::<Value>().await.unwrap()["code"], "not-found");
    for (method, path, status, code) in [
        (Method::GET, "/api/v2", 404, "not-found"),
        (Method::GET, "/api/v1/packages?limit=x", 400, "bad-request"),
        (Method::GET, "/api/v1/packages?offset=-1", 400, "bad-request"),
        (Method::GET, "/api/v1/packages/acme/%ff", 400, "bad-request"),
        (Method::POST, "/api/v1/packages", 405, "no-such-method"),
        (Method::DELETE, "/api/v1/packages/acme/exec", 405, "no-such-method"),
    ] {
        let answer = server.request(method, path).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code, "{path}");
    }
}
