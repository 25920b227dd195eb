//! From a digest and its signature bundles to a `Verified<Digest>`, by the rules of a policy.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use skep_spec::{Digest, PackageName, media};

use crate::bundle::{Bundle, BundleError, Signer};
use crate::key::KeyId;
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

/// Why a digest was not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Its digest is on the list of revoked ones.
    #[error(
        "{name} ({digest}) is refused: its digest is revoked in trust.toml, whoever signed it; use another version"
    )]
    DigestRevoked {
        /// The package.
        name: PackageName,
        /// The digest.
        digest: Digest,
    },
    /// Nobody is trusted to sign this package.
    #[error(
        "{name} is refused: no rule in trust.toml speaks of it; add a [[rule]] with packages = [\"{name}\"] and the publisher's key"
    )]
    NoRule {
        /// The package.
        name: PackageName,
    },
    /// The rule asks for what this version cannot check.
    #[error(
        "{name} is refused: its rule '{rule}' in trust.toml names keyless identities only, which are not supported yet; give the publisher's 'keys'"
    )]
    Keyless {
        /// The package.
        name: PackageName,
        /// The pattern of the rule.
        rule: String,
    },
    /// No signature at all.
    #[error(
        "{name} ({digest}) is refused: it is unsigned, and rule '{rule}' in trust.toml asks for {needed} trusted signature(s); ask its publisher to sign it, or sign it yourself with 'skep sign'"
    )]
    Unsigned {
        /// The package.
        name: PackageName,
        /// The digest.
        digest: Digest,
        /// The pattern of the rule.
        rule: String,
        /// How many signatures the rule asks for.
        needed: usize,
    },
    /// Signatures, but not enough that count.
    #[error(
        "{name} ({digest}) is refused: {found} of {needed} trusted signature(s) that rule '{rule}' in trust.toml asks for; {}",
        list(refusals)
    )]
    NotEnough {
        /// The package.
        name: PackageName,
        /// The digest.
        digest: Digest,
        /// The pattern of the rule.
        rule: String,
        /// How many trusted keys signed.
        found: usize,
        /// How many signatures the rule asks for.
        needed: usize,
        /// Why each other bundle does not count, in the order that they came.
        refusals: Vec<Refusal>,
    },
}

/// Why one bundle does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a bundle.
    #[error("a signature could not be read: {0}")]
    Malformed(BundleError),
    /// Signed with a certificate.
    #[error("a signature is keyless (by certificate), which is not supported yet")]
    Keyless,
    /// Not one of the rule's keys.
    #[error("a signature is by another key: {}", hint(.0.as_ref()))]
    AnotherKey(Option<KeyId>),
    /// It says that a trusted key signed it, but that key did not sign these bytes.
    #[error(
        "a signature that names the trusted key {0} was altered: it does not fit what it signs"
    )]
    Altered(KeyId),
    /// A trusted key whose time is over.
    #[error("a signature is by the key {0}, which was trusted only until its not_after")]
    Expired(KeyId),
    /// A revoked key.
    #[error("a signature is by the key {0}, which is revoked")]
    Revoked(KeyId),
    /// A trusted key said something else about it.
    #[error(
        "the key {key} signed '{found}', which is no signature of a package (only '{}' is)",
        media::PREDICATE_SIGN
    )]
    AnotherPredicate {
        /// The key.
        key: KeyId,
        /// The predicate type.
        found: String,
    },
    /// A trusted key signed another package or version.
    #[error(
        "the key {0} signed another digest, not this one: the package was altered, or the signature belongs elsewhere"
    )]
    AnotherDigest(KeyId),
}

/// Verifies the digest that was asked for.
///
/// The bundles come from anywhere and in any order; only their signatures count. `now` is the moment that keys'
/// `not_after` is held against: the later of the clock and of the last moment that the caller has seen.
///
/// # Errors
/// When the digest is revoked, no rule speaks of the package, or fewer different trusted keys than the rule's
/// threshold signed the digest with the one predicate type that admits a package.
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
    if rule.keys().is_empty() {
        return Err(TrustError::Keyless { name: name(), rule: pattern });
    }
    let needed = rule.threshold();
    if bundles.is_empty() {
        return Err(TrustError::Unsigned { name: name(), digest, rule: pattern, needed });
    }
    let mut keys = BTreeSet::new();
    let mut refusals = Vec::new();
    for bundle in bundles.iter().take(BUNDLES_MAX) {
        match signer(bundle, digest, rule, policy, now) {
            Ok(key) => {
                keys.insert(key);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    if keys.len() < needed {
        let found = keys.len();
        return Err(TrustError::NotEnough {
            name: name(),
            digest,
            rule: pattern,
            found,
            needed,
            refusals,
        });
    }
    let origin = Origin::Signed { keys: keys.into_iter().collect(), rule: pattern };
    Ok(Verified::new(digest, origin))
}

/// The trusted key that signed `asked` as a package in this bundle.
fn signer(
    bytes: &[u8],
    asked: Digest,
    rule: &Rule,
    policy: &Policy,
    now: SystemTime,
) -> Result<KeyId, Refusal> {
    let bundle = Bundle::parse(bytes).map_err(Refusal::Malformed)?;
    if *bundle.signer() == Signer::Certificate {
        return Err(Refusal::Keyless);
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
        return Err(Refusal::Expired(key));
    }
    let statement = bundle.open(&trusted.key).map_err(Refusal::Malformed)?;
    let Some(statement) = statement else { return Err(Refusal::Altered(key)) };
    if statement.predicate_type != media::PREDICATE_SIGN {
        return Err(Refusal::AnotherPredicate { key, found: statement.predicate_type });
    }
    if !statement.subjects.iter().any(|subject| subject.digest == asked) {
        return Err(Refusal::AnotherDigest(key));
    }
    Ok(key)
}

fn hint(key: Option<&KeyId>) -> String {
    key.map_or_else(|| "it does not say which".into(), ToString::to_string)
}

fn list(refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "ask for the missing ones".into();
    }
    let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.digest)
    }
}
