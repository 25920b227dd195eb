//! Signing keys: Ed25519 and P-256, as the PKCS#8 and SPKI PEM that openssl and cosign read.

mod passphrase;
mod signing;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8 as ed_pkcs8;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    LineEnding,
};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

pub use self::signing::SigningKey;

/// Longest PEM or DER that is read as a key, in bytes. Real ones have 120 to 250.
const KEY_MAX: usize = 4096;

/// A private key. It never shows in `Debug` and is wiped from memory when dropped.
pub struct SecretKey(Secret);

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    public: Public,
    spki: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

/// A key's id: the SHA-256 of its SPKI DER, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; 32]);

skep_spec::text_schema!(KeyId, "pattern": "^[0-9a-f]{64}$");

/// The kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over NIST P-256 with SHA-256, what cosign makes by default.
    P256,
}

impl KeyKind {
    /// Every kind that signs and checks.
    pub const ALL: [Self; 2] = [Self::Ed25519, Self::P256];

    /// The kind in the standard's values.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
        }
    }

    /// The one SPKI DER of a key of this kind, as a pattern of its hexadecimal digits.
    #[must_use]
    pub const fn spki_pattern(self) -> &'static str {
        match self {
            Self::Ed25519 => "^302a300506032b6570032100[0-9a-f]{64}$",
            Self::P256 => "^3059301306072a8648ce3d020106082a8648ce3d03010703420004[0-9a-f]{128}$",
        }
    }
}

/// Why a key cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no random bytes.
    #[error("cannot make a key: the operating system gave no random bytes: {0}")]
    Random(String),
    /// Not a private key.
    #[error(
        "this is not a private key: expected an unencrypted PKCS#8 PEM ('BEGIN PRIVATE KEY') of an Ed25519 or P-256 key"
    )]
    NotPrivate,
    /// A private key under a passphrase.
    #[error("this private key is under a passphrase, and none was given")]
    Encrypted,
    /// A private key in a form of its own.
    #[error(
        "this private key is encrypted in cosign's own form, which is not supported: decrypt it to a PKCS#8 PEM, or make one with 'skep key new'"
    )]
    Foreign,
    /// Another passphrase than the key's.
    #[error("this is not the passphrase of the key, or the key is damaged")]
    Passphrase,
    /// A public key where a private one is needed.
    #[error("this is a public key: signing needs the private one")]
    PublicGiven,
    /// A private key where a public one is needed.
    #[error("this is a private key: checking needs the public one (.pub)")]
    PrivateGiven,
    /// Not a public key.
    #[error(
        "this is not a public key: expected a PEM ('BEGIN PUBLIC KEY') or SPKI of an Ed25519 or P-256 key"
    )]
    NotPublic,
    /// Not a key id.
    #[error("'{0}' is not a key id: it should be 64 lower-case hex digits")]
    NotId(String),
    /// Whoever signs for a key did not.
    #[error("there is no signature: {0}")]
    Signer(String),
    /// A signature that is not the key's.
    #[error(
        "the answer is no signature by the key {0}: it has another key, or writes another form"
    )]
    NotSigned(KeyId),
    /// The key could not be written as PKCS#8.
    #[error("cannot write the key as PKCS#8: {0}")]
    Encode(String),
}

impl SecretKey {
    /// A new key from the operating system's random bytes.
    ///
    /// # Errors
    /// When there are none.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        loop {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|e| KeyError::Random(e.to_string()))?;
            match kind {
                KeyKind::Ed25519 => {
                    return Ok(Self(Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))));
                }
                // A seed above the curve's order is no scalar (one in 2^32): draw again.
                KeyKind::P256 => {
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&seed) {
                        return Ok(Self(Secret::P256(key)));
                    }
                }
            }
        }
    }

    /// Reads a PKCS#8 PEM.
    ///
    /// # Errors
    /// When it holds no Ed25519 or P-256 private key, or an encrypted one.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if Self::is_encrypted(pem) {
            return Err(KeyError::Encrypted);
        }
        if pem.contains("-----BEGIN ENCRYPTED") {
            return Err(KeyError::Foreign);
        }
        if pem.contains("-----BEGIN PUBLIC KEY") {
            return Err(KeyError::PublicGiven);
        }
        if pem.len() > KEY_MAX {
            return Err(KeyError::NotPrivate);
        }
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self(Secret::Ed25519(key)));
        }
        p256::ecdsa::SigningKey::from_pkcs8_pem(pem)
            .map(|key| Self(Secret::P256(key)))
            .map_err(|_| KeyError::NotPrivate)
    }

    /// The key as an unencrypted PKCS#8 PEM.
    ///
    /// # Errors
    /// When it cannot be encoded, which the crates allow for but no key does.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let refuse = |e: &dyn fmt::Display| KeyError::Encode(e.to_string());
        let pem = match &self.0 {
            // PKCS#8 version 1, without the public half: openssl 3.0 refuses version 2.
            Secret::Ed25519(key) => {
                ed_pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }
                    .to_pkcs8_pem(LineEnding::LF)
                    .map_err(|e| refuse(&e))?
            }
            Secret::P256(key) => key.to_pkcs8_pem(LineEnding::LF).map_err(|e| refuse(&e))?,
        };
        Ok(pem.to_string())
    }

    /// The public half.
    ///
    /// # Errors
    /// When it cannot be encoded as SPKI, which the crates allow for but no key does.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        PublicKey::new(match &self.0 {
            Secret::Ed25519(key) => Public::Ed25519(key.verifying_key()),
            Secret::P256(key) => Public::P256(*key.verifying_key()),
        })
    }

    /// Signs `message`: Ed25519 gives 64 raw bytes, P-256 an ASN.1 DER signature over its SHA-256 (RFC 6979).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Secret::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Secret::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl PublicKey {
    fn new(public: Public) -> Result<Self, KeyError> {
        let spki = match &public {
            Public::Ed25519(key) if !is_canonical(key.as_bytes()) => {
                return Err(KeyError::NotPublic);
            }
            Public::Ed25519(key) => key.to_public_key_der(),
            Public::P256(key) => key.to_public_key_der(),
        };
        let spki = spki.map_err(|e| KeyError::Encode(e.to_string()))?.into_vec();
        Ok(Self { public, spki })
    }

    /// Reads a `BEGIN PUBLIC KEY` PEM.
    ///
    /// # Errors
    /// When it holds no Ed25519 or P-256 public key.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(KeyError::PrivateGiven);
        }
        if pem.len() > KEY_MAX {
            return Err(KeyError::NotPublic);
        }
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
            return Self::new(Public::Ed25519(key));
        }
        let key = p256::ecdsa::VerifyingKey::from_public_key_pem(pem);
        Self::new(Public::P256(key.map_err(|_| KeyError::NotPublic)?))
    }

    /// Reads an SPKI DER.
    ///
    /// # Errors
    /// When it holds no Ed25519 or P-256 public key, or is not DER to the byte: the key id hashes these bytes.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > KEY_MAX {
            return Err(KeyError::NotPublic);
        }
        let key = match ed25519_dalek::VerifyingKey::from_public_key_der(der) {
            Ok(key) => Self::new(Public::Ed25519(key))?,
            Err(_) => {
                let key = p256::ecdsa::VerifyingKey::from_public_key_der(der);
                Self::new(Public::P256(key.map_err(|_| KeyError::NotPublic)?))?
            }
        };
        if key.spki == der { Ok(key) } else { Err(KeyError::NotPublic) }
    }

    /// Reads the base64 of an SPKI DER, as `trust.toml` writes it.
    ///
    /// # Errors
    /// As [`PublicKey::from_spki`].
    pub fn from_spki_base64(text: &str) -> Result<Self, KeyError> {
        Self::from_spki(&STANDARD.decode(text).map_err(|_| KeyError::NotPublic)?)
    }

    /// The SPKI DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The base64 of the SPKI DER, as `trust.toml` writes it.
    #[must_use]
    pub fn spki_base64(&self) -> String {
        STANDARD.encode(&self.spki)
    }

    /// The key as a `BEGIN PUBLIC KEY` PEM, which `cosign verify --key` takes.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let base64 = self.spki_base64();
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in base64.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem + "-----END PUBLIC KEY-----\n"
    }

    /// The SHA-256 of the SPKI DER.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of_spki(&self.spki)
    }

    /// The kind of the key.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self.public {
            Public::Ed25519(_) => KeyKind::Ed25519,
            Public::P256(_) => KeyKind::P256,
        }
    }

    /// Whether `signature` is this key's over `message`. Ed25519 is strict: no weak keys, one encoding.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Public::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

/// Whether RFC 8032, section 5.1.3, decodes these bytes of a point: with others, one key would have several ids.
fn is_canonical(point: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = point;
    let is_above =
        |least: u8| *low >= least && middle.iter().all(|b| *b == 0xff) && high | 0x80 == 0xff;
    let is_one = *low == 1 && middle.iter().all(|b| *b == 0) && high & 0x7f == 0;
    let is_x_zero = is_one || is_above(0xec); // y is 1 or -1
    !(is_above(0xed) || is_x_zero && high & 0x80 != 0)
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.kind(), self.id())
    }
}

impl KeyId {
    /// The id of the key that has this SPKI DER, of whatever kind it is.
    pub(crate) fn of_spki(der: &[u8]) -> Self {
        Self(sha2::Sha256::digest(der).into())
    }

    /// The id as a bundle's key hint spells it: base64 of the 32 bytes.
    #[must_use]
    pub fn hint(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The id that a bundle's key hint spells, if it spells one.
    #[must_use]
    pub fn from_hint(hint: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(hint).ok()?.try_into().ok()?))
    }

    /// The first 12 hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let refuse = || KeyError::NotId(text.to_owned());
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| refuse())?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl FromStr for KeyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ed25519" => Ok(Self::Ed25519),
            "p256" => Ok(Self::P256),
            _ => Err(format!("'{text}' is not a kind of key: use ed25519 or p256")),
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::P256 => "P-256",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_pem_and_sign() {
        for kind in [KeyKind::Ed25519, KeyKind::P256] {
            let secret = SecretKey::generate(kind).unwrap();
            let again = SecretKey::from_pem(&secret.to_pem().unwrap()).unwrap();
            let public = secret.public().unwrap();
            assert_eq!(again.public().unwrap(), public);
            assert_eq!(public.kind(), kind);
            assert_eq!(PublicKey::from_pem(&public.to_pem()).unwrap(), public);
            assert_eq!(PublicKey::from_spki_base64(&public.spki_base64()).unwrap(), public);

            let signature = again.sign(b"message");
            assert!(public.verifies(b"message", &signature));
            assert!(!public.verifies(b"massage", &signature));
            assert!(!public.verifies(b"message", &signature[..signature.len() - 1]));
            assert!(!public.verifies(b"message", b""));
        }
    }

    #[test]
    fn an_id_is_the_hash_of_the_spki_in_hex_and_base64() {
        let public = SecretKey::generate(KeyKind::Ed25519).unwrap().public().unwrap();
        let id = public.id();
        assert_eq!(format!("sha256:{id}"), skep_spec::Digest::of(public.spki()).to_string());
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        assert_eq!(KeyId::from_hint(&id.hint()), Some(id));
        assert_eq!(KeyId::from_hint("AAAA"), None);
        assert!("ABCD".parse::<KeyId>().is_err());
    }

    #[test]
    fn says_what_was_given_instead_of_a_key() {
        let secret = SecretKey::generate(KeyKind::P256).unwrap();
        let private = secret.to_pem().unwrap();
        let public = secret.public().unwrap().to_pem();
        assert_eq!(SecretKey::from_pem(&public).unwrap_err(), KeyError::PublicGiven);
        assert_eq!(PublicKey::from_pem(&private).unwrap_err(), KeyError::PrivateGiven);
        assert_eq!(SecretKey::from_pem("x").unwrap_err(), KeyError::NotPrivate);
        assert_eq!(PublicKey::from_pem("x").unwrap_err(), KeyError::NotPublic);
        let encrypted = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        assert_eq!(SecretKey::from_pem(encrypted).unwrap_err(), KeyError::Foreign);
        assert_eq!(PublicKey::from_spki(&[0; 5000]).unwrap_err(), KeyError::NotPublic);
        assert_eq!(PublicKey::from_spki_base64("!").unwrap_err(), KeyError::NotPublic);
    }

    #[test]
    fn a_secret_never_shows() {
        let secret = SecretKey::generate(KeyKind::Ed25519).unwrap();
        assert_eq!(format!("{secret:?}"), "SecretKey(…)");
    }
}
