//! The shapes of a bundle and of the statement in it: what is written, and what is read.

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use skep_spec::{media, schema};

use super::{OLDER, STATEMENT, SUBJECTS_MAX, Signer};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatementOut<'a> {
    #[serde(rename = "_type")]
    pub(super) kind: &'static str,
    pub(super) subject: Vec<SubjectOut>,
    pub(super) predicate_type: &'a str,
    pub(super) predicate: &'a Value,
}

#[derive(Serialize)]
pub(super) struct SubjectOut {
    pub(super) name: String,
    pub(super) digest: SubjectDigestOut,
}

#[derive(Serialize)]
pub(super) struct SubjectDigestOut {
    pub(super) sha256: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BundleOut {
    pub(super) media_type: &'static str,
    pub(super) verification_material: MaterialOut,
    pub(super) dsse_envelope: EnvelopeOut,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MaterialOut {
    pub(super) public_key: HintOut,
}

#[derive(Serialize)]
pub(super) struct HintOut {
    pub(super) hint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvelopeOut {
    pub(super) payload_type: &'static str,
    pub(super) payload: String,
    pub(super) signatures: [SignatureOut; 1],
}

#[derive(Serialize)]
pub(super) struct SignatureOut {
    pub(super) sig: String,
}

// What is read. Unknown fields are allowed: the format grows by them, and what is signed is the payload alone.

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("not" = {"required": ["messageSignature"]}))]
pub(super) struct BundleIn {
    #[schemars(extend("const" = media::BUNDLE))]
    pub(super) media_type: String,
    pub(super) verification_material: MaterialIn,
    pub(super) dsse_envelope: EnvelopeIn,
    /// The other content that a bundle may have, instead.
    #[schemars(skip)]
    #[serde(default, deserialize_with = "is_there")]
    pub(super) message_signature: bool,
}

/// Whether a member is there, whatever it is.
fn is_there<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_| true)
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend("anyOf" = [there(&["publicKey"]), there(&["certificate"]), there(&["x509CertificateChain"])]),
    extend("not" = {"anyOf": [
        there(&["publicKey", "certificate"]),
        there(&["publicKey", "x509CertificateChain"]),
    ]}),
)]
pub(super) struct MaterialIn {
    pub(super) public_key: Option<HintIn>,
    pub(super) certificate: Option<Value>,
    pub(super) x509_certificate_chain: Option<Value>,
}

/// A schema of what has these members, none of them null.
fn there(keys: &[&str]) -> Value {
    let present = serde_json::json!({"not": {"type": "null"}});
    let members: Value = keys.iter().map(|key| ((*key).to_owned(), present.clone())).collect();
    serde_json::json!({"required": keys, "properties": members})
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct HintIn {
    #[serde(default)]
    pub(super) hint: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvelopeIn {
    #[schemars(extend("const" = media::IN_TOTO))]
    pub(super) payload_type: String,
    #[schemars(extend("format" = "skep-base64"))]
    pub(super) payload: String,
    #[schemars(length(equal = 1))]
    pub(super) signatures: Vec<SignatureIn>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct SignatureIn {
    #[schemars(extend("format" = "skep-base64"))]
    pub(super) sig: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatementIn {
    #[serde(rename = "_type")]
    #[schemars(extend("enum" = [STATEMENT, OLDER]))]
    pub(super) kind: String,
    #[schemars(length(max = SUBJECTS_MAX))]
    pub(super) subject: Vec<SubjectIn>,
    pub(super) predicate_type: String,
    #[serde(default)]
    pub(super) predicate: Value,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct SubjectIn {
    #[serde(default)]
    pub(super) name: String,
    pub(super) digest: SubjectDigestIn,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct SubjectDigestIn {
    pub(super) sha256: Option<String>,
}

/// The schemas of a bundle and of the statement in it, by their names.
pub(crate) fn schemas() -> [(&'static str, Value); 2] {
    let codes = &[("*", "trust.malformed")];
    [
        (
            "bundle",
            schema::of::<BundleIn>("bundle", "A Sigstore bundle with a DSSE envelope", codes),
        ),
        ("statement", schema::of::<StatementIn>("statement", "An in-toto statement", codes)),
    ]
}

impl MaterialIn {
    pub(super) fn signer(&self) -> Result<Signer, String> {
        let certificate = self.certificate.is_some() || self.x509_certificate_chain.is_some();
        match (&self.public_key, certificate) {
            (Some(key), false) => Ok(Signer::Key(key.hint.clone())),
            (None, true) => Ok(Signer::Certificate),
            _ => Err("its verificationMaterial should hold a publicKey or a certificate".into()),
        }
    }
}
