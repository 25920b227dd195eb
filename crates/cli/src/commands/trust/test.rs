//! `skep trust test`.

use std::ffi::OsString;

use clap::Args;
use skep_spec::{Digest, PackageRef};
use skep_trust::Asked;

use super::file::Which;
use crate::config::Config;
use crate::error::Result;
use crate::explain::Explained;
use crate::fetch;
use crate::moment;
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::place::Place;

/// Say which rule counts for a package, and whether its signatures let it in
///
/// A name alone is held against the rules, and nobody is asked. With a version or digest, and for a layout or bundle, each of
/// the package's signatures is looked at, and nothing else of it. Exit status 4: it would be refused.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// [registry/]publisher/name, with :version or @sha256:… where its signatures are to be looked at; an OCI layout, a bundle
    #[arg(value_name = "PACKAGE")]
    what: OsString,
    #[command(flatten)]
    options: PlaceOptions,
    #[command(flatten)]
    which: Which,
}

impl Test {
    /// Runs it.
    ///
    /// # Errors
    /// No rule speaks of the package, or its signatures do not let it in; it cannot be read.
    pub(super) fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (_, policy) = self.which.file(config).read()?;
        let (reference, signed) = self.signed(config)?;
        let explained = Explained::rule(&reference, &policy)?;
        let Some((digest, bundles)) = signed else {
            output.answer(&explained, || explained.text());
            return Ok(());
        };
        let asked =
            Asked { name: &reference.name, registry: reference.registry.as_deref(), digest };
        let (explained, verified) =
            explained.found(&asked, &bundles, &policy, moment::now(config)?);
        output.answer(&explained, || explained.text());
        verified.map(drop).map_err(|error| moment::refused(error, config))
    }

    /// What is meant, and what it has where that can be looked at.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn signed(&self, config: &Config) -> Result<(PackageRef, Option<(Digest, Vec<Vec<u8>>)>)> {
        if let Some(Ok(name)) = self.what.to_str().map(str::parse::<PackageRef>) {
            let names_none = name.version.is_none() && name.digest.is_none();
            if names_none && name.channel.is_none() && !std::path::Path::new(&self.what).exists() {
                self.options.choice.is_not_for_references()?;
                let hub = config.hub.as_deref();
                return Ok((hub.map_or(name.clone(), |hub| name.or_registry(hub)), None));
            }
        }
        let place = Place::parse(&self.what, &self.options.choice, config)?;
        let (reference, digest, bundles) = fetch::signed(place, &self.options, config)?;
        Ok((reference, Some((digest, bundles))))
    }
}
