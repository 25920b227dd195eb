//! `skep copy`.

use clap::Args;
use serde::Serialize;
use skep_oci::Store;
use skep_oci::registry::Pushed;
use skep_spec::{Digest, PackageRef};
use tempfile::TempDir;

use crate::config::Config;
use crate::error::{Context as _, Error, Result};
use crate::output::{Output, bytes};
use crate::place::{self, Place};

/// Copy a package, with all that refers to it, to a registry: from another one, or from a layout
///
/// Not a byte changes, so that digests and signatures stay good. The tag moves last: whoever follows it finds everything.
#[derive(Debug, Args)]
pub struct Copy {
    /// What: [registry/]publisher/name:version (or @sha256:…), or an OCI layout
    from: String,
    /// Where to: [registry/][path/]publisher/name, with the same name, and the same version or none
    to: String,
    /// Which package of a layout that holds several
    #[arg(long, value_name = "NAME:VERSION")]
    package: Option<PackageRef>,
    /// Speak HTTP without TLS to both (loopback addresses always do)
    #[arg(long)]
    plain_http: bool,
}

#[derive(Serialize)]
struct Answer {
    from: String,
    to: String,
    digest: Digest,
    blobs: usize,
    bytes: u64,
    signatures: usize,
    others: usize,
}

/// A package in a layout, which may be there only for the copy.
struct Found {
    store: Store,
    reference: PackageRef,
    digest: Digest,
    _folder: Option<TempDir>,
}

impl Copy {
    /// Runs it.
    ///
    /// # Errors
    /// It is not there, or not whole; or a registry does not give or take it.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let to = place::reference(&self.to, config)?;
        if to.digest.is_some() || to.channel.is_some() {
            return Err(Error::usage(format!("'{}' is no place to copy to", self.to))
                .hint("give [registry/]publisher/name[:version]"));
        }
        let found = match Place::parse(&self.from, config)? {
            Place::Layout(path) => {
                let store = place::layout(&path)?;
                let (reference, digest) = place::package(&store, self.package.as_ref())?;
                Found { store, reference, digest, _folder: None }
            }
            Place::Registry(reference) => self.pulled(&reference, output, config)?,
        };
        let to = PackageRef { version: to.version.or(found.reference.version.clone()), ..to };
        let registry = place::registry(&to, self.plain_http, config)?;
        let pushed = place::block_on(async {
            registry.push(&found.store, found.digest, &to).await.map_err(place::failed)
        })?;
        let Pushed { blobs, bytes: size, signatures, others } = pushed;
        let (from, to, digest) = (self.from, to.to_string(), found.digest);
        let answer = Answer { from, to, digest, blobs, bytes: size, signatures, others };
        output.answer(&answer, || {
            let Answer { from, to, .. } = &answer;
            let (sent, came) = (bytes(size), place::came_along(signatures, others));
            format!("Copied {from} to {to}\n{digest}\n{blobs} new blobs, {sent}, {came}")
        });
        Ok(())
    }

    fn pulled(&self, reference: &PackageRef, output: &Output, config: &Config) -> Result<Found> {
        if self.package.is_some() {
            return Err(Error::usage("--package is for layouts: a reference names its package"));
        }
        let registry = place::registry(reference, self.plain_http, config)?;
        let folder = tempfile::tempdir().context(|| "can't make a temporary folder")?;
        let store = Store::create(folder.path()).map_err(place::failed)?;
        let (digest, carried) = place::block_on(async {
            let digest = registry.resolve(reference).await.map_err(place::failed)?;
            let carried = place::pull_whole(&registry, reference, digest, &store).await?;
            Ok((digest, carried))
        })?;
        place::note_left(&carried, output);
        let (reference, _) = place::package(&store, None)?;
        Ok(Found { store, reference, digest, _folder: Some(folder) })
    }
}
