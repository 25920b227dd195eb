//! `skep copy`.

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;
use skep_oci::registry::Pushed;
use skep_spec::{Channel, Digest, PackageRef};

use crate::channel::{self, Followed};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::fetch::whole;
use crate::moment;
use crate::options::PlaceOptions;
use crate::output::{Output, bytes};
use crate::place::{self, Place};
use crate::progress::shown;
use crate::rules;

/// Copy a package, with all that refers to it, to a registry: from another one, from a layout or a bundle
///
/// Not a byte changes, so that digests and signatures stay good. The tag moves last: whoever follows it finds everything. Of
/// name@channel the channel goes along, unless it has moved on over there.
#[derive(Debug, Args)]
pub struct Copy {
    /// What: [registry/]publisher/name:version (or @sha256:…, @channel), an OCI layout, or a bundle
    from: OsString,
    /// Where to: [registry/][path/]publisher/name, with the same name, and the same version or none
    to: String,
    /// Replace the version where it is there with other content
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    options: PlaceOptions,
}

#[derive(Serialize)]
struct Answer {
    from: String,
    to: String,
    digest: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    blobs: usize,
    bytes: u64,
    signatures: usize,
    others: usize,
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
        let PlaceOptions { choice, transport } = &self.options;
        let place = Place::parse(&self.from, choice, config)?;
        let (place, followed) = self.followed(place, config)?;
        let found = whole(place, *transport, output, config)?;
        let (reference, digest) = place::package(&found.store, choice.package.as_ref())?;
        let to = PackageRef { version: to.version.or(reference.version), ..to };
        let registry = place::registry(&to, *transport, config)?.without_mirrors();
        if !self.force {
            place::is_free(&registry, &to, digest)?;
        }
        let what = format!("Pushing {to}");
        let push = registry.push(&found.store, digest, &to);
        let pushed = place::ask(shown(output, registry.progress(), &what, push))?;
        let channel = followed.as_ref().map(|followed| followed.channel.clone());
        if let Some(followed) = &followed {
            let (policy, now) = (rules::of_machine(config)?, moment::now(config)?);
            let told = channel::carry(followed, &registry, &to, &policy, now)?;
            told.iter().for_each(|what| output.note(what));
        }
        let Pushed { blobs, bytes: size, signatures, others } = pushed;
        let (from, to) = (self.from.to_string_lossy().into_owned(), to.to_string());
        let answer = Answer { from, to, digest, channel, blobs, bytes: size, signatures, others };
        output.packaged(&answer, &[digest], || {
            let Answer { from, to, channel, .. } = &answer;
            let channel = channel.as_ref().map(|channel| format!(", the channel {channel}"));
            let channel = channel.unwrap_or_default();
            let (sent, came) = (bytes(size), place::came_along(signatures, others));
            format!("Copied {from} to {to}\n{digest}\n{blobs} new blobs, {sent}, {came}{channel}")
        });
        Ok(())
    }

    /// A channel that is named is followed, and goes along.
    fn followed(&self, place: Place, config: &Config) -> Result<(Place, Option<Followed>)> {
        let reference = match &place {
            Place::Registry(reference) if reference.channel.is_some() => reference,
            _ => return Ok((place, None)),
        };
        let registry = place::registry(reference, self.options.transport, config)?;
        let followed = channel::follow(&registry, reference, &rules::of_machine(config)?, config)?;
        let place = Place::Registry(followed.reference.at(followed.pointer.digest));
        Ok((place, Some(followed)))
    }
}
