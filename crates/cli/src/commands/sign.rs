//! `skep sign`.

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use serde::Serialize;
use skep_oci::signatures;
use skep_spec::{Digest, PackageRef, media};
use skep_trust::bundle::Subject;
use skep_trust::key::KeyError;
use skep_trust::{KeyId, bundle};

use super::key::SignOptions;
use crate::channel;
use crate::config::Config;
use crate::error::{Error, Result, failed};
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::place::{self, Place};

/// Sign a package in a layout or in a registry
///
/// The signature is what cosign v3 writes and checks: 'cosign verify --key PREFIX.pub --insecure-ignore-tlog' accepts
/// it. In a layout it stays beside the package until skep push sends both.
#[derive(Debug, Args)]
pub struct Sign {
    #[command(flatten)]
    key: SignOptions,
    /// An OCI layout, or [registry/]publisher/name:version
    place: OsString,
    #[command(flatten)]
    options: PlaceOptions,
}

#[derive(Serialize)]
struct Answer {
    package: String,
    digest: Digest,
    key: KeyId,
}

impl Sign {
    /// Runs it.
    ///
    /// # Errors
    /// No key, no package, or the layout or registry cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let key = self.key.key(config)?;
        let place = Place::parse(&self.place, &self.options.choice, config)?;
        let place = channel::settled(place, self.options.transport, config)?;
        let (reference, digest) = attach(place, &self.options, config, |subjects| {
            bundle::sign(&*key, subjects, media::PREDICATE_SIGN)
        })?;
        let id = key.public().map_err(failed)?.id();
        let answer = Answer { package: reference.to_string(), digest, key: id };
        output
            .packaged(&answer, &[digest], || format!("Signed {reference}\n{digest}\nby key {id}"));
        Ok(())
    }
}

/// Puts a bundle beside a package: what `sign` says about its index and platforms.
///
/// # Errors
/// There is no package, it is not signed, or the layout or registry cannot be written.
pub fn attach(
    place: Place,
    options: &PlaceOptions,
    config: &Config,
    sign: impl FnOnce(&[Subject]) -> std::result::Result<Vec<u8>, KeyError>,
) -> Result<(PackageRef, Digest)> {
    match place {
        Place::Layout(path) => {
            let store = place::layout(&path)?;
            let (reference, digest) = place::package(&store, options.choice.package.as_ref())?;
            let subjects = signatures::subjects(&store, digest).map_err(failed)?;
            let bundle = sign(&subjects).map_err(failed)?;
            signatures::attach(&store, digest, &bundle).map_err(failed)?;
            Ok((reference, digest))
        }
        Place::Registry(reference) => {
            let registry = place::registry(&reference, options.transport, config)?;
            let index = place::ask(registry.index(&reference))?;
            let subjects = signatures::subjects_of(&index).map_err(failed)?;
            let bundle = sign(&subjects).map_err(failed)?;
            place::ask(registry.attach_bundle(&reference, &index, &bundle))?;
            Ok((reference, Digest::of(&index)))
        }
        Place::Bundle(path) => Err(closed(&path)),
    }
}

fn closed(bundle: &Path) -> Error {
    let shown = bundle.display();
    Error::usage(format!("'{shown}' is a bundle, to which nothing is added"))
        .hint(format!("skep unbundle {shown} -o LAYOUT, sign the layout, and skep bundle it again"))
}
