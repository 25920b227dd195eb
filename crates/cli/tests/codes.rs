//! Refusals have the standard's code, for people and for programs; and an error is JSON where that is asked for.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;
use skep_spec::Digest;
use skep_spec::media;
use skep_spec::oci::{Descriptor, Index};
use support::server::{Server, answer};
use support::{Fixture, run};
use typed::{refused, skep};

/// How a command fails, for people and for programs, with its status; both say the same.
fn fails(folder: &Path, args: &[&str]) -> (i32, String, Value) {
    let skep = || {
        let mut skep = skep(folder);
        skep.env("SKEP_SOCKET", folder.join("no.sock")).args(args);
        skep
    };
    let output = wait::output(&mut skep());
    let text = String::from_utf8(output.stderr).unwrap();
    let status = output.status.code().unwrap();
    let output = wait::output(skep().args(["--output", "json"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}\n{said}");
    let last = said.lines().last().unwrap_or_default();
    let json: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{args:?}: {said}"));
    let error = json["error"].clone();
    let message = error["message"].as_str().unwrap().lines().next().unwrap().to_owned();
    assert!(text.contains(&message), "{text}\n{said}");
    (status, text, error)
}

/// Refused with status 4 and this code.
fn refused_with(folder: &Path, args: &[&str], code: &str) {
    let (status, text, error) = fails(folder, args);
    assert_eq!((status, error["code"].as_str()), (4, Some(code)), "{args:?}: {text}");
    let first = text.lines().next().unwrap();
    assert!(first.ends_with(&format!(" ({code})")), "{args:?}: {text}");
}

/// A signed package, and a rule that names another time or key.
fn signed() -> Fixture {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    for key in ["a", "b"] {
        run(skep(folder).args(["key", "new", "-o", key]));
    }
    run(skep(folder).args(["sign", "--key", "a.key", "layout"]));
    fixture
}

#[test]
fn a_refusal_of_trust_has_its_code() {
    let fixture = signed();
    let folder = fixture.folder.path();
    let verify = ["verify", "layout"];
    refused_with(folder, &["verify", "--key", "b.pub", "layout"], "trust.another-key");
    let rule = run(skep(folder).args(["key", "trust", "--packages", "acme/*", "a.pub"]));
    let id = run(skep(folder).args(["key", "trust", "a.pub", "--output", "json"]));
    let id: Value = serde_json::from_str(&id).unwrap();
    let none = rule.replace("acme/*", "other/*");
    let threshold = rule.replace("keys = [", "threshold = 2\nkeys = [");
    let other = run(skep(folder).args(["key", "trust", "b.pub"]));
    let spki = other.split("spki = ").nth(1).unwrap().split('}').next().unwrap();
    let threshold = threshold.replace("keys = [", &format!("keys = [{{ spki = {spki} }}, "));
    let expired = rule.replace(" }", ", not_after = 2020-01-01T00:00:00Z }");
    let revoked = format!("{rule}\n[revoked]\nkeys = [{}]\n", id["id"]);
    let digest = format!("{rule}\n[revoked]\ndigests = [\"{}\"]\n", fixture.index);
    for (policy, code) in [
        (none, "trust.no-rule"),
        (threshold, "trust.not-enough"),
        (expired, "trust.expired"),
        (revoked, "trust.revoked-key"),
        (digest, "trust.revoked-digest"),
    ] {
        std::fs::write(folder.join("trust.toml"), policy).unwrap();
        refused_with(folder, &verify, code);
        refused_with(folder, &["run", "layout"], code);
    }
    std::fs::write(folder.join("trust.toml"), "rules = 1").unwrap();
    let (status, text, error) = fails(folder, &verify);
    assert_eq!((status, error["code"].as_str()), (2, Some("policy.syntax")), "{text}");
    let unsigned = Fixture::new("1.0.0");
    std::fs::copy(folder.join("a.pub"), unsigned.folder.path().join("a.pub")).unwrap();
    let verify = ["verify", "--key", "a.pub", "layout"];
    refused_with(unsigned.folder.path(), &verify, "trust.unsigned");
}

/// A registry of the fixture, with its signatures in the fallback tag, whose layers come as `layer` has them.
fn registry(
    fixture: &Fixture,
    layer: impl Fn(&[u8], &mut TcpStream) + Send + Sync + 'static,
) -> Server {
    let (store, index) = (fixture.store.clone(), fixture.index);
    Server::new(move |head, stream| {
        let Some(path) = head.split(' ').nth(1) else { return };
        let last = path.rsplit('/').next().unwrap();
        let digest = if last == "1.0.0" { Some(index) } else { last.parse::<Digest>().ok() };
        let found = digest.filter(|_| !path.contains("/referrers/"));
        let found = found.and_then(|digest| store.read(&digest, 1 << 20).unwrap());
        match found.or_else(|| support::fallback(&store, last)) {
            Some(bytes) if path.contains("/blobs/") && bytes.len() > 10_000 => {
                layer(&bytes, stream);
            }
            Some(bytes) => drop(stream.write_all(&answer("200 OK", "", &bytes))),
            None => drop(stream.write_all(&answer("404 Not Found", "", b"{}"))),
        }
    })
}

fn chunked(bytes: &[u8], stream: &mut TcpStream) -> std::io::Result<()> {
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

/// What is not what its descriptor says is refused, as cli.md has it of what is not whole.
#[test]
fn a_registry_that_lies_about_a_layer_ends_with_the_status_of_what_is_not_whole() {
    let fixture = signed();
    let folder = fixture.folder.path();
    type Layer = fn(&[u8], &mut TcpStream);
    let cases: [(&str, &str, Layer); 8] = [
        ("cut, and announced so", "oci.size", |bytes, stream| {
            drop(stream.write_all(&answer("200 OK", "", &bytes[..bytes.len() / 2])));
        }),
        ("cut", "oci.size", |bytes, stream| {
            let whole = answer("200 OK", "", bytes);
            drop(stream.write_all(&whole[..whole.len() - 100]));
        }),
        ("longer", "oci.size", |bytes, stream| {
            drop(stream.write_all(&answer("200 OK", "", &[bytes, b"x"].concat())));
        }),
        ("huge", "oci.size", |bytes, stream| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX / 2);
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(bytes)));
        }),
        ("endless", "oci.size", |bytes, stream| {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
            // Other bytes than the layer has: where it comes whole first, it is the layer.
            while chunked(&bytes[..1000], stream).is_ok() {}
        }),
        ("compressed", "oci.size", |bytes, stream| {
            let zipped = answer("200 OK", "Content-Encoding: gzip\r\n", &bytes[..1000]);
            drop(stream.write_all(&zipped));
        }),
        ("altered", "oci.altered", |bytes, stream| {
            let mut bytes = bytes.to_vec();
            bytes[100] ^= 1;
            drop(stream.write_all(&answer("200 OK", "", &bytes)));
        }),
        ("gone", "oci.missing", |_, stream| {
            drop(stream.write_all(&answer("404 Not Found", "", b"{}")));
        }),
    ];
    for (case, code, layer) in cases {
        let server = registry(&fixture, layer);
        let reference = format!("{}/acme/exec:1.0.0", server.host);
        refused_with(folder, &["verify", "--key", "a.pub", &reference], code);
        refused_with(folder, &["pull", &reference, "-o", "none"], code);
        assert!(!folder.join("none").exists(), "{case}");
    }
}

/// Whoever floods a registry hides what is signed, which is another thing than "unsigned".
#[test]
fn a_flood_of_referrers_is_not_called_unsigned() {
    let fixture = signed();
    let folder = fixture.folder.path();
    let flood = (0..100_u32).map(|number| Descriptor {
        artifact_type: Some(media::BUNDLE.to_owned()),
        ..Descriptor::of(media::MANIFEST, &number.to_le_bytes())
    });
    let flood = Index::new(flood.collect(), Default::default()).to_bytes();
    let (index, bytes) = (fixture.index, fixture.store.require(&fixture.index, 1 << 20).unwrap());
    let server = Server::new(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        let bytes = match path.contains("/referrers/") {
            true => answer("200 OK", "", &flood),
            false if path.ends_with("/1.0.0") || path.ends_with(&index.to_string()) => {
                answer("200 OK", "", &bytes)
            }
            false => answer("404 Not Found", "", b"{}"),
        };
        drop(stream.write_all(&bytes));
    });
    let reference = format!("{}/acme/exec:1.0.0", server.host);
    let verify = ["verify", "--key", "a.pub", &reference];
    refused_with(folder, &verify, "trust.not-enough");
    let (_, text, _) = fails(folder, &verify);
    assert!(text.contains("nobody can tell whether it is signed"), "{text}");
    assert!(!text.contains("unsigned"), "{text}");
}

#[test]
fn an_error_is_json_where_that_is_asked_for_whatever_failed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (status, _, error) = fails(folder, &["inspect", "./none.o"]);
    assert_eq!((status, &error["code"]), (2, &"usage".into()));
    assert!(error["hint"].as_str().unwrap().contains("give a folder"), "{error}");
    std::fs::write(folder.join("text.o"), "text").unwrap();
    let (status, text, error) = fails(folder, &["inspect", "text.o"]);
    assert_eq!((status, &error["code"]), (2, &"object.not-elf".into()));
    assert!(text.starts_with("error: can't inspect text.o (object.not-elf)\n"), "{text}");
    assert!(error["causes"][0].is_string(), "{error}");
    let (status, _, error) = fails(folder, &["list"]);
    assert_eq!((status, &error["code"]), (3, &"no-daemon".into()));
    std::fs::create_dir(folder.join("a")).unwrap();
    std::fs::write(folder.join("a/skep.toml"), "[package]\n").unwrap();
    let (status, _, error) = fails(folder, &["build", "a"]);
    assert_eq!((status, &error["code"]), (2, &"manifest.missing".into()));
    // What clap itself does not take is no other thing.
    for wrong in [&["verify", "--output", "json"][..], &["--output=ndjson", "nothing"]] {
        let output = wait::output(skep(folder).args(wrong));
        let said = String::from_utf8(output.stderr).unwrap();
        let json: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((output.status.code(), &json["error"]["code"]), (Some(2), &"usage".into()));
    }
    refused(skep(folder).args(["verify"]), 2, "error: the following required arguments");
    let help = run(skep(folder).args(["verify", "--help", "--output", "json"]));
    assert!(help.contains("Usage: "), "{help}");
}

/// A text that is refused with what it names, of which nothing looks like a line of ours.
fn refused_in_its_lines(folder: &Path, args: &[&str]) {
    let (_, text, error) = fails(folder, args);
    let forged = text.lines().find(|line| line.trim_start().starts_with("FORGED"));
    assert_eq!(forged, None, "{args:?}: {text}");
    assert!(text.contains("x\\nFORGED\\t"), "{args:?}: {text}");
    assert!(error.to_string().contains("x\\\\nFORGED"), "{args:?}: {error}");
}

#[test]
fn no_name_in_a_file_adds_a_line_to_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("a")).unwrap();
    let head = "spec = \"1.0\"\n[package]\nname = \"acme/a\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n[object.a]\nfile = { x86_64 = \"a.o\" }\n";
    for end in [
        "[package.\"x\\nFORGED\\t\"]\n",
        "[object.\"x\\nFORGED\\t\"]\nfile = { x86_64 = \"a.o\" }\n",
        "[program.p]\nfunction = \"x\\nFORGED\\t\"\n",
        "[program.p]\nobject = \"x\\nFORGED\\t\"\n",
        "[output.o]\nkind = \"x\\nFORGED\\t\"\nmap = \"m\"\n",
    ] {
        std::fs::write(folder.join("a/skep.toml"), format!("{head}{end}")).unwrap();
        refused_in_its_lines(folder, &["lint", "a"]);
        refused_in_its_lines(folder, &["build", "a"]);
    }
    for text in [
        "\"x\\nFORGED\\t\" = 1\n",
        "[service.\"x\\nFORGED\\t\"]\npackage = \"acme/a\"\n",
        "[service.a]\npackage = \"acme/a\"\nstate = \"x\\nFORGED\\t\"\n",
    ] {
        std::fs::write(folder.join("services.toml"), text).unwrap();
        refused_in_its_lines(folder, &["apply", "--file", "services.toml"]);
    }
    for text in ["\"x\\nFORGED\\t\" = 1\n", "[[rule]]\npackages = [\"x\\nFORGED\\t\"]\n"] {
        std::fs::write(folder.join("trust.toml"), text).unwrap();
        refused_in_its_lines(folder, &["verify", "--policy", "trust.toml", "acme/a:1.0.0"]);
    }
}

#[test]
fn no_name_in_a_layout_adds_a_line_to_a_refusal() {
    let fixture = signed();
    let folder = fixture.folder.path();
    let path = folder.join("layout/index.json");
    let read =
        |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let whole = read(&path);
    let blob =
        |digest: &Value| folder.join("layout/blobs/sha256").join(&digest.as_str().unwrap()[7..]);
    let mut top = whole.clone();
    top["manifests"][0]["digest"] = "x\nFORGED\t".into();
    std::fs::write(&path, top.to_string()).unwrap();
    refused_in_its_lines(folder, &["inspect", "layout"]);
    let put = |document: &Value, of: &mut Value| {
        let bytes = document.to_string().into_bytes();
        of["digest"] = Digest::of(&bytes).to_string().into();
        of["size"] = bytes.len().into();
        std::fs::write(blob(&of["digest"]), bytes).unwrap();
    };
    for at in ["/mediaType", "/layers/0/digest", "/layers/0/mediaType"] {
        let mut top = whole.clone();
        let mut index = read(&blob(&top["manifests"][0]["digest"]));
        let mut manifest = read(&blob(&index["manifests"][0]["digest"]));
        *manifest.pointer_mut(at).unwrap() = "x\nFORGED\t".into();
        put(&manifest, &mut index["manifests"][0]);
        put(&index, &mut top["manifests"][0]);
        std::fs::write(&path, top.to_string()).unwrap();
        refused_in_its_lines(folder, &["inspect", "layout"]);
    }
}
