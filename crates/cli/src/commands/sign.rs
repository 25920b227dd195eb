//! `skep sign`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_oci::signatures;
use skep_spec::{Digest, PackageRef, media};
use skep_trust::{KeyId, SecretKey, bundle};

use super::key;
use crate::channel;
use crate::config::Config;
use crate::error::{Error, Result, failed};
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::passing::interruptible;
use crate::place::{self, Place};

/// Sign a package in a layout or in a registry
///
/// The signature is what cosign v3 writes and checks: 'cosign verify --key PREFIX.pub --insecure-ignore-tlog' accepts
/// it. In a layout it stays beside the package until skep push sends both.
#[derive(Debug, Args)]
pub struct Sign {
    /// The private key that skep key new made
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
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
        let key = key::secret(&self.key, config)?;
        let place = Place::parse(&self.place, &self.options.choice, config)?;
        let (reference, digest) = match channel::settled(place, self.options.transport, config)? {
            Place::Layout(path) => self.in_layout(&key, &path)?,
            Place::Registry(reference) => self.in_registry(&key, reference, config)?,
            Place::Bundle(path) => return Err(closed(&path)),
        };
        let id = key.public().map_err(failed)?.id();
        let answer = Answer { package: reference.to_string(), digest, key: id };
        output
            .packaged(&answer, &[digest], || format!("Signed {reference}\n{digest}\nby key {id}"));
        Ok(())
    }

    fn in_layout(&self, key: &SecretKey, path: &Path) -> Result<(PackageRef, Digest)> {
        let store = place::layout(path)?;
        let (reference, digest) = place::package(&store, self.options.choice.package.as_ref())?;
        let subjects = signatures::subjects(&store, digest).map_err(failed)?;
        let bundle = bundle::sign(key, &subjects, media::PREDICATE_SIGN).map_err(failed)?;
        signatures::attach(&store, digest, &bundle).map_err(failed)?;
        Ok((reference, digest))
    }

    fn in_registry(
        &self,
        key: &SecretKey,
        reference: PackageRef,
        config: &Config,
    ) -> Result<(PackageRef, Digest)> {
        let registry = place::registry(&reference, self.options.transport, config)?;
        interruptible(async {
            let index = registry.index(&reference).await.map_err(failed)?;
            let subjects = signatures::subjects_of(&index).map_err(failed)?;
            let bundle = bundle::sign(key, &subjects, media::PREDICATE_SIGN);
            let bundle = bundle.map_err(failed)?;
            let attached = registry.attach_bundle(&reference, &index, &bundle).await;
            attached.map_err(failed)?;
            Ok((reference, Digest::of(&index)))
        })
    }
}

fn closed(bundle: &Path) -> Error {
    let shown = bundle.display();
    Error::usage(format!("'{shown}' is a bundle, to which nothing is added"))
        .hint(format!("skep unbundle {shown} -o LAYOUT, sign the layout, and skep bundle it again"))
}
