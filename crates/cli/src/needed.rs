//! What packages need: found where they came from, or at the hub. Who signed it is for nodes to ask.

use std::collections::BTreeMap;

use skep_oci::Store;
use skep_oci::registry::Part;
use skep_spec::dependency::{self, Finder, Needs, ResolveError, Root, resolve};
use skep_spec::{Digest, PackageName, PackageRef, Version};

use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::fetch::passing;
use crate::options::Transport;
use crate::place;
use crate::subject::manifest_of;

/// Where packages are looked for.
#[derive(Clone)]
pub enum Where {
    /// A registry and a path in it, by any package there.
    Registry(PackageRef),
    /// A layout.
    Store(Store),
}

/// A package that another one needs.
pub struct Needed {
    /// Its name and version.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Its index.
    pub digest: Digest,
    /// Where it is, if that is a registry.
    pub from: Option<PackageRef>,
}

/// How registries are asked.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// As on the command line.
    pub transport: Transport,
    /// This run's settings.
    pub config: &'a Config,
}

/// What a package needs, what is needed first in front. What is `chosen` already stays where every range allows it.
///
/// # Errors
/// There is no set of versions that does, or one is not to be had.
pub fn needed(
    root: Root<'_>,
    chosen: &BTreeMap<PackageName, Version>,
    from: Option<Where>,
    asking: Asking<'_>,
) -> Result<Vec<Needed>> {
    let hub =
        asking.config.hub.as_ref().map(|hub| PackageRef::short(root.name, None).or_registry(hub));
    let places = from.into_iter().chain(hub.map(Where::Registry));
    let mut finder = Finder::new(places.map(|place| Place { place, asking }).collect());
    let set = resolve(root, chosen, &[], &mut finder).map_err(|error| match error {
        ResolveError::Versions(error) => error,
        ResolveError::Unresolved(error) => {
            let what = format!("what {} {} needs cannot be had", root.name, root.version);
            let error = Error::caused(Kind::Failed, what, &error);
            match asking.config.hub {
                Some(_) => error,
                None => error.hint("no hub is set that could have it: SKEP_HUB=host[:port]"),
            }
        }
    })?;
    Ok(set.iter().filter_map(|one| finder.take(one)).collect())
}

/// A place that is only asked what its packages say of themselves.
struct Place<'a> {
    place: Where,
    asking: Asking<'a>,
}

impl dependency::Place for Place<'_> {
    type Package = Needed;
    type Error = Error;

    fn versions(&self, package: &PackageName) -> Result<Vec<Version>> {
        match &self.place {
            Where::Registry(beside) => {
                let reference = beside.beside(package, None);
                let Asking { transport, config } = self.asking;
                let registry = place::registry(&reference, transport, config)?;
                place::ask(registry.versions(&reference))
            }
            Where::Store(store) => {
                let packages = store.packages().map_err(failed)?;
                let of_name = packages.into_iter().filter(|(listed, _)| listed.name == *package);
                Ok(of_name.filter_map(|(listed, _)| listed.version).collect())
            }
        }
    }

    fn package(&self, package: &PackageName, version: &Version) -> Result<(Needs, Needed)> {
        let wanted = PackageRef::short(package, Some(version));
        let (manifest, digest, from) = match &self.place {
            Where::Store(store) => {
                let (reference, digest) = place::package(store, Some(&wanted))?;
                (manifest_of(store, digest, &reference)?, digest, None)
            }
            Where::Registry(beside) => {
                let Asking { transport, config } = self.asking;
                let reference = beside.beside(package, Some(version));
                let registry = place::registry(&reference, transport, config)?;
                let (store, _folder) = passing()?;
                let digest = place::ask(async {
                    let digest = registry.resolve(&reference).await?;
                    registry.pull(&reference, digest, Part::Manifest, &store).await?;
                    Ok(digest)
                })?;
                (manifest_of(&store, digest, &wanted)?, digest, Some(reference))
            }
        };
        let (name, version) = (package.clone(), version.clone());
        Ok((dependency::needs(&manifest.dependencies), Needed { name, version, digest, from }))
    }
}
