//! A real registry without a referrers API, and skopeo as the other client.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::SystemTime;

use skep_oci::registry::{Carried, Part, RegistryError};
use skep_oci::{Store, signatures};
use skep_spec::oci::Descriptor;
use skep_spec::{Arch, media};
use skep_trust::key::KeyKind;
use skep_trust::{Asked, Policy, SecretKey, admit, verify};
use support::{DockerRegistry, Fixture, blobs, run, tool};

#[tokio::test]
async fn a_package_and_its_signatures_go_there_and_back() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let keys = [KeyKind::Ed25519, KeyKind::P256].map(|kind| SecretKey::generate(kind).unwrap());
    let mut bundles: Vec<_> = keys.iter().map(|key| fixture.sign_well(key)).collect();
    let (client, reference) = (registry.client(), registry.reference("1.0.0"));

    let pushed = client.push(&fixture.store, fixture.index, &reference).await.unwrap();
    assert_eq!(pushed.signatures, 2);
    assert!(pushed.blobs > 5);
    let again = client.push(&fixture.store, fixture.index, &reference).await.unwrap();
    assert_eq!(again.blobs, 0);

    let index = client.resolve(&reference).await.unwrap();
    assert_eq!(index, fixture.index);
    let mut found = client.bundles(&reference, index).await.unwrap();
    found.sort();
    bundles.sort();
    assert_eq!(found, bundles);

    let policy = Policy::of_keys(keys.iter().map(|key| key.public().unwrap()).collect(), 2);
    let asked = Asked { name: &reference.name, registry: None, digest: index };
    let verified = verify(&asked, &found, &policy, SystemTime::now()).unwrap();
    let node = Store::create(&fixture.path("node")).unwrap();
    client.pull(&reference, index, Part::Node(Arch::X86_64), &node).await.unwrap();
    let package = admit(verified, &node, Arch::X86_64, &reference).unwrap();
    assert_eq!(package.objects["exec"], support::objects()["exec"][&Arch::X86_64]);
    assert_eq!(package.manifest.package.version.to_string(), "1.0.0");
    assert_eq!(package.readme, None, "a node fetches no README");

    let whole = Store::create(&fixture.path("whole")).unwrap();
    client.pull(&reference, index, Part::Whole, &whole).await.unwrap();
    for bundle in &found {
        signatures::attach(&whole, index, bundle).unwrap();
    }
    assert_eq!(blobs(whole.root()), blobs(fixture.store.root()));
    assert!(blobs(node.root()).len() < blobs(whole.root()).len());
}

#[tokio::test]
async fn every_platform_manifest_carries_the_signature_too() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
    let bundle = fixture.sign_well(&key);
    let (client, reference) = (registry.client(), registry.reference("1.0.0"));
    client.push(&fixture.store, fixture.index, &reference).await.unwrap();
    for subject in signatures::subjects(&fixture.store, fixture.index).unwrap() {
        let found = client.bundles(&reference, subject.digest).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&bundle), "{}", subject.name);
    }
}

/// What others attached is none of ours to change: its own digest may be signed.
#[tokio::test]
async fn what_refers_to_a_package_travels_byte_for_byte() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    fixture.sign_well(&SecretKey::generate(KeyKind::P256).unwrap());
    let index = fixture.store.require(&fixture.index, 1 << 20).unwrap();
    let bom = Descriptor::of("text/spdx", b"SPDXVersion: SPDX-2.3");
    fixture.store.put(b"SPDXVersion: SPDX-2.3").unwrap();
    // Older tools write no artifactType, and everyone has annotations of their own.
    let manifest = serde_json::json!({
        "schemaVersion": 2, "x-unknown": true, "mediaType": media::MANIFEST,
        "config": Descriptor::of("application/spdx", b"{}"), "layers": [bom],
        "subject": Descriptor::of(media::INDEX, &index), "annotations": {"made": "today"},
    })
    .to_string();
    let digest = fixture.store.put(manifest.as_bytes()).unwrap();
    fixture.store.list_referrer("application/spdx", digest, manifest.len() as u64).unwrap();

    let (client, reference) = (registry.client(), registry.reference("1.0.0"));
    let pushed = client.push(&fixture.store, fixture.index, &reference).await.unwrap();
    assert_eq!((pushed.signatures, pushed.others), (1, 1));
    let copy = Store::create(&fixture.path("copy")).unwrap();
    let carried = client.pull_whole(&reference, fixture.index, &copy).await.unwrap();
    assert_eq!(carried, Carried { signatures: 1, others: 1, left: 0 });
    assert_eq!(blobs(copy.root()), blobs(fixture.store.root()));
    let listed = |store: &Store| {
        let manifests = store.index().unwrap().manifests.into_iter();
        manifests.map(|entry| (entry.digest, entry.artifact_type)).collect::<BTreeSet<_>>()
    };
    assert_eq!(listed(&copy), listed(&fixture.store));
    copy.collect(&BTreeSet::from([fixture.index])).unwrap();
    assert_eq!(blobs(copy.root()), blobs(fixture.store.root()), "what refers to it is kept");
}

#[tokio::test]
async fn versions_are_listed_the_newest_first_and_nothing_else() {
    let registry = DockerRegistry::start();
    let client = registry.client();
    for version in ["1.9.0", "1.10.0", "1.10.0-rc.1", "1.10.0+b.1"] {
        let fixture = Fixture::new(version);
        fixture.sign_well(&SecretKey::generate(KeyKind::Ed25519).unwrap()); // makes fallback tags
        client.push(&fixture.store, fixture.index, &registry.reference(version)).await.unwrap();
    }
    let tags = client.tags(&registry.reference("1.9.0")).await.unwrap();
    let versions: Vec<_> = tags.versions.iter().map(ToString::to_string).collect();
    assert_eq!(versions, ["1.10.0+b.1", "1.10.0", "1.10.0-rc.1", "1.9.0"]);
    let absent = format!("{}/acme/other", registry.host).parse().unwrap();
    let error = client.tags(&absent).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn signatures_written_at_the_same_time_all_stay() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let reference = registry.reference("1.0.0");
    registry.client().push(&fixture.store, fixture.index, &reference).await.unwrap();
    let attach = |_| async {
        let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
        let subjects = signatures::subjects(&fixture.store, fixture.index).unwrap();
        let bundle = skep_trust::bundle::sign(&key, &subjects, media::PREDICATE_SIGN).unwrap();
        let index = fixture.store.require(&fixture.index, 1 << 20).unwrap();
        let client = registry.client();
        client.attach_bundle(&reference, &index, &bundle).await.unwrap();
    };
    let all: Vec<_> = (0..3).map(attach).collect();
    futures_util::future::join_all(all).await;
    let found = registry.client().bundles(&reference, fixture.index).await.unwrap();
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_no_signature_is_none() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let (client, reference) = (registry.client(), registry.reference("1.0.0"));
    let error = client.resolve(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    client.push(&fixture.store, fixture.index, &reference).await.unwrap();
    assert!(client.bundles(&reference, fixture.index).await.unwrap().is_empty());
    let error = client.resolve(&registry.reference("2.0.0")).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_push_never_renames() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let other = registry.reference("1.0.1");
    let error = registry.client().push(&fixture.store, fixture.index, &other).await.unwrap_err();
    assert!(error.to_string().contains("the layout holds acme/exec:1.0.0"), "{error}");
}

#[tokio::test]
async fn skopeo_copies_it_with_every_digest_kept() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let (client, reference) = (registry.client(), registry.reference("1.0.0"));
    fixture.sign_well(&SecretKey::generate(KeyKind::P256).unwrap());
    client.push(&fixture.store, fixture.index, &reference).await.unwrap();

    let skopeo = |from: &str, to: &str| {
        let mut command = Command::new(tool("skopeo"));
        command.args(["--insecure-policy", "copy", "--all", "--preserve-digests"]);
        command.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]);
        run(&mut command)
    };
    // registry → folder → registry
    let folder = fixture.path("dir");
    let there = format!("docker://{reference}");
    let back: skep_spec::PackageRef =
        format!("{}/copy/acme/exec:1.0.0", registry.host).parse().unwrap();
    skopeo(&there, &format!("dir:{}", folder.display()));
    skopeo(&format!("dir:{}", folder.display()), &format!("docker://{back}"));
    assert_eq!(client.resolve(&back).await.unwrap(), fixture.index);
    // registry → layout, read by us
    let layout = fixture.path("skopeo-layout");
    skopeo(&there, &format!("oci:{}:acme/exec:1.0.0", layout.display()));
    let copied = Store::open(&layout).unwrap();
    assert_eq!(copied.find(&reference).unwrap(), Some(fixture.index));
    // our layout, signatures in it, → registry
    let ours: skep_spec::PackageRef =
        format!("{}/ours/acme/exec:1.0.0", registry.host).parse().unwrap();
    skopeo(
        &format!("oci:{}:acme/exec:1.0.0", fixture.store.root().display()),
        &format!("docker://{ours}"),
    );
    assert_eq!(client.resolve(&ours).await.unwrap(), fixture.index);
    let inspect = run(Command::new(tool("skopeo")).args(["inspect", "--tls-verify=false", &there]));
    assert!(inspect.contains("io.ebpf.programs"), "{inspect}");
}

#[test]
fn other_tools_unpack_our_layers() {
    let fixture = Fixture::new("1.0.0");
    let layer = skep_trust::layer::write("bpf.o", b"ELF").unwrap();
    let file = fixture.path("layer.tar.gz");
    std::fs::write(&file, layer).unwrap();
    let listed =
        run(Command::new(tool("tar")).arg("-tvzf").arg(&file).env("TZ", "UTC").env("LC_ALL", "C"));
    let words: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(words, ["-rw-r--r--", "0/0", "3", "1970-01-01", "00:00", "bpf.o"]);
    run(Command::new(tool("gzip")).arg("-t").arg(&file));
}
