//! `skep pull`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_oci::registry::Carried;
use skep_oci::{Registry, Store};
use skep_spec::{Digest, PackageRef};

use crate::channel;
use crate::config::Config;
use crate::error::{Error, Result, failed};
use crate::options::Transport;
use crate::output::{Output, lossy};
use crate::passing::{Passing, interruptible};
use crate::place::{self, Place};
use crate::progress::shown;

/// Pull a package, with all that refers to it, from a registry into a layout
///
/// Every digest is checked; signatures are not: skep verify LAYOUT does that, and skepd before it installs. Only a channel is
/// followed by trust.toml.
#[derive(Debug, Args)]
pub struct Pull {
    /// What: [registry/]publisher/name:version, or @sha256:… or @channel instead of the version
    reference: String,
    /// The folder of the layout; it is made if need be
    #[arg(long, short = 'o', value_name = "LAYOUT")]
    out: PathBuf,
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
}

impl Pull {
    /// Runs it.
    ///
    /// # Errors
    /// The registry does not give it whole, or the layout cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let place = Place::Registry(place::reference(&self.reference, config)?);
        let Place::Registry(reference) = channel::settled(place, self.transport, config)? else {
            return Err(Error::usage(format!("'{}' is no reference", self.reference)));
        };
        let registry = place::registry(&reference, self.transport, config)?;
        let what = format!("Pulling {reference}");
        let pull = self.pull(&registry, &reference);
        let (digest, carried) = interruptible(shown(output, registry.progress(), &what, pull))?;
        place::note_left(&carried, output);
        let (reference, layout) = (reference.to_string(), self.out);
        let Carried { signatures, others, .. } = carried;
        let answer = Answer { reference, digest, layout, signatures, others };
        output.packaged(&answer, &[digest], || {
            let Answer { reference, layout, .. } = &answer;
            let (shown, came) = (layout.display(), place::came_along(signatures, others));
            format!("Pulled {reference} into {shown}\n{digest}\n{came}, not yet checked: skep verify {shown}")
        });
        Ok(())
    }

    /// The digest of what was pulled, and what came with it.
    async fn pull(&self, registry: &Registry, reference: &PackageRef) -> Result<(Digest, Carried)> {
        let digest = registry.resolve(reference).await.map_err(failed)?;
        let new = Passing::of(Store::would_make(&self.out))?;
        let store = Store::create(&self.out).map_err(failed)?;
        let carried = place::pull_whole(registry, reference, digest, &store).await?;
        new.keep();
        Ok((digest, carried))
    }
}
