//! A publisher's keys over time: each version of the document is signed by the keys of the one before.

use std::collections::BTreeSet;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::param::MAX_EXACT;
use skep_spec::{Digest, json, media, schema};

use crate::bundle::{Bundle, Statement, Subject, sign_predicate};
use crate::key::{KeyError, KeyId, PublicKey, SigningKey};
use crate::time;

/// Most keys of a document.
pub const KEYS_MAX: usize = 64;

/// A publisher's keys at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The first half of a package name.
    pub publisher: String,
    /// From 1.
    pub version: u64,
    /// How many different keys must sign.
    pub threshold: usize,
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// The last moment at which they admit packages.
    pub expires: Option<SystemTime>,
}

/// Why a rotation was not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// Not a document of keys.
    #[error("version {version} of the keys is not as it should be: {why}")]
    Malformed {
        /// The version that should come.
        version: u64,
        /// What is wrong.
        why: String,
    },
    /// Of another publisher.
    #[error("these are the keys of '{found}', not of '{asked}'")]
    Publisher {
        /// Whose keys are followed.
        asked: String,
        /// Whose came.
        found: String,
    },
    /// Not the next version.
    #[error(
        "version {found} of the keys came where {expected} should: versions are followed one by one"
    )]
    Version {
        /// What should come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// Too few signatures.
    #[error(
        "version {version} of the keys has {found} of the {needed} signatures by {which} keys that it needs"
    )]
    Threshold {
        /// The version.
        version: u64,
        /// `the old` or `its own`.
        which: &'static str,
        /// How many count.
        found: usize,
        /// How many there should be.
        needed: usize,
    },
}

impl RotationError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "rotation.malformed",
            Self::Publisher { .. } => "rotation.publisher",
            Self::Version { .. } => "rotation.version",
            Self::Threshold { .. } => "rotation.threshold",
        }
    }
}

/// The schema of a document of keys.
pub(crate) fn schema() -> serde_json::Value {
    let codes = &[("*", "rotation.malformed")];
    schema::of::<Predicate>("keys", "The predicate of a publisher's keys", codes)
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Predicate {
    #[schemars(regex(pattern = "^(?=.{1,64}$)[a-z0-9]+(-[a-z0-9]+)*$"))]
    publisher: String,
    #[schemars(range(min = 1, max = MAX_EXACT))]
    version: u64,
    #[schemars(range(min = 1, max = KEYS_MAX))]
    threshold: usize,
    #[schemars(length(min = 1, max = KEYS_MAX), extend("items" = {"type": "string", "format": "skep-spki"}))]
    keys: Vec<String>,
    #[schemars(regex(pattern = time::PATTERN), extend("format" = "skep-time"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl Keys {
    /// What a bundle says, whoever signed it: for showing, and for signing it too, never for trusting.
    ///
    /// # Errors
    /// When it is no document of keys.
    pub fn unchecked(bundle: &[u8]) -> Result<Self, String> {
        read(Bundle::parse(bundle).map_err(|error| error.to_string())?.payload())
    }

    /// Signs this version, as a bundle: the same payload whoever signs.
    ///
    /// # Errors
    /// When its time has no spelling, or there is no signature by the key to be had.
    pub fn sign(&self, key: &dyn SigningKey) -> Result<Vec<u8>, KeyError> {
        let encode = KeyError::Encode;
        let spelled = |moment| time::format(moment).ok_or_else(|| encode("its time".to_owned()));
        let predicate = Predicate {
            publisher: self.publisher.clone(),
            version: self.version,
            threshold: self.threshold,
            keys: self.keys.iter().map(PublicKey::spki_base64).collect(),
            expires: self.expires.map(spelled).transpose()?,
        };
        let predicate = serde_json::to_value(predicate).map_err(|e| encode(e.to_string()))?;
        let digest = Digest::of(&json::canonical(&predicate));
        let subject = Subject { name: "keys".to_owned(), digest };
        sign_predicate(key, &[subject], media::PREDICATE_KEYS, &predicate)
    }
}

/// Follows documents, each a list of bundles, from keys that are trusted.
///
/// # Errors
/// A document that is none, of another publisher, that does not follow, or that too few of the old or of its own keys
/// signed.
pub fn follow(
    trusted: Keys,
    documents: &[Vec<Vec<u8>>],
    revoked: &BTreeSet<KeyId>,
) -> Result<Keys, RotationError> {
    let (reached, refused) = lead(trusted.clone(), documents, revoked);
    refused.map_or_else(|| Ok(reached.last().cloned().unwrap_or(trusted)), Err)
}

/// Follows them as far as they lead: each version that was come to, and why it goes no further than the last.
#[must_use]
pub fn lead(
    trusted: Keys,
    documents: &[Vec<Vec<u8>>],
    revoked: &BTreeSet<KeyId>,
) -> (Vec<Keys>, Option<RotationError>) {
    let mut reached = Vec::new();
    let mut at = trusted;
    for document in documents {
        match next(&at, document, revoked) {
            Err(error) => return (reached, Some(error)),
            Ok(new) => at = new,
        }
        reached.push(at.clone());
    }
    (reached, None)
}

fn next(
    old: &Keys,
    document: &[Vec<u8>],
    revoked: &BTreeSet<KeyId>,
) -> Result<Keys, RotationError> {
    let version = old.version.saturating_add(1);
    let malformed = |why: String| RotationError::Malformed { version, why };
    let bundles: Vec<Bundle> = document.iter().filter_map(|b| Bundle::parse(b).ok()).collect();
    if bundles.is_empty() {
        return Err(malformed("no bundle can be read".to_owned()));
    }
    let mut payloads: Vec<&[u8]> = Vec::new();
    for bundle in &bundles {
        if !payloads.contains(&bundle.payload()) {
            payloads.push(bundle.payload());
        }
    }
    let by = |keys: &[PublicKey], payload: &[u8]| signers(&bundles, payload, keys, revoked);
    let (mut most, mut refused, mut found) = (0, Vec::new(), Vec::new());
    for payload in payloads {
        let count = by(&old.keys, payload);
        most = most.max(count);
        if count >= old.threshold {
            match followed(old, version, payload, &by) {
                Ok(new) => found.push(new),
                Err(error) => refused.push(error),
            }
        }
    }
    let (which, needed) = ("the old", old.threshold);
    match (found.pop(), found.is_empty(), refused.into_iter().next()) {
        (Some(new), true, _) => Ok(new),
        (Some(_), false, _) => Err(malformed("its keys signed two of them".to_owned())),
        (None, _, Some(error)) => Err(error),
        (None, ..) => Err(RotationError::Threshold { version, which, found: most, needed }),
    }
}

/// A payload that enough of the old keys signed, as the next version.
fn followed(
    old: &Keys,
    version: u64,
    payload: &[u8],
    by: &impl Fn(&[PublicKey], &[u8]) -> usize,
) -> Result<Keys, RotationError> {
    let new = read(payload).map_err(|why| RotationError::Malformed { version, why })?;
    if new.publisher != old.publisher {
        let (asked, found) = (old.publisher.clone(), new.publisher.escape_debug().to_string());
        return Err(RotationError::Publisher { asked, found });
    }
    if new.version != version {
        return Err(RotationError::Version { expected: version, found: new.version });
    }
    let (found, needed) = (by(&new.keys, payload), new.threshold);
    if found < needed {
        return Err(RotationError::Threshold { version, which: "its own", found, needed });
    }
    Ok(new)
}

/// How many of the keys of a version have signed it.
#[must_use]
pub fn own_signers(keys: &Keys, document: &[Vec<u8>], revoked: &BTreeSet<KeyId>) -> usize {
    signers_of(keys, document, &keys.keys, revoked)
}

/// How many of these keys have signed a version.
pub(crate) fn signers_of(
    keys: &Keys,
    document: &[Vec<u8>],
    by: &[PublicKey],
    revoked: &BTreeSet<KeyId>,
) -> usize {
    let bundles: Vec<Bundle> = document.iter().filter_map(|b| Bundle::parse(b).ok()).collect();
    // Payloads may differ in their white space, and anybody adds one that nobody signed.
    let same = bundles.iter().filter(|one| read(one.payload()).is_ok_and(|said| said == *keys));
    let count = |one: &Bundle| signers(&bundles, one.payload(), by, revoked);
    same.map(count).max().unwrap_or_default()
}

/// How many different keys signed a payload.
fn signers(
    bundles: &[Bundle],
    payload: &[u8],
    keys: &[PublicKey],
    revoked: &BTreeSet<KeyId>,
) -> usize {
    let same = || bundles.iter().filter(|bundle| bundle.payload() == payload);
    let counts = |key: &&PublicKey| {
        !revoked.contains(&key.id()) && same().any(|bundle| bundle.is_signed_by(key))
    };
    keys.iter().filter(counts).count()
}

fn read(payload: &[u8]) -> Result<Keys, String> {
    let statement = Statement::parse(payload).map_err(|error| error.to_string())?;
    if statement.predicate_type != media::PREDICATE_KEYS {
        return Err("it is signed as something else".to_owned());
    }
    if let Some(number) = json::inexact(&statement.predicate) {
        return Err(format!("it holds the number {number}"));
    }
    let digest = Digest::of(&json::canonical(&statement.predicate));
    let subject = statement.subjects.as_slice();
    if !matches!(subject, [one] if one.name == "keys" && one.digest == digest) {
        return Err("its subject is not the digest of what it says".to_owned());
    }
    let said: Predicate =
        json::typed(statement.predicate.clone()).map_err(|error| error.to_string())?;
    let keys: Result<Vec<_>, _> =
        said.keys.iter().map(|spki| PublicKey::from_spki_base64(spki)).collect();
    let keys = keys.map_err(|error| error.to_string())?;
    let ids: BTreeSet<KeyId> = keys.iter().map(PublicKey::id).collect();
    let expires =
        said.expires.as_deref().map(|text| time::parse(text).ok_or("it has no such time"));
    let expires = expires.transpose()?;
    let name = format!("{}/x", said.publisher).parse::<skep_spec::PackageName>();
    let fine = name.is_ok()
        && said.version > 0
        && (1..=KEYS_MAX).contains(&keys.len())
        && ids.len() == keys.len()
        && (1..=keys.len()).contains(&said.threshold);
    if !fine {
        return Err("its publisher, version, threshold or keys cannot be meant".to_owned());
    }
    let Predicate { publisher, version, threshold, .. } = said;
    Ok(Keys { publisher, version, threshold, keys, expires })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use crate::key::KeyKind;

    #[test]
    fn what_is_written_is_followed() {
        let key = |kind| SecretKey::generate(kind).unwrap();
        let (old, new) = (key(KeyKind::Ed25519), key(KeyKind::P256));
        let of = |version, key: &SecretKey, expires: Option<&str>| Keys {
            publisher: "acme".to_owned(),
            version,
            threshold: 1,
            keys: vec![key.public().unwrap()],
            expires: expires.map(|text| time::parse(text).unwrap()),
        };
        let first = of(1, &old, None);
        let second = of(2, &new, Some("2028-01-01T00:00:00Z"));
        let by_old = second.sign(&old).unwrap();
        assert_eq!(Keys::unchecked(&by_old).unwrap(), second);
        let by_new = Bundle::parse(&by_old).unwrap().also_signed_by(&new).unwrap();
        assert_eq!(
            Bundle::parse(&second.sign(&new).unwrap()).unwrap().payload(),
            Bundle::parse(&by_new).unwrap().payload()
        );
        let followed = |document: &[&Vec<u8>]| {
            let document = document.iter().map(|bundle| (*bundle).clone()).collect();
            follow(first.clone(), &[document], &BTreeSet::new())
        };
        assert_eq!(followed(&[&by_old, &by_new]).unwrap(), second);
        for alone in [&by_old, &by_new] {
            assert_eq!(followed(&[alone]).unwrap_err().code(), "rotation.threshold");
        }
    }
}
