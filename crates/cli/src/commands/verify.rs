//! `skep verify`.

use std::ffi::OsString;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use skep_oci::Store;
use skep_oci::registry::Part;
use skep_spec::oci::{Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, PackageRef};
use skep_trust::attestation::{self, Kind};
use skep_trust::{Asked, Blobs, Origin, Policy, TrustError, Verified, admit, check, verify};

use crate::channel;
use crate::config::Config;
use crate::error::{self, Error, Result, refused};
use crate::explain::{Attested, Explained, attested};
use crate::fetch::fetch;
use crate::moment;
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::place::Place;
use crate::rules::Signers;

/// Check who signed a package, and that every byte of it is what they signed
///
/// Digest first, then signature, then content, as skepd does before it installs. Exit status 4: refused.
#[derive(Debug, Args)]
pub struct Verify {
    /// An OCI layout, a bundle, or [registry/]publisher/name:version
    place: OsString,
    #[command(flatten)]
    signers: Signers,
    /// Show each step: which rule counts, and what each signature and attestation comes to
    #[arg(long)]
    explain: bool,
    /// Then print what attestations of this kind say, by keys of the package's rule, a JSON object a line: sbom, provenance,
    /// compatibility, or a predicate type
    #[arg(long, value_name = "KIND", conflicts_with = "explain")]
    attestation: Option<String>,
    #[command(flatten)]
    options: PlaceOptions,
}

/// What was checked.
#[derive(Serialize)]
pub struct Answer {
    package: String,
    digest: Digest,
    origin: Origin,
    platforms: Vec<Checked>,
    left_out: Vec<Arch>,
    attestations: Vec<Attested>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explained: Option<Explained>,
}

#[derive(Serialize)]
struct Checked {
    arch: Arch,
    manifest: Digest,
    objects: Vec<String>,
}

impl Verify {
    /// Runs it.
    ///
    /// # Errors
    /// Refused, or the package cannot be read.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let policy = self.signers.rules(config)?;
        let place = Place::parse(&self.place, &self.options.choice, config)?;
        let transport = self.options.transport;
        let place = channel::settled_by(place, || Ok(policy.clone()), transport, config)?;
        let by = (&policy, moment::now(config)?);
        let check = |name: &_, digest, bundles: &[_]| {
            let explained = self.explain.then(|| explained(name, digest, bundles, by, output));
            let signed = checked(name, digest, bundles, by)
                .map_err(|error| moment::refused(error, config))?;
            let asked = self.attestation.as_ref();
            let said = asked.map(|kind| said(kind, name, digest, bundles, by)).transpose()?;
            Ok((signed, explained.transpose()?, said))
        };
        let fetched = fetch(place, &self.options, Part::Whole, config, check)?;
        let (signed, explained, said) = fetched.checked;
        let answer = content(&fetched.reference, signed, &fetched.store, &fetched.store)?;
        if let Some(said) = said {
            said.iter().for_each(|predicate| output.raw(&predicate.to_string()));
            return Ok(());
        }
        let answer = Answer { explained, ..answer };
        output.packaged(&answer, &[answer.digest], || answer.text());
        Ok(())
    }
}

/// A digest that enough have signed, and what else was said about it.
pub struct Signed {
    verified: Verified<Digest>,
    attestations: Vec<Attested>,
}

/// Each step; where the package is refused it is shown before the error.
fn explained(
    reference: &PackageRef,
    digest: Digest,
    bundles: &[Vec<u8>],
    (policy, now): (&Policy, SystemTime),
    output: &Output,
) -> Result<Explained> {
    let asked = Asked { name: &reference.name, registry: reference.registry.as_deref(), digest };
    let rule = Explained::rule(reference, policy)?;
    let (explained, verified) = rule.found(&asked, bundles, policy, now);
    if verified.is_err() {
        output.answer(&explained, || explained.text());
    }
    Ok(explained)
}

/// What attestations of a kind say, by keys of the package's rule.
fn said(
    kind: &str,
    reference: &PackageRef,
    digest: Digest,
    bundles: &[Vec<u8>],
    (policy, now): (&Policy, SystemTime),
) -> Result<Vec<Value>> {
    let known = Kind::ALL.into_iter().find(|one| one.as_str() == kind);
    let wanted = known.map_or(kind, |known| known.predicate_type());
    let asked = Asked { name: &reference.name, registry: reference.registry.as_deref(), digest };
    let all = attestation::beside(&asked, bundles, policy, now);
    let of_kind = all.into_iter().filter(|one| one.predicate_type == wanted);
    let said: Vec<Value> =
        of_kind.filter_map(|one| one.counted.ok()).map(|one| one.predicate).collect();
    if said.is_empty() {
        let why = format!("no key of its rule has signed an attestation '{kind}' of {reference}");
        return Err(Error::new(error::Kind::Refused, why).hint("skep verify lists what there is"));
    }
    Ok(said)
}

/// The digest as one that enough of these signed.
///
/// # Errors
/// They did not.
pub fn checked(
    reference: &PackageRef,
    digest: Digest,
    bundles: &[Vec<u8>],
    (policy, now): (&Policy, SystemTime),
) -> Result<Signed, TrustError> {
    let registry = reference.registry.as_deref();
    let asked = Asked { name: &reference.name, registry, digest };
    let verified = verify(&asked, bundles, policy, now)?;
    Ok(Signed { verified, attestations: attested(&asked, bundles, policy, now) })
}

/// Follows the digests to every platform's objects, whose bytes `blobs` gives of the store.
///
/// # Errors
/// Something is not what its digest or manifest says, or is not there.
pub fn content(
    reference: &PackageRef,
    signed: Signed,
    store: &Store,
    blobs: &dyn Blobs,
) -> Result<Answer> {
    let Signed { verified, attestations } = signed;
    let digest = *verified;
    let bytes = store.require(&digest, MAX_DOCUMENT as u64).map_err(refused)?;
    let index = Index::parse(&bytes).map_err(refused)?;
    let (mut platforms, mut left_out) = (Vec::new(), Vec::new());
    for entry in &index.manifests {
        let Some(arch) = entry.platform.as_ref().and_then(|platform| platform.arch()) else {
            continue;
        };
        // A bundle may be made for some platforms only.
        if !store.has(&entry.digest) {
            left_out.push(arch);
            continue;
        }
        let admit::Checked { platform: manifest, objects } =
            check(&verified, blobs, arch, reference).map_err(refused)?;
        platforms.push(Checked { arch, manifest, objects });
    }
    if platforms.is_empty() {
        return Err(Error::new(
            error::Kind::Refused,
            format!("{reference} has nothing for Linux here"),
        ));
    }
    let origin = verified.origin().clone();
    let package = reference.to_string();
    Ok(Answer { package, digest, origin, platforms, left_out, attestations, explained: None })
}

impl Answer {
    fn text(&self) -> String {
        let explained = self.explained.as_ref().map(|steps| format!("{}\n\n", steps.text()));
        let explained = explained.unwrap_or_default();
        format!("{explained}Verified {}\n{}\n{}", self.package, self.digest, self.details())
    }

    /// By whom it is signed, and what was checked.
    pub fn details(&self) -> String {
        let mut lines = Vec::new();
        if let Origin::Signed { keys, identities, rule } = &self.origin {
            lines.extend(keys.iter().map(|key| format!("signed by key {key}")));
            lines.extend(identities.iter().map(|identity| format!("signed by {identity}")));
            lines.push(format!("by the rule for '{rule}'"));
        }
        for Checked { arch, manifest, objects } in &self.platforms {
            let objects = objects.join(", ");
            lines.push(format!("{arch}: manifest {}, objects {objects}", manifest.short()));
        }
        lines.extend(self.left_out.iter().map(|arch| format!("{arch}: not in this layout")));
        lines.extend(self.attestations.iter().map(|one| match one.counts {
            true => one.text(),
            false => format!("not counted: {}", one.text()),
        }));
        lines.push("checked: signatures, name and version, every size and digest".to_owned());
        lines.push("not checked: whether it is true what attestations say, and what its programs do (skep inspect)".to_owned());
        lines.join("\n")
    }
}
