//! `skep sign`.

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;
use skep_spec::{Digest, media};
use skep_trust::{KeyId, bundle};

use crate::channel;
use crate::config::Config;
use crate::error::{Result, failed};
use crate::keys::SignOptions;
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
    /// An OCI layout, or [registry/]publisher/name:version (or @sha256:…)
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
        let target = Target::find(place, &self.options, config)?;
        let signed = bundle::sign(&*key, &target.subjects, media::PREDICATE_SIGN);
        target.put(&signed.map_err(failed)?)?;
        let Target { reference, digest, .. } = target;
        let id = key.public().map_err(failed)?.id();
        let answer = Answer { package: reference.to_string(), digest, key: id };
        output
            .packaged(&answer, &[digest], || format!("Signed {reference}\n{digest}\nby key {id}"));
        Ok(())
    }
}
