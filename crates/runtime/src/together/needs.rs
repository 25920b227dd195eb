//! Who needs whom, and what neither may do for the other's sake.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::dependency::{Other, giver};
use skep_spec::{Digest, Manifest, PackageName, Range, ServiceName, Version};

use crate::error::RuntimeError;
use crate::plan::MapChange;
use crate::runtime::Runtime;
use crate::state::{Generation, Need, Service};
use crate::upgrade::Direction;

/// A service that gives others its package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name.
    pub service: ServiceName,
    /// The generation that runs.
    pub generation: u64,
    /// Its version.
    pub version: Version,
    /// Digest of its index.
    pub index: Digest,
    /// Its parameters.
    pub params: BTreeMap<String, String>,
}

impl Runtime {
    /// The service that gives others a package: the one under its own name, or the first by name that runs it.
    #[must_use]
    pub fn provider(&self, package: &PackageName) -> Option<&ServiceName> {
        let runs = |name: &&ServiceName| {
            let service = self.state.services.get(*name);
            service
                .and_then(|service| service.active())
                .is_some_and(|active| active.package == *package)
        };
        let mut all = self.state.services.keys().filter(runs);
        let given = giver(package, all.clone().map(ServiceName::as_str))?;
        all.find(|name| name.as_str() == given)
    }

    /// The services that give others their packages, by package.
    #[must_use]
    pub fn providers(&self) -> BTreeMap<PackageName, Provider> {
        let packages =
            self.names().into_iter().filter_map(|name| Some(self.runs(&name)?.package.clone()));
        let provider = |package: PackageName| {
            let service = self.provider(&package)?.clone();
            let active = self.runs(&service)?;
            let (generation, version) = (active.number, active.version.clone());
            let settings = &self.state.services.get(&service)?.settings;
            let (index, params) = (active.index, settings.over(&active.params));
            Some((package, Provider { service, generation, version, index, params }))
        };
        packages.filter_map(provider).collect()
    }

    /// What the services need that run, but for one.
    #[must_use]
    pub fn needs_of_others(&self, but: &ServiceName) -> Vec<Other> {
        let others = self.state.services.iter().filter(|(name, _)| *name != but);
        let other = |(name, service): (&ServiceName, &Service)| {
            let active = service.active()?;
            let needs =
                active.needs.iter().map(|(package, need)| (package.clone(), need.version.clone()));
            let (service, package) = (name.to_string(), active.package.clone());
            Some(Other { service, package, needs: needs.collect() })
        };
        others.filter_map(other).collect()
    }

    /// What a package needs, and which service gives it. On the way back a range does not count of who will go back, too.
    pub(crate) fn needs_of(
        &self,
        service: &ServiceName,
        manifest: &Manifest,
        before: Option<&Generation>,
        direction: Direction,
    ) -> Result<BTreeMap<PackageName, Need>, RuntimeError> {
        let mut needs = BTreeMap::new();
        for (package, dependency) in &manifest.dependencies {
            let missing = |there: Option<Version>| RuntimeError::Missing {
                service: service.clone(),
                package: package.clone(),
                range: dependency.version.clone(),
                there,
            };
            // Who gave it so far goes on giving it.
            let known = before.and_then(|before| Some(&before.needs.get(package)?.service));
            let gives =
                |name: &&ServiceName| self.runs(name).is_some_and(|g| g.package == *package);
            let given = known.filter(gives).or_else(|| self.provider(package));
            let given = given.filter(|name| *name != service).ok_or_else(|| missing(None))?;
            let version = self.runs(given).map(|generation| generation.version.clone());
            let holds = version.as_ref().is_some_and(|version| dependency.version.holds(version));
            let may_fail = direction == Direction::Back && self.goes_back(given);
            if !holds && !may_fail {
                return Err(missing(version));
            }
            let (version, maps) = (dependency.version.clone(), dependency.maps.clone());
            needs.insert(package.clone(), Need { service: given.clone(), version, maps });
        }
        Ok(needs)
    }

    /// The active generation of a service, in the kernel or not.
    pub(crate) fn runs(&self, name: &ServiceName) -> Option<&Generation> {
        self.state.services.get(name)?.active()
    }

    /// The number of the generation that is active.
    #[must_use]
    pub fn generation(&self, name: &ServiceName) -> Option<u64> {
        self.runs(name).map(|active| active.number)
    }

    /// Each service that needs `name`, and what for: those that run, and those that come.
    pub(crate) fn users<'s>(
        &'s self,
        name: &'s ServiceName,
    ) -> impl Iterator<Item = (&'s ServiceName, &'s Need)> {
        let active = self.state.services.iter().filter_map(|(user, s)| Some((user, s.active()?)));
        let begun = self.state.pending.iter().chain(self.state.aside.values().map(|a| &a.pending));
        let coming = begun.filter_map(|begun| Some((&begun.service, begun.to.as_ref()?)));
        let needs =
            active.chain(coming).flat_map(|(user, g)| g.needs.values().map(move |n| (user, n)));
        needs.filter(move |(user, need)| need.service == *name && *user != name)
    }

    /// The services that need this one, by name.
    #[must_use]
    pub fn needed_by(&self, name: &ServiceName) -> BTreeSet<ServiceName> {
        self.users(name).map(|(user, _)| user.clone()).collect()
    }

    /// Whether a service that is to run uses maps of this one: itself, or through others that are loaded for it.
    pub(crate) fn gives_maps(&self, name: &ServiceName) -> bool {
        let uses = |name: &ServiceName| -> BTreeSet<ServiceName> {
            let users = self.users(name).filter(|(_, need)| !need.maps.is_empty());
            users.map(|(user, _)| user.clone()).collect()
        };
        let all = self.behind(name, &uses);
        all.iter().any(|user| user != name && !self.is_stopped(user))
    }

    /// The versions of a service that those who need it allow.
    #[must_use]
    pub fn ranges_of_users(&self, name: &ServiceName) -> Vec<Range> {
        self.users(name).map(|(_, need)| need.version.clone()).collect()
    }

    /// The services that this one needs, by name.
    #[must_use]
    pub fn needs(&self, name: &ServiceName) -> BTreeSet<ServiceName> {
        let needs = self.runs(name).into_iter().flat_map(|active| active.needs.values());
        needs.map(|need| need.service.clone()).collect()
    }

    /// That nobody needs a service which is to go.
    pub(crate) fn nobody_needs(&self, name: &ServiceName) -> Result<(), RuntimeError> {
        let by = self.needed_by(name);
        if by.is_empty() {
            return Ok(());
        }
        Err(RuntimeError::Needed { service: name.clone(), by: by.into_iter().collect() })
    }

    /// A service behind all that run and need it, directly or not: the order in which they stop.
    #[must_use]
    pub fn stops_with(&self, service: &ServiceName) -> Vec<ServiceName> {
        let users = |name: &ServiceName| self.needed_by(name);
        self.behind(service, &users).into_iter().filter(|name| !self.is_stopped(name)).collect()
    }

    /// A service behind all that it needs and that are stopped: the order in which they start.
    #[must_use]
    pub fn starts_with(&self, service: &ServiceName) -> Vec<ServiceName> {
        let needs = |name: &ServiceName| self.needs(name);
        self.behind(service, &needs).into_iter().filter(|name| self.is_stopped(name)).collect()
    }

    /// A service behind those that come before it, each once.
    fn behind(
        &self,
        service: &ServiceName,
        before: &dyn Fn(&ServiceName) -> BTreeSet<ServiceName>,
    ) -> Vec<ServiceName> {
        fn add(
            name: &ServiceName,
            before: &dyn Fn(&ServiceName) -> BTreeSet<ServiceName>,
            (seen, order): (&mut BTreeSet<ServiceName>, &mut Vec<ServiceName>),
        ) {
            if seen.insert(name.clone()) {
                before(name).iter().for_each(|one| add(one, before, (seen, order)));
                order.push(name.clone());
            }
        }
        let mut order = Vec::new();
        add(service, before, (&mut BTreeSet::new(), &mut order));
        order
    }

    /// That nobody needs a service who runs, but for some.
    pub(crate) fn nobody_runs_on(
        &self,
        name: &ServiceName,
        but: &BTreeSet<ServiceName>,
    ) -> Result<(), RuntimeError> {
        let runs = |user: &ServiceName| !self.is_stopped(user) && !but.contains(user);
        let by = self.needed_by(name).into_iter().filter(runs);
        let by: Vec<ServiceName> = by.collect();
        match by.is_empty() {
            true => Ok(()),
            false => Err(RuntimeError::RunsOn { service: name.clone(), by }),
        }
    }

    /// That nothing that a generation needs is stopped.
    pub(crate) fn what_it_needs_runs(
        &self,
        service: &ServiceName,
        generation: &Generation,
    ) -> Result<(), RuntimeError> {
        let mut needed = generation.needs.values().map(|need| &need.service);
        needed.find(|needed| self.is_stopped(needed)).map_or(Ok(()), |needed| {
            let (service, needed) = (service.clone(), needed.clone());
            Err(RuntimeError::NeedsStopped { service, needed })
        })
    }

    /// That who needs a service can do with another version of it: its ranges hold, unless its own turn in the set is yet to come,
    /// and its maps stay.
    pub(crate) fn users_can_follow(
        &self,
        name: &ServiceName,
        (from, to): (&Generation, &Generation),
        manifest: &Manifest,
        changes: &BTreeMap<String, MapChange>,
    ) -> Result<(), RuntimeError> {
        let refuse = |by: &ServiceName, why: String| RuntimeError::InUse {
            service: name.clone(),
            by: by.clone(),
            why,
        };
        for (user, need) in self.users(name) {
            if !self.changes_yet(user) && !need.version.holds(&to.version) {
                let why =
                    format!("it needs {} {}, and not {}", from.package, need.version, to.version);
                return Err(refuse(user, why));
            }
            for symbol in &need.maps {
                let exported = manifest.map.get(symbol).is_some_and(|map| map.export.is_some());
                if !exported {
                    let why =
                        format!("it uses the map '{symbol}', which {} does not export", to.version);
                    return Err(refuse(user, why));
                }
                let records = from.incarnation.iter().flat_map(|i| &i.maps);
                let of_symbol = records.filter(|(_, record)| record.symbol == *symbol);
                let mut kept = of_symbol.map(|(map, _)| changes.get(map) == Some(&MapChange::Keep));
                if !kept.all(|kept| kept) {
                    let why = format!(
                        "it uses the map '{symbol}', which {} would not keep as it is",
                        to.version
                    );
                    return Err(refuse(user, why));
                }
            }
        }
        Ok(())
    }
}
