//! What a package needs: found where it came from or at the hub, each package verified by itself, and what becomes of each.

use std::collections::BTreeMap;

use skep_api::{Member, MemberChange, PackageSource};
use skep_object::fit;
use skep_oci::{Store, archive};
use skep_runtime::{Packages as _, Provider, Request, Runtime, RuntimeError, Together};
use skep_spec::dependency::{
    Finder, Needs, Other, Place, Resolved, Root, Versions, needs, resolve,
};
use skep_spec::{PackageName, PackageRef, ServiceName, Version};
use skep_trust::{Package, Verified};

use crate::error::NodeError;
use crate::packages::Shelf;

/// What a root needs.
#[derive(Default)]
pub(crate) struct Set {
    /// What is to be installed or upgraded, in this order.
    pub(crate) changes: Vec<Change>,
    /// All of it, in the same order.
    pub(crate) members: Vec<Member>,
}

/// A service that is installed, or upgraded from a generation.
pub(crate) struct Change {
    pub(crate) package: Verified<Package>,
    pub(crate) request: Request,
    pub(crate) from: Option<u64>,
}

/// What is there by the time that a set comes: somebody asked for it as for the set itself.
#[derive(Default)]
pub(crate) struct Before {
    /// What is installed or upgraded before.
    pub(crate) changes: Vec<Change>,
    /// Packages that run and stay as they are, and what they need.
    pub(crate) stays: BTreeMap<PackageName, Needs>,
}

/// Where the services of a node stand, as a set needs to know.
pub(crate) struct Standing {
    /// Who gives which package.
    pub(crate) providers: BTreeMap<PackageName, Provider>,
    /// What all services need but the one that is to change.
    pub(crate) others: Vec<Other>,
    /// All services.
    pub(crate) services: Vec<ServiceName>,
    /// What those packages need that are there by then because somebody asked for them: no other version of them counts.
    pub(crate) coming: BTreeMap<PackageName, Needs>,
}

impl Set {
    /// The set of a package that came from `source` and runs as `service`, or is to.
    ///
    /// # Errors
    /// There is none; a package of it is not to be had, or not let in.
    pub(crate) fn of(
        (root, service): (&Verified<Package>, &ServiceName),
        source: &PackageSource,
        shelf: &Shelf,
        standing: &Standing,
    ) -> Result<Self, NodeError> {
        let about = &root.manifest.package;
        let needs = needs(&root.manifest.dependencies);
        if needs.is_empty() {
            return Ok(Self::default());
        }
        let asked = Root { name: &about.name, version: &about.version, needs: &needs };
        let of = format!("{} {}", about.name, about.version);
        let places = places(source, shelf, &about.name).into_iter();
        let places = places.map(|source| Source { of: of.clone(), shelf, source });
        let finder = Finder::new(places.collect());
        let mut packages = Packages { of, shelf, standing, finder };
        let runs = standing.providers.iter().map(|(name, p)| (name.clone(), p.version.clone()));
        let set = resolve(asked, &runs.collect(), &standing.others, &mut packages);
        let set = set.map_err(|error| NodeError::unresolved(&about.name, error))?;
        let mut whole = Self::default();
        for one in set {
            whole.is_free((&one.name, &about.name), service, standing)?;
            whole.add(&one, packages.finder.take(&one), standing, shelf)?;
        }
        Ok(whole)
    }

    /// Installs or upgrades a package and what it needs first, as a whole.
    ///
    /// # Errors
    /// The runtime refuses one of them, and undid the others.
    pub(crate) fn done(
        &self,
        runtime: &mut Runtime,
        root: &Change,
    ) -> Result<Together, RuntimeError> {
        let done = runtime.together(&self.with(&[], root))?.pop();
        let service = root.request.service.clone();
        done.ok_or(RuntimeError::NoService { service, there: Vec::new() })
    }

    /// What is to be done once others came, the root last.
    pub(crate) fn with<'a>(
        &'a self,
        before: &[&'a Change],
        root: &'a Change,
    ) -> Vec<skep_runtime::Member<'a>> {
        let member = |change: &'a Change| {
            let Change { package, request, from } = change;
            skep_runtime::Member { package, request, from: *from }
        };
        before.iter().copied().chain(&self.changes).chain([root]).map(member).collect()
    }

    /// That no other package of the set goes by the name that one would have.
    fn is_free(
        &self,
        (package, root): (&PackageName, &PackageName),
        roots: &ServiceName,
        standing: &Standing,
    ) -> Result<(), NodeError> {
        let service = standing.service(package)?;
        let member = self.members.iter().find(|member| member.service == service);
        let has_it = member.map(|member| &member.package);
        match has_it.or_else(|| (*roots == service).then_some(root)) {
            None => Ok(()),
            Some(first) => {
                let packages = Box::new([first.clone(), package.clone()]);
                Err(NodeError::OneName { service, packages })
            }
        }
    }

    fn add(
        &mut self,
        one: &Resolved,
        admitted: Option<Verified<Package>>,
        standing: &Standing,
        shelf: &Shelf,
    ) -> Result<(), NodeError> {
        let runs = standing.providers.get(&one.name);
        let service = standing.service(&one.name)?;
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
        let is_unsigned = |provider: &Provider| shelf.answers(&provider.index).unsigned;
        let comes = standing.coming.contains_key(&one.name); // its own step says whether it is signed
        let unsigned = admitted.is_none() && !comes && runs.is_some_and(is_unsigned);
        self.members.push(Member { service: service.clone(), package, version, change, unsigned });
        if let Some(package) = admitted {
            let given = runs.map(|provider| provider.params.clone()).unwrap_or_default();
            fit(&package.manifest, &package.objects, &given)?;
            let request = Request { service, params: BTreeMap::new(), unset: Default::default() };
            let from = runs.map(|provider| provider.generation);
            self.changes.push(Change { package, request, from });
        }
        Ok(())
    }
}

impl Standing {
    /// The same once a change was made.
    pub(crate) fn after(mut self, change: &Change) -> Self {
        let (service, manifest) = (&change.request.service, &change.package.manifest);
        let (package, needs) = (&manifest.package.name, needs(&manifest.dependencies));
        if !self.services.contains(service) {
            self.services.push(service.clone());
        }
        self.others.retain(|other| other.service != service.as_str());
        let other =
            Other { service: service.to_string(), package: package.clone(), needs: needs.clone() };
        self.others.push(other);
        let gives = self.providers.get(package).map(|provider| &provider.service);
        if gives.is_none_or(|gives| gives == service || service.as_str() == package.short()) {
            let provider = Provider {
                service: service.clone(),
                generation: change.from.unwrap_or_default(),
                version: manifest.package.version.clone(),
                index: change.package.index,
                params: change.request.params.clone(),
            };
            self.providers.insert(package.clone(), provider);
            self.coming.insert(package.clone(), needs);
        }
        self
    }

    /// The service that gives a package, or would.
    fn service(&self, package: &PackageName) -> Result<ServiceName, NodeError> {
        match self.providers.get(package) {
            Some(provider) => Ok(provider.service.clone()),
            None => Ok(package.short().parse()?),
        }
    }
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

/// A place from which packages are let in.
struct Source<'a> {
    /// Whose they are.
    of: String,
    shelf: &'a Shelf,
    source: PackageSource,
}

impl Source<'_> {
    fn there(&self, name: &PackageName) -> Result<Vec<Version>, NodeError> {
        let listed = match &self.source {
            PackageSource::Reference(reference) => {
                return self.shelf.versions(&reference.beside(name, None));
            }
            PackageSource::Layout { path, .. } => Store::open(path)?.packages()?,
            PackageSource::Bundle { path, .. } => archive::packages(path)?,
        };
        let of_name = listed.into_iter().filter(|(reference, _)| reference.name == *name);
        Ok(of_name.filter_map(|(reference, _)| reference.version).collect())
    }
}

impl Place for Source<'_> {
    type Package = Verified<Package>;
    type Error = NodeError;

    fn versions(&self, package: &PackageName) -> Result<Vec<Version>, NodeError> {
        self.there(package).map_err(|error| NodeError::dependency(&self.of, package, error))
    }

    fn package(
        &self,
        package: &PackageName,
        version: &Version,
    ) -> Result<(Needs, Verified<Package>), NodeError> {
        let short = PackageRef::short(package, Some(version));
        let source = match &self.source {
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
        let failed = |error| NodeError::dependency(&self.of, format!("{package} {version}"), error);
        let admitted = admitted.map_err(failed)?;
        Ok((needs(&admitted.manifest.dependencies), admitted))
    }
}

/// The packages of one set: those that run, and those that are found.
struct Packages<'a> {
    of: String,
    shelf: &'a Shelf,
    standing: &'a Standing,
    finder: Finder<Source<'a>>,
}

impl Packages<'_> {
    /// What a package needs that runs, if its rule still lets it in: consent to it was given when it came, or not at all.
    fn running(&self, provider: &Provider) -> Result<Needs, NodeError> {
        let index = provider.index;
        self.shelf.check_again(&index)?;
        let gone = |source| RuntimeError::Package { index, source };
        let running = self.shelf.package(&index).map_err(gone)?;
        Ok(needs(&running.manifest.dependencies))
    }
}

impl Versions for Packages<'_> {
    type Error = NodeError;

    fn of(&mut self, package: &PackageName) -> Result<Vec<Version>, NodeError> {
        match self.standing.coming.contains_key(package) {
            true => Ok(Vec::new()), // but for the one that comes
            false => self.finder.of(package),
        }
    }

    fn needs(&mut self, package: &PackageName, version: &Version) -> Result<Needs, NodeError> {
        let runs = self.standing.providers.get(package).filter(|p| p.version == *version);
        let Some(provider) = runs else { return self.finder.needs(package, version) };
        if let Some(needs) = self.standing.coming.get(package) {
            return Ok(needs.clone());
        }
        let failed = |error| NodeError::dependency(&self.of, format!("{package} {version}"), error);
        self.running(provider).map_err(failed)
    }
}
