//! `skep push`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_spec::Digest;
use skep_spec::oci::MAX_DOCUMENT;

use crate::config::Config;
use crate::error::{Result, refused};
use crate::options::Transport;
use crate::output::{Output, bytes};
use crate::place;
use crate::progress::shown;

/// Push a package, with all that refers to it, from a layout to a registry
///
/// The tag moves last: whoever follows it finds everything. A version that is there with other content is left alone. Credentials
/// come from docker's config and its helpers.
#[derive(Debug, Args)]
pub struct Push {
    /// The OCI layout that skep pack or skep pull made
    layout: PathBuf,
    /// Where to: [registry/]publisher/name:version, the package's own name and version
    reference: String,
    /// Replace the version where it is there with other content
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    transport: Transport,
}

#[derive(Serialize)]
struct Answer {
    reference: String,
    digest: Digest,
    blobs: usize,
    bytes: u64,
    signatures: usize,
    others: usize,
}

impl Push {
    /// Runs it.
    ///
    /// # Errors
    /// The layout does not hold the package, or the registry does not take it.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let store = place::layout(&self.layout)?;
        let reference = place::reference(&self.reference, config)?;
        let (_, digest) = place::package(&store, Some(&reference))?;
        // Nobody is asked about what could not be pushed.
        store.require(&digest, MAX_DOCUMENT as u64).map_err(refused)?;
        let registry = place::registry(&reference, self.transport, config)?;
        if !self.force {
            place::is_free(&registry, &reference, digest)?;
        }
        let what = format!("Pushing {reference}");
        let push = registry.push(&store, digest, &reference);
        let pushed = place::ask(shown(output, registry.progress(), &what, push))?;
        let answer = Answer {
            reference: reference.to_string(),
            digest,
            blobs: pushed.blobs,
            bytes: pushed.bytes,
            signatures: pushed.signatures,
            others: pushed.others,
        };
        output.packaged(&answer, &[digest], || {
            let sent = format!("{} new blobs, {}", pushed.blobs, bytes(pushed.bytes));
            let signed = place::came_along(pushed.signatures, pushed.others);
            format!("Pushed {reference}\n{digest}\n{sent}, {signed}")
        });
        Ok(())
    }
}
