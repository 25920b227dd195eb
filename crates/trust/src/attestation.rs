//! Attestations: signed statements about a package that never admit one.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use skep_spec::{Digest, json, media, schema};

use crate::bundle::{Bundle, BundleError};
use crate::key::{KeyId, PublicKey};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// It ran.
    Passed,
    /// It ran adapted.
    Warned,
    /// It did not run.
    Failed,
}

/// A kernel of a report.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub arch: String,
}

/// A statement, and who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// What it says.
    pub said: Said,
    /// The key that signed it.
    pub key: KeyId,
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
    let signatures = [media::PREDICATE_SIGN, media::PREDICATE_CHANNEL, media::PREDICATE_KEYS];
    if signatures.contains(&statement.predicate_type.as_str()) {
        return Err(AttestationError::Signature(statement.predicate_type));
    }
    if !statement.subjects.iter().any(|subject| subject.digest == digest) {
        return Err(AttestationError::AnotherDigest(digest));
    }
    if !statement.predicate.is_object() {
        return Err(AttestationError::Malformed("its predicate should be an object".to_owned()));
    }
    let said = match statement.predicate_type.as_str() {
        "https://cyclonedx.org/bom" => Said::Sbom,
        "https://slsa.dev/provenance/v1" => Said::Provenance,
        "https://in-toto.io/attestation/test-result/v0.1" => {
            Said::Report(report(&statement.predicate).map_err(AttestationError::Malformed)?)
        }
        _ => Said::Other,
    };
    let (predicate_type, predicate) = (statement.predicate_type, statement.predicate);
    Ok(Attestation { said, key: key.id(), predicate_type, predicate })
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
