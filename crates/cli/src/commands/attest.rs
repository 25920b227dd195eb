//! `skep attest`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use skep_kit::attest::{self, AttestError, Origin};
use skep_oci::registry::Part;
use skep_oci::regular;
use skep_spec::oci::{Index, MAX_DOCUMENT};
use skep_spec::{Digest, Manifest, media};
use skep_trust::{KeyId, Verified, admit, bundle};

use super::key::SignOptions;
use super::sign::attach;
use crate::channel;
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::fetch::{Fetched, fetch};
use crate::named;
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::place::Place;

/// Sign what a package is made of and how it was built: an SBOM (CycloneDX) and provenance (SLSA), beside its signatures
///
/// The package must hold what the project was built into. Attestations tell people and scanners; none of them lets a package in.
#[derive(Debug, Args)]
pub struct Attest {
    #[command(flatten)]
    key: SignOptions,
    /// An OCI layout, or [registry/]publisher/name:version
    place: OsString,
    /// The folder with the skep.toml that the package was built from
    #[arg(long, value_name = "DIR", default_value = ".")]
    project: PathBuf,
    /// Only this one; without it both
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Option<What>,
    /// Who built it, as provenance has it: a URI
    #[arg(long, value_name = "URI", default_value = "urn:skep:builder:local")]
    builder: String,
    /// Sign this JSON object instead, whatever it says about the package
    #[arg(long, value_name = "FILE", requires = "predicate_type", conflicts_with_all = ["project", "only", "builder"])]
    predicate: Option<PathBuf>,
    /// The type of that, such as https://in-toto.io/attestation/test-result/v0.1
    #[arg(long = "type", value_name = "URI", requires = "predicate")]
    predicate_type: Option<String>,
    #[command(flatten)]
    options: PlaceOptions,
}

/// What an attestation of a project says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// What it is made of
    Sbom,
    /// From what and how it was built
    Provenance,
}

#[derive(Serialize)]
struct Answer {
    package: String,
    digest: Digest,
    key: KeyId,
    attested: Vec<String>,
}

impl Attest {
    /// Runs it.
    ///
    /// # Errors
    /// No key, no package, not the package of the project, or the layout or registry cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let key = self.key.key(config)?;
        let place = Place::parse(&self.place, &self.options.choice, config)?;
        let place = channel::settled(place, self.options.transport, config)?;
        let statements = match &self.predicate {
            Some(file) => vec![own(file, self.predicate_type.as_deref().unwrap_or_default())?],
            None => self.of_project(place.clone(), config)?,
        };
        let id = key.public().map_err(failed)?.id();
        let (mut package, mut attested) = (None, Vec::new());
        for (predicate_type, predicate) in statements {
            let signed = attach(place.clone(), &self.options, config, |subjects| {
                bundle::sign_predicate(&*key, subjects, &predicate_type, &predicate)
            })?;
            package = Some(signed);
            attested.push(predicate_type);
        }
        let Some((reference, digest)) = package else { return Ok(()) };
        let answer = Answer { package: reference.to_string(), digest, key: id, attested };
        output.packaged(&answer, &[digest], || {
            let said = answer.attested.join("\n");
            format!("Attested {reference}\n{digest}\n{said}\nby key {id}")
        });
        Ok(())
    }

    /// What the project says about the package.
    fn of_project(&self, place: Place, config: &Config) -> Result<Vec<(String, Value)>> {
        let project = super::build::read(&self.project)?;
        let manifest = manifest(place, &self.options, config)?;
        let origin = Origin::of(&project, &manifest).map_err(|error| {
            let shown = self.project.display();
            let failed = Error::caused(Kind::Failed, format!("{shown} does not attest it"), &error);
            match error {
                AttestError::Object { .. } => {
                    failed.hint(format!("build and pack it again: skep pack {shown}"))
                }
                AttestError::Another { .. } => failed.hint("name its project with --project DIR"),
                _ => failed,
            }
        })?;
        let mut statements = Vec::new();
        if self.only != Some(What::Provenance) {
            statements.push((attest::SBOM.to_owned(), origin.sbom()));
        }
        if self.only != Some(What::Sbom) {
            statements.push((attest::PROVENANCE.to_owned(), origin.provenance(&self.builder)));
        }
        Ok(statements)
    }
}

/// A package's manifest, by its digest.
fn manifest(place: Place, options: &PlaceOptions, config: &Config) -> Result<Manifest> {
    let look = |_: &_, digest: Digest, _: &[_]| Ok(digest);
    let Fetched { store, reference, checked: digest, .. } =
        &fetch(place, options, Part::Whole, config, look)?;
    let index = store.require(digest, MAX_DOCUMENT as u64).map_err(failed)?;
    let index = Index::parse(&index).map_err(failed)?;
    let there = index.manifests.iter().filter(|entry| store.has(&entry.digest));
    let arch = there.filter_map(|entry| entry.platform.as_ref()?.arch()).next();
    let arch =
        arch.ok_or_else(|| Error::new(Kind::Failed, format!("{reference} has nothing for Linux")))?;
    let package = admit(Verified::unsigned(*digest), store, arch, reference).map_err(failed)?;
    Ok(package.into_inner().manifest)
}

/// A statement that a file has.
fn own(file: &Path, predicate_type: &str) -> Result<(String, Value)> {
    let signatures = [media::PREDICATE_SIGN, media::PREDICATE_CHANNEL, media::PREDICATE_KEYS];
    if signatures.contains(&predicate_type) {
        return Err(Error::usage(format!(
            "--type {predicate_type}: that is a signature, not an attestation"
        ))
        .hint("skep sign, skep channel and skep key rotate make those"));
    }
    let text = named::read(file, regular::text)?;
    let shown = file.display();
    let wrong = |error| Error::caused(Kind::Usage, format!("'{shown}' is no JSON"), &error);
    let predicate: Value = serde_json::from_str(&text).map_err(wrong)?;
    match predicate.is_object() {
        true => Ok((predicate_type.to_owned(), predicate)),
        false => Err(Error::usage(format!("'{shown}' is no JSON object"))),
    }
}
