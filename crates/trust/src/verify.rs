//! From a digest and its signature bundles to a `Verified<Digest>`, by the rules of a policy.

mod refusal;

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use skep_spec::{Digest, PackageName, media};

pub(crate) use self::refusal::code_of;
pub use self::refusal::{Refusal, TrustError};
use crate::attestation;
use crate::bundle::{Bundle, Signer, Statement};
use crate::key::KeyId;
use crate::keyless::Certified;
use crate::policy::{Policy, Rule};
use crate::verified::{Origin, Verified};

/// Most bundles that are looked at for one digest.
pub const BUNDLES_MAX: usize = 64;

/// What is asked for: a package's name, where it came from, and the digest of its index.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name that picks the rule.
    pub name: &'a PackageName,
    /// The registry that it came from (`host[:port]`), for rules that name registries.
    pub registry: Option<&'a str>,
    /// The digest that must be signed.
    pub digest: Digest,
}

/// Verifies the digest that was asked for.
///
/// The bundles come from anywhere and in any order; only their signatures count. `now` is the moment that keys'
/// `not_after` is held against: the later of the clock and of the last moment that the caller has seen.
///
/// # Errors
/// When the digest is revoked, no rule speaks of the package, or fewer different trusted keys than the rule's
/// threshold signed the digest with the one predicate type that admits a package; or an attestation is missing that the rule
/// asks for.
pub fn verify(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> Result<Verified<Digest>, TrustError> {
    let name = || asked.name.clone();
    let digest = asked.digest;
    if policy.is_digest_revoked(&digest) {
        return Err(TrustError::DigestRevoked { name: name(), digest });
    }
    let Some((rule, pattern)) = policy.rule(asked.name, asked.registry) else {
        return Err(TrustError::NoRule { name: name() });
    };
    let pattern = pattern.as_str().to_owned();
    if !rule.has_signers() {
        return Err(TrustError::Keyless { name: name(), rule: pattern });
    }
    let needed = rule.threshold();
    if bundles.is_empty() {
        return Err(TrustError::Unsigned { name: name(), digest, rule: pattern, needed });
    }
    let mut signers = BTreeSet::new();
    let mut refusals = Vec::new();
    for counts in each(asked, bundles, policy, now) {
        match counts {
            Ok(by) => _ = signers.insert(by),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if signers.len() < needed {
        let found = signers.len();
        return Err(TrustError::NotEnough {
            name: name(),
            digest,
            rule: pattern,
            found,
            needed,
            refusals,
        });
    }
    for kind in rule.attestations() {
        if !attestation::is_there(*kind, asked, bundles, policy, now) {
            let (kind, name) = (*kind, name());
            let refusals = attestation::refusals(kind, asked, bundles, policy, now);
            let rule = pattern;
            return Err(TrustError::NoAttestation { name, digest, rule, kind, refusals });
        }
    }
    let (mut keys, mut identities) = (Vec::new(), Vec::new());
    for by in signers {
        match by {
            By::Key(key) => keys.push(key),
            By::Identity(identity) => identities.push(identity),
        }
    }
    Ok(Verified::new(digest, Origin::Signed { keys, identities, rule: pattern }))
}

/// [`verify`], for an operator who may let a package in although too few trusted keys signed it: `--allow-unsigned`. What is
/// revoked, by its digest or by a key that one of its signatures names, not even that lets in.
///
/// # Errors
/// As [`verify`], with what is revoked said before anything else; where `allow_unsigned`, only that.
pub fn verify_or_allow(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
    allow_unsigned: bool,
) -> Result<Verified<Digest>, TrustError> {
    verify(asked, bundles, policy, now).or_else(|error| match policy.revoked_key(bundles) {
        _ if error.is_revoked() => Err(error),
        Some(key) => {
            Err(TrustError::KeyRevoked { name: asked.name.clone(), digest: asked.digest, key })
        }
        None if allow_unsigned => Ok(Verified::unsigned(asked.digest)),
        None => Err(error),
    })
}

/// Who signed a statement: a key of the package's rule, or one of its identities, as the rule has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// A key.
    Key(KeyId),
    /// An identity, which a certificate has.
    Identity(String),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "the key {key}"),
            Self::Identity(identity) => write!(f, "the identity {identity}"),
        }
    }
}

/// What each bundle says under the package's rule, in their order: whose signature counts, or why none does. Empty where
/// no rule speaks of the package.
#[must_use]
pub fn each(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> Vec<Result<By, Refusal>> {
    let Some((rule, _)) = policy.rule(asked.name, asked.registry) else { return Vec::new() };
    let looked_at = bundles.iter().take(BUNDLES_MAX);
    looked_at.map(|bundle| signer(bundle, asked.digest, rule, policy, now)).collect()
}

/// Who signed `asked` as a package in this bundle.
fn signer(
    bytes: &[u8],
    asked: Digest,
    rule: &Rule,
    policy: &Policy,
    now: SystemTime,
) -> Result<By, Refusal> {
    let Signed { by, statement, .. } = trusted(bytes, rule, policy, now, media::PREDICATE_SIGN)?;
    if !statement.subjects.iter().any(|subject| subject.digest == asked) {
        return Err(Refusal::AnotherDigest(by));
    }
    Ok(by)
}

/// What somebody signed that a rule trusts.
pub(crate) struct Signed {
    pub(crate) by: By,
    pub(crate) statement: Statement,
    pub(crate) payload: Vec<u8>,
}

/// Who signed a statement of `predicate_type`, and the statement.
pub(crate) fn trusted(
    bytes: &[u8],
    rule: &Rule,
    policy: &Policy,
    now: SystemTime,
    predicate_type: &str,
) -> Result<Signed, Refusal> {
    let (signed, older) = trusted_any(bytes, rule, policy, now)?;
    if older || signed.statement.predicate_type != predicate_type {
        let found = signed.statement.predicate_type;
        return Err(Refusal::AnotherPredicate { by: signed.by, found, older });
    }
    Ok(signed)
}

/// Who signed a statement of whatever type, the statement, and whether it is of the older form.
pub(crate) fn trusted_any(
    bytes: &[u8],
    rule: &Rule,
    policy: &Policy,
    now: SystemTime,
) -> Result<(Signed, bool), Refusal> {
    let bundle = Bundle::parse(bytes).map_err(Refusal::Malformed)?;
    if *bundle.signer() == Signer::Certificate {
        return by_certificate(bytes, &bundle, rule, policy, now);
    }
    let claimed = bundle.signer().key_id();
    // The hint is only a hint: every key of the rule is tried.
    let Some(trusted) = rule.keys().iter().find(|trusted| bundle.is_signed_by(&trusted.key)) else {
        let known = claimed.filter(|id| rule.keys().iter().any(|t| t.key.id() == *id));
        return Err(match (known, claimed) {
            (Some(id), _) => Refusal::Altered(id),
            (None, Some(id)) if policy.is_key_revoked(&id) => Refusal::Revoked(id),
            (None, id) => Refusal::AnotherKey(id),
        });
    };
    let key = trusted.key.id();
    if policy.is_key_revoked(&key) {
        return Err(Refusal::Revoked(key));
    }
    if trusted.not_after.is_some_and(|end| now > end) {
        return Err(Refusal::Expired(By::Key(key)));
    }
    let statement = bundle.open_any(&trusted.key).map_err(Refusal::Malformed)?;
    let Some((statement, older)) = statement else { return Err(Refusal::Altered(key)) };
    Ok((Signed { by: By::Key(key), statement, payload: bundle.payload().to_vec() }, older))
}

/// The identity of a rule that signed a statement, the statement, and whether it is of the older form.
fn by_certificate(
    bytes: &[u8],
    bundle: &Bundle,
    rule: &Rule,
    policy: &Policy,
    now: SystemTime,
) -> Result<(Signed, bool), Refusal> {
    let (statement, older) = bundle.unchecked_any().map_err(Refusal::Malformed)?;
    let certified = Certified::read(bytes, bundle.payload());
    let certified = certified.map_err(|why| match rule.identities() {
        [] => Refusal::Keyless("its rule names no identities".to_owned()),
        _ => Refusal::Keyless(why),
    })?;
    let key = certified.key();
    if policy.is_key_revoked(&key) {
        return Err(Refusal::Revoked(key));
    }
    let Some(subject) = statement.subjects.first() else {
        return Err(Refusal::Keyless("its statement is about nothing".to_owned()));
    };
    let signer = certified.signer(subject.digest, rule.identities(), now);
    let signer = signer.map_err(Refusal::Keyless)?;
    let by = By::Identity(signer.to_string());
    if signer.is_over(now) {
        return Err(Refusal::Expired(by));
    }
    Ok((Signed { by, statement, payload: bundle.payload().to_vec() }, older))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bundle::{Subject, sign};
    use crate::key::{KeyKind, PublicKey, SecretKey};

    /// RFC 8032 §7.1, tests 1 and 2: fixed, so that the messages below are fixed.
    const KEYS: [&str; 2] = [
        "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
        "MC4CAQAwBQYDK2VwBCIEIEzNCJso/5baidbwkTbP+KpvIdHMFpVpTgz8aaaKb6b7",
    ];

    fn key(number: usize) -> SecretKey {
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", KEYS[number]);
        SecretKey::from_pem(&pem).unwrap()
    }

    fn public(number: usize) -> PublicKey {
        key(number).public().unwrap()
    }

    fn digest() -> Digest {
        Digest::of(b"the index")
    }

    fn bundle(key: &SecretKey, digest: Digest, predicate: &str) -> Vec<u8> {
        sign(key, &[Subject { name: "index".into(), digest }], predicate).unwrap()
    }

    fn good(number: usize) -> Vec<u8> {
        bundle(&key(number), digest(), media::PREDICATE_SIGN)
    }

    fn check(bundles: &[Vec<u8>], policy: &Policy) -> Result<Origin, TrustError> {
        let name = "acme/exec".parse().unwrap();
        let asked = Asked { name: &name, registry: None, digest: digest() };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let verified = verify(&asked, bundles, policy, now)?;
        assert_eq!(*verified, digest());
        Ok(verified.origin().clone())
    }

    fn refusal(bundles: &[Vec<u8>], policy: &Policy) -> String {
        check(bundles, policy).unwrap_err().to_string()
    }

    #[test]
    fn a_trusted_signature_admits_also_beside_worthless_ones() {
        let policy = Policy::of_keys(vec![public(0)], 1);
        let bundles = [b"junk".to_vec(), good(1), good(0)];
        let origin = check(&bundles, &policy).unwrap();
        assert_eq!(
            origin,
            Origin::Signed { keys: vec![public(0).id()], identities: Vec::new(), rule: "*".into() }
        );
    }

    #[test]
    fn either_kind_of_key_admits() {
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            let key = SecretKey::generate(kind).unwrap();
            let policy = Policy::of_keys(vec![key.public().unwrap()], 1);
            check(&[bundle(&key, digest(), media::PREDICATE_SIGN)], &policy).unwrap();
        }
    }

    #[test]
    fn a_threshold_counts_keys_not_bundles() {
        let policy = Policy::of_keys(vec![public(0), public(1)], 2);
        check(&[good(0), good(1)], &policy).unwrap();
        let error = check(&[good(0), good(0)], &policy).unwrap_err();
        assert!(matches!(error, TrustError::NotEnough { found: 1, needed: 2, .. }));
    }

    #[test]
    fn each_refusal_says_why() {
        let policy = Policy::of_keys(vec![public(0)], 1);
        let mut altered = good(0);
        let at = String::from_utf8(altered.clone()).unwrap().find(r#""payload":""#).unwrap() + 30;
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let keyless = String::from_utf8(good(0)).unwrap();
        let keyless = keyless.replace(
            &format!(r#""publicKey":{{"hint":"{}"}}"#, public(0).id().hint()),
            r#""certificate":{"rawBytes":""}"#,
        );
        let anonymous = String::from_utf8(good(1)).unwrap().replace(&public(1).id().hint(), "");
        let errors = [
            ("unsigned", refusal(&[], &policy)),
            ("altered signature", refusal(&[altered], &policy)),
            ("another key", refusal(&[good(1)], &policy)),
            ("another key without hint", refusal(&[anonymous.into_bytes()], &policy)),
            (
                "another predicate",
                refusal(&[bundle(&key(0), digest(), "https://cyclonedx.org/bom")], &policy),
            ),
            (
                "altered package",
                refusal(&[bundle(&key(0), Digest::of(b"x"), media::PREDICATE_SIGN)], &policy),
            ),
            ("keyless bundle", refusal(&[keyless.into_bytes()], &policy)),
            ("not a bundle", refusal(&[b"{}".to_vec()], &policy)),
            ("no rule", refusal(&[good(0)], &Policy::default())),
        ];
        let texts: Vec<String> = errors.iter().map(|(case, e)| format!("{case}: {e}")).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }

    #[test]
    fn revocation_expiry_and_keyless_rules_are_read_from_trust_toml() {
        let rule = |more: &str| {
            format!(
                "[[rule]]\npackages = [\"acme/*\"]\nkeys = [{{ spki = \"{}\"{more} }}]\n",
                public(0).spki_base64()
            )
        };
        let parse = |text: String| Policy::parse(&text).unwrap();
        check(&[good(0)], &parse(rule(", not_after = 2027-01-15T08:00:00Z"))).unwrap();
        let errors = [
            refusal(&[good(0)], &parse(rule(", not_after = 2027-01-15T07:59:59Z"))),
            refusal(&[good(0)], &parse(rule("") + &format!("[revoked]\nkeys = [\"{}\"]\n", public(0).id()))),
            refusal(&[good(1)], &parse(rule("") + &format!("[revoked]\nkeys = [\"{}\"]\n", public(1).id()))),
            refusal(&[good(0)], &parse(rule("") + &format!("[revoked]\ndigests = [\"{}\"]\n", digest()))),
            refusal(&[good(0)], &parse("[[rule]]\npackages = [\"*\"]\nkeyless = [{ issuer = \"i\", identity = \"me\" }]".into())),
        ];
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn a_flood_of_bundles_is_cut() {
        let policy = Policy::of_keys(vec![public(0)], 1);
        let mut bundles = vec![b"junk".to_vec(); BUNDLES_MAX];
        bundles.push(good(0));
        assert!(check(&bundles, &policy).is_err());
    }

    #[test]
    fn a_revoked_key_is_found_among_signatures_that_do_not_count() {
        let id = public(1).id();
        let policy = Policy::parse(&format!("[revoked]\nkeys = [\"{id}\"]\n")).unwrap();
        assert_eq!(policy.revoked_key(&[b"no bundle".to_vec(), good(0), good(1)]), Some(id));
        assert_eq!(policy.revoked_key(&[b"no bundle".to_vec(), good(0)]), None);
    }

    #[test]
    fn what_is_allowed_unsigned_is_never_what_is_revoked() {
        let name = "acme/exec".parse().unwrap();
        let asked = Asked { name: &name, registry: None, digest: digest() };
        let allowed = |bundles: &[Vec<u8>], policy: &Policy, allow| {
            let verified = verify_or_allow(&asked, bundles, policy, SystemTime::now(), allow);
            verified.map(|verified| verified.origin().clone())
        };
        let none = Policy::parse("").unwrap();
        assert!(matches!(allowed(&[], &none, false), Err(TrustError::NoRule { .. })));
        assert_eq!(allowed(&[], &none, true), Ok(Origin::Unsigned));
        let trusted = Policy::of_keys(vec![public(0)], 1);
        assert!(matches!(allowed(&[good(0)], &trusted, true), Ok(Origin::Signed { .. })));
        let digests = Policy::parse(&format!("[revoked]\ndigests = [\"{}\"]\n", digest())).unwrap();
        assert!(matches!(allowed(&[], &digests, true), Err(TrustError::DigestRevoked { .. })));
        let key = public(1).id();
        let keys = Policy::parse(&format!("[revoked]\nkeys = [\"{key}\"]\n")).unwrap();
        for allow in [false, true] {
            let error = allowed(&[good(1)], &keys, allow).unwrap_err();
            assert!(error.is_revoked() && error.hint().is_some(), "{error}");
            assert_eq!(error.code(), "trust.revoked-key");
        }
        assert_eq!(allowed(&[good(0)], &keys, true), Ok(Origin::Unsigned));
    }
}
