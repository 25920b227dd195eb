//! `spec/vectors/signatures` against this implementation.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use skep_spec::{Digest, PackageName};
use skep_trust::verify::Refusal;
use skep_trust::{Asked, KeyId, Origin, Policy, TrustError, verify};

#[derive(Deserialize)]
struct Vectors {
    package: PackageName,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    policy: String,
    digest: Digest,
    bundles: Vec<String>,
    accept: Option<Vec<KeyId>>,
    refuse: Option<String>,
}

#[test]
fn every_case_is_accepted_or_refused_as_it_says() {
    let folder =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/signatures"));
    let text = std::fs::read(folder.join("cases.json")).unwrap();
    let vectors: Vectors = serde_json::from_slice(&text).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600); // the file's `now`
    assert!(vectors.cases.len() >= 20);
    for case in vectors.cases {
        let read = |name: &String| std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let bundles: Vec<Vec<u8>> = case.bundles.iter().map(read).collect();
        let asked = Asked { name: &vectors.package, registry: None, digest: case.digest };
        let policy = Policy::parse(&case.policy).unwrap();
        let found = verify(&asked, &bundles, &policy, now);
        let (accepted, refused) = match found {
            Ok(verified) => match verified.origin() {
                Origin::Signed { keys, .. } => (Some(keys.clone()), None),
                other => panic!("{}: {other:?}", case.name),
            },
            Err(error) => (None, Some(word(&error).to_owned())),
        };
        assert_eq!((accepted, refused), (case.accept, case.refuse), "{}", case.name);
    }
}

fn word(error: &TrustError) -> &'static str {
    let refusals = match error {
        TrustError::DigestRevoked { .. } => return "revoked-digest",
        TrustError::NoRule { .. } => return "no-rule",
        TrustError::Keyless { .. } => return "keyless",
        TrustError::Unsigned { .. } => return "unsigned",
        TrustError::NotEnough { refusals, .. } => refusals,
    };
    match refusals.first() {
        None => "not-enough",
        Some(Refusal::Malformed(_)) => "malformed",
        Some(Refusal::Keyless) => "keyless",
        Some(Refusal::AnotherKey(_)) => "another-key",
        Some(Refusal::Altered(_)) => "altered",
        Some(Refusal::Expired(_)) => "expired",
        Some(Refusal::Revoked(_)) => "revoked-key",
        Some(Refusal::AnotherPredicate { .. }) => "another-predicate",
        Some(Refusal::AnotherDigest(_)) => "another-digest",
    }
}
