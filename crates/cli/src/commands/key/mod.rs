//! `skep key`.

mod carry;
mod list;
mod push;
mod rotate;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use skep_trust::key::KeyKind;
use skep_trust::policy::Pattern;
use skep_trust::{KeyId, PublicKey, SecretKey};

use self::carry::{Export, Import};
use self::list::List;
use self::rotate::Rotate;
use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result, failed};
use crate::keys;
use crate::output::Output;
use crate::passphrase::{self, Passphrase};

/// Make, list, carry and rotate keys that sign packages, and print the rules that trust them
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    New(New),
    List(List),
    Import(Import),
    Export(Export),
    Rotate(Rotate),
    Trust(Trust),
}

/// Make a key pair: PREFIX.key, readable by you alone, and PREFIX.pub for everybody
///
/// Both are PEM files that openssl and cosign read. Prints the key's id and a rule for trust.toml.
#[derive(Debug, Args)]
struct New {
    /// ed25519, or p256 where cosign itself is to sign with it
    #[arg(long, value_name = "ed25519|p256", default_value = "ed25519")]
    r#type: KeyKind,
    /// Where to write PREFIX.key and PREFIX.pub
    #[arg(long, short = 'o', value_name = "PREFIX", default_value = "skep")]
    out: PathBuf,
    #[command(flatten)]
    form: Form,
}

/// In which form a private key is written.
#[derive(Debug, Args)]
struct Form {
    /// Put the private key under a passphrase: SKEP_KEY_PASSPHRASE, or it is asked for
    #[arg(long, conflicts_with = "plain")]
    passphrase: bool,
    /// Put the private key under no passphrase
    #[arg(long)]
    plain: bool,
}

/// Print a rule for trust.toml that trusts a public key
#[derive(Debug, Args)]
struct Trust {
    /// The public key (.pub)
    public: PathBuf,
    #[arg(long, value_name = "PATTERN", default_value = "*", help = pattern_help())]
    packages: String,
}

#[derive(Serialize)]
struct Answer {
    id: KeyId,
    r#type: String,
    spki: String,
    private: Option<String>,
    public: String,
}

impl Key {
    /// Runs it.
    ///
    /// # Errors
    /// A key file is there already, cannot be written, or is no key.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        match self.command {
            KeyCommand::New(new) => new.run(output, config),
            KeyCommand::List(list) => list.run(output),
            KeyCommand::Import(import) => import.run(output, config),
            KeyCommand::Export(export) => export.run(output, config),
            KeyCommand::Rotate(rotate) => rotate.run(output, config),
            KeyCommand::Trust(trust) => trust.run(output),
        }
    }
}

impl New {
    fn run(self, output: &Output, config: &Config) -> Result<()> {
        let secret = SecretKey::generate(self.r#type).map_err(failed)?;
        let public = secret.public().map_err(failed)?;
        let (private_file, public_file) = (with(&self.out, "key"), with(&self.out, "pub"));
        let pem = self.form.pem(&secret, None, &private_file, config)?;
        write_pair(&private_file, &pem, &public_file, &public)?;
        let answer = answer(&public, Some(&private_file), &public_file);
        output.done(&answer, || {
            format!(
                "Made a key, {}: {} (keep it secret), {}\nkey id {}\n\nTo trust it for your packages, in trust.toml:\n{}",
                answer.r#type,
                private_file.display(),
                public_file.display(),
                answer.id,
                rule(&public, "PUBLISHER/*"),
            )
        });
        Ok(())
    }
}

impl Form {
    /// The private key for a file: under a passphrase if that is asked for; where nothing is said, as it was held before.
    fn pem(
        &self,
        key: &SecretKey,
        before: Option<&Passphrase>,
        file: &Path,
        config: &Config,
    ) -> Result<String> {
        let given = config.key_passphrase.as_ref();
        let passphrase = match self.passphrase {
            true => Some(passphrase::fresh(file, given)?),
            false => before.filter(|_| !self.plain).cloned(),
        };
        let pem = match passphrase {
            Some(passphrase) => key.to_encrypted_pem(passphrase.as_str()),
            None => key.to_pem(),
        };
        pem.map_err(failed)
    }
}

impl Trust {
    fn run(self, output: &Output) -> Result<()> {
        let public = keys::public(&self.public)?;
        let pattern = Pattern::new(self.packages.clone());
        pattern.map_err(|why| Error::usage(format!("--packages: {why}")))?;
        let rule = rule(&public, &self.packages);
        output.answer(&answer(&public, None, &self.public), || rule.trim_end().to_owned());
        Ok(())
    }
}

/// What says of an option that it takes a pattern.
pub fn pattern_help() -> String {
    format!("Whose packages: {}", Pattern::FORM)
}

fn answer(key: &PublicKey, private: Option<&Path>, public: &Path) -> Answer {
    let (id, spki) = (key.id(), key.spki_base64());
    let shown = |path: &Path| path.display().to_string();
    let (private, public) = (private.map(shown), shown(public));
    Answer { id, r#type: key.kind().to_string(), spki, private, public }
}

fn rule(key: &PublicKey, packages: &str) -> String {
    let spki = key.spki_base64();
    format!("[[rule]]\npackages = [\"{packages}\"]\nkeys = [{{ spki = \"{spki}\" }}]\n")
}

/// The prefix may hold dots: they are no extension.
fn with(prefix: &Path, extension: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn write_pair(private: &Path, pem: &str, public: &Path, key: &PublicKey) -> Result<()> {
    write_new(private, 0o600, pem)?;
    write_new(public, 0o644, &key.to_pem()).inspect_err(|_| {
        // Half a pair is worse than none.
        let _ = std::fs::remove_file(private);
    })
}

/// A file that was not there: a key is never written over.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|e| {
        let shown = path.display();
        let error = Error::caused(Kind::Failed, format!("can't write the key '{shown}'"), &e);
        match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                error.hint("a key is never written over: name another file")
            }
            _ => error,
        }
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let written = written.inspect_err(|_| {
        let _ = std::fs::remove_file(path); // an empty key would be in the way of the next try
    });
    written.context(|| format!("can't write the key '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_passphrase_and_nobody_is_asked_for_another() {
        let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
        let mut config = Config::from_environment();
        config.key_passphrase = None;
        let held = Passphrase::new("of before".to_owned()).unwrap();
        let form = |passphrase, plain| Form { passphrase, plain };
        let pem = |form: Form, before| form.pem(&key, before, Path::new("a.key"), &config);
        let kept = pem(form(false, false), Some(&held)).unwrap();
        SecretKey::from_encrypted_pem(&kept, "of before").unwrap();
        for (form, before) in [(form(false, true), Some(&held)), (form(false, false), None)] {
            SecretKey::from_pem(&pem(form, before).unwrap()).unwrap();
        }
    }
}
