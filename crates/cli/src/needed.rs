//! What packages need: found where they came from, or at the hub. Who signed it is for nodes to ask.

use std::collections::BTreeMap;

use skep_oci::Store;
use skep_spec::dependency::{Needs, ResolveError, Root, Versions, resolve};
use skep_spec::manifest::Dependency;
use skep_spec::{Digest, PackageName, PackageRef, Version};

use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::fetch::{Whole, whole};
use crate::options::Transport;
use crate::output::Output;
use crate::place::{self, Place};
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
    pub reference: PackageRef,
    /// Its index.
    pub digest: Digest,
    /// What holds it, where it was pulled for this.
    pub whole: Option<Whole>,
}

/// How registries are asked.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// As on the command line.
    pub transport: Transport,
    /// Where to say what is pulled.
    pub output: &'a Output,
    /// This run's settings.
    pub config: &'a Config,
}

/// What a package needs, what is needed first in front.
///
/// # Errors
/// There is no set of versions that does, or one is not to be had.
pub fn needed(root: Root<'_>, from: Option<Where>, asking: Asking<'_>) -> Result<Vec<Needed>> {
    let hub =
        asking.config.hub.as_ref().map(|hub| PackageRef::short(root.name, None).or_registry(hub));
    let places = from.into_iter().chain(hub.map(Where::Registry)).collect();
    let mut finder = Finder { places, asking, found: BTreeMap::new(), had: BTreeMap::new() };
    let set = resolve(root, &BTreeMap::new(), &[], &mut finder).map_err(|error| match error {
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
    Ok(set.into_iter().filter_map(|one| finder.had.remove(&(one.name, one.version))).collect())
}

/// Ranges by package.
pub fn needs_of(dependencies: &BTreeMap<PackageName, Dependency>) -> Needs {
    dependencies.iter().map(|(name, on)| (name.clone(), on.version.clone())).collect()
}

struct Finder<'a> {
    places: Vec<Where>,
    asking: Asking<'a>,
    /// The place of each package.
    found: BTreeMap<PackageName, Where>,
    had: BTreeMap<(PackageName, Version), Needed>,
}

impl Finder<'_> {
    fn there(&self, place: &Where, name: &PackageName) -> Result<Vec<Version>> {
        match place {
            Where::Registry(beside) => {
                let reference = beside.beside(name, None);
                let Asking { transport, config, .. } = self.asking;
                let registry = place::registry(&reference, transport, config)?;
                place::ask(registry.versions(&reference))
            }
            Where::Store(store) => {
                let packages = store.packages().map_err(failed)?;
                let of_name = packages.into_iter().filter(|(reference, _)| reference.name == *name);
                Ok(of_name.filter_map(|(reference, _)| reference.version).collect())
            }
        }
    }
}

impl Versions for Finder<'_> {
    type Error = Error;

    fn of(&mut self, package: &PackageName) -> Result<Vec<Version>> {
        for place in &self.places {
            let versions = self.there(place, package)?;
            if !versions.is_empty() {
                self.found.insert(package.clone(), place.clone());
                return Ok(versions);
            }
        }
        Ok(Vec::new())
    }

    fn needs(&mut self, package: &PackageName, version: &Version) -> Result<Needs> {
        let Some(place) = self.found.get(package) else { return Ok(Needs::new()) };
        let wanted = PackageRef::short(package, Some(version));
        let (store, held) = match place {
            Where::Store(store) => (store.clone(), None),
            Where::Registry(beside) => {
                let Asking { transport, output, config } = self.asking;
                let reference = Place::Registry(beside.beside(package, Some(version)));
                let pulled = whole(reference, transport, output, config)?;
                (pulled.store.clone(), Some(pulled))
            }
        };
        let (reference, digest) = place::package(&store, Some(&wanted))?;
        let needs = needs_of(&manifest_of(&store, digest, &reference)?.dependencies);
        let had = Needed { reference, digest, whole: held };
        self.had.insert((package.clone(), version.clone()), had);
        Ok(needs)
    }
}
