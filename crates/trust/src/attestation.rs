//! Attestations: signed statements about a package that never admit one.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as value};
use skep_spec::{Digest, json, media, schema};

use crate::bundle::{Bundle, BundleError, Statement};
use crate::key::{KeyId, PublicKey};
use crate::policy::Policy;
use crate::verify::{Asked, BUNDLES_MAX, By, Refusal, trusted_any};

/// Predicate types of what is no attestation.
pub const SIGNATURES: [&str; 3] =
    [media::PREDICATE_SIGN, media::PREDICATE_CHANNEL, media::PREDICATE_KEYS];

/// What a statement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// What it is made of (CycloneDX).
    Sbom,
    /// Where it comes from (SLSA).
    Provenance,
    /// On which kernels it ran.
    Report(Report),
    /// Something that this version does not know, and leaves alone.
    Other,
}

/// A compatibility report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it went.
    pub outcome: Outcome,
    /// The kernels: `uname -r` and architecture.
    pub kernels: Vec<Kernel>,
}

/// How the tests of a report went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// It ran.
    Passed,
    /// It ran adapted.
    Warned,
    /// It did not run.
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "PASSED",
            Self::Warned => "WARNED",
            Self::Failed => "FAILED",
        })
    }
}

/// What became of a package on a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub arch: String,
    /// How it went.
    pub result: Outcome,
}

/// A kernel of a report.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub arch: String,
}

/// What a rule can ask for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What it is made of.
    Sbom,
    /// Where it comes from.
    Provenance,
    /// That it ran.
    Compatibility,
}

/// A statement, and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// What it says.
    pub said: Said,
    /// Who signed it.
    pub by: By,
    /// Its predicate type.
    pub predicate_type: String,
    /// What it says, whole.
    pub predicate: Value,
}

/// Why a bundle is no attestation that can be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// Not a bundle or statement.
    #[error("the attestation cannot be read")]
    Bundle(#[from] BundleError),
    /// A predicate of another shape.
    #[error("the attestation is not as it should be: {0}")]
    Malformed(String),
    /// Signed by somebody else.
    #[error("the attestation is signed by none of the keys that were given")]
    Signer,
    /// About something else.
    #[error("the attestation is about something else than {0}")]
    AnotherDigest(Digest),
    /// A signature or a pointer.
    #[error("'{0}' is a signature, not an attestation")]
    Signature(String),
}

impl AttestationError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bundle(_) | Self::Malformed(_) => "attestation.malformed",
            Self::Signer => "attestation.signer",
            Self::AnotherDigest(_) => "attestation.another-digest",
            Self::Signature(_) => "attestation.signature",
        }
    }
}

/// An attestation beside a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its predicate type, as it says.
    pub predicate_type: String,
    /// The key that it names itself. A hint only.
    pub claimed: Option<KeyId>,
    /// What a key of the package's rule says; or why it does not count.
    pub counted: Result<Attestation, NotCounted>,
}

/// Why an attestation does not count for a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// No key of the rule signed it that counts.
    #[error(transparent)]
    Signer(#[from] Refusal),
    /// It says nothing about the package, or not as it should.
    #[error(transparent)]
    Said(#[from] AttestationError),
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Sbom, Self::Provenance, Self::Compatibility];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sbom => "sbom",
            Self::Provenance => "provenance",
            Self::Compatibility => "compatibility",
        }
    }

    /// What people call a predicate type: a kind, or itself.
    #[must_use]
    pub fn named(predicate_type: &str) -> &str {
        let kind = Self::ALL.into_iter().find(|kind| kind.predicate_type() == predicate_type);
        match kind {
            Some(kind) => kind.as_str(),
            None => predicate_type,
        }
    }

    /// Its predicate type.
    #[must_use]
    pub const fn predicate_type(self) -> &'static str {
        match self {
            Self::Sbom => media::PREDICATE_SBOM,
            Self::Provenance => media::PREDICATE_PROVENANCE,
            Self::Compatibility => media::PREDICATE_REPORT,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The attestations among the bundles that refer to a package, in their order, each held against the package's rule. Empty where
/// no rule speaks of the package.
#[must_use]
pub fn beside(
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> Vec<Beside> {
    let Some((rule, _)) = policy.rule(asked.name, asked.registry) else { return Vec::new() };
    let one = |bytes: &Vec<u8>| {
        let bundle = Bundle::parse(bytes).ok()?;
        let (predicate_type, claimed) = (attested_type(&bundle)?, bundle.signer().key_id());
        let counted = trusted_any(bytes, rule, policy, now).map_err(NotCounted::from);
        let counted = counted
            .and_then(|(signed, _)| Ok(of_statement(signed.statement, asked.digest, signed.by)?));
        Some(Beside { predicate_type, claimed, counted })
    };
    bundles.iter().take(BUNDLES_MAX).filter_map(one).collect()
}

/// Whether a bundle says that it is an attestation and no signature, whoever signed it.
#[must_use]
pub fn is_attestation(bundle: &[u8]) -> bool {
    unchecked(bundle).is_some()
}

/// What a bundle says that it is, if that is an attestation: its predicate type, and the key that it names. For showing, never
/// for trusting.
#[must_use]
pub fn unchecked(bundle: &[u8]) -> Option<(String, Option<KeyId>)> {
    let bundle = Bundle::parse(bundle).ok()?;
    Some((attested_type(&bundle)?, bundle.signer().key_id()))
}

fn attested_type(bundle: &Bundle) -> Option<String> {
    let (statement, _) = bundle.unchecked_any().ok()?;
    let is_signature = SIGNATURES.contains(&statement.predicate_type.as_str());
    (!is_signature).then_some(statement.predicate_type)
}

/// Whether one that a rule asks for is there, signed by a key of the rule. A report that it did not run is none.
pub(crate) fn is_there(
    kind: Kind,
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> bool {
    let is_it = |said: &Said| match said {
        Said::Sbom => kind == Kind::Sbom,
        Said::Provenance => kind == Kind::Provenance,
        Said::Report(report) => kind == Kind::Compatibility && report.outcome != Outcome::Failed,
        Said::Other => false,
    };
    let there = beside(asked, bundles, policy, now);
    there.iter().any(|one| one.counted.as_ref().is_ok_and(|counted| is_it(&counted.said)))
}

/// Why those of a kind that are there do not count.
pub(crate) fn refusals(
    kind: Kind,
    asked: &Asked<'_>,
    bundles: &[Vec<u8>],
    policy: &Policy,
    now: SystemTime,
) -> Vec<String> {
    let there = beside(asked, bundles, policy, now).into_iter();
    let of_kind = there.filter(|one| one.predicate_type == kind.predicate_type());
    let why = |one: Beside| match one.counted {
        Ok(_) => format!("its report says {}", Outcome::Failed),
        Err(why) => why.to_string(),
    };
    of_kind.map(why).collect()
}

/// Reads a statement about `digest` that one of `keys` signed.
///
/// # Errors
/// Not a bundle, signed by none of the keys, about something else, or a report of another shape.
pub fn read(
    bundle: &[u8],
    digest: Digest,
    keys: &[PublicKey],
) -> Result<Attestation, AttestationError> {
    let bundle = Bundle::parse(bundle)?;
    let key = keys.iter().find(|key| bundle.is_signed_by(key)).ok_or(AttestationError::Signer)?;
    let (statement, _) = bundle.open_any(key)?.ok_or(AttestationError::Signer)?;
    of_statement(statement, digest, By::Key(key.id()))
}

/// What somebody said, as an attestation about `digest`.
fn of_statement(
    statement: Statement,
    digest: Digest,
    by: By,
) -> Result<Attestation, AttestationError> {
    if SIGNATURES.contains(&statement.predicate_type.as_str()) {
        return Err(AttestationError::Signature(statement.predicate_type));
    }
    if !statement.subjects.iter().any(|subject| subject.digest == digest) {
        return Err(AttestationError::AnotherDigest(digest));
    }
    if !statement.predicate.is_object() {
        return Err(AttestationError::Malformed("its predicate should be an object".to_owned()));
    }
    let said = match statement.predicate_type.as_str() {
        media::PREDICATE_SBOM => Said::Sbom,
        media::PREDICATE_PROVENANCE => Said::Provenance,
        media::PREDICATE_REPORT => {
            Said::Report(report(&statement.predicate).map_err(AttestationError::Malformed)?)
        }
        _ => Said::Other,
    };
    let (predicate_type, predicate) = (statement.predicate_type, statement.predicate);
    Ok(Attestation { said, by, predicate_type, predicate })
}

impl Report {
    /// What a report of these kernels says: the worst of all results, and each by its name.
    ///
    /// # Errors
    /// There is no kernel, or one without a name, or twice: in words.
    pub fn predicate(tried: &[Tried]) -> Result<Value, String> {
        let name = |one: &Tried| format!("{} {}", one.release, one.arch);
        if tried.is_empty() {
            return Err("it names no kernel".to_owned());
        }
        let mut names = BTreeSet::new();
        for one in tried {
            if one.release.is_empty() || one.arch.is_empty() || !names.insert(name(one)) {
                return Err(format!(
                    "the kernel '{}' has no whole name, or is there twice",
                    name(one)
                ));
            }
        }
        let with = |result| -> Vec<String> {
            tried.iter().filter(|one| one.result == result).map(name).collect()
        };
        let kernel = |one: &Tried| value!({"name": "kernel", "annotations": {"release": one.release, "arch": one.arch}});
        let predicate = value!({
            "result": tried.iter().map(|one| one.result).max(),
            "configuration": tried.iter().map(kernel).collect::<Vec<_>>(),
            "passedTests": with(Outcome::Passed),
            "warnedTests": with(Outcome::Warned),
            "failedTests": with(Outcome::Failed),
        });
        report(&predicate).map(|_| predicate) // as every reader will look at it
    }
}

/// The schema of a compatibility report.
pub(crate) fn schema() -> Value {
    let codes = &[("*", "attestation.malformed")];
    schema::of::<Predicate>("report", "The predicate of a compatibility report", codes)
}

#[derive(Deserialize, JsonSchema)]
struct Predicate {
    result: Outcome,
    #[schemars(length(min = 1))]
    configuration: Vec<Configuration>,
    #[serde(default, rename = "passedTests")]
    _passed: Vec<String>,
    #[serde(default, rename = "warnedTests")]
    _warned: Vec<String>,
    #[serde(default, rename = "failedTests")]
    _failed: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Configuration {
    name: String,
    #[serde(default)]
    annotations: Value,
}

fn report(predicate: &Value) -> Result<Report, String> {
    let said: Predicate = json::typed(predicate.clone()).map_err(|error| error.to_string())?;
    let kernels = said.configuration.iter().filter(|entry| entry.name == "kernel");
    let kernels: Result<Vec<Kernel>, _> =
        kernels.map(|entry| json::typed(entry.annotations.clone())).collect();
    let kernels = kernels.map_err(|error| error.to_string())?;
    if kernels.is_empty() {
        return Err("it names no kernel".to_owned());
    }
    Ok(Report { outcome: said.result, kernels })
}
