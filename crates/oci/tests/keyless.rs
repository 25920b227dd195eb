//! Signatures by certificate: what cosign accepts of an identity, we do, and neither takes what is not borne out. The authority
//! and its logs are played by `support/keyless.py`, since the real ones cannot be asked for an identity of a test.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::time::{Duration, SystemTime};

use skep_oci::{regular, signatures};
use skep_spec::media;
use skep_trust::attestation::{Attestation, beside};
use skep_trust::key::KeyKind;
use skep_trust::{Asked, By, Origin, Policy, SecretKey, TrustError, time, verify, verify_or_allow};
use support::{DockerRegistry, Fixture, keyless, tool, try_run};

const IDENTITY: &str = "https://ci.example/acme/release";
const ISSUER: &str = "https://accounts.example";

/// A package, and what somebody signed of it without a key of their own.
struct Case {
    fixture: Fixture,
    bundle: Vec<u8>,
}

impl Case {
    fn new(predicate: &str, told: &[&str]) -> Self {
        let fixture = Fixture::new("1.0.0");
        let bundle = keyless(fixture.folder.path(), fixture.index, predicate, told);
        Self { fixture, bundle }
    }

    fn asked<'a>(&self, name: &'a skep_spec::PackageName) -> Asked<'a> {
        Asked { name, registry: None, digest: self.fixture.index }
    }

    fn policy(&self, rule: &str) -> Policy {
        let policy = Policy::parse(&format!("[[rule]]\npackages = [\"acme/*\"]\n{rule}\n"));
        let read = |root: &str| regular::text(&self.fixture.path(root));
        policy.unwrap().with_roots(read)
    }

    fn verify(&self, bundles: &[Vec<u8>], rule: &str) -> Result<Origin, TrustError> {
        let name = "acme/exec".parse().unwrap();
        let policy = self.policy(rule);
        let verified = verify(&self.asked(&name), bundles, &policy, SystemTime::now())?;
        Ok(verified.origin().clone())
    }

    fn is_let_in(&self, rule: &str) -> Result<Origin, TrustError> {
        self.verify(std::slice::from_ref(&self.bundle), rule)
    }
}

fn rule(issuer: &str, identity: &str) -> String {
    format!(
        "keyless = [{{ issuer = \"{issuer}\", identity = \"{identity}\", trusted_root = \"trusted_root.json\" }}]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_signs_for_cosign_and_for_us() {
    let (registry, case) = (DockerRegistry::start(), Case::new(media::PREDICATE_SIGN, &[]));
    signatures::attach(&case.fixture.store, case.fixture.index, &case.bundle).unwrap();
    let reference = registry.reference("1.0.0");
    let (client, index) = (registry.client(), case.fixture.index);
    client.push(&case.fixture.store, index, &reference).await.unwrap();
    let mut cosign = Command::new(tool("cosign"));
    cosign.env("HOME", case.fixture.folder.path()).args(["verify", "--allow-http-registry"]);
    cosign.arg("--trusted-root").arg(case.fixture.path("trusted_root.json"));
    cosign.args(["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER]);
    let (ok, text) =
        try_run(cosign.arg(format!("{}/{}@{index}", registry.host, reference.repository())));
    assert!(ok && text.contains(&index.to_string()), "{text}");

    let bundles = client.bundles(&reference, index).await.unwrap();
    let origin = case.verify(&bundles, &rule(ISSUER, IDENTITY)).unwrap();
    let identities = vec![format!("{IDENTITY} of {ISSUER}")];
    let signed = Origin::Signed { keys: Vec::new(), identities, rule: "acme/*".into() };
    assert_eq!(origin, signed);
    case.is_let_in(&rule(ISSUER, "https://ci.example/acme/*")).unwrap();
}

#[test]
fn what_is_not_borne_out_does_not_count() {
    let why = |case: &Case, rule: &str| {
        let error = case.is_let_in(rule).unwrap_err();
        assert_eq!(error.code(), "trust.keyless", "{error}");
        error.to_string()
    };
    let good = Case::new(media::PREDICATE_SIGN, &[]);
    for (issuer, identity) in [
        (ISSUER, "https://ci.example/acme/releas"),
        (ISSUER, "https://ci.example/evil/*"),
        ("https://accounts.example.org", IDENTITY),
    ] {
        let text = why(&good, &rule(issuer, identity));
        assert!(text.contains(&format!("it is by {IDENTITY} of {ISSUER}, not by")), "{text}");
    }
    let other = Case::new(media::PREDICATE_SIGN, &[]);
    std::fs::copy(other.fixture.path("trusted_root.json"), good.fixture.path("other.json"))
        .unwrap();
    why(&good, &rule(ISSUER, IDENTITY).replace("trusted_root.json", "other.json"));
    why(&good, &format!("keyless = [{{ issuer = \"{ISSUER}\", identity = \"{IDENTITY}\" }}]"));
    let mut altered = String::from_utf8(good.bundle.clone()).unwrap();
    let at = altered.find("\"sig\": \"").unwrap() + 20;
    altered.replace_range(at..=at, if &altered[at..=at] == "A" { "B" } else { "A" });
    let error = good.verify(&[altered.into_bytes()], &rule(ISSUER, IDENTITY)).unwrap_err();
    assert_eq!(error.code(), "trust.keyless", "{error}");
    // A signature of something else, with an envelope that nobody signed behind it, is no signature of that.
    let mut forged: serde_json::Value = serde_json::from_slice(&good.bundle).unwrap();
    let signed = serde_json::json!({"messageDigest": {"algorithm": "SHA2_256", "digest": ""}, "signature": ""});
    forged["messageSignature"] = signed;
    let forged = serde_json::to_vec(&forged).unwrap();
    let error = good.verify(&[forged], &rule(ISSUER, IDENTITY)).unwrap_err();
    assert_eq!(error.code(), "trust.malformed", "{error}");
    for spoiled in ["sct", "set", "proof", "checkpoint", "signature", "late"] {
        let case = Case::new(media::PREDICATE_SIGN, &[&format!("--spoil={spoiled}")]);
        why(&case, &rule(ISSUER, IDENTITY));
    }
}

#[test]
fn what_it_says_is_held_as_of_keys() {
    let code = |case: &Case, digest| {
        let name = "acme/exec".parse().unwrap();
        let asked = Asked { digest, ..case.asked(&name) };
        let bundles = std::slice::from_ref(&case.bundle);
        verify(&asked, bundles, &case.policy(&rule(ISSUER, IDENTITY)), SystemTime::now())
            .unwrap_err()
            .code()
    };
    let good = Case::new(media::PREDICATE_SIGN, &[]);
    assert_eq!(code(&good, skep_spec::Digest::of(b"another")), "trust.another-digest");
    let sbom = Case::new(media::PREDICATE_SBOM, &["--identity=release@ci.example"]);
    let policy = rule(ISSUER, "release@ci.example");
    assert_eq!(sbom.is_let_in(&policy).unwrap_err().code(), "trust.another-predicate");
    let (name, bundles) = ("acme/exec".parse().unwrap(), [sbom.bundle.clone()]);
    let there = beside(&sbom.asked(&name), &bundles, &sbom.policy(&policy), SystemTime::now());
    let Ok(Attestation { by: By::Identity(by), .. }) = &there[0].counted else {
        panic!("{there:?}")
    };
    assert_eq!(by, &format!("release@ci.example of {ISSUER}"));
}

#[test]
fn identities_and_keys_make_up_a_threshold_together() {
    let case = Case::new(media::PREDICATE_SIGN, &[]);
    let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
    let ours = case.fixture.sign_well(&key);
    let spki = key.public().unwrap().spki_base64();
    let two =
        format!("threshold = 2\nkeys = [{{ spki = \"{spki}\" }}]\n{}", rule(ISSUER, IDENTITY));
    case.verify(&[case.bundle.clone(), ours.clone()], &two).unwrap();
    for one in [&case.bundle, &ours] {
        let error = case.verify(&[one.clone(), one.clone()], &two).unwrap_err();
        assert!(matches!(error, TrustError::NotEnough { found: 1, needed: 2, .. }), "{error}");
    }
    // A root that says nothing takes nothing away from keys.
    std::fs::write(case.fixture.path("trusted_root.json"), "{}").unwrap();
    let either = two.replace("threshold = 2", "threshold = 1");
    case.verify(std::slice::from_ref(&ours), &either).unwrap();
    let error = case.verify(std::slice::from_ref(&case.bundle), &either).unwrap_err();
    assert!(error.to_string().contains("its trusted_root 'trusted_root.json': "), "{error}");
    let wide = |identity: &str| {
        Policy::parse(&format!("[[rule]]\npackages = [\"*\"]\n{}", rule(ISSUER, identity)))
    };
    for identity in
        ["https://ci.example/acme*", "https://ci.example*", "https://*", "release@*", "*/x*"]
    {
        let error = wide(identity).unwrap_err().to_string();
        assert!(error.contains("is too wide"), "{error}");
    }
    for identity in ["https://ci.example/*", "https://ci.example/acme/release.yml@*"] {
        wide(identity).unwrap();
    }
    let three = two.replace("threshold = 2", "threshold = 3");
    Policy::parse(&format!("[[rule]]\npackages = [\"*\"]\n{three}")).unwrap_err();
}

#[test]
fn a_revoked_key_counts_no_more_in_a_certificate_either() {
    let case = Case::new(media::PREDICATE_SIGN, &[]);
    let id = std::fs::read_to_string(case.fixture.path("key.id")).unwrap();
    let revoked = format!("[revoked]\nkeys = [\"{id}\"]");
    let (name, bundles) = ("acme/exec".parse().unwrap(), std::slice::from_ref(&case.bundle));
    // Also where no rule has the identity: consent to what is unsigned is none to what is revoked.
    for rule in [rule(ISSUER, IDENTITY), rule(ISSUER, "https://ci.example/evil/*")] {
        let policy = case.policy(&format!("{rule}\n{revoked}"));
        for allow in [false, true] {
            let asked = case.asked(&name);
            let error = verify_or_allow(&asked, bundles, &policy, SystemTime::now(), allow);
            let error = error.unwrap_err();
            assert_eq!(error.code(), "trust.revoked-key", "{error}");
            assert!(error.is_revoked() && error.to_string().contains(&id), "{error}");
        }
    }
    let policy = Policy::parse(&revoked).unwrap();
    let error = verify_or_allow(&case.asked(&name), bundles, &policy, SystemTime::now(), true);
    assert_eq!(error.unwrap_err().code(), "trust.revoked-key", "nor where no rule speaks of it");
    let other = case.policy(&format!(
        "{}\n[revoked]\nkeys = [\"{}\"]",
        rule(ISSUER, IDENTITY),
        id.chars().rev().collect::<String>()
    ));
    verify(&case.asked(&name), bundles, &other, SystemTime::now()).unwrap();
}

/// An identity of a rule, with its trusted root and what else it says.
fn identity(identity: &str, root: &str, more: &str) -> String {
    format!(
        "{{ issuer = \"{ISSUER}\", identity = \"{identity}\", trusted_root = \"{root}\"{more} }}"
    )
}

#[test]
fn an_identity_counts_until_its_end() {
    let case = Case::new(media::PREDICATE_SIGN, &[]);
    let now = SystemTime::now();
    let until = |moment: SystemTime| {
        let end = time::format(moment).unwrap();
        let identity = identity(IDENTITY, "trusted_root.json", &format!(", not_after = {end}"));
        case.is_let_in(&format!("keyless = [{identity}]"))
    };
    until(now + Duration::from_secs(3600)).unwrap();
    let error = until(now - Duration::from_secs(3600)).unwrap_err();
    assert_eq!(error.code(), "trust.expired", "{error}");
    assert!(error.is_expired() && error.to_string().contains(IDENTITY), "{error}");
    // Held against the moment that was seen, not against the clock.
    let end = time::format(now + Duration::from_secs(3600)).unwrap();
    let end = identity(IDENTITY, "trusted_root.json", &format!(", not_after = {end}"));
    let (name, policy) = ("acme/exec".parse().unwrap(), case.policy(&format!("keyless = [{end}]")));
    let bundles = std::slice::from_ref(&case.bundle);
    let error = verify(&case.asked(&name), bundles, &policy, now + Duration::from_secs(7200));
    assert_eq!(error.unwrap_err().code(), "trust.expired");
}

#[test]
fn of_identities_that_overlap_the_narrowest_counts_in_whatever_order() {
    let case = Case::new(media::PREDICATE_SIGN, &[]);
    let folder = tempfile::tempdir().unwrap();
    let told = ["--identity=https://ci.example/acme/test"];
    let test = keyless(folder.path(), case.fixture.index, media::PREDICATE_SIGN, &told);
    std::fs::copy(folder.path().join("trusted_root.json"), case.fixture.path("b.json")).unwrap();
    let both = [case.bundle.clone(), test];
    let wide = "https://ci.example/acme/*";
    let in_orders = |identities: &[String; 3]| {
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
            .map(|order| order.map(|at| identities[at].clone()).join(", "))
    };
    let a = "trusted_root.json";
    let identities =
        [identity(wide, a, ""), identity(wide, "b.json", ""), identity(IDENTITY, a, "")];
    for order in in_orders(&identities) {
        // Each is one signer: the workflow for releases by its own name, the other by the wide one.
        case.verify(&both, &format!("threshold = 2\nkeyless = [{order}]")).unwrap();
    }
    // The end of the narrow one is the end, whatever the wide one would still take.
    let over = identity(IDENTITY, a, ", not_after = 2026-01-01T00:00:00Z");
    for order in in_orders(&[identities[0].clone(), identities[1].clone(), over]) {
        let error = case.is_let_in(&format!("keyless = [{order}]")).unwrap_err();
        assert_eq!(error.code(), "trust.expired", "{order}: {error}");
        case.verify(&both[1..], &format!("keyless = [{order}]")).unwrap();
    }
    // Nor does the wide one lend it another authority.
    let other =
        [identity(wide, a, ""), identity(IDENTITY, "b.json", ""), identity(wide, "b.json", "")];
    for order in in_orders(&other) {
        let error = case.is_let_in(&format!("keyless = [{order}]")).unwrap_err();
        assert_eq!(error.code(), "trust.keyless", "{order}: {error}");
    }
}

#[test]
fn a_clock_that_is_behind_what_was_seen_is_told_of() {
    let late = Case::new(media::PREDICATE_SIGN, &["--spoil=late"]);
    let (name, bundles) = ("acme/exec".parse().unwrap(), std::slice::from_ref(&late.bundle));
    let policy = late.policy(&rule(ISSUER, IDENTITY));
    let why = |now| verify(&late.asked(&name), bundles, &policy, now).unwrap_err().to_string();
    let seen = SystemTime::now() + Duration::from_secs(86_400);
    let last = time::format(seen).unwrap();
    assert!(why(seen).contains(&format!("before {last}, the last moment that was seen here")));
    assert!(!why(SystemTime::now() - Duration::from_secs(9)).contains("the clock says"));
}
