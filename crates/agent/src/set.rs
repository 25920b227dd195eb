//! What a package needs: found where it came from or at the hub, each package verified by itself, and what becomes of each.

use std::collections::BTreeMap;

use skep_api::{Member, MemberChange, PackageSource};
use skep_object::fit;
use skep_oci::{Store, archive};
use skep_runtime::{Packages as _, Provider, Request, RuntimeError};
use skep_spec::dependency::{Needs, Other, Resolved, Root, Versions, resolve};
use skep_spec::{Manifest, PackageName, PackageRef, ServiceName, Version};
use skep_trust::{Package, Verified};

use crate::error::NodeError;
use crate::packages::Shelf;

/// What a root needs.
#[derive(Default)]
pub(crate) struct Set {
    /// What is to be installed or upgraded, in this order.
    pub(crate) changes: Vec<(Verified<Package>, Request)>,
    /// All of it, in the same order.
    pub(crate) members: Vec<Member>,
}

/// Where the services of a node stand, as a set needs to know.
pub(crate) struct Standing {
    /// Who gives which package.
    pub(crate) providers: BTreeMap<PackageName, Provider>,
    /// What all services need but the one that is to change.
    pub(crate) others: Vec<Other>,
    /// All services.
    pub(crate) services: Vec<ServiceName>,
}

impl Set {
    /// The set of a package that came from `source`.
    ///
    /// # Errors
    /// There is none; a package of it is not to be had, or not let in.
    pub(crate) fn of(
        root: &Verified<Package>,
        source: &PackageSource,
        shelf: &Shelf,
        standing: &Standing,
    ) -> Result<Self, NodeError> {
        let about = &root.manifest.package;
        let needs = needs(&root.manifest);
        if needs.is_empty() {
            return Ok(Self::default());
        }
        let asked = Root { name: &about.name, version: &about.version, needs: &needs };
        let mut finder = Finder {
            of: format!("{} {}", about.name, about.version),
            places: places(source, shelf, &about.name),
            shelf,
            standing,
            found: BTreeMap::new(),
            admitted: BTreeMap::new(),
        };
        let runs = standing.providers.iter().map(|(name, p)| (name.clone(), p.version.clone()));
        let set = resolve(asked, &runs.collect(), &standing.others, &mut finder);
        let set = set.map_err(|error| NodeError::unresolved(&about.name, error))?;
        let mut whole = Self::default();
        for one in set {
            whole.add(
                &one,
                finder.admitted.remove(&(one.name.clone(), one.version.clone())),
                standing,
            )?;
        }
        Ok(whole)
    }

    fn add(
        &mut self,
        one: &Resolved,
        admitted: Option<Verified<Package>>,
        standing: &Standing,
    ) -> Result<(), NodeError> {
        let runs = standing.providers.get(&one.name);
        let service = match runs {
            Some(provider) => provider.service.clone(),
            None => one.name.short().parse()?,
        };
        if let Some(provider) = runs.filter(|provider| one.version.is_lower(&provider.version)) {
            let (runs, older) = (provider.version.clone(), one.version.clone());
            return Err(NodeError::Downgrade { service, runs, older });
        }
        let change = match (runs, &admitted) {
            (_, None) => MemberChange::Kept,
            (Some(_), Some(_)) => MemberChange::Upgraded,
            (None, Some(_)) if standing.services.contains(&service) => {
                return Err(RuntimeError::Exists { service }.into());
            }
            (None, Some(_)) => MemberChange::Installed,
        };
        let (package, version) = (one.name.clone(), one.version.clone());
        self.members.push(Member { service: service.clone(), package, version, change });
        if let Some(package) = admitted {
            let given = runs.map(|provider| provider.params.clone()).unwrap_or_default();
            fit(&package.manifest, &package.objects, &given)?;
            let request = Request { service, params: BTreeMap::new(), unset: Default::default() };
            self.changes.push((package, request));
        }
        Ok(())
    }
}

/// Ranges by package.
fn needs(manifest: &Manifest) -> Needs {
    manifest.dependencies.iter().map(|(name, on)| (name.clone(), on.version.clone())).collect()
}

/// Where packages of a set are looked for: with the root, then at the hub.
fn places(source: &PackageSource, shelf: &Shelf, name: &PackageName) -> Vec<PackageSource> {
    let hub = shelf.hub().map(|hub| PackageRef::short(name, None).or_registry(hub));
    let is_hub = |hub: &PackageRef| match source {
        PackageSource::Reference(from) => {
            from.registry.is_none() || (&from.registry, &from.path) == (&hub.registry, &hub.path)
        }
        _ => false,
    };
    let hub = hub.filter(|hub| !is_hub(hub)).map(PackageSource::Reference);
    std::iter::once(source.clone()).chain(hub).collect()
}

/// Finds the packages of one set.
struct Finder<'a> {
    /// Whose.
    of: String,
    places: Vec<PackageSource>,
    shelf: &'a Shelf,
    standing: &'a Standing,
    /// The place of each package.
    found: BTreeMap<PackageName, PackageSource>,
    admitted: BTreeMap<(PackageName, Version), Verified<Package>>,
}

impl Finder<'_> {
    /// What a place has of a package.
    fn there(&self, place: &PackageSource, name: &PackageName) -> Result<Vec<Version>, NodeError> {
        let listed = match place {
            PackageSource::Reference(reference) => {
                return self.shelf.versions(&reference.beside(name, None));
            }
            PackageSource::Layout { path, .. } => Store::open(path)?.packages()?,
            PackageSource::Bundle { path, .. } => archive::packages(path)?,
        };
        let of_name = listed.into_iter().filter(|(reference, _)| reference.name == *name);
        Ok(of_name.filter_map(|(reference, _)| reference.version).collect())
    }

    fn failed(&self, package: String) -> impl FnOnce(NodeError) -> NodeError + use<> {
        let of = self.of.clone();
        move |source| NodeError::Dependency { of, package, source: Box::new(source) }
    }
}

impl Versions for Finder<'_> {
    type Error = NodeError;

    fn of(&mut self, package: &PackageName) -> Result<Vec<Version>, NodeError> {
        for place in &self.places {
            let versions = self.there(place, package).map_err(self.failed(package.to_string()))?;
            if !versions.is_empty() {
                self.found.insert(package.clone(), place.clone());
                return Ok(versions);
            }
        }
        Ok(Vec::new())
    }

    fn needs(&mut self, package: &PackageName, version: &Version) -> Result<Needs, NodeError> {
        let runs = self.standing.providers.get(package).filter(|p| p.version == *version);
        if let Some(provider) = runs {
            let running = self.shelf.package(&provider.index);
            let running = running
                .map_err(|source| RuntimeError::Package { index: provider.index, source })?;
            return Ok(needs(&running.manifest));
        }
        let Some(place) = self.found.get(package) else { return Ok(Needs::new()) };
        let short = PackageRef::short(package, Some(version));
        let source = match place {
            PackageSource::Reference(reference) => {
                PackageSource::Reference(reference.beside(package, Some(version)))
            }
            PackageSource::Layout { path, .. } => {
                PackageSource::Layout { path: path.clone(), package: Some(short) }
            }
            PackageSource::Bundle { path, .. } => {
                PackageSource::Bundle { path: path.clone(), package: Some(short) }
            }
        };
        let admitted = self.shelf.admit(&source, false);
        let admitted = admitted.map_err(self.failed(format!("{package} {version}")))?;
        let needs = needs(&admitted.manifest);
        self.admitted.insert((package.clone(), version.clone()), admitted);
        Ok(needs)
    }
}
