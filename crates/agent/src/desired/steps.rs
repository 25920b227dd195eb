//! Taking the steps of a plan: each is what its own command does, with its line in the history.

use std::collections::BTreeMap;

use skep_api::{Install, SetParams, Start, Step, StepKind, StepState, Stop, Upgrade, Wanted};
use skep_spec::ServiceName;

use super::difference::settings;
use super::plan::Leave;
use crate::error::NodeError;
use crate::node::Node;

impl Node {
    /// Takes steps in their order until one fails: those behind it are left, and the next try goes on with them. Says why, if so.
    pub(super) fn take(
        &self,
        by: &str,
        steps: &mut [Step],
        wanted: &BTreeMap<&ServiceName, &Wanted>,
        leave: Leave,
    ) -> Option<String> {
        let mut failed = None;
        for step in steps {
            // A skepd that is to end does so behind the step that is under way.
            let ends = || self.ending().at_work().err();
            failed = failed.or_else(|| ends().map(|error| error.text()));
            if failed.is_some() {
                step.state = StepState::Left;
                continue;
            }
            match self.taken(by, step, wanted.get(&step.service).copied(), leave) {
                Ok(()) => step.state = StepState::Done,
                Err(error) => {
                    let (what, service) = (step.what.as_str(), &step.service);
                    failed = Some(format!("{what} {service}: {}", error.text()));
                    step.state = StepState::Failed;
                    step.error = Some(error.body());
                }
            }
        }
        failed
    }

    fn taken(
        &self,
        by: &str,
        step: &Step,
        wanted: Option<&Wanted>,
        leave: Leave,
    ) -> Result<(), NodeError> {
        let service = &step.service;
        let told = (step.what.as_str(), by);
        match (step.what, wanted) {
            (StepKind::Install, Some(wanted)) => {
                let install = install(wanted, leave);
                let work = || self.install_agreed(install, step.index);
                self.deed_with(told, service, &wanted.package, work).map(drop)
            }
            (StepKind::Upgrade, Some(wanted)) => {
                let upgrade = self.upgrade_to(wanted, leave)?;
                let work = || self.upgrade_agreed(service.clone(), upgrade, step.index);
                self.deed_with(told, service, &wanted.package, work).map(drop)
            }
            (StepKind::Set, Some(wanted)) => {
                let set = self.set_to(wanted, leave)?;
                self.deed(told, service, || self.set(service, set)).map(drop)
            }
            (StepKind::Start, _) => {
                let start = Start { with_needed: false, allow_unsigned: leave.unsigned };
                self.deed(told, service, || self.start(service, start)).map(drop)
            }
            (StepKind::Stop, _) => {
                self.deed(told, service, || self.stop(service, Stop::default())).map(drop)
            }
            (StepKind::Hold, _) => self.deed(told, service, || self.hold(service, true)).map(drop),
            (StepKind::Unhold, _) => {
                self.deed(told, service, || self.hold(service, false)).map(drop)
            }
            (StepKind::Remove, _) => self.deed(told, service, || self.remove(service)).map(drop),
            // A plan has these for what is wanted alone.
            (StepKind::Install | StepKind::Upgrade | StepKind::Set, None) => Ok(()),
        }
    }

    /// What brings a service to another package, by its parameters as they are now.
    pub(super) fn upgrade_to(&self, wanted: &Wanted, leave: Leave) -> Result<Upgrade, NodeError> {
        let now = self.runtime().service(&wanted.service)?.params();
        let (params, unset) = settings(&now, &wanted.params);
        Ok(Upgrade {
            package: wanted.package.clone(),
            params,
            unset,
            allow_unsigned: leave.unsigned,
            allow_downgrade: leave.downgrade,
        })
    }

    /// What brings a service to other parameters.
    pub(super) fn set_to(&self, wanted: &Wanted, leave: Leave) -> Result<SetParams, NodeError> {
        let now = self.runtime().service(&wanted.service)?.params();
        let (params, unset) = settings(&now, &wanted.params);
        Ok(SetParams { params, unset, allow_unsigned: leave.unsigned })
    }
}

/// What makes a service.
pub(super) fn install(wanted: &Wanted, leave: Leave) -> Install {
    Install {
        package: wanted.package.clone(),
        service: Some(wanted.service.clone()),
        params: wanted.params.clone(),
        allow_unsigned: leave.unsigned,
    }
}
