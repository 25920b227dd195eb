//! Parts 9 and 10.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};
use skep_spec::{Channel, Digest, PackageName};
use skep_trust::attestation::{self, AttestationError, Said};
use skep_trust::channel::{self, Seen};
use skep_trust::rotation::{self, Keys};
use skep_trust::{Asked, By, KeyId, Origin, Policy, PublicKey, time, verify as verify_digest};

use super::{Answered, Bytes, Failure, question, refused, unreadable};

fn public(spki: &str) -> Result<PublicKey, Failure> {
    PublicKey::from_spki_base64(spki).map_err(|error| refused("key.spki", &error))
}

fn moment(text: &str) -> Result<SystemTime, Failure> {
    time::parse(text).ok_or_else(|| unreadable(format!("'{text}' is no time")))
}

fn ids(keys: impl IntoIterator<Item = KeyId>) -> Vec<String> {
    let mut ids: Vec<String> = keys.into_iter().map(|key| key.to_string()).collect();
    ids.sort();
    ids
}

fn raw(bundles: Vec<Bytes>) -> Vec<Vec<u8>> {
    bundles.into_iter().map(|bundle| bundle.0).collect()
}

pub(super) fn key(input: &Value) -> Answered {
    let spki = input.get("spki").and_then(Value::as_str).ok_or_else(|| unreadable("no spki"))?;
    Ok(json!({"id": public(spki)?.id()}))
}

pub(super) fn policy(input: &Value) -> Answered {
    let text = input.get("text").and_then(Value::as_str).ok_or_else(|| unreadable("no text"))?;
    Policy::parse(text)?;
    Ok(json!({}))
}

pub(super) fn verify(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Question {
        policy: String,
        name: PackageName,
        registry: Option<String>,
        digest: Digest,
        bundles: Vec<Bytes>,
        now: String,
    }
    let asked: Question = question(input)?;
    let policy = Policy::parse(&asked.policy)?;
    let registry = asked.registry.as_deref();
    let who = Asked { name: &asked.name, registry, digest: asked.digest };
    let verified = verify_digest(&who, &raw(asked.bundles), &policy, moment(&asked.now)?)?;
    match verified.origin() {
        Origin::Signed { keys, .. } => Ok(json!({"keys": ids(keys.iter().copied())})),
        other => Err(unreadable(format!("let in without a signature: {other}"))),
    }
}

pub(super) fn rotation(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Question {
        publisher: String,
        trusted: Trusted,
        documents: Vec<Vec<Bytes>>,
        #[serde(default)]
        revoked: Vec<KeyId>,
    }
    #[derive(Deserialize)]
    struct Trusted {
        version: u64,
        threshold: usize,
        keys: Vec<String>,
    }
    let asked: Question = question(input)?;
    let keys: Result<Vec<_>, _> = asked.trusted.keys.iter().map(|spki| public(spki)).collect();
    let trusted = Keys {
        publisher: asked.publisher,
        version: asked.trusted.version,
        threshold: asked.trusted.threshold,
        keys: keys?,
        expires: None,
    };
    let documents: Vec<_> = asked.documents.into_iter().map(raw).collect();
    let keys = rotation::follow(trusted, &documents, &asked.revoked.into_iter().collect())?;
    Ok(json!({"version": keys.version, "keys": ids(keys.keys.iter().map(PublicKey::id))}))
}

pub(super) fn channel(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Question {
        policy: String,
        name: PackageName,
        registry: Option<String>,
        channel: Channel,
        bundles: Vec<Bytes>,
        now: String,
        known: Option<Known>,
    }
    #[derive(Deserialize)]
    struct Known {
        sequence: u64,
        digest: Digest,
    }
    let asked: Question = question(input)?;
    let policy = Policy::parse(&asked.policy)?;
    let registry = asked.registry.as_deref();
    let which = channel::Asked { name: &asked.name, registry, channel: &asked.channel };
    let seen = asked.known.map(|Known { sequence, digest }| Seen { sequence, digest });
    let now = moment(&asked.now)?;
    let pointer = channel::follow(&which, &raw(asked.bundles), &policy, seen, now)?;
    Ok(json!({"digest": pointer.digest, "sequence": pointer.sequence}))
}

pub(super) fn attestation(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Question {
        bundle: Bytes,
        digest: Digest,
        keys: Vec<String>,
    }
    let asked: Question = question(input)?;
    let keys: Result<Vec<_>, _> = asked.keys.iter().map(|spki| public(spki)).collect();
    let found = attestation::read(&asked.bundle.0, asked.digest, &keys?)?;
    let By::Key(key) = found.by else { return Err(AttestationError::Signer.into()) };
    Ok(match found.said {
        Said::Sbom => json!({"kind": "sbom", "key": key}),
        Said::Provenance => json!({"kind": "provenance", "key": key}),
        Said::Other => json!({"kind": "other", "key": key}),
        Said::Report(report) => {
            let kernels = report.kernels.iter();
            let kernels = kernels.map(|k| json!({"release": k.release, "arch": k.arch}));
            let result = format!("{:?}", report.outcome).to_uppercase();
            json!({"kind": "report", "key": key, "result": result, "kernels": kernels.collect::<Vec<_>>()})
        }
    })
}
