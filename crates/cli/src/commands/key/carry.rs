//! `skep key import` and `skep key export`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_oci::regular;
use skep_trust::KeyId;

use super::{Form, answer, with, write_new, write_pair};
use crate::config::Config;
use crate::error::{Result, failed};
use crate::keys::{Held, public, secret};
use crate::named;
use crate::output::Output;

/// Take over a key that openssl or another tool made: PREFIX.key, readable by you alone, and PREFIX.pub
///
/// Reads a PKCS#8 PEM of an Ed25519 or P-256 key, also under a passphrase, which it keeps; or a public key alone.
#[derive(Debug, Args)]
pub struct Import {
    /// The PEM
    file: PathBuf,
    /// Where to write PREFIX.key and PREFIX.pub
    #[arg(long, short = 'o', value_name = "PREFIX", default_value = "skep")]
    out: PathBuf,
    #[command(flatten)]
    form: Form,
}

/// Give a key to another tool: the public one on standard output, or the private one into a file
///
/// A private key stays under its passphrase unless --plain says otherwise.
#[derive(Debug, Args)]
pub struct Export {
    /// The private key (.key)
    key: PathBuf,
    /// Write the private key to this file, readable by you alone
    #[arg(long, value_name = "FILE")]
    private: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
}

#[derive(Serialize)]
struct Exported {
    pem: String,
}

#[derive(Serialize)]
struct Private {
    id: KeyId,
    private: String,
}

impl Import {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let pem = named::read(&self.file, regular::text)?;
        let public_file = with(&self.out, "pub");
        if pem.contains("-----BEGIN PUBLIC KEY") {
            let public = public(&self.file)?;
            write_new(&public_file, 0o644, &public.to_pem())?;
            let answer = answer(&public, None, &public_file);
            output.done(&answer, || format!("Took over {}\nkey id {}", answer.public, answer.id));
            return Ok(());
        }
        let Held { key, passphrase } = secret(&self.file, config)?;
        let (public, private_file) = (key.public().map_err(failed)?, with(&self.out, "key"));
        let text = self.form.pem(&key, passphrase.as_ref(), &private_file, config)?;
        write_pair(&private_file, &text, &public_file, &public)?;
        let answer = answer(&public, Some(&private_file), &public_file);
        output.done(&answer, || {
            let private = private_file.display();
            format!("Took over {private} (keep it secret), {}\nkey id {}", answer.public, answer.id)
        });
        Ok(())
    }
}

impl Export {
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let Held { key, passphrase } = secret(&self.key, config)?;
        let public = key.public().map_err(failed)?;
        let Some(file) = &self.private else {
            let pem = public.to_pem();
            let text = pem.trim_end().to_owned();
            output.answer(&Exported { pem }, || text);
            return Ok(());
        };
        write_new(file, 0o600, &self.form.pem(&key, passphrase.as_ref(), file, config)?)?;
        let answer = Private { id: public.id(), private: file.display().to_string() };
        output.done(&answer, || {
            format!("Wrote {} (keep it secret)\nkey id {}", answer.private, answer.id)
        });
        Ok(())
    }
}
