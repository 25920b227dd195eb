//! Each step of a plan, held against all that would refuse it.

use std::collections::{BTreeMap, BTreeSet};

use skep_api::{ParamsSet, Step, StepKind, StepState, Wanted};
use skep_object::fit;
use skep_runtime::RuntimeError;
use skep_spec::ServiceName;
use skep_trust::Origin;

use super::difference::changed;
use super::plan::Planner;
use super::steps::install;
use crate::error::NodeError;
use crate::set::{Change, Set};

impl Planner<'_> {
    /// That a stopped service would be started.
    pub(super) fn start(&self, service: &ServiceName) -> Result<Step, NodeError> {
        let runtime = self.node.runtime();
        let index = runtime.service(service)?.status.index;
        let stopped = runtime.starts_with(service);
        drop(runtime);
        self.node.shelf.check(&index, Some(self.leave.unsigned))?;
        let mut stays = stopped.into_iter().filter(|one| !self.starts.contains(one));
        stays.next().map_or(Ok(step(service, StepKind::Start)), |needed| {
            let service = service.clone();
            Err(RuntimeError::NeedsStopped { service, needed }.into())
        })
    }

    /// That parameters would be changed.
    pub(super) fn set(&self, wanted: &Wanted, kinds: &[StepKind]) -> Result<Step, NodeError> {
        let (service, params) = (&wanted.service, self.params(wanted));
        let set = self.node.set_to(wanted, self.leave)?;
        let plan = match self.node.plan_set(service, set) {
            Ok(ParamsSet { plan, .. }) => plan,
            Err(error) => {
                let notes = vec![later(service, kinds, error)?];
                return Ok(Step { params, notes, ..step(service, StepKind::Set) });
            }
        };
        let came = self.came.get(service).filter(|_| plan.is_some());
        if let Some(came) = came {
            self.node.shelf.check(&came.index, Some(self.leave.unsigned))?; // it is loaded again
        }
        if let Some(package) = came.and_then(|came| came.package.as_ref()) {
            fit(&package.manifest, &package.objects, &wanted.params)?;
        }
        Ok(Step { params, plan, ..step(service, StepKind::Set) })
    }

    /// That a package would be installed, or upgraded to.
    pub(super) fn come(
        &mut self,
        wanted: &Wanted,
        kinds: &[StepKind],
        behind: &BTreeSet<ServiceName>,
    ) -> Result<Step, NodeError> {
        let (service, node) = (&wanted.service, self.node);
        let came = self.came.get_mut(service);
        let Some((package, came)) = came.and_then(|came| Some((came.package.take()?, came))) else {
            return Ok(step(service, StepKind::Upgrade));
        };
        let (to, index) = (Some(came.version.clone()), Some(came.index));
        let unsigned = *package.origin() == Origin::Unsigned;
        let from = node.runtime().standing(service).map(|(_, version)| version);
        let (what, (root, set)) = match self.stands.contains_key(service) {
            true => {
                let upgrade = node.upgrade_to(wanted, self.leave)?;
                let fitted = node.fitted(service.clone(), upgrade, package, &self.before)?;
                (StepKind::Upgrade, fitted)
            }
            false => {
                let install = install(wanted, self.leave);
                (StepKind::Install, node.coming_as(install, package, &self.before)?)
            }
        };
        let before = self.before.changes.iter();
        let before = before.filter(|change| behind.contains(&change.request.service));
        let before: Vec<&Change> = before.collect();
        let (plan, later) = match node.planned(&root, &set, &before) {
            Ok(plan) => (Some(plan), None),
            Err(error) => (None, Some(later(service, kinds, error)?)),
        };
        let plan = plan.filter(|_| what == StepKind::Upgrade);
        let mut notes: Vec<String> = later.into_iter().collect();
        notes.extend(unsigned.then(|| "nobody who is trusted signed it".to_owned()));
        let Set { changes, members: together } = set;
        for change in changes {
            let named = self.needs.entry(service.clone()).or_default();
            named.insert(change.request.service.clone());
            self.before.changes.push(change);
        }
        self.before.changes.push(root);
        let plan = plan.map(|plan| skep_api::Plan { together: Vec::new(), ..plan });
        let params = self.params(wanted);
        Ok(Step { from, to, index, params, together, plan, notes, ..step(service, what) })
    }

    /// The parameters of a service that change.
    fn params(&self, wanted: &Wanted) -> BTreeMap<String, skep_api::ParamChange> {
        let (service, none) = (&wanted.service, BTreeMap::new());
        let after = self.came.get(service).map_or(&none, |came| &came.defaults);
        match self.stands.get(service) {
            Some(stands) => {
                let before = self.node.defaults(&stands.index);
                changed((&stands.params, &before), (&wanted.params, after))
            }
            None => changed((&none, after), (&wanted.params, after)),
        }
    }
}

/// What is said where a step before this one is in the way of its plan; any other reason stands.
fn later(service: &ServiceName, kinds: &[StepKind], error: NodeError) -> Result<String, NodeError> {
    let until = match &error {
        error if is_stopped(error) && kinds.contains(&StepKind::Start) => "runs",
        error if is_held(error) && kinds.contains(&StepKind::Unhold) => "is held no more",
        _ => return Err(error),
    };
    Ok(format!("what becomes of {service} itself is planned when it {until}"))
}

pub(super) fn step(service: &ServiceName, what: StepKind) -> Step {
    Step {
        service: service.clone(),
        what,
        state: StepState::Planned,
        from: None,
        to: None,
        index: None,
        params: BTreeMap::new(),
        together: Vec::new(),
        plan: None,
        notes: Vec::new(),
        error: None,
    }
}

fn is_stopped(error: &NodeError) -> bool {
    matches!(error, NodeError::Runtime(RuntimeError::Stopped { .. }))
}

fn is_held(error: &NodeError) -> bool {
    matches!(error, NodeError::Runtime(RuntimeError::Held { .. }))
}
