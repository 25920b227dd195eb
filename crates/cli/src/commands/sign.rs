//! `skep sign`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use skep_oci::{durable, regular};
use skep_spec::{Digest, media};
use skep_trust::bundle::{self, Bundle, Signer};

use crate::channel;
use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result, failed};
use crate::keys::SignOptions;
use crate::named;
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::place::Place;
use crate::target::Target;

/// Sign a package in a layout or in a registry
///
/// The signature is what cosign v3 writes and checks: 'cosign verify --key PREFIX.pub --insecure-ignore-tlog' accepts
/// it. In a layout it stays beside the package until skep push sends both. Of a version in a registry it signs what the registry
/// shows under its tag, and prints the digest of that, with --quiet alone: name the digest (@sha256:…) to sign what you know.
#[derive(Debug, Args)]
pub struct Sign {
    #[command(flatten)]
    key: SignOptions,
    /// Write what is to be signed to this file and sign nothing: for cosign attest-blob --statement FILE, which signs by identity
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "signer"])]
    statement: Option<PathBuf>,
    /// Put the signature of this Sigstore bundle beside the package, which another tool made; who signed it is skep verify's matter
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "signer", "statement"])]
    bundle: Option<PathBuf>,
    /// An OCI layout, or [registry/]publisher/name:version (or @sha256:…)
    place: OsString,
    #[command(flatten)]
    options: PlaceOptions,
}

#[derive(Serialize)]
struct Answer {
    package: String,
    digest: Digest,
    /// None of what is only written down, and of a signature by certificate.
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
}

impl Sign {
    /// Runs it.
    ///
    /// # Errors
    /// No key, no package, a bundle that is no signature of it, or the layout or registry cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let Self { key, statement, bundle, place, options } = self;
        let key = match (&statement, &bundle) {
            (None, None) => Some(key.key(config)?),
            _ => None,
        };
        let ready = bundle.as_deref().map(Ready::read).transpose()?;
        let place = Place::parse(&place, &options.choice, config)?;
        let place = channel::settled(place, options.transport, config)?;
        let target = Target::find(place, &options, config)?;
        let (mut by, mut said) = (None, String::new());
        if let Some(key) = key {
            let signed = bundle::sign(&*key, &target.subjects, media::PREDICATE_SIGN);
            target.put(&signed.map_err(failed)?)?;
            let id = key.public().map_err(failed)?.id().to_string();
            said = format!("by key {id}");
            by = Some(id);
        }
        if let Some(ready) = ready {
            ready.is_of(&target)?;
            target.put(&ready.bytes)?;
            said = ready.says();
            by = ready.key();
        }
        let Target { reference, digest, subjects, .. } = target;
        let statement = statement.map(|file| written(&file, &subjects)).transpose()?;
        let package = reference.to_string();
        let answer = Answer { package, digest, key: by, statement };
        output.packaged(&answer, &[digest], || match &answer.statement {
            Some(file) => format!("What is to be signed of {reference} is in {file}\n{digest}"),
            None => format!("Signed {reference}\n{digest}\n{said}"),
        });
        Ok(())
    }
}

/// Writes the statement that a signature is of.
fn written(file: &Path, subjects: &[bundle::Subject]) -> Result<String> {
    let statement = bundle::statement(subjects, media::PREDICATE_SIGN, &json!({}));
    let shown = file.display().to_string();
    let done = durable::replace(file, &statement.map_err(failed)?, 0o644);
    done.context(|| format!("can't write '{shown}'"))?;
    Ok(shown)
}

/// A signature that another tool made.
struct Ready {
    file: String,
    bytes: Vec<u8>,
    bundle: Bundle,
}

impl Ready {
    fn read(file: &Path) -> Result<Self> {
        let bytes = named::read(file, regular::bytes)?;
        let file = file.display().to_string();
        let bundle = Bundle::parse(&bytes).map_err(|error| {
            Error::caused(Kind::Usage, format!("'{file}' is no signature"), &error)
                .coded(Some("trust.malformed"))
                .hint("cosign attest-blob --statement FILE --bundle FILE makes one, of what skep sign --statement writes")
        })?;
        Ok(Self { file, bytes, bundle })
    }

    /// That it is a signature of a package, and of this one.
    fn is_of(&self, target: &Target) -> Result<()> {
        let Target { reference, digest, .. } = target;
        let what = format!("'{}' is no signature of {reference}", self.file);
        let refused = |code, why: String| {
            let error = Error::new(Kind::Refused, what.clone()).coded(Some(code)).because(why);
            error.hint("have the statement signed that skep sign --statement writes")
        };
        let statement = self.bundle.unchecked_statement();
        let statement =
            statement.map_err(|error| refused("trust.another-predicate", error.to_string()))?;
        if statement.predicate_type != media::PREDICATE_SIGN {
            let why = format!("it says '{}' of it", statement.predicate_type);
            return Err(refused("trust.another-predicate", why));
        }
        match statement.subjects.iter().any(|subject| subject.digest == *digest) {
            true => Ok(()),
            false => Err(refused("trust.another-digest", format!("{digest} is not in it"))),
        }
    }

    fn key(&self) -> Option<String> {
        self.bundle.signer().key_id().map(|id| id.to_string())
    }

    fn says(&self) -> String {
        let by = match (self.bundle.signer(), self.key()) {
            (Signer::Certificate, _) => "by certificate".to_owned(),
            (Signer::Key(_), Some(id)) => format!("by key {id}, as it says"),
            (Signer::Key(_), None) => "by a key that it does not name".to_owned(),
        };
        format!("{by}; nobody checked that: skep verify does")
    }
}
