//! `skep attest`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use skep_kit::attest::{AttestError, Origin};
use skep_oci::registry::Part;
use skep_oci::{durable, regular};
use skep_spec::{Digest, Manifest, media};
use skep_trust::attestation::{Report, SIGNATURES};
use skep_trust::{KeyId, bundle};

use super::build::in_folder;
use crate::channel;
use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result, failed};
use crate::fetch::fetch;
use crate::keys::SignOptions;
use crate::named;
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::place::Place;
use crate::subject::manifest_of;
use crate::target::{Held, Target};
use crate::tried;

/// Sign what a package is made of and how it was built: an SBOM (CycloneDX) and provenance (SLSA), beside its signatures
///
/// The package must hold what the project was built into; what that was made of was noted by its build. Attestations tell people and scanners; none of them lets a package in.
#[derive(Debug, Args)]
pub struct Attest {
    #[command(flatten)]
    key: SignOptions,
    /// An OCI layout, or [registry/]publisher/name:version
    place: OsString,
    /// The folder with the skep.toml that the package was built from
    #[arg(long, value_name = "DIR", default_value = ".")]
    project: PathBuf,
    /// The folder that it was built into, where that is not DIR/build (skep pack --out)
    #[arg(long, value_name = "DIR")]
    build: Option<PathBuf>,
    /// Only this one; without it both
    #[arg(long, value_enum, value_name = "WHAT")]
    only: Option<What>,
    /// Who built it, as provenance has it: a URI
    #[arg(long, value_name = "URI", default_value = "urn:skep:builder:local")]
    builder: String,
    /// Sign this JSON object instead, whatever it says about the package
    #[arg(long, value_name = "FILE", requires = "predicate_type", conflicts_with_all = ["project", "build", "only", "builder"])]
    predicate: Option<PathBuf>,
    /// The type of that, such as https://in-toto.io/attestation/test-result/v0.1
    #[arg(long = "type", value_name = "URI", requires = "predicate")]
    predicate_type: Option<String>,
    /// Sign a compatibility report instead: a JSON file that says of kernels whether it ran there, as skep install --report writes it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["project", "build", "only", "builder", "predicate"])]
    report: Option<PathBuf>,
    /// Write the bundles to this file, a line each, and put them nowhere else
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
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
    /// Where they were written to, if not beside the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

/// A predicate, and its type.
type Statement = (String, Value);

impl Attest {
    /// Runs it.
    ///
    /// # Errors
    /// No key, no package, not the package of the project, or the layout or registry cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let key = self.key.key(config)?;
        let place = Place::parse(&self.place, &self.options.choice, config)?;
        let place = channel::settled(place, self.options.transport, config)?;
        let target = Target::find(place, &self.options, config)?;
        let statements = self.statements(&target, config)?;
        let sign = |(predicate_type, predicate): &Statement| {
            let signed = bundle::sign_predicate(&*key, &target.subjects, predicate_type, predicate);
            signed.map_err(failed)
        };
        let bundles: Vec<Vec<u8>> = statements.iter().map(sign).collect::<Result<_>>()?;
        match &self.out {
            Some(file) => written(file, &bundles)?,
            None => bundles.iter().try_for_each(|bundle| target.put(bundle))?,
        }
        let Target { reference, digest, .. } = target;
        let key = key.public().map_err(failed)?.id();
        let attested = statements.into_iter().map(|(predicate_type, _)| predicate_type).collect();
        let package = reference.to_string();
        let out = self.out.map(|file| file.display().to_string());
        let answer = Answer { package, digest, key, attested, out };
        output.packaged(&answer, &[digest], || answer.text());
        Ok(())
    }

    fn statements(&self, target: &Target, config: &Config) -> Result<Vec<Statement>> {
        if let Some(file) = &self.predicate {
            return Ok(vec![own(file, self.predicate_type.as_deref().unwrap_or_default())?]);
        }
        if let Some(file) = &self.report {
            let about = manifest(target, &self.options, config)?.package;
            let of = tried::Of { name: about.name, version: about.version };
            return Ok(vec![(media::PREDICATE_REPORT.to_owned(), report(file, &of)?)]);
        }
        self.of_project(target, config)
    }

    /// What the project's build says about the package.
    fn of_project(&self, target: &Target, config: &Config) -> Result<Vec<Statement>> {
        let project = in_folder(super::build::read(&self.project)?, self.build.clone());
        let manifest = manifest(target, &self.options, config)?;
        let origin = Origin::of(&project, &manifest).map_err(|error| {
            let shown = self.project.display();
            let failed = Error::caused(Kind::Failed, format!("{shown} does not attest it"), &error);
            match error {
                AttestError::Object { .. } | AttestError::Record { .. } => failed.hint(format!(
                    "build and pack it again: skep pack {shown}; --build DIR names another folder that it was built into"
                )),
                AttestError::Another { .. } => failed.hint("name its project with --project DIR"),
            }
        })?;
        let mut statements = Vec::new();
        if self.only != Some(What::Provenance) {
            statements.push((media::PREDICATE_SBOM.to_owned(), origin.sbom()));
        }
        if self.only != Some(What::Sbom) {
            let provenance = origin.provenance(&self.builder);
            statements.push((media::PREDICATE_PROVENANCE.to_owned(), provenance));
        }
        Ok(statements)
    }
}

impl Answer {
    fn text(&self) -> String {
        let Self { package, digest, key, attested, out } = self;
        let said = attested.join("\n");
        let into = out.as_ref().map(|file| format!("\ninto {file}, and nowhere else"));
        format!("Attested {package}\n{digest}\n{said}\nby key {key}{}", into.unwrap_or_default())
    }
}

/// Bundles, a line each.
fn written(file: &Path, bundles: &[Vec<u8>]) -> Result<()> {
    let lines: Vec<u8> = bundles.iter().flat_map(|one| one.iter().chain(b"\n")).copied().collect();
    durable::replace(file, &lines, 0o644).context(|| format!("can't write '{}'", file.display()))
}

/// A package's manifest, by its digest.
fn manifest(target: &Target, options: &PlaceOptions, config: &Config) -> Result<Manifest> {
    let Target { reference, digest, held, .. } = target;
    match held {
        Held::Layout(store) => manifest_of(store, *digest, reference),
        Held::Registry(..) => {
            let place = Place::Registry(reference.at(*digest));
            let fetched = fetch(place, options, Part::Whole, config, |_, _, _| Ok(()))?;
            manifest_of(&fetched.store, *digest, reference)
        }
    }
}

/// A compatibility report of what a file says of kernels.
fn report(file: &Path, of: &tried::Of) -> Result<Value> {
    let tried = tried::read(file, of)?;
    Report::predicate(&tried).map_err(|why| tried::wrong(file, why))
}

/// A statement that a file has.
fn own(file: &Path, predicate_type: &str) -> Result<Statement> {
    if SIGNATURES.contains(&predicate_type) {
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
