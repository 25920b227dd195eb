//! `skep verify`.

use std::ffi::OsString;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use skep_oci::Store;
use skep_oci::registry::Part;
use skep_spec::oci::{Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, PackageRef};
use skep_trust::{Asked, Blobs, Origin, Policy, Verified, admit, check, verify};

use crate::channel;
use crate::config::Config;
use crate::error::{Error, Kind, Result, refused, untrusted};
use crate::fetch::{Fetched, fetch};
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
        let check = |name: &_, digest, bundles: &[_]| checked(name, digest, bundles, &policy);
        let fetched = fetch(place, &self.options, Part::Whole, config, check)?;
        let Fetched { store, reference, checked: verified, .. } = &fetched;
        let answer = content(reference, verified, store, store)?;
        output.packaged(&answer, &[answer.digest], || answer.text());
        Ok(())
    }
}

/// The digest as one that enough of these signed.
///
/// # Errors
/// They did not.
pub fn checked(
    reference: &PackageRef,
    digest: Digest,
    bundles: &[Vec<u8>],
    policy: &Policy,
) -> Result<Verified<Digest>> {
    let registry = reference.registry.as_deref();
    let asked = Asked { name: &reference.name, registry, digest };
    verify(&asked, bundles, policy, SystemTime::now()).map_err(untrusted)
}

/// Follows the digests to every platform's objects, whose bytes `blobs` gives of the store.
///
/// # Errors
/// Something is not what its digest or manifest says, or is not there.
pub fn content(
    reference: &PackageRef,
    verified: &Verified<Digest>,
    store: &Store,
    blobs: &dyn Blobs,
) -> Result<Answer> {
    let digest = **verified;
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
            check(verified, blobs, arch, reference).map_err(refused)?;
        platforms.push(Checked { arch, manifest, objects });
    }
    if platforms.is_empty() {
        return Err(Error::new(Kind::Refused, format!("{reference} has nothing for Linux here")));
    }
    let origin = verified.origin().clone();
    Ok(Answer { package: reference.to_string(), digest, origin, platforms, left_out })
}

impl Answer {
    fn text(&self) -> String {
        format!("Verified {}\n{}\n{}", self.package, self.digest, self.details())
    }

    /// By whom it is signed, and what was checked.
    pub fn details(&self) -> String {
        let mut lines = Vec::new();
        if let Origin::Signed { keys, rule } = &self.origin {
            lines.extend(keys.iter().map(|key| format!("signed by key {key}")));
            lines.push(format!("by the rule for '{rule}'"));
        }
        for Checked { arch, manifest, objects } in &self.platforms {
            let objects = objects.join(", ");
            lines.push(format!("{arch}: manifest {}, objects {objects}", manifest.short()));
        }
        lines.extend(self.left_out.iter().map(|arch| format!("{arch}: not in this layout")));
        lines.push("checked: signatures, name and version, every size and digest".to_owned());
        lines.join("\n")
    }
}
