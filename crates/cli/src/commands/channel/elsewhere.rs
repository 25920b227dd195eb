//! Other registries that have a package's channel, which has one sequence in all of them.

use skep_oci::registry::Tags;
use skep_oci::{Registry, RegistryError};
use skep_spec::{Channel, PackageRef};

use super::bare;
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::options::Transport;
use crate::passing::interruptible;
use crate::place::{self, Lying};

/// Another registry that has the package's channel.
pub struct Elsewhere {
    pub(super) registry: Registry,
    pub(super) reference: PackageRef,
}

/// The package of a reference in other registries: each `host[:port][/path]`.
///
/// # Errors
/// One is none.
pub fn elsewhere(
    registries: &[String],
    reference: &PackageRef,
    transport: Transport,
    config: &Config,
) -> Result<Vec<Elsewhere>> {
    let name: PackageRef = reference.name.to_string().parse().map_err(failed)?;
    let one = |to: &String| {
        let reference = place::within(to, &name)?;
        let registry = place::registry(&reference, transport, config)?.without_mirrors();
        Ok(Elsewhere { registry, reference })
    };
    registries.iter().map(one).collect()
}

impl Elsewhere {
    /// That the package is there, if not the channel: otherwise the place is mistyped, and says nothing of the sequence.
    ///
    /// # Errors
    /// It is not, or the registry does not answer.
    pub fn has_package(&self) -> Result<()> {
        let Self { registry, reference } = self;
        let tags = interruptible(async {
            match registry.tags(reference).await {
                Err(RegistryError::NotFound { .. }) => Ok(Tags::default()),
                tags => tags.map_err(failed),
            }
        });
        if tags.map_err(|error| self.cannot_tell(error))? != Tags::default() {
            return Ok(());
        }
        let registry = reference.registry.as_deref().unwrap_or_default();
        let place = bare(reference);
        let what = format!(
            "there is no package {place}, so that --also says nothing of the channel's sequence"
        );
        Err(Error::new(Kind::Failed, what).hint(format!(
            "look at its path: --also is REGISTRY[/PATH] without the package's name, here before '/{}'; where {registry} gets its first version only later, leave it out till then",
            reference.name
        )))
    }

    pub(super) fn cannot_tell(&self, error: Error) -> Error {
        let place = bare(&self.reference);
        error.of(format!("can't tell which sequence comes after what {place} has"))
    }

    /// What was found there, for people.
    pub(super) fn says(&self, channel: &Channel, lying: &Lying, highest: u64) -> String {
        let place = bare(&self.reference);
        match (&lying.junk, highest) {
            (Some(why), _) => {
                format!("{place} has no channel '{channel}': what lies there {why}")
            }
            (None, 0) if lying.bundles.is_empty() => format!("{place} has no channel '{channel}'"),
            (None, 0) => format!(
                "{place}@{channel} has no pointer that a key which is given or trusted here has signed"
            ),
            (None, highest) => format!("{place}@{channel} has sequence {highest}"),
        }
    }
}
