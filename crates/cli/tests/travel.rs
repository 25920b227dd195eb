//! The commands by which packages travel, as they are typed: copy, tags, bundle, unbundle.
#![allow(clippy::unwrap_used)]

#[path = "../../oci/tests/support/mod.rs"]
mod support;
mod typed;
mod wait;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use support::server::{Server, answer};
use support::{DockerRegistry, Fixture, blobs, run, tool, try_run};
use typed::{refused, skep};

fn cosign(folder: &Path) -> Command {
    let mut command = Command::new(tool("cosign"));
    command.current_dir(folder).env("HOME", folder).env("COSIGN_PASSWORD", "");
    command
}

/// A package that two tools signed goes from one registry to another: both signatures stay good for both tools.
#[test]
fn a_package_is_promoted_with_every_signature() {
    let (here, there) = (DockerRegistry::start(), DockerRegistry::start());
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let from = here.reference("1.0.0").to_string();
    let to = format!("{}/mirror/acme/exec", there.host);
    run(skep(folder).args(["key", "new", "-o", "ours"]));
    run(skep(folder).args(["sign", "--key", "ours.key", "layout"]));
    run(skep(folder).args(["push", "layout", &from]));
    run(cosign(folder).arg("generate-key-pair"));
    let by_digest = |place: &str| format!("{place}@{}", fixture.index);
    let (name, _) = from.rsplit_once(':').unwrap();
    let config = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
    std::fs::write(folder.join("signing.json"), config).unwrap();
    let sign = ["sign", "--yes", "--allow-http-registry", "--signing-config", "signing.json"];
    run(cosign(folder).args(sign).args(["--key", "cosign.key", &by_digest(name)]));

    let text = run(skep(folder).args(["copy", &from, &to]));
    let words = format!("Copied {from} to {to}:1.0.0\n{}\n", fixture.index);
    assert!(text.starts_with(&words) && text.ends_with("2 signatures\n"), "{text}");
    for key in ["ours.pub", "cosign.pub"] {
        run(skep(folder).args(["verify", "--key", key, &format!("{to}:1.0.0")]));
        let verify = ["verify", "--allow-http-registry", "--insecure-ignore-tlog", "--key", key];
        let (ok, text) = try_run(cosign(folder).args(verify).arg(by_digest(&to)));
        assert!(ok, "{key}: {text}");
    }
    // The same again costs nothing, from a layout too, and back.
    let again = run(skep(folder).args(["copy", &from, &to]));
    assert!(again.contains("0 new blobs, 0 B, 2 signatures"), "{again}");
    run(skep(folder).args(["pull", &format!("{to}:1.0.0"), "-o", "back"]));
    let json = run(skep(folder).args(["copy", "back", &from, "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["digest"], &json["blobs"]), (&fixture.index.to_string().into(), &0.into()));

    refused(skep(folder).args(["copy", &from, &format!("{to}:2.0.0")]), 1, "never renames");
    refused(skep(folder).args(["copy", &from, &by_digest(&to)]), 2, "is no place to copy to");
    refused(skep(folder).args(["copy", "layout", "acme/exec"]), 2, "no hub is set");
    let absent = here.reference("3.0.0").to_string();
    refused(skep(folder).args(["copy", &absent, &to]), 1, "does not have it (404)");
}

/// Signatures are checked before content comes, and content before it is listed.
#[test]
fn a_pull_that_verifies_lists_nothing_that_is_refused() {
    let registry = DockerRegistry::start();
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let from = registry.reference("1.0.0").to_string();
    for key in ["ours", "another"] {
        run(skep(folder).args(["key", "new", "-o", key]));
    }
    let pull = |more: &[&str]| {
        let mut command = skep(folder);
        command.args(["pull", &from]).args(more);
        command
    };
    let nothing_is_in =
        |layout: &str| assert!(!folder.join(layout).exists(), "{layout} should not be there");
    run(skep(folder).args(["push", "layout", &from]));
    refused(&mut pull(&["-o", "out", "--key", "ours.pub"]), 4, "unsigned");
    nothing_is_in("out");
    run(skep(folder).args(["sign", "--key", "ours.key", &from]));
    refused(&mut pull(&["-o", "out", "--key", "another.pub"]), 4, "by another key");
    refused(&mut pull(&["-o", "out", "--verify"]), 2, "trust.toml");
    nothing_is_in("out");

    let text = run(&mut pull(&["-o", "out", "--key", "ours.pub"]));
    let words = ["\n1 signature\nsigned by key ", "x86_64: manifest ", "every size and digest"];
    assert!(words.iter().all(|words| text.contains(words)), "{text}");
    run(skep(folder).args(["trust", "add", "acme/*", "--key", "ours.pub"]));
    let json = run(&mut pull(&["-o", "again", "--verify", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["verified"]["origin"]["rule"], "acme/*", "{json}");
    assert_eq!(json["verified"]["platforms"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(blobs(&folder.join("again")), blobs(&folder.join("out")));

    // Signed well, and not the version that its tag says.
    let renamed = registry.reference("2.0.0").to_string();
    let copy = ["--insecure-policy", "copy", "--all", "--preserve-digests"];
    let mut skopeo = Command::new(tool("skopeo"));
    skopeo.args(copy).args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
    run(skopeo.args([format!("docker://{from}"), format!("docker://{renamed}")]));
    let renamed = |out: &str| {
        let mut command = skep(folder);
        command.args(["pull", "--verify", &renamed, "-o", out]);
        command
    };
    refused(&mut renamed("new"), 4, "asked for acme/exec 2.0.0 and got 1.0.0");
    nothing_is_in("new");
    refused(&mut renamed("out"), 4, "asked for acme/exec 2.0.0 and got 1.0.0");
    let listed = skep_oci::Store::open(&folder.join("out")).unwrap().packages().unwrap();
    let names: Vec<String> = listed.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["acme/exec:1.0.0"]);
}

/// Who watches a terminal sees how far it is; in files, logs and programs nothing of it is.
/// A credential helper keeps what is typed at a login, and gives it to each command.
#[test]
fn a_credential_helper_is_asked_as_docker_asks_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let helper = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $1 in\nstore) cat > kept ;;\n\
        get) cat kept 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;\n\
        erase) rm kept ;;\nesac\n";
    let path = folder.join("docker-credential-ours");
    std::fs::write(&path, helper).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::new(|head, stream| {
        let challenge = "WWW-Authenticate: Basic realm=\"x\"\r\n";
        let bytes = match head.contains("authorization: Basic bWU6c2VjcmV0\r\n") {
            true => answer("200 OK", "", br#"{"tags":["1.0.0"]}"#),
            false => answer("401 x", challenge, b"{}"),
        };
        drop(stream.write_all(&bytes));
    });
    std::fs::create_dir(folder.join(".docker")).unwrap();
    let helpers = format!(r#"{{"credHelpers":{{"{}":"ours"}}}}"#, server.host);
    std::fs::write(folder.join(".docker/config.json"), &helpers).unwrap();
    let typed = |args: &[&str]| {
        let mut command = skep(folder);
        command.env("PATH", format!("{}:/usr/bin:/bin", folder.display())).args(args);
        command
    };
    let tags = ["tags", &format!("{}/acme/exec", server.host)];
    refused(&mut typed(&tags), 1, "wants to know who asks (401)");
    std::fs::write(folder.join("password"), "secret").unwrap();
    let mut login = typed(&["login", &server.host, "--username", "me", "--password-stdin"]);
    let login =
        login.stdin(std::fs::File::open(folder.join("password")).unwrap()).output().unwrap();
    assert!(login.status.success(), "{}", String::from_utf8_lossy(&login.stderr));
    assert_eq!(run(&mut typed(&tags)), "1.0.0\n");
    let config = std::fs::read_to_string(folder.join(".docker/config.json")).unwrap();
    assert_eq!(config, helpers, "the secret is the helper's alone");
    run(&mut typed(&["logout", &server.host]));
    refused(&mut typed(&tags), 1, "wants to know who asks (401)");
}

/// A registry without the referrers API that has a layout, and gives large blobs to their middle only, till a part is asked for.
fn half_of(layout: &Path) -> Server {
    let store = skep_oci::Store::open(layout).unwrap();
    let (_, index) = store.packages().unwrap().remove(0);
    Server::new(move |head, stream| {
        let last = head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap();
        let digest = if last == "1.0.0" { Some(index) } else { last.parse().ok() };
        let found = digest.filter(|_| !head.contains("/referrers/"));
        let found = found.and_then(|digest| store.read(&digest, 1 << 20).unwrap());
        let Some(bytes) = found.or_else(|| listed(&store, last)) else {
            return drop(stream.write_all(&answer("404 Not Found", "", b"{}")));
        };
        let range = head.to_lowercase();
        let from = range.split_once("range: bytes=").map(|(_, rest)| rest.split('-').next());
        match from {
            Some(from) => {
                let from: usize = from.unwrap().parse().unwrap();
                let range =
                    format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                drop(stream.write_all(&answer("206 Partial", &range, &bytes[from..])));
            }
            None if bytes.len() < 64 * 1024 => {
                drop(stream.write_all(&answer("200 OK", "", &bytes)))
            }
            None => {
                let whole = answer("200 OK", "", &bytes);
                let _ = stream.write_all(&whole[..whole.len() - bytes.len() + 40_000]);
                while stream.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
            }
        }
    })
}

/// What a fallback tag lists.
fn listed(store: &skep_oci::Store, tag: &str) -> Option<Vec<u8>> {
    use skep_spec::oci::{ImageManifest, Index};
    let subject = tag.strip_prefix("sha256-")?;
    let entries = store.index().unwrap().manifests.into_iter().filter(|entry| {
        let manifest = ImageManifest::parse(&store.require(&entry.digest, 1 << 20).unwrap());
        manifest.ok().and_then(|one| one.subject).is_some_and(|one| one.digest.hex() == subject)
    });
    Some(Index::new(entries.collect(), Default::default()).to_bytes())
}

#[test]
fn a_pull_that_verifies_and_is_killed_goes_on() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    run(skep(folder).args(["key", "new", "-o", "key"]));
    run(skep(folder).args(["sign", "--key", "key.key", "layout"]));
    let server = half_of(&folder.join("layout"));
    let reference = format!("{}/acme/exec:1.0.0", server.host);
    let pull = ["pull", "--key", "key.pub", &reference, "-o", "pulled"];
    let mut child = skep(folder).args(pull).spawn().unwrap();
    let parts = || -> Vec<u64> {
        let entries = std::fs::read_dir(folder.join("pulled/blobs/sha256")).into_iter().flatten();
        let parts = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(".part-"));
        parts.map(|part| part.metadata().map_or(0, |data| data.len())).collect()
    };
    wait::until("the middle of both layers", || parts() == [40_000, 40_000]);
    child.kill().unwrap();
    child.wait().unwrap();
    refused(skep(folder).args(["verify", "--key", "key.pub", "pulled"]), 2, "holds no package");
    let before = server.requests();
    let text = run(skep(folder).args(pull));
    assert!(text.contains("checked: signatures, name and version"), "{text}");
    let heads = server.heads.lock().unwrap()[before..].join("").to_lowercase();
    assert_eq!(heads.matches("range: bytes=40000-\r\n").count(), 2, "{heads}");
    assert_eq!(blobs(&folder.join("pulled")), blobs(&folder.join("layout")));
    run(skep(folder).args(["verify", "--key", "key.pub", "pulled"]));
}

#[test]
fn how_far_a_pull_is_shows_on_a_terminal_only() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let from = registry.reference("1.0.0").to_string();
    let quiet = run(skep(folder).args(["push", "layout", &from]));
    assert!(!quiet.contains("Pushing"), "{quiet}");
    let watched = |more: &str, out: &str| {
        let pull = format!("{} pull {from} -o {out} {more}", env!("CARGO_BIN_EXE_skep"));
        let mut script = Command::new(tool("script"));
        script.current_dir(folder).env_clear().env("SKEP_CONFIG_DIR", folder).env("HOME", folder);
        run(script.args(["-qec", &pull, "/dev/null"]))
    };
    let text = watched("", "a");
    assert!(text.contains(&format!("\rPulling {from} ")), "{text:?}");
    let (_, answer) = text.rsplit_once("\rPulling ").unwrap();
    let (rest, answer) = answer.split_once("\r ").unwrap();
    assert!(!rest.contains('\n'), "the bar stays in its line: {text:?}");
    let (blank, answer) = answer.split_once('\r').unwrap();
    assert!(blank.trim().is_empty() && answer.starts_with("Pulled "), "{text:?}");
    for (more, out) in [("--quiet", "b"), ("--output json", "c"), ("2>file", "d")] {
        assert!(!watched(more, out).contains("Pulling"), "{more}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "");
}

#[test]
fn versions_are_listed_for_people_and_programs() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let name = format!("{}/acme/exec", registry.host);
    refused(skep(folder).args(["tags", &name]), 1, "does not have it (404)");
    run(skep(folder).args(["push", "layout", &format!("{name}:1.0.0")]));
    assert_eq!(run(skep(folder).args(["tags", &name])), "1.0.0\n");
    let json = run(skep(folder).env("SKEP_HUB", &registry.host).args([
        "tags",
        "acme/exec",
        "--output",
        "json",
    ]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["versions"], serde_json::json!(["1.0.0"]));
    refused(skep(folder).args(["tags", &format!("{name}:1.0.0")]), 2, "names a version already");
}

#[test]
fn a_version_that_is_there_is_replaced_only_where_that_is_asked_for() {
    let registry = DockerRegistry::start();
    let one = Fixture::new("1.0.0");
    let mut objects = support::objects();
    objects.values_mut().flat_map(|object| object.values_mut()).for_each(|elf| elf.push(8));
    let two = Fixture::of("1.0.0", &objects);
    let folder = one.folder.path();
    let [one_layout, two_layout] = [&one, &two].map(|one| one.store.root().to_str().unwrap());
    let place = registry.reference("1.0.0").to_string();
    let skep = |args: &[&str]| {
        let mut command = skep(folder);
        command.args(args);
        command
    };
    run(&mut skep(&["push", one_layout, &place]));
    run(&mut skep(&["push", one_layout, &place]));
    run(&mut skep(&["bundle", two_layout, "-o", "two.skep"]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reference = registry.reference("1.0.0");
    let there = || runtime.block_on(registry.client().resolve(&reference)).unwrap();
    for args in [
        &["push", two_layout, &place][..],
        &["copy", two_layout, &place],
        &["unbundle", "two.skep", "--to", &registry.host],
    ] {
        refused(&mut skep(args), 1, "is there already, and is another one");
        assert_eq!(there(), one.index, "{args:?}");
        run(&mut skep(&[args, &["--force"]].concat()));
        assert_eq!(there(), two.index, "{args:?}");
        run(&mut skep(&["push", one_layout, &place, "--force"]));
    }
}

/// Packages go into a file and out of it again, bytes and signatures the same; skopeo reads the file, too.
#[test]
fn packages_travel_in_a_file() {
    let registry = DockerRegistry::start();
    let (one, two) = (Fixture::new("1.0.0"), Fixture::new("2.0.0"));
    let folder = one.folder.path();
    let skep = || skep(folder);
    run(skep().args(["key", "new", "-o", "key"]));
    run(skep().args(["sign", "--key", "key.key", "layout"]));
    run(skep().args(["push", "layout", &registry.reference("1.0.0").to_string()]));
    let two_layout = two.store.root().to_str().unwrap();
    let bundle = |file: &str, what: &str| {
        run(skep().args(["bundle", what, two_layout, "-o", file]));
        std::fs::read(folder.join(file)).unwrap()
    };
    let bytes = bundle("site.skep", "layout");
    let again = bundle("again.skep", &registry.reference("1.0.0").to_string());
    assert!(bytes == again, "the same packages give the same bytes");
    let mode = |name: &str| folder.join(name).metadata().unwrap().permissions().mode();
    std::fs::write(folder.join("any"), "").unwrap();
    assert_eq!(mode("site.skep"), mode("any"), "whoever may read other files, may read it");

    let text = run(skep().args(["unbundle", "site.skep", "-o", "out"]));
    let both = format!("acme/exec:1.0.0\n  {}\nacme/exec:2.0.0\n  {}\n", one.index, two.index);
    assert!(text.starts_with(&both), "{text}");
    let out = skep_oci::Store::open(&folder.join("out")).unwrap();
    let mut expected = [blobs(one.store.root()), blobs(two.store.root())].concat();
    expected.sort();
    expected.dedup();
    assert_eq!(blobs(out.root()), expected);
    run(skep().args(["verify", "out", "--package", "acme/exec:1.0.0", "--key", "key.pub"]));
    let skopeo = ["--insecure-policy", "copy", "--all", "--preserve-digests"];
    let archive = format!("oci-archive:{}:acme/exec:1.0.0", folder.join("site.skep").display());
    let copied = format!("oci:{}:acme/exec:1.0.0", folder.join("skopeo").display());
    run(Command::new(tool("skopeo")).args(skopeo).args([&archive, &copied]));
    let by_skopeo = skep_oci::Store::open(&folder.join("skopeo")).unwrap();
    assert_eq!(by_skopeo.find(&"acme/exec:1.0.0".parse().unwrap()).unwrap(), Some(one.index));

    run(skep().args(["bundle", "layout", "-o", "half.skep", "--arch", "x86_64"]));
    // Two halves are no whole, and one is only what --arch says.
    run(skep().args(["bundle", "layout", "-o", "other.skep", "--arch", "aarch64"]));
    let halves = ["bundle", "half.skep", "other.skep", "-o", "both.skep"];
    refused(skep().args(halves), 1, "can't bundle half.skep");
    refused(skep().args(halves), 1, "what is here of acme/exec:1.0.0 is for x86_64 only");
    run(skep().args(["bundle", "half.skep", "-o", "again.skep", "--arch", "x86_64"]));
    let half = std::fs::metadata(folder.join("half.skep")).unwrap().len();
    assert!(half * 3 < bytes.len() as u64 * 2, "{half} of {}", bytes.len());
    run(skep().args(["unbundle", "half.skep", "-o", "half"]));
    let json = run(skep().args(["verify", "half", "--key", "key.pub", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let platforms = json["platforms"].as_array().unwrap();
    assert_eq!((platforms.len(), &platforms[0]["arch"]), (1, &"x86_64".into()), "{json}");
    assert_eq!(json["left_out"], serde_json::json!(["aarch64"]));
    refused(
        skep().args(["bundle", "layout", "-o", "x.skep", "--arch", "s390x"]),
        1,
        "has nothing for s390x",
    );
    assert!(!folder.join("x.skep").exists());
}

/// What came on a stick goes into the registry of a site, signatures and all.
#[test]
fn a_bundle_fills_a_registry() {
    let registry = DockerRegistry::start();
    let (one, two) = (Fixture::new("1.0.0"), Fixture::new("2.0.0"));
    let folder = one.folder.path();
    let skep = || skep(folder);
    run(skep().args(["key", "new", "-o", "key"]));
    let two_layout = two.store.root().to_str().unwrap();
    for layout in ["layout", two_layout] {
        run(skep().args(["sign", "--key", "key.key", layout]));
    }
    run(skep().args(["bundle", "layout", two_layout, "-o", "site.skep"]));
    let mirror = format!("{}/mirror", registry.host);
    let text = run(skep().args(["unbundle", "site.skep", "--to", &mirror]));
    let both = [("1.0.0", one.index), ("2.0.0", two.index)];
    let lines = both.map(|(version, index)| format!("{mirror}/acme/exec:{version}\n  {index}\n"));
    assert!(text.starts_with(&lines.concat()), "{text}");
    for (version, index) in both {
        let place = format!("{mirror}/acme/exec:{version}");
        let text = run(skep().args(["verify", "--key", "key.pub", &place]));
        assert!(text.contains(&index.to_string()), "{text}");
    }
    let again = run(skep().args(["unbundle", "site.skep", "--to", &mirror]));
    assert!(again.contains("\n0 new blobs, 0 B, into "), "{again}");

    let copied = format!("{}/copied/acme/exec", registry.host);
    let from = ["copy", "site.skep", &copied];
    refused(skep().args(from), 2, "say which with --package");
    let text = run(skep().args(from).args(["--package", "acme/exec:2.0.0"]));
    assert!(text.contains(&format!("{copied}:2.0.0")) && text.contains("1 signature"), "{text}");
    run(skep().args(["bundle", "site.skep", "-o", "again.skep"]));
    let bytes = |file: &str| std::fs::read(folder.join(file)).unwrap();
    assert!(bytes("again.skep") == bytes("site.skep"), "a bundle of a bundle is the same");

    run(skep().args(["bundle", "layout", "-o", "half.skep", "--arch", "x86_64"]));
    let part = "for linux/amd64 only, and a registry takes a package whole";
    refused(skep().args(["unbundle", "half.skep", "--to", &format!("{mirror}/half")]), 1, part);
    refused(skep().args(["tags", &format!("{mirror}/half/acme/exec")]), 1, "404");
    // Nor is another package sent that is whole, since it is for that platform alone.
    let mut objects = support::objects();
    objects.values_mut().for_each(|object| object.retain(|arch, _| arch.to_string() == "x86_64"));
    let single = Fixture::of("0.5.0", &objects);
    let single_layout = single.store.root().to_str().unwrap();
    let both = ["bundle", single_layout, "layout", "-o", "both.skep", "--arch", "x86_64"];
    run(skep().args(both));
    let to = format!("{mirror}/both");
    for words in [part, "skep bundle without --arch"] {
        refused(skep().args(["unbundle", "both.skep", "--to", &to]), 1, words);
    }
    refused(skep().args(["tags", &format!("{to}/acme/exec")]), 1, "404");
    refused(skep().args(["unbundle", "site.skep", "--to", "https://x"]), 2, "is no registry");
    refused(skep().args(["unbundle", "site.skep", "--to", "acme"]), 2, "is no registry");
    refused(skep().args(["unbundle", "site.skep"]), 2, "required");
    refused(
        skep().args(["unbundle", "site.skep", "--to", &mirror, "-o", "x"]),
        2,
        "cannot be used",
    );
    std::fs::write(folder.join("any"), "").unwrap();
    refused(skep().args(["verify", "--key", "key.pub", "any"]), 2, "is no bundle of packages");
}

/// A bundle that was cut or altered anywhere leaves nothing, not even in a layout that was there.
#[test]
fn a_bundle_that_is_not_whole_leaves_nothing() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    run(skep(folder).args(["bundle", "layout", "-o", "good.skep"]));
    let good = std::fs::read(folder.join("good.skep")).unwrap();
    let there = skep_oci::Store::create(&folder.join("there")).unwrap();
    let kept = there.put(b"kept").unwrap();
    let at = good.len() / 2; // within an object
    for (what, bytes) in [
        ("empty", vec![]),
        ("cut in a header", good[..700].to_vec()),
        ("cut in a blob", good[..at].to_vec()),
        ("without its end", good[..good.len() - 1024].to_vec()),
        ("altered", [&good[..at], &[!good[at]], &good[at + 1..]].concat()),
        ("with something after it", [good.as_slice(), b"x"].concat()),
    ] {
        std::fs::write(folder.join("bad.skep"), bytes).unwrap();
        for out in ["new/layout", "there"] {
            refused(skep(folder).args(["unbundle", "bad.skep", "-o", out]), 4, "archive");
        }
        assert!(!folder.join("new").exists(), "{what}");
        assert_eq!(blobs(there.root()), [kept.hex()], "{what}");
        assert!(there.index().unwrap().manifests.is_empty(), "{what}");
    }
    refused(skep(folder).args(["bundle", "there", "-o", "x.skep"]), 2, "there is no package");
    refused(skep(folder).args(["unbundle", "none.skep", "-o", "new"]), 2, "can't read 'none.skep'");
}

/// One that is refused is refused by every command, in the same way.
#[test]
fn what_is_no_package_or_not_there_is_told_alike_by_all() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let folder = fixture.folder.path();
    let broken = br#"{"schemaVersion":1}"#;
    let digest = fixture.store.put(broken).unwrap();
    let (name, version) = ("acme/broken".parse().unwrap(), "1.0.0".parse().unwrap());
    fixture.store.list_package(&name, &version, digest, broken.len() as u64).unwrap();
    for command in [&["inspect"] as &[_], &["run", "--allow-unsigned"]] {
        let package = ["layout", "--package", "acme/broken:1.0.0"];
        refused(skep(folder).args(command).args(package), 4, "the index cannot be read");
    }
    let image = format!("{}/acme/broken", registry.host);
    let skopeo = ["--insecure-policy", "copy", "--dest-tls-verify=false"];
    image_in(&folder.join("image"));
    let (from, to) =
        (format!("oci:{}:1", folder.join("image").display()), format!("docker://{image}:1.0.0"));
    run(Command::new(tool("skopeo")).args(skopeo).args([&from, &to]));
    let place = format!("{image}:1.0.0");
    refused(skep(folder).args(["pull", &place, "-o", "out"]), 4, "has there is no package");
    refused(skep(folder).args(["copy", &place, &image]), 4, "has there is no package");
    std::fs::write(folder.join("trust.toml"), "").unwrap();
    let absent = format!("{}/acme/exec@{}", registry.host, fixture.index);
    for command in ["inspect", "verify", "run"] {
        refused(skep(folder).args([command, &absent]), 1, "does not have it (404)");
    }
    refused(skep(folder).args(["pull", &absent, "-o", "out"]), 1, "does not have it (404)");
}

/// An image of a container in a layout.
fn image_in(layout: &Path) {
    use skep_spec::media;
    use skep_spec::oci::{Annotations, Descriptor, ImageManifest, Index};
    let store = skep_oci::Store::create(layout).unwrap();
    store.put(b"{}").unwrap();
    let config = Descriptor::of(media::CONFIG, b"{}");
    let bytes = ImageManifest::new("", config, Vec::new(), Annotations::new()).to_bytes();
    store.put(&bytes).unwrap();
    let annotations = Annotations::from([(media::REF_NAME.to_owned(), "1".to_owned())]);
    let entry = Descriptor { annotations, ..Descriptor::of(media::MANIFEST, &bytes) };
    let index = Index::new(vec![entry], Annotations::new()).to_bytes();
    std::fs::write(layout.join("index.json"), index).unwrap();
}

/// A certificate for `name`, by the CA in `folder` or by itself.
fn certificate(folder: &Path, file: &str, name: &str, options: &[&str]) {
    let (key, out) = (format!("{file}.key"), format!("{file}.pem"));
    let kind = if name.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    let alternative = format!("subjectAltName={kind}:{name}");
    let subject = format!("/CN={name}");
    let mut openssl = Command::new(tool("openssl"));
    openssl.current_dir(folder).args(["req", "-x509", "-newkey", "ed25519", "-nodes"]);
    openssl.args(["-keyout", &key, "-out", &out, "-subj", &subject, "-addext", &alternative]);
    run(openssl.args(options));
}

/// What stands for a name server: tunnels every connection to one port of this machine.
fn tunnel_to(host: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, host) = (client.unwrap(), host.clone());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                let mut server = TcpStream::connect(host).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let _ = std::io::copy(&mut client, &mut server);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_and_a_ca_of_ones_own_counts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let not_a_ca = "basicConstraints=critical,CA:FALSE";
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", not_a_ca];
    certificate(folder, "ca", "ca.test", &[]);
    certificate(folder, "good", "registry.test", &signed);
    certificate(folder, "other", "another.test", &signed);
    certificate(folder, "self", "registry.test", &[]);
    for (file, trusted, words) in [
        ("good", "ca.pem", "does not have it (404)"),
        (
            "good",
            "self.pem",
            "nobody whom this machine trusts has issued it; a CA of your own goes",
        ),
        ("other", "ca.pem", "not valid for name"),
        ("self", "self.pem", "it is a CA's own, which a server may not show"),
    ] {
        let file = |suffix| folder.join(format!("{file}.{suffix}"));
        let registry = DockerRegistry::start_tls(&file("pem"), &file("key"));
        let mut tags = skep(folder);
        tags.env("SSL_CERT_FILE", folder.join(trusted));
        tags.env("HTTPS_PROXY", format!("http://{}", tunnel_to(registry.host.clone())));
        refused(tags.args(["tags", "registry.test/acme/exec"]), 1, words);
    }
}

/// `registries.toml` names a CA, a client certificate and mirrors; a proxy comes from the environment.
#[test]
fn a_registry_that_asks_for_a_certificate_is_shown_one_to_pull_and_to_push() {
    let fixture = Fixture::new("1.0.0");
    let folder = fixture.folder.path();
    let signed =
        ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
    certificate(folder, "ca", "ca.test", &[]);
    certificate(folder, "server", "registry.test", &signed);
    certificate(folder, "node", "node.test", &signed);
    certificate(folder, "stranger", "stranger.test", &[]);
    let file = |name: &str| folder.join(name);
    let registry =
        DockerRegistry::start_tls_for(&file("server.pem"), &file("server.key"), &file("ca.pem"));
    let proxy = format!("http://{}", tunnel_to(registry.host.clone()));
    let typed = |args: &[&str]| {
        let mut command = skep(folder);
        command.env("HTTPS_PROXY", &proxy).args(args);
        command
    };
    let say = |keys: &str| {
        let text = format!("[registry.\"registry.test\"]\n{keys}\n");
        std::fs::write(file("registries.toml"), text).unwrap();
    };
    let push = ["push", "layout", "registry.test/acme/exec:1.0.0"];
    refused(&mut typed(&push), 1, "nobody whom this machine trusts has issued it");
    say("ca = \"ca.pem\"");
    refused(&mut typed(&push), 1, "ertificate");
    say("ca = \"ca.pem\"\nclient-cert = \"stranger.pem\"\nclient-key = \"stranger.key\"");
    refused(&mut typed(&push), 1, "ertificate");
    say("ca = \"ca.pem\"\nclient-cert = \"node.pem\"\nclient-key = \"node.key\"");
    run(&mut typed(&push));
    run(&mut typed(&["pull", "registry.test/acme/exec:1.0.0", "-o", "pulled"]));
    assert_eq!(support::blobs(&file("pulled")), support::blobs(&file("layout")));
    let mut around = typed(&push);
    around.env("NO_PROXY", "registry.test");
    refused(&mut around, 1, "no connection to registry.test: ");
    say("certificate = \"node.pem\"");
    refused(&mut typed(&push), 2, "registries.toml has a mistake");
}

/// Nobody is in between, with TLS or without it.
#[test]
fn what_is_on_this_machine_is_asked_without_a_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let asked = Server::new(|head, _| panic!("the proxy is asked for {head}"));
    let tags = |host: &str| {
        let mut tags = skep(folder);
        let proxy = format!("http://{}", asked.host);
        tags.env("HTTP_PROXY", &proxy).env("HTTPS_PROXY", &proxy);
        refused(tags.args(["tags", &format!("{host}/acme/exec")]), 1, "does not have it (404)");
    };
    tags(&DockerRegistry::start().host);
    certificate(folder, "ca", "ca.test", &[]);
    let not_a_ca = "basicConstraints=critical,CA:FALSE";
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", not_a_ca];
    certificate(folder, "near", "127.0.0.1", &signed);
    let secure = DockerRegistry::start_tls(&folder.join("near.pem"), &folder.join("near.key"));
    let ca = format!("[registry.\"{}\"]\nca = \"ca.pem\"\n", secure.host);
    std::fs::write(folder.join("registries.toml"), ca).unwrap();
    tags(&secure.host);
}

/// The CAs of this machine count also where a registry without TLS sends on to a server with it.
#[test]
fn a_plain_registry_may_send_on_to_one_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(folder, "ca", "ca.test", &[]);
    let not_a_ca = "basicConstraints=critical,CA:FALSE";
    let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", not_a_ca];
    certificate(folder, "good", "registry.test", &signed);
    certificate(folder, "other", "another.test", &[]);
    let secure = DockerRegistry::start_tls(&folder.join("good.pem"), &folder.join("good.key"));
    let plain = Server::new(|head, stream| {
        let path = head.split(' ').nth(1).unwrap();
        let location = format!("Location: https://registry.test{path}\r\n");
        let _ = stream.write_all(&answer("307 x", &location, b""));
    });
    for (trusted, words) in [
        ("ca.pem", "does not have it (404)"),
        ("other.pem", "nobody whom this machine trusts has issued it"),
    ] {
        let mut tags = skep(folder);
        tags.env("SSL_CERT_FILE", folder.join(trusted));
        tags.env("HTTPS_PROXY", format!("http://{}", tunnel_to(secure.host.clone())));
        refused(tags.args(["tags", &format!("{}/acme/exec", plain.host)]), 1, words);
    }
}
