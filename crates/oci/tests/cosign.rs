//! cosign v3 in both directions, offline: it accepts our signatures, we accept its own.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use skep_spec::{PackageRef, media};
use skep_trust::key::KeyKind;
use skep_trust::{Asked, Origin, Policy, PublicKey, SecretKey, TrustError, verify};
use support::{DockerRegistry, Fixture, run, tool, try_run};

fn cosign(folder: &Path) -> Command {
    let mut command = Command::new(tool("cosign"));
    // Neither a home nor a cache of this user, nor a password prompt.
    command.current_dir(folder).env("HOME", folder).env("COSIGN_PASSWORD", "");
    command
}

fn cosign_verify(fixture: &Fixture, public: &PublicKey, reference: &str) -> (bool, String) {
    let file = fixture.path("key.pub");
    std::fs::write(&file, public.to_pem()).unwrap();
    let mut command = cosign(fixture.folder.path());
    command.args(["verify", "--allow-http-registry", "--insecure-ignore-tlog", "--key"]);
    try_run(command.arg(&file).arg(reference))
}

async fn pushed(registry: &DockerRegistry, fixture: &Fixture) -> PackageRef {
    let reference = registry.reference("1.0.0");
    registry.client().push(&fixture.store, fixture.index, &reference).await.unwrap();
    reference.at(fixture.index)
}

async fn verified(
    registry: &DockerRegistry,
    fixture: &Fixture,
    reference: &PackageRef,
    key: &PublicKey,
) -> Result<Origin, TrustError> {
    let bundles = registry.client().bundles(reference, fixture.index).await.unwrap();
    let asked = Asked { name: &reference.name, registry: None, digest: fixture.index };
    let policy = Policy::of_keys(vec![key.clone()], 1);
    verify(&asked, &bundles, &policy, SystemTime::now()).map(|v| v.origin().clone())
}

fn by_digest(reference: &PackageRef) -> String {
    let registry = reference.registry.as_deref().unwrap();
    format!("{registry}/{}@{}", reference.repository(), reference.digest.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cosign_accepts_our_signatures_and_refuses_another_key() {
    for kind in [KeyKind::Ed25519, KeyKind::P256] {
        let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
        let key = SecretKey::generate(kind).unwrap();
        fixture.sign_well(&key);
        let reference = pushed(&registry, &fixture).await;
        let public = key.public().unwrap();
        let (ok, text) = cosign_verify(&fixture, &public, &by_digest(&reference));
        assert!(ok, "{kind}: {text}");
        assert!(text.contains(&fixture.index.to_string()), "{text}");
        let other = SecretKey::generate(kind).unwrap().public().unwrap();
        let (ok, text) = cosign_verify(&fixture, &other, &by_digest(&reference));
        assert!(!ok, "{kind}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_accept_what_cosign_signs() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let reference = pushed(&registry, &fixture).await;
    let folder = fixture.folder.path();
    run(cosign(folder).arg("generate-key-pair"));
    cosign_sign(folder, "cosign.key", &reference);
    let pem = std::fs::read_to_string(folder.join("cosign.pub")).unwrap();
    let public = PublicKey::from_pem(&pem).unwrap();
    let origin = verified(&registry, &fixture, &reference, &public).await.unwrap();
    assert_eq!(
        origin,
        Origin::Signed { keys: vec![public.id()], identities: Vec::new(), rule: "*".into() }
    );

    let other = SecretKey::generate(KeyKind::P256).unwrap().public().unwrap();
    let error = verified(&registry, &fixture, &reference, &other).await.unwrap_err();
    assert!(error.to_string().contains(&format!("by another key: {}", public.id())), "{error}");
}

/// P-256 only: with an Ed25519 key cosign 3.1 signs by Ed25519ph, which its own `verify` refuses as we do.
#[tokio::test(flavor = "multi_thread")]
async fn cosign_imports_our_key_and_signs_with_it() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let reference = pushed(&registry, &fixture).await;
    let folder = fixture.folder.path();
    let key = SecretKey::generate(KeyKind::P256).unwrap();
    std::fs::write(folder.join("ours.pem"), key.to_pem().unwrap()).unwrap();
    run(cosign(folder).args(["import-key-pair", "--key", "ours.pem"]));
    cosign_sign(folder, "import-cosign.key", &reference);
    verified(&registry, &fixture, &reference, &key.public().unwrap()).await.unwrap();
}

/// cosign takes any predicate type for a signature; we must not.
#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_is_no_signature_for_us() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
    fixture.sign(&key, "https://cyclonedx.org/bom");
    let reference = pushed(&registry, &fixture).await;
    let error =
        verified(&registry, &fixture, &reference, &key.public().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("signed 'https://cyclonedx.org/bom'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_package_is_refused_by_both() {
    let (registry, fixture) = (DockerRegistry::start(), Fixture::new("1.0.0"));
    let reference = pushed(&registry, &fixture).await;
    let public = SecretKey::generate(KeyKind::P256).unwrap().public().unwrap();
    let error = verified(&registry, &fixture, &reference, &public).await.unwrap_err();
    assert!(matches!(error, TrustError::Unsigned { .. }), "{error}");
    let (ok, text) = cosign_verify(&fixture, &public, &by_digest(&reference));
    assert!(!ok, "{text}");
}

/// Signs without a transparency log: a signing config that names no service.
fn cosign_sign(folder: &Path, key: &str, reference: &PackageRef) {
    let config = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
    std::fs::write(folder.join("signing.json"), config).unwrap();
    let mut command = cosign(folder);
    command.args(["sign", "--yes", "--allow-http-registry", "--signing-config", "signing.json"]);
    run(command.args(["--key", key]).arg(by_digest(reference)));
}

#[test]
fn openssl_reads_our_keys() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [KeyKind::Ed25519, KeyKind::P256] {
        let key = SecretKey::generate(kind).unwrap();
        let file = folder.path().join("key.pem");
        std::fs::write(&file, key.to_pem().unwrap()).unwrap();
        let public = run(Command::new(tool("openssl")).args(["pkey", "-pubout", "-in"]).arg(&file));
        assert_eq!(public, key.public().unwrap().to_pem());
    }
}

#[test]
fn the_one_predicate_type_is_cosigns() {
    assert_eq!(media::PREDICATE_SIGN, "https://sigstore.dev/cosign/sign/v1");
}
