//! Keys of files, and who signs with them: this process, or a command that has the private half.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use skep_oci::regular;
use skep_trust::key::{KeyError, SigningKey};
use skep_trust::{PublicKey, SecretKey};

use crate::config::{Config, KeyGiven};
use crate::error::{Error, Kind, Result};
use crate::named;
use crate::passphrase::{self, Passphrase};

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
            (Some(file), _) | (None, Some(KeyGiven::File(file))) => {
                self.by.one(&named::read(file, regular::text)?, file, config)
            }
            (None, Some(KeyGiven::Pem(pem))) => self.by.one(pem, Path::new("SKEP_KEY"), config),
            (None, None) => Err(Error::usage("no key is given that signs")
                .hint("give --key FILE, or set SKEP_KEY to a file or to the key itself")),
        }
    }
}

impl SignedBy {
    /// The keys of files; where a command signs, for one of them at least.
    ///
    /// # Errors
    /// As [`SignOptions::key`].
    pub fn keys(&self, files: &[PathBuf], config: &Config) -> Result<Vec<Box<dyn SigningKey>>> {
        let texts: Vec<String> =
            files.iter().map(|file| named::read(file, regular::text)).collect::<Result<_>>()?;
        let keys = || texts.iter().map(String::as_str).zip(files.iter().map(PathBuf::as_path));
        self.is_needed(keys())?;
        keys().map(|(pem, file)| self.of(pem, file, config)).collect()
    }

    fn one(&self, pem: &str, file: &Path, config: &Config) -> Result<Box<dyn SigningKey>> {
        self.is_needed([(pem, file)].into_iter())?;
        self.of(pem, file, config)
    }

    /// A command that would not be asked is a mistake: somebody believes that the key is elsewhere.
    fn is_needed<'a>(
        &self,
        mut keys: impl Iterator<Item = (&'a str, &'a Path)> + Clone,
    ) -> Result<()> {
        let last = keys.clone().last();
        match (&self.signer, last) {
            (Some(_), Some((_, file))) if !keys.any(|(pem, _)| is_public(pem)) => {
                let shown = file.display();
                let why = format!("'{shown}' is a private key, for which --signer is not asked");
                Err(Error::usage(why).hint("give the public key (.pub), or leave --signer out"))
            }
            _ => Ok(()),
        }
    }

    /// The key that a text is, which came from `file`.
    fn of(&self, pem: &str, file: &Path, config: &Config) -> Result<Box<dyn SigningKey>> {
        let is_public = is_public(pem);
        match &self.signer {
            Some(command) if is_public => {
                let public = public_of(pem, file)?;
                Ok(Box::new(Elsewhere { public, command: command.clone() }))
            }
            None if is_public => Err(no_key("sign with", file, &KeyError::PublicGiven)
                .hint("give the private key, or with --signer a command that signs for it")),
            _ => Ok(Box::new(secret_of(pem, file, config)?.key)),
        }
    }
}

fn is_public(pem: &str) -> bool {
    pem.contains("-----BEGIN PUBLIC KEY")
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

/// A private key that was read.
pub struct Held {
    /// It.
    pub key: SecretKey,
    /// What it was under.
    pub passphrase: Option<Passphrase>,
}

/// Reads a private key; one that is under a passphrase by that.
///
/// # Errors
/// The file cannot be read or holds none, or it is another passphrase.
pub fn secret(path: &Path, config: &Config) -> Result<Held> {
    secret_of(&named::read(path, regular::text)?, path, config)
}

/// The same of a text that came from `path`.
fn secret_of(pem: &str, path: &Path, config: &Config) -> Result<Held> {
    let given = config.key_passphrase.as_ref();
    let passphrase =
        SecretKey::is_encrypted(pem).then(|| passphrase::of(path, given)).transpose()?;
    let key = match &passphrase {
        Some(passphrase) => SecretKey::from_encrypted_pem(pem, passphrase.as_str()),
        None => SecretKey::from_pem(pem),
    };
    let key = key.map_err(|error| no_key("use the private key", path, &error))?;
    Ok(Held { key, passphrase })
}

/// Reads a public key.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn public(path: &Path) -> Result<PublicKey> {
    public_of(&named::read(path, regular::text)?, path)
}

/// The same of a text that came from `path`.
fn public_of(pem: &str, path: &Path) -> Result<PublicKey> {
    PublicKey::from_pem(pem).map_err(|error| no_key("use", path, &error))
}

fn no_key(action: &str, path: &Path, error: &KeyError) -> Error {
    Error::caused(Kind::Usage, format!("can't {action} '{}'", path.display()), error)
}
