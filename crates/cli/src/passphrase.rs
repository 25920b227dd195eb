//! The passphrases of private keys: from the environment, or asked for on a terminal.

use std::fmt;
use std::io::IsTerminal as _;
use std::path::Path;

use crate::error::{Context as _, Error, Result};

/// A passphrase, which never shows in `Debug`.
#[derive(Clone)]
pub struct Passphrase(String);

impl Passphrase {
    /// One that is not empty.
    #[must_use]
    pub fn new(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// It.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// The passphrase of a key that has one.
///
/// # Errors
/// None is set, and nobody is there to ask.
pub fn of(key: &Path, given: Option<&Passphrase>) -> Result<Passphrase> {
    given_or(key, given, || asked(&format!("Passphrase of {}: ", key.display())))
}

/// A passphrase for a key that gets one. A person types it twice.
///
/// # Errors
/// As [`of`], and when both are not the same.
pub fn fresh(key: &Path, given: Option<&Passphrase>) -> Result<Passphrase> {
    given_or(key, given, || {
        let first = asked(&format!("New passphrase of {}: ", key.display()))?;
        let second = asked("Once more: ")?;
        match first.as_str() == second.as_str() {
            true => Ok(first),
            false => Err(Error::usage("the two passphrases are not the same")),
        }
    })
}

fn given_or(
    key: &Path,
    given: Option<&Passphrase>,
    ask: impl FnOnce() -> Result<Passphrase>,
) -> Result<Passphrase> {
    match given {
        Some(given) => Ok(given.clone()),
        None if std::io::stdin().is_terminal() => ask(),
        None => {
            Err(Error::usage(format!("'{}' needs a passphrase, and none is given", key.display()))
                .hint(
                    "set SKEP_KEY_PASSPHRASE, or type the command on a terminal, which asks for it",
                ))
        }
    }
}

fn asked(prompt: &str) -> Result<Passphrase> {
    let text = rpassword::prompt_password(prompt).context(|| "can't ask for the passphrase")?;
    Passphrase::new(text).ok_or_else(|| Error::usage("the passphrase is empty"))
}
