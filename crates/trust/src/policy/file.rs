//! The form of `trust.toml`, before it is known what its rules mean.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use skep_spec::toml_1_0::{self, Later};
use skep_spec::{Digest, json, schema};

use crate::attestation::Kind;
use crate::key::KeyId;

/// Reads the file twice: TOML's own reader says where a mistake is, and takes a list for a table.
pub(super) fn read(text: &str) -> Result<PolicyFile, String> {
    if text.starts_with('\u{feff}') {
        return Err("it begins with a byte order mark".to_owned());
    }
    let _: PolicyFile = toml::from_str(text).map_err(|error| said(&error))?;
    if let Some(Later { at, why }) = toml_1_0::later(text).first() {
        let line = text.bytes().take(*at).filter(|byte| *byte == b'\n').count() + 1;
        return Err(format!("line {line}: this is not TOML 1.0: {why}"));
    }
    let table: toml::Table = toml::from_str(text).map_err(|error| said(&error))?;
    let value = serde_json::to_value(table).map_err(|error| error.to_string())?;
    json::typed(value).map_err(|error| error.to_string())
}

/// The lines of TOML's reader; what they repeat of the file's names makes no further ones.
fn said(error: &toml::de::Error) -> String {
    let message = error.message();
    error.to_string().replace(message, &skep_spec::line(message))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    #[serde(default)]
    pub(super) rule: Vec<RuleFile>,
    pub(super) revoked: Option<RevokedFile>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    #[schemars(length(min = 1), extend("items" = {"type": "string", "format": "skep-pattern"}))]
    pub(super) packages: Vec<String>,
    #[schemars(length(min = 1))]
    pub(super) registries: Option<Vec<String>>,
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub(super) threshold: i64,
    #[serde(default)]
    pub(super) keys: Vec<KeyFile>,
    #[serde(default)]
    pub(super) keyless: Vec<KeylessFile>,
    #[serde(default)]
    pub(super) follow: bool,
    #[schemars(length(min = 1), extend("items" = {"type": "string", "enum": Kind::ALL}))]
    pub(super) attestations: Option<Vec<Kind>>,
}

fn one() -> i64 {
    1
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    #[schemars(extend("format" = "skep-spki"))]
    pub(super) spki: String,
    /// A moment with its offset; in a schema, TOML's moments are texts.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(super) not_after: Option<toml::value::Datetime>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeylessFile {
    pub(super) issuer: String,
    pub(super) identity: String,
    pub(super) trusted_root: Option<String>,
    /// As a key's.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub(super) not_after: Option<toml::value::Datetime>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokedFile {
    #[serde(default)]
    #[schemars(with = "Vec<KeyId>")]
    pub(super) keys: BTreeSet<KeyId>,
    #[serde(default)]
    #[schemars(with = "Vec<Digest>")]
    pub(super) digests: BTreeSet<Digest>,
}

/// The schema of the file.
pub(crate) fn schema() -> serde_json::Value {
    let codes =
        [("minItems", "policy.rule"), ("minimum", "policy.rule"), ("format", "policy.rule")];
    let codes = [&codes[..], &[("*", "policy.syntax")]].concat();
    schema::of::<PolicyFile>("trust.toml", "Whose signatures let a package in", &codes)
}
