//! The plan: every package let in, every step held against what would refuse it, before anything is changed.

use std::collections::{BTreeMap, BTreeSet};

use skep_api::{Applied, ErrorBody, PackageSource, Step, StepKind, StepState, Trouble, Wanted};
use skep_spec::dependency::{self, giver};
use skep_spec::{Digest, PackageName, ServiceName, Version};
use skep_trust::{Package, Verified};

use super::difference::{self, Defaults, Stands};
use super::look::defaults_of;
use super::order::{Needs, closure, ordered};
use super::weigh::step;
use crate::error::NodeError;
use crate::node::{Node, is_agreed};
use crate::outdated::did_not_answer;
use crate::set::Before;

/// What somebody allowed for one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    /// To let in what nobody signed.
    pub(super) unsigned: bool,
    /// To go to lower versions.
    pub(super) downgrade: bool,
}

/// Which services go that nobody asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prune<'a> {
    All,
    /// Those that a plan named, and none that came since.
    These(&'a BTreeSet<ServiceName>),
}

impl Prune<'_> {
    fn takes(self, service: &ServiceName) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(service),
        }
    }
}

/// What is to be done, or why nothing is.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) refused: Vec<Trouble>,
    ailing: Vec<Trouble>,
    beside: BTreeSet<ServiceName>,
    /// What each package is now.
    pub(super) indexes: BTreeMap<ServiceName, Digest>,
}

impl Plan {
    /// The plan for these services. Where it is known which package was agreed to, it is that one or none; one that runs is not asked
    /// for again.
    pub(super) fn of(
        node: &Node,
        (services, prune): (&[Wanted], Option<Prune<'_>>),
        leave: Leave,
        known: Option<&BTreeMap<ServiceName, Digest>>,
    ) -> Self {
        let _coming_in = node.coming_in();
        let mut planner = Planner::new(node, leave);
        planner.let_in(services, known);
        let wanted: BTreeMap<&ServiceName, &Wanted> =
            services.iter().map(|wanted| (&wanted.service, wanted)).collect();
        let names = wanted.keys().map(|name| (*name).clone()).collect();
        let order = ordered(&names, &planner.needs);
        let order: Vec<&Wanted> =
            order.iter().filter_map(|name| wanted.get(name).copied()).collect();
        order.iter().for_each(|wanted| planner.change(wanted));
        order.iter().rev().for_each(|wanted| planner.stop(wanted));
        order.iter().for_each(|wanted| planner.hold(wanted));
        planner.rest(&names, prune);
        planner.plan
    }

    /// What tells it from every other one: what is done to which service, and not what is said of that.
    pub(super) fn digest(&self) -> Digest {
        let bare = |step: &Step| Step {
            state: StepState::Planned,
            plan: None,
            notes: Vec::new(),
            error: None,
            ..step.clone()
        };
        let steps: Vec<Step> = self.steps.iter().map(bare).collect();
        Digest::of(&serde_json::to_vec(&steps).unwrap_or_default())
    }

    /// Which services it removes.
    pub(super) fn removes(&self) -> BTreeSet<ServiceName> {
        let removes = self.steps.iter().filter(|step| step.what == StepKind::Remove);
        removes.map(|step| step.service.clone()).collect()
    }

    /// As it is answered.
    pub(super) fn applied(self, revision: u64) -> Applied {
        let plan = self.digest();
        let Self { steps, refused, ailing, beside, .. } = self;
        Applied { revision, plan, steps, refused, ailing, beside, unwritten: None }
    }
}

/// What came of a service's package.
pub(super) struct Came {
    pub(super) index: Digest,
    pub(super) name: PackageName,
    pub(super) version: Version,
    pub(super) defaults: Defaults,
    /// None where it runs, and was not let in again.
    pub(super) package: Option<Verified<Package>>,
}

/// A plan while it is made.
pub(super) struct Planner<'a> {
    pub(super) node: &'a Node,
    pub(super) leave: Leave,
    pub(super) came: BTreeMap<ServiceName, Came>,
    /// How each service is, and which steps lead from there.
    pub(super) stands: BTreeMap<ServiceName, Stands>,
    kinds: BTreeMap<ServiceName, Vec<StepKind>>,
    /// Who needs whom once all is done.
    pub(super) needs: Needs,
    /// What is there before the next step.
    pub(super) before: Before,
    pub(super) starts: BTreeSet<ServiceName>,
    stops: BTreeSet<ServiceName>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(node: &'a Node, leave: Leave) -> Self {
        let (steps, refused, ailing) = Default::default();
        let (beside, indexes) = Default::default();
        let plan = Plan { steps, refused, ailing, beside, indexes };
        let (came, stands, kinds, needs) = Default::default();
        let (before, starts, stops) = Default::default();
        Self { node, leave, came, stands, kinds, needs, before, starts, stops, plan }
    }

    /// Looks at each service, and lets its package in.
    fn let_in(&mut self, services: &[Wanted], known: Option<&BTreeMap<ServiceName, Digest>>) {
        let mut away = BTreeMap::new();
        for wanted in services {
            let service = &wanted.service;
            let looked = match self.node.stands(service) {
                Ok(looked) => looked,
                Err(error) => {
                    self.add(service, Err(error));
                    continue;
                }
            };
            let (stands, ails) = looked.map_or((None, None), |(stands, ails)| (Some(stands), ails));
            let runs = stands.as_ref().map(|stands| stands.index);
            let index = known.and_then(|known| known.get(service)).copied();
            let came = match runs.filter(|runs| index == Some(*runs)) {
                Some(_) => self.runs(service).map_err(|error| error.body()),
                None => self.comes(wanted, runs, &mut away),
            };
            let came = came.and_then(|came| {
                let is_agreed = is_agreed(came.index, index);
                is_agreed.map(|()| came).map_err(|error| error.body())
            });
            let came = match came {
                Ok(came) => came,
                Err(error) => {
                    self.plan.refused.push(Trouble { service: service.clone(), error });
                    continue;
                }
            };
            let about = (came.index, &came.defaults);
            let kinds = difference::steps(stands.as_ref(), wanted, about);
            if let Some(error) = ails.filter(|_| !kinds.contains(&StepKind::Upgrade)) {
                self.plan.ailing.push(Trouble { service: service.clone(), error });
            }
            self.starts.extend(kinds.contains(&StepKind::Start).then(|| service.clone()));
            self.plan.indexes.insert(service.clone(), came.index);
            self.kinds.insert(service.clone(), kinds);
            self.stands.extend(stands.map(|stands| (service.clone(), stands)));
            self.came.insert(service.clone(), came);
        }
        self.needs = self.needs();
        self.before.stays = self.stays();
    }

    /// What a package is now; it is let in where that is not what runs.
    fn comes(
        &self,
        wanted: &Wanted,
        runs: Option<Digest>,
        away: &mut BTreeMap<String, ErrorBody>,
    ) -> Result<Came, ErrorBody> {
        let host = match &wanted.package {
            PackageSource::Reference(reference) => reference.registry.clone().unwrap_or_default(),
            _ => String::from("/"),
        };
        if let Some(error) = away.get(&host) {
            return Err(error.clone());
        }
        let came = self.looked_for(wanted, runs);
        came.map_err(|error| {
            let body = error.body();
            if did_not_answer(&error) {
                away.insert(host, body.clone());
            }
            body
        })
    }

    fn looked_for(&self, wanted: &Wanted, runs: Option<Digest>) -> Result<Came, NodeError> {
        let shelf = &self.node.shelf;
        if let Some(runs) = runs
            && shelf.digest_there(&wanted.package)? == Some(runs)
            && shelf.check_again(&runs).is_ok()
        {
            return self.runs(&wanted.service);
        }
        let package = shelf.admit(&wanted.package, self.leave.unsigned)?;
        let about = &package.manifest.package;
        let (name, version) = (about.name.clone(), about.version.clone());
        let (index, defaults) = (package.index, defaults_of(&package.manifest));
        Ok(Came { index, name, version, defaults, package: Some(package) })
    }

    fn runs(&self, service: &ServiceName) -> Result<Came, NodeError> {
        let status = self.node.runtime().service(service)?.status;
        let defaults = self.node.defaults(&status.index);
        let (index, name, version) = (status.index, status.package, status.version);
        Ok(Came { index, name, version, defaults, package: None })
    }

    /// Who needs whom: by the packages that come, and of all else as it is.
    fn needs(&self) -> Needs {
        let runtime = self.node.runtime();
        let names = runtime.names();
        let mut needs: Needs =
            names.into_iter().map(|name| (name.clone(), runtime.needs(&name))).collect();
        for (service, came) in &self.came {
            let Some(package) = &came.package else { continue };
            let gives = |package: &PackageName| {
                let all = self.came.iter().filter(|(_, came)| came.name == *package);
                let given = giver(package, all.map(|(name, _)| name.as_str()));
                let given = given.and_then(|given| given.parse().ok());
                given.or_else(|| runtime.provider(package).cloned())
            };
            let given = package.manifest.dependencies.keys().filter_map(gives);
            needs.insert(service.clone(), given.collect());
        }
        needs
    }

    /// What runs already as it is wanted, and what it needs: no step may bring another version of it.
    fn stays(&self) -> BTreeMap<PackageName, dependency::Needs> {
        let runtime = self.node.runtime();
        let comes = |service: &ServiceName| {
            let kinds = self.kinds.get(service).into_iter().flatten();
            kinds.into_iter().any(|kind| matches!(kind, StepKind::Install | StepKind::Upgrade))
        };
        let gives = |(service, came): &(&ServiceName, &Came)| {
            !comes(service) && runtime.provider(&came.name) == Some(*service)
        };
        let given: Vec<(&ServiceName, &Came)> = self.came.iter().filter(|one| gives(one)).collect();
        drop(runtime);
        let needs = |(_, came): (&ServiceName, &Came)| {
            let read = self.node.looks.read(&self.node.shelf, &came.index).ok()?;
            Some((came.name.clone(), dependency::needs(&read.package.manifest.dependencies)))
        };
        given.into_iter().filter_map(needs).collect()
    }

    /// What is done to a service before any is stopped.
    fn change(&mut self, wanted: &Wanted) {
        let service = &wanted.service;
        let Some(kinds) = self.kinds.get(service).cloned() else { return };
        let behind = closure([service.clone()], &self.needs);
        if self.plan.refused.iter().any(|trouble| behind.contains(&trouble.service)) {
            return; // what is said of that one is the reason
        }
        for kind in &kinds {
            let step = match kind {
                StepKind::Unhold => Ok(step(service, *kind)),
                StepKind::Start => self.start(service),
                StepKind::Set => self.set(wanted, &kinds),
                StepKind::Install | StepKind::Upgrade => self.come(wanted, &kinds, &behind),
                StepKind::Stop | StepKind::Hold | StepKind::Remove => continue,
            };
            self.add(service, step);
        }
    }

    fn stop(&mut self, wanted: &Wanted) {
        let service = &wanted.service;
        if !self.kinds.get(service).is_some_and(|kinds| kinds.contains(&StepKind::Stop)) {
            return;
        }
        let can_stop = match self.stands.contains_key(service) {
            true => self.node.runtime().can_stop(service, &self.stops),
            false => Ok(()), // it comes with this plan
        };
        self.stops.insert(service.clone());
        self.add(
            service,
            can_stop.map(|()| step(service, StepKind::Stop)).map_err(NodeError::from),
        );
    }

    fn hold(&mut self, wanted: &Wanted) {
        let service = &wanted.service;
        if self.kinds.get(service).is_some_and(|kinds| kinds.contains(&StepKind::Hold)) {
            self.add(service, Ok(step(service, StepKind::Hold)));
        }
    }

    /// What becomes of services that nobody asked for, and that nobody needs who was.
    fn rest(&mut self, wanted: &BTreeSet<ServiceName>, prune: Option<Prune<'_>>) {
        let needed = closure(wanted.iter().cloned(), &self.needs);
        let names = self.node.runtime().names();
        let beside = names.into_iter().filter(|name| !needed.contains(name));
        let takes = |name: &ServiceName| prune.is_some_and(|prune| prune.takes(name));
        let (go, mut stay): (BTreeSet<_>, BTreeSet<_>) = beside.partition(takes);
        // What one needs that stays does not go either.
        let needed = closure(stay.iter().cloned(), &self.needs);
        let (needed, go): (BTreeSet<_>, BTreeSet<_>) =
            go.into_iter().partition(|name| needed.contains(name));
        stay.extend(needed);
        self.plan.beside = stay;
        for service in ordered(&go, &self.needs).into_iter().rev() {
            let from = self.node.runtime().standing(&service).map(|(_, version)| version);
            self.plan.steps.push(Step { from, ..step(&service, StepKind::Remove) });
        }
    }

    fn add(&mut self, service: &ServiceName, step: Result<Step, NodeError>) {
        match step {
            Ok(step) => self.plan.steps.push(step),
            Err(error) => {
                self.plan.refused.push(Trouble { service: service.clone(), error: error.body() });
            }
        }
    }
}
