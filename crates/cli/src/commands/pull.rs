//! `skep pull`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_oci::registry::Carried;
use skep_oci::{Registry, Store};
use skep_spec::{Digest, PackageRef};
use skep_trust::Policy;

use super::verify;
use crate::channel;
use crate::config::Config;
use crate::error::{Error, Result, failed};
use crate::moment;
use crate::options::Transport;
use crate::output::{Output, lossy};
use crate::passing::{Passing, interruptible};
use crate::place::{self, Place};
use crate::progress::shown;
use crate::rules::{self, Signers};

/// Pull a package, with all that refers to it, from a registry into a layout
///
/// Every digest is checked. Signatures are with --verify, --key or --policy, before content comes, and all that skep verify
/// checks before the package is listed; otherwise by skep verify LAYOUT, and by skepd before it installs. A channel is always
/// followed by trust.toml or what is named instead.
#[derive(Debug, Args)]
pub struct Pull {
    /// What: [registry/]publisher/name:version, or @sha256:… or @channel instead of the version
    reference: String,
    /// The folder of the layout; it is made if need be
    #[arg(long, short = 'o', value_name = "LAYOUT")]
    out: PathBuf,
    /// Check who signed it, too, and all that skep verify checks
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    signers: Signers,
    #[command(flatten)]
    transport: Transport,
}

#[derive(Serialize)]
struct Answer {
    reference: String,
    digest: Digest,
    #[serde(serialize_with = "lossy")]
    layout: PathBuf,
    signatures: usize,
    others: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<verify::Answer>,
}

impl Pull {
    /// Runs it.
    ///
    /// # Errors
    /// The registry does not give it whole, it is not what was to be verified, or the layout cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let place = Place::Registry(place::reference(&self.reference, config)?);
        let policy = self.policy(config)?;
        let rules = || policy.clone().map_or_else(|| rules::of_machine(config), Ok);
        let settled = channel::settled_by(place, rules, self.transport, config)?;
        let Place::Registry(reference) = settled else {
            return Err(Error::usage(format!("'{}' is no reference", self.reference)));
        };
        let registry = place::registry(&reference, self.transport, config)?;
        let what = format!("Pulling {reference}");
        let pull = self.pull(&registry, &reference, policy.as_ref(), config);
        let (digest, carried, verified) =
            interruptible(shown(output, registry.progress(), &what, pull))?;
        place::note_left(&carried, output);
        let (reference, layout) = (reference.to_string(), self.out);
        let Carried { signatures, others, .. } = carried;
        let answer = Answer { reference, digest, layout, signatures, others, verified };
        output.packaged(&answer, &[digest], || {
            let Answer { reference, layout, verified, .. } = &answer;
            let (shown, came) = (layout.display(), place::came_along(signatures, others));
            let checked = match verified {
                Some(verified) => format!("{came}\n{}", verified.details()),
                None => format!("{came}, not yet checked: skep verify {shown}"),
            };
            format!("Pulled {reference} into {shown}\n{digest}\n{checked}")
        });
        Ok(())
    }

    /// By which rules it is verified, if it is.
    fn policy(&self, config: &Config) -> Result<Option<Policy>> {
        let is_asked = self.verify || self.signers.are_named();
        is_asked.then(|| self.signers.rules(config)).transpose()
    }

    /// The digest of what was pulled, what came with it, and what was verified: signatures first, content before it is listed.
    async fn pull(
        &self,
        registry: &Registry,
        reference: &PackageRef,
        policy: Option<&Policy>,
        config: &Config,
    ) -> Result<(Digest, Carried, Option<verify::Answer>)> {
        let digest = registry.resolve(reference).await.map_err(failed)?;
        let signed = match policy {
            Some(policy) => {
                let bundles = registry.bundles(reference, digest).await.map_err(failed)?;
                let by = (policy, moment::now(config)?);
                let signed = verify::checked(reference, digest, &bundles, by);
                Some(signed.map_err(|error| moment::refused(error, config))?)
            }
            None => None,
        };
        let new = Passing::of(Store::would_make(&self.out))?;
        let store = Store::create(&self.out).map_err(failed)?;
        let brought = registry.bring(reference, digest, &store).await.map_err(failed)?;
        let content = |signed| verify::content(reference, signed, &store, &brought);
        let verified = signed.map(content).transpose()?;
        let carried = brought.list().map_err(failed)?;
        new.keep();
        Ok((digest, carried, verified))
    }
}
