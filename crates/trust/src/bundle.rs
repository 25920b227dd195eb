//! Signature bundles: a Sigstore bundle v0.3 that holds a DSSE envelope over an in-toto Statement v1, byte for
//! byte what `cosign sign --key` v3 writes and `cosign verify --key` reads.
//!
//! DSSE: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>; Statement v1:
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>; bundle: sigstore protobuf-specs.

mod wire;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use skep_spec::{Digest, json, media};

pub(crate) use wire::schemas;

use self::wire::{
    BundleIn, BundleOut, EnvelopeOut, HintOut, MaterialOut, SignatureOut, StatementIn,
    StatementOut, SubjectDigestOut, SubjectIn, SubjectOut,
};
use crate::key::{KeyError, KeyId, PublicKey, SigningKey};

/// Largest bundle that is read, in bytes. Ours have about 900.
pub const BUNDLE_MAX: usize = 1024 * 1024;
/// Most subjects of a statement that is read.
pub const SUBJECTS_MAX: usize = 64;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The form before it, in which `cosign attest` still writes: it never admits a package.
const OLDER: &str = "https://in-toto.io/Statement/v0.1";

/// What a statement is about: a digest, with a name for people. Only digests are ever checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// `index`, or `linux/ARCH` with GOARCH's spelling.
    pub name: String,
    /// SHA-256 of an index or manifest.
    pub digest: Digest,
}

/// A parsed bundle whose signature nobody checked yet: its statement is still closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    signer: Signer,
    payload_type: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Who a bundle says signed it. A hint only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// A key, by the hint in the bundle; cosign's and ours are key ids.
    Key(String),
    /// A certificate: a keyless signature.
    Certificate,
}

/// A statement whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it is about.
    pub subjects: Vec<Subject>,
    /// What it says about them.
    pub predicate_type: String,
    /// The rest of what it says; null where there is nothing.
    pub predicate: Value,
}

/// Why bytes are not a bundle that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct BundleError {
    what: &'static str,
    why: String,
}

/// Signs a statement of `predicate_type` about `subjects`, with an empty predicate, as a bundle.
///
/// # Errors
/// When there is no signature by the key to be had.
pub fn sign(
    key: &dyn SigningKey,
    subjects: &[Subject],
    predicate_type: &str,
) -> Result<Vec<u8>, KeyError> {
    sign_predicate(key, subjects, predicate_type, &Value::Object(serde_json::Map::new()))
}

/// Signs a statement with a predicate, such as a channel's pointer.
///
/// # Errors
/// When there is no signature by the key to be had.
pub fn sign_predicate(
    key: &dyn SigningKey,
    subjects: &[Subject],
    predicate_type: &str,
    predicate: &Value,
) -> Result<Vec<u8>, KeyError> {
    let encode = |e: serde_json::Error| KeyError::Encode(e.to_string());
    signed(key, &statement(subjects, predicate_type, predicate).map_err(encode)?)
}

fn signed(key: &dyn SigningKey, payload: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (public, message) = (key.public()?, pae(media::IN_TOTO, payload));
    let signature = key.sign(&message)?;
    if !public.verifies(&message, &signature) {
        return Err(KeyError::NotSigned(public.id()));
    }
    let bundle = BundleOut {
        media_type: media::BUNDLE,
        verification_material: MaterialOut { public_key: HintOut { hint: public.id().hint() } },
        dsse_envelope: EnvelopeOut {
            payload_type: media::IN_TOTO,
            payload: STANDARD.encode(payload),
            signatures: [SignatureOut { sig: STANDARD.encode(signature) }],
        },
    };
    serde_json::to_vec(&bundle).map_err(|e| KeyError::Encode(e.to_string()))
}

impl Bundle {
    /// Reads a bundle: its envelope, not yet the statement in it.
    ///
    /// # Errors
    /// When it is larger than [`BUNDLE_MAX`], is no bundle v0.3 with a DSSE envelope of an in-toto statement, has
    /// a key twice, or has not exactly one signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let fail = |why: String| BundleError { what: "this is not a Sigstore bundle", why };
        let bundle: BundleIn =
            json::read(bytes, BUNDLE_MAX).map_err(|error| fail(error.to_string()))?;
        if bundle.media_type != media::BUNDLE {
            return Err(fail(format!(
                "its mediaType is '{}', expected '{}'",
                bundle.media_type.escape_debug(),
                media::BUNDLE
            )));
        }
        // Who reads the one as signed must not take the other for it.
        if bundle.message_signature {
            return Err(fail("it has a messageSignature beside its envelope".to_owned()));
        }
        let envelope = bundle.dsse_envelope;
        if envelope.payload_type != media::IN_TOTO {
            let found = envelope.payload_type.escape_debug();
            return Err(fail(format!(
                "its payloadType is '{found}', expected '{}'",
                media::IN_TOTO
            )));
        }
        let [signature] = envelope.signatures.as_slice() else {
            let count = envelope.signatures.len();
            return Err(fail(format!("it has {count} signatures, expected one")));
        };
        let decode = |what: &str, text: &str| {
            STANDARD.decode(text).map_err(|e| fail(format!("its {what} is not base64: {e}")))
        };
        Ok(Self {
            signer: bundle.verification_material.signer().map_err(fail)?,
            payload: decode("payload", &envelope.payload)?,
            signature: decode("signature", &signature.sig)?,
            payload_type: envelope.payload_type,
        })
    }

    /// Who the bundle says signed it.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What is signed, whoever signed it: to tell whether two bundles say the same.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The same statement, to the byte, signed by another key as well.
    ///
    /// # Errors
    /// When there is no signature by the key to be had.
    pub fn also_signed_by(&self, key: &dyn SigningKey) -> Result<Vec<u8>, KeyError> {
        signed(key, &self.payload)
    }

    /// Whether `key` signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&pae(&self.payload_type, &self.payload), &self.signature)
    }

    /// The statement, opened only if `key` signed it; `None` if another did, or the bundle was altered.
    ///
    /// # Errors
    /// When the signed payload is not a statement that we read.
    pub fn open(&self, key: &PublicKey) -> Result<Option<Statement>, BundleError> {
        if !self.is_signed_by(key) {
            return Ok(None);
        }
        Statement::parse(&self.payload).map(Some)
    }

    /// As [`Bundle::open`], of a statement of the older form too; whether it is that.
    pub(crate) fn open_any(
        &self,
        key: &PublicKey,
    ) -> Result<Option<(Statement, bool)>, BundleError> {
        if !self.is_signed_by(key) {
            return Ok(None);
        }
        Statement::parse_any(&self.payload).map(Some)
    }

    /// As [`Bundle::unchecked_statement`], of the older form too; whether it is that.
    pub(crate) fn unchecked_any(&self) -> Result<(Statement, bool), BundleError> {
        Statement::parse_any(&self.payload)
    }

    /// The statement, whoever signed it: for showing, never for trusting.
    ///
    /// # Errors
    /// When the payload is not a statement that we read.
    pub fn unchecked_statement(&self) -> Result<Statement, BundleError> {
        Statement::parse(&self.payload)
    }
}

impl Signer {
    /// The key id that the hint spells, if it spells one.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::Key(hint) => KeyId::from_hint(hint),
            Self::Certificate => None,
        }
    }
}

impl Statement {
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, BundleError> {
        match Self::parse_any(payload)? {
            (statement, false) => Ok(statement),
            (_, true) => Err(Self::other_type(OLDER)),
        }
    }

    fn other_type(found: &str) -> BundleError {
        let why = format!("its _type is '{}', expected '{STATEMENT}'", found.escape_debug());
        BundleError { what: "this is not an in-toto statement", why }
    }

    /// A statement, and whether it is of the older form.
    fn parse_any(payload: &[u8]) -> Result<(Self, bool), BundleError> {
        let fail = |why: String| BundleError { what: "this is not an in-toto statement", why };
        let statement: StatementIn =
            json::read(payload, BUNDLE_MAX).map_err(|error| fail(error.to_string()))?;
        let is_older = statement.kind == OLDER;
        if statement.kind != STATEMENT && !is_older {
            return Err(Self::other_type(&statement.kind));
        }
        if statement.subject.len() > SUBJECTS_MAX {
            let count = statement.subject.len();
            return Err(fail(format!("it has {count} subjects, more than {SUBJECTS_MAX}")));
        }
        // A subject with another algorithm's digest alone is none that anybody asks us for.
        let subject = |subject: SubjectIn| {
            let digest = format!("sha256:{}", subject.digest.sha256?).parse().ok()?;
            Some(Subject { name: subject.name, digest })
        };
        let statement = Self {
            subjects: statement.subject.into_iter().filter_map(subject).collect(),
            predicate_type: statement.predicate_type,
            predicate: statement.predicate,
        };
        Ok((statement, is_older))
    }
}

/// DSSE's pre-authentication encoding: what a signature covers.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    out.reserve(payload.len());
    let mut out = out.into_bytes();
    out.extend_from_slice(payload);
    out
}

/// A statement, as it is signed.
///
/// # Errors
/// The predicate cannot be written as JSON.
pub fn statement(
    subjects: &[Subject],
    predicate_type: &str,
    predicate: &Value,
) -> Result<Vec<u8>, serde_json::Error> {
    let subject = |subject: &Subject| SubjectOut {
        name: subject.name.clone(),
        digest: SubjectDigestOut { sha256: subject.digest.hex() },
    };
    serde_json::to_vec(&StatementOut {
        kind: STATEMENT,
        subject: subjects.iter().map(subject).collect(),
        predicate_type,
        predicate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use crate::key::KeyKind;
    use proptest::prelude::*;

    fn subjects() -> Vec<Subject> {
        vec![
            Subject { name: "index".into(), digest: Digest::of(b"index") },
            Subject { name: "linux/amd64".into(), digest: Digest::of(b"amd64") },
        ]
    }

    /// A fixed key, so that the bytes below are fixed too: Ed25519 signatures are deterministic.
    fn key() -> SecretKey {
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                   -----END PRIVATE KEY-----\n"; // RFC 8032 §7.1, test 1
        SecretKey::from_pem(pem).unwrap()
    }

    #[test]
    fn writes_these_bytes() {
        let bytes = sign(&key(), &subjects(), media::PREDICATE_SIGN).unwrap();
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
        let payload =
            statement(&subjects(), media::PREDICATE_SIGN, &serde_json::json!({})).unwrap();
        insta::assert_snapshot!(String::from_utf8(payload).unwrap());
    }

    #[test]
    fn pae_is_as_in_the_dsse_protocol() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
    }

    #[test]
    fn opens_for_its_signer_only() {
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            let secret = SecretKey::generate(kind).unwrap();
            let bytes = sign(&secret, &subjects(), "urn:other").unwrap();
            let bundle = Bundle::parse(&bytes).unwrap();
            let public = secret.public().unwrap();
            let statement = bundle.open(&public).unwrap().unwrap();
            assert_eq!(statement, bundle.unchecked_statement().unwrap());
            assert_eq!(statement.subjects, subjects());
            assert_eq!(statement.predicate_type, "urn:other");
            assert_eq!(bundle.signer().key_id(), Some(public.id()));
            let other = SecretKey::generate(kind).unwrap().public().unwrap();
            assert_eq!(bundle.open(&other).unwrap(), None);
        }
    }

    #[test]
    fn says_why_bytes_are_no_bundle() {
        let good = String::from_utf8(sign(&key(), &subjects(), "urn:x").unwrap()).unwrap();
        let with = |from: &str, to: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            Bundle::parse(text.as_bytes()).unwrap_err().to_string()
        };
        let errors = [
            with("bundle.v0.3", "bundle.v0.2"),
            with("vnd.in-toto+json", "vnd.\u{1b}[31mred"),
            with(r#""signatures":["#, r#""signatures":[{"sig":""},"#),
            with(r#""payload":""#, r#""payload":"!"#),
            with(r#""sig":""#, r#""sig":"!"#),
            with(r#""publicKey""#, r#""nothing""#),
            with(r#"{"publicKey":"#, r#"{"certificate":{},"publicKey":"#),
            with(r#""dsseEnvelope""#, r#""messageSignature""#),
            with(r#"{"mediaType""#, r#"{"mediaType":"x","mediaType""#),
            Bundle::parse(b"").unwrap_err().to_string(),
            Bundle::parse(&vec![b' '; BUNDLE_MAX + 1]).unwrap_err().to_string(),
        ];
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn says_why_a_payload_is_no_statement() {
        let many = format!(
            r#"{{"_type":"{STATEMENT}","predicateType":"x","subject":[{}]}}"#,
            vec![r#"{"digest":{}}"#; SUBJECTS_MAX + 1].join(",")
        );
        let errors = [
            Statement::parse(br#"{"_type":"x","subject":[],"predicateType":""}"#).unwrap_err(),
            Statement::parse(br#"{"_type":"x","_type":"x"}"#).unwrap_err(),
            Statement::parse(many.as_bytes()).unwrap_err(),
            Statement::parse(b"[]").unwrap_err(),
        ];
        insta::assert_snapshot!(errors.map(|e| e.to_string()).join("\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Bundle::parse(&bytes).is_err());
            prop_assert!(Statement::parse(&bytes).is_err());
        }

        #[test]
        fn one_altered_byte_never_verifies(at in 0usize..900, to in any::<u8>()) {
            let mut bytes = sign(&key(), &subjects(), media::PREDICATE_SIGN).unwrap();
            let at = at % bytes.len();
            let before = Bundle::parse(&bytes).unwrap();
            bytes[at] = to;
            if let Ok(bundle) = Bundle::parse(&bytes) {
                // Bytes that are not signed (hint, white space) may change; what is signed may not.
                let same = bundle.payload == before.payload && bundle.signature == before.signature;
                prop_assert_eq!(bundle.is_signed_by(&key().public().unwrap()), same);
            }
        }
    }
}
