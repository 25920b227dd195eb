//! Parts 3 and 9 to 11: layers, archives, keys, and what is signed.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use skep_spec::{Digest, PackageName, media};
use skep_trust::bundle::{self, Bundle, Subject};
use skep_trust::channel;
use skep_trust::key::KeyKind;
use skep_trust::rotation::{self, Keys};
use skep_trust::{Asked, Policy, PublicKey, SecretKey, attestation, verify, verify_or_allow};

/// A gzipped tar of one file.
pub(crate) fn layer(data: &[u8]) {
    const MAX: u64 = 1 << 20;
    let Ok(file) = skep_trust::layer::read(data, MAX) else { return };
    assert!(file.data.len() as u64 <= MAX);
    if let Ok(written) = skep_trust::layer::write(&file.name, &file.data) {
        assert_eq!(skep_trust::layer::read(&written, MAX).ok(), Some(file));
    }
}

/// An archive of packages.
pub(crate) fn archive(data: &[u8]) {
    let Ok(archive) = skep_trust::archive::read(data) else { return };
    let written = skep_trust::archive::write(&archive.index.to_bytes(), &archive.blobs);
    let again = written.as_deref().map(skep_trust::archive::read);
    assert!(matches!(again, Ok(Ok(again)) if again.packages == archive.packages));
}

/// A public key, as DER, PEM, or the text of `trust.toml`.
pub(crate) fn key(data: &[u8]) {
    let mut keys = vec![PublicKey::from_spki(data)];
    if let Ok(text) = std::str::from_utf8(data) {
        keys.extend([PublicKey::from_pem(text), PublicKey::from_spki_base64(text)]);
        _ = SecretKey::from_pem(text);
    }
    for key in keys.into_iter().flatten() {
        let again = PublicKey::from_spki(key.spki()).map(|key| key.id());
        assert_eq!(again.ok(), Some(key.id()));
        assert!(!key.verifies(b"nothing that it signed", data));
    }
}

/// `trust.toml`.
pub(crate) fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (Ok(policy), Some(name)) = (Policy::parse(text), name()) else { return };
    let digest = Digest::of(data);
    let asked = Asked { name: &name, registry: Some("hub.example"), digest };
    let verified = verify(&asked, &[data.to_vec()], &policy, now());
    assert!(verified.is_err(), "nobody signed this");
}

/// A bundle: nothing that a stranger writes is signed by our key.
pub(crate) fn bundle(data: &[u8]) {
    let Ok(bundle) = Bundle::parse(data) else { return };
    _ = bundle.unchecked_statement();
    _ = bundle.signer();
    let Some(key) = SIGNER.as_ref().and_then(|key| key.public().ok()) else { return };
    assert!(!bundle.is_signed_by(&key));
    assert!(!matches!(bundle.open(&key), Ok(Some(_))));
}

/// What `sigstore-verify` is asked: a trusted root, and what a certificate has signed under it.
pub(crate) const CERTIFIED: [&str; 2] =
    [include_str!("../seeds/trusted_root.json"), include_str!("../seeds/certificate.json")];

/// The length of a trusted root in 4 bytes, it, and a bundle: nobody signs by certificate what he was not asked to.
pub(crate) fn certificate(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<4>() else { return };
    let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (root, bundle) = rest.split_at(length);
    let Ok(root) = std::str::from_utf8(root) else { return };
    let rule = "[[rule]]\npackages = [\"*\"]\nkeyless = [{ issuer = \"https://accounts.example\", identity = \"https://ci.example/acme/*\", trusted_root = \"root\" }]\n";
    let (Ok(policy), Some(name)) = (Policy::parse(rule), name()) else { return };
    let policy = policy.with_roots(|_| Ok(root.to_owned()));
    let digest = Digest::of(b"something else than it signs");
    let asked = Asked { name: &name, registry: None, digest };
    let bundles = [bundle.to_vec()];
    assert!(verify(&asked, &bundles, &policy, now()).is_err(), "nobody signed this");
    _ = attestation::beside(&asked, &bundles, &policy, now());
    _ = verify_or_allow(&asked, &bundles, &policy, now(), true);
}

/// The predicates that somebody reads.
pub(crate) const PREDICATES: [&str; 6] = [
    media::PREDICATE_CHANNEL,
    media::PREDICATE_KEYS,
    media::PREDICATE_SIGN,
    "https://spdx.dev/Document",
    "https://slsa.dev/provenance/v1",
    "https://in-toto.io/attestation/test-result/v0.1",
];

/// What a trusted publisher may sign, read as each kind of statement: a byte chooses, the rest is the predicate.
pub(crate) fn statement(data: &[u8]) {
    let Some((kind, predicate)) = data.split_first() else { return };
    let (Ok(predicate), Some(name), Some(secret)) =
        (serde_json::from_slice(predicate), name(), SIGNER.as_ref())
    else {
        return;
    };
    let kind = PREDICATES[usize::from(*kind) % PREDICATES.len()];
    let digest = Digest::of(b"index");
    let subjects = [Subject { name: "index".to_owned(), digest }];
    let Ok(public) = secret.public() else { return };
    let Ok(bundle) = bundle::sign_predicate(secret, &subjects, kind, &predicate) else { return };
    _ = attestation::read(&bundle, digest, std::slice::from_ref(&public));
    let policy = Policy::of_keys(vec![public.clone()], 1);
    if let Ok(channel) = "stable".parse() {
        let asked = channel::Asked { name: &name, registry: None, channel: &channel };
        _ = channel::follow(&asked, std::slice::from_ref(&bundle), &policy, None, now());
    }
    let publisher = name.publisher().to_owned();
    let keys = Keys { publisher, version: 1, threshold: 1, keys: vec![public], expires: None };
    _ = rotation::follow(keys, &[vec![bundle]], &BTreeSet::new());
}

static SIGNER: LazyLock<Option<SecretKey>> =
    LazyLock::new(|| SecretKey::generate(KeyKind::Ed25519).ok());

fn name() -> Option<PackageName> {
    "acme/exec".parse().ok()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_766_000_000)
}
