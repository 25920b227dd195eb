//! Why a digest, or one of its bundles, does not count.

use skep_spec::{Digest, PackageName, media};

use crate::attestation::Kind;
use crate::bundle::BundleError;
use crate::key::KeyId;
use crate::verify::By;

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
    /// A signature is by a revoked key, and nothing else lets it in.
    #[error(
        "{name} ({digest}) is refused: one of its signatures is by the key {key}, which is revoked in trust.toml"
    )]
    KeyRevoked {
        /// The package.
        name: PackageName,
        /// The digest.
        digest: Digest,
        /// The key.
        key: KeyId,
    },
    /// Nobody is trusted to sign this package.
    #[error(
        "{name} is refused: no rule in trust.toml speaks of it; add a [[rule]] with packages = [\"{name}\"] and the publisher's key"
    )]
    NoRule {
        /// The package.
        name: PackageName,
    },
    /// The rule asks for what nobody can check.
    #[error(
        "{name} is refused: its rule '{rule}' names keyless identities without a trusted_root: say the file in which their authorities are"
    )]
    Keyless {
        /// The package.
        name: PackageName,
        /// The pattern of the rule.
        rule: String,
    },
    /// No signature at all.
    #[error(
        "{name} ({digest}) is refused: it is unsigned, and rule '{rule}' asks for {needed} trusted signature(s); ask its publisher to sign it, or sign it yourself with 'skep sign'"
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
        "{name} ({digest}) is refused: {found} of {needed} trusted signature(s) that rule '{rule}' asks for; {}",
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
    /// Signed well, but the rule asks for more.
    #[error(
        "{name} ({digest}) is refused: rule '{rule}' asks for an attestation of the kind '{kind}' by one of its keys, and {}",
        none(refusals)
    )]
    NoAttestation {
        /// The package.
        name: PackageName,
        /// The digest.
        digest: Digest,
        /// The pattern of the rule.
        rule: String,
        /// Which.
        kind: Kind,
        /// Why each that is there does not count.
        refusals: Vec<String>,
    },
}

impl TrustError {
    /// The standard's code: where too few signatures count, that of the first that does not.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::DigestRevoked { .. } => "trust.revoked-digest",
            Self::KeyRevoked { .. } => "trust.revoked-key",
            Self::NoRule { .. } => "trust.no-rule",
            Self::Keyless { .. } => "trust.keyless",
            Self::Unsigned { .. } => "trust.unsigned",
            Self::NotEnough { refusals, .. } => code_of(refusals),
            Self::NoAttestation { .. } => "trust.attestation",
        }
    }

    /// Whether the digest or a key is revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        match self {
            Self::DigestRevoked { .. } | Self::KeyRevoked { .. } => true,
            Self::NotEnough { refusals, .. } => {
                refusals.iter().any(|refusal| matches!(refusal, Refusal::Revoked(_)))
            }
            Self::NoRule { .. }
            | Self::Keyless { .. }
            | Self::Unsigned { .. }
            | Self::NoAttestation { .. } => false,
        }
    }

    /// Whether a signature would count if it were earlier.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        let Self::NotEnough { refusals, .. } = self else { return false };
        refusals.iter().any(|refusal| matches!(refusal, Refusal::Expired(_)))
    }

    /// What to do next, where the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoAttestation { .. } => Some(
                "ask its publisher for it: skep attest makes them; skep verify --explain shows what there is",
            ),
            _ if self.is_revoked() => Some(
                "nothing lets in what is revoked, not even --allow-unsigned: use a version that is not, signed by a key that is not",
            ),
            _ => None,
        }
    }
}

pub(crate) fn code_of(refusals: &[Refusal]) -> &'static str {
    match refusals.first() {
        None => "trust.not-enough",
        Some(Refusal::Malformed(_)) => "trust.malformed",
        Some(Refusal::Keyless(_)) => "trust.keyless",
        Some(Refusal::AnotherKey(_)) => "trust.another-key",
        Some(Refusal::Altered(_)) => "trust.altered",
        Some(Refusal::Expired(_)) => "trust.expired",
        Some(Refusal::Revoked(_)) => "trust.revoked-key",
        Some(Refusal::AnotherPredicate { .. }) => "trust.another-predicate",
        Some(Refusal::AnotherDigest(_)) => "trust.another-digest",
    }
}

/// Why one bundle does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a bundle.
    #[error("a signature could not be read: {0}")]
    Malformed(BundleError),
    /// Signed with a certificate that does not count.
    #[error("a signature is keyless (by certificate) and does not count: {0}")]
    Keyless(String),
    /// Not one of the rule's keys.
    #[error("a signature is by another key: {}", hint(.0.as_ref()))]
    AnotherKey(Option<KeyId>),
    /// It says that a trusted key signed it, but that key did not sign these bytes.
    #[error(
        "a signature that names the trusted key {0} was altered: it does not fit what it signs"
    )]
    Altered(KeyId),
    /// A trusted key or identity whose time is over.
    #[error("a signature is by {0}, which was trusted only until its not_after")]
    Expired(By),
    /// A revoked key.
    #[error("a signature is by the key {0}, which is revoked")]
    Revoked(KeyId),
    /// A trusted key said something else about it.
    #[error(
        "{by} signed '{found}'{}, which is no signature of a package (only '{}'{} is)",
        if *older { " in a statement of the older form v0.1" } else { "" },
        media::PREDICATE_SIGN,
        if *older { " in a statement v1" } else { "" }
    )]
    AnotherPredicate {
        /// Who.
        by: By,
        /// The predicate type.
        found: String,
        /// Whether the statement is of a form that never admits.
        older: bool,
    },
    /// A trusted key signed another package or version.
    #[error(
        "{0} signed another digest, not this one: the package was altered, or the signature belongs elsewhere"
    )]
    AnotherDigest(By),
}

fn hint(key: Option<&KeyId>) -> String {
    key.map_or_else(|| "it does not say which".into(), ToString::to_string)
}

fn none(refusals: &[String]) -> String {
    match refusals {
        [] => "none is beside it".to_owned(),
        some => format!("none that is beside it counts: {}", some.join("; ")),
    }
}

fn list(refusals: &[Refusal]) -> String {
    if refusals.is_empty() {
        return "ask for the missing ones".into();
    }
    let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
