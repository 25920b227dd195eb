//! Keys that sign: private ones in files, and public ones for which another command signs, as HSMs and key services need it.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use skep_oci::regular;
use skep_trust::PublicKey;
use skep_trust::key::{KeyError, SigningKey};

use super::{no_key, public_of, secret_of};
use crate::config::{Config, KeyGiven};
use crate::error::{Error, Result};
use crate::named;

/// Most bytes that are read of what a signer answers; signatures have up to 72.
const ANSWER_MAX: u64 = 4096;

/// One key that signs.
#[derive(Debug, Args)]
pub struct SignOptions {
    /// The private key that skep key new made; with --signer the public one. Without it SKEP_KEY: a file, or the key itself
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    by: SignedBy,
}

/// Who signs for keys of which only the public half is here.
#[derive(Debug, Args)]
pub struct SignedBy {
    /// Have this shell command sign: it reads what to sign, and writes the signature; --key is then the public key
    #[arg(long, value_name = "CMD")]
    signer: Option<String>,
}

impl SignOptions {
    /// Whether there is one.
    #[must_use]
    pub const fn is_given(&self, config: &Config) -> bool {
        self.key.is_some() || config.key.is_some()
    }

    /// The key.
    ///
    /// # Errors
    /// None is given; the file cannot be read, holds no key, or the public one of a key for which nobody signs.
    pub fn key(&self, config: &Config) -> Result<Box<dyn SigningKey>> {
        match (&self.key, &config.key) {
            (Some(file), _) | (None, Some(KeyGiven::File(file))) => self.by.key(file, config),
            (None, Some(KeyGiven::Pem(pem))) => self.by.of(pem, Path::new("SKEP_KEY"), config),
            (None, None) => Err(Error::usage("no key is given that signs")
                .hint("give --key FILE, or set SKEP_KEY to a file or to the key itself")),
        }
    }
}

impl SignedBy {
    /// The key of a file.
    ///
    /// # Errors
    /// As [`SignOptions::key`].
    pub fn key(&self, file: &Path, config: &Config) -> Result<Box<dyn SigningKey>> {
        self.of(&named::read(file, regular::text)?, file, config)
    }

    /// The key that a text is, which came from `file`.
    fn of(&self, pem: &str, file: &Path, config: &Config) -> Result<Box<dyn SigningKey>> {
        let is_public = pem.contains("-----BEGIN PUBLIC KEY");
        match &self.signer {
            Some(command) if is_public => {
                let public = public_of(pem, file)?;
                Ok(Box::new(Elsewhere { public, command: command.clone() }))
            }
            None if is_public => Err(no_key("sign with", file, &KeyError::PublicGiven)
                .hint("give the private key, or with --signer a command that signs for it")),
            _ => secret_of(pem, file, config).map(|key| Box::new(key) as Box<dyn SigningKey>),
        }
    }
}

/// A key whose private half another command has.
struct Elsewhere {
    public: PublicKey,
    command: String,
}

impl SigningKey for Elsewhere {
    fn public(&self) -> std::result::Result<PublicKey, KeyError> {
        Ok(self.public.clone())
    }

    fn sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, KeyError> {
        let failed = |why: String| KeyError::Signer(format!("'{}' {why}", self.command));
        let broken = |error: io::Error| failed(format!("cannot be used: {error}"));
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(&self.command)
            .env("SKEP_KEY_ID", self.public.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        // It may need no more than a part of it; its status says whether it failed.
        let _ = child.stdin.take().map(|mut input| input.write_all(message));
        let mut signature = Vec::new();
        let answer =
            child.stdout.take().map(|out| out.take(ANSWER_MAX).read_to_end(&mut signature));
        answer.transpose().map_err(broken)?;
        let status = child.wait().map_err(broken)?;
        match status.success() {
            true => Ok(signature),
            false => Err(failed(format!("ended with {status}"))),
        }
    }
}
