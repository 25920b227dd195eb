//! Private keys under a passphrase: PKCS#8 with PBES2 (RFC 5958, RFC 8018), by scrypt and AES-256-CBC, as openssl 3 reads them.

use ed25519_dalek::pkcs8 as ed_pkcs8;
use pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding,
    SecretDocument,
};

use super::{KEY_MAX, KeyError, Secret, SecretKey};

/// How such a PEM begins.
const LABEL: &str = "ENCRYPTED PRIVATE KEY";

impl SecretKey {
    /// Whether a PEM is of a private key under a passphrase.
    #[must_use]
    pub fn is_encrypted(pem: &str) -> bool {
        pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    }

    /// Reads a PKCS#8 PEM that is under a passphrase.
    ///
    /// # Errors
    /// When it holds no Ed25519 or P-256 private key, or is under another passphrase.
    pub fn from_encrypted_pem(pem: &str, passphrase: &str) -> Result<Self, KeyError> {
        if pem.len() > KEY_MAX {
            return Err(KeyError::NotPrivate);
        }
        let document = SecretDocument::from_pem(pem).ok().filter(|(label, _)| *label == LABEL);
        let (_, document) = document.ok_or(KeyError::NotPrivate)?;
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes());
        let plain = encrypted.map_err(|_| KeyError::NotPrivate)?.decrypt(passphrase);
        let plain = plain.map_err(|_| KeyError::Passphrase)?;
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_der(plain.as_bytes()) {
            return Ok(Self(Secret::Ed25519(key)));
        }
        p256::ecdsa::SigningKey::from_pkcs8_der(plain.as_bytes())
            .map(|key| Self(Secret::P256(key)))
            .map_err(|_| KeyError::NotPrivate)
    }

    /// The key as a PKCS#8 PEM under a passphrase.
    ///
    /// # Errors
    /// When it cannot be encoded, or there are no random bytes for its salt.
    pub fn to_encrypted_pem(&self, passphrase: &str) -> Result<String, KeyError> {
        let pem = match &self.0 {
            Secret::Ed25519(key) => {
                ed_pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }
                    .to_pkcs8_encrypted_pem(passphrase, LineEnding::LF)
            }
            Secret::P256(key) => key.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        };
        pem.map(|pem| pem.to_string()).map_err(|error| KeyError::Encode(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeyKind;
    use super::*;

    #[test]
    fn a_key_comes_back_by_its_passphrase_alone() {
        for kind in KeyKind::ALL {
            let secret = SecretKey::generate(kind).unwrap();
            let pem = secret.to_encrypted_pem("a pass phrase").unwrap();
            assert!(
                SecretKey::is_encrypted(&pem)
                    && !SecretKey::is_encrypted(&secret.to_pem().unwrap())
            );
            assert_eq!(SecretKey::from_pem(&pem).unwrap_err(), KeyError::Encrypted);
            let again = SecretKey::from_encrypted_pem(&pem, "a pass phrase").unwrap();
            assert_eq!(again.public().unwrap(), secret.public().unwrap());
            let wrong = SecretKey::from_encrypted_pem(&pem, "another").unwrap_err();
            assert_eq!(wrong, KeyError::Passphrase);
            let other = secret.to_encrypted_pem("a pass phrase").unwrap();
            assert_ne!(pem, other, "each has a salt of its own");
        }
    }

    #[test]
    fn what_is_no_key_under_a_passphrase_is_refused() {
        let plain = SecretKey::generate(KeyKind::Ed25519).unwrap().to_pem().unwrap();
        let cut =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for pem in ["", "x", &plain, cut, &"x".repeat(5000)] {
            let refused = SecretKey::from_encrypted_pem(pem, "x").unwrap_err();
            assert_eq!(refused, KeyError::NotPrivate);
        }
    }
}
