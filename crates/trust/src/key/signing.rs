//! What signs, wherever its private half is.

use super::{KeyError, PublicKey, SecretKey};

/// A key that signs: a private key here, or one that only another program can use, such as in a hardware module.
pub trait SigningKey {
    /// Its public half.
    ///
    /// # Errors
    /// When it cannot be encoded.
    fn public(&self) -> Result<PublicKey, KeyError>;

    /// Signs `message`. What comes back is held against the public half before anybody sees it.
    ///
    /// # Errors
    /// When there is no signature to be had.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

impl SigningKey for SecretKey {
    fn public(&self) -> Result<PublicKey, KeyError> {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.sign(message))
    }
}
