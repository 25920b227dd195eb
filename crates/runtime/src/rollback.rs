//! Back to the generation before the last upgrade.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::ServiceName;

use crate::error::RuntimeError;
use crate::install::Request;
use crate::plan::MapChange;
use crate::runtime::Runtime;
use crate::state::{Generation, Op};
use crate::status::Detail;
use crate::upgrade::Direction;

impl Runtime {
    /// Takes one service back.
    pub(crate) fn roll_back(&mut self, service: &ServiceName) -> Result<Detail, RuntimeError> {
        self.take_up(service)?;
        self.whole(service)?;
        let from = self.active(service)?;
        let to = self.previous(service)?;
        if to.incarnation.is_none() {
            return self.load_previous_again(service, &to);
        }
        let changes = self.changes_back(service)?;
        self.can_go_back(service, (&from, &to), &changes)?;
        let way = (Some(from.number), Some(to.clone()));
        self.begin(Op::Rollback, service, way, (changes, None))?;
        if let Err(error) = self.switch_back(service, &from, &to) {
            return Err(self.undo_or(error));
        }
        self.finish_or_set_aside(service)?;
        self.service(service)
    }

    /// What becomes of each map on the way back.
    pub(crate) fn changes_back(
        &self,
        service: &ServiceName,
    ) -> Result<BTreeMap<String, MapChange>, RuntimeError> {
        let changes = &self.service_state(service)?.changes;
        Ok(changes.iter().map(|(map, change)| (map.clone(), change.reversed())).collect())
    }

    /// Whether others and this service would still fit each other.
    pub(crate) fn can_go_back(
        &self,
        service: &ServiceName,
        (from, to): (&Generation, &Generation),
        changes: &BTreeMap<String, MapChange>,
    ) -> Result<(), RuntimeError> {
        if !from.needs.is_empty() || !to.needs.is_empty() || self.users(service).next().is_some() {
            let package = self.package(&to.index)?;
            self.needs_of(service, &package.manifest, Some(to), Direction::Back)?;
            self.users_can_follow(service, (from, to), &package.manifest, changes)?;
        }
        if !self.has_its_maps(to) {
            return Err(RuntimeError::OtherMaps { service: service.clone() });
        }
        Ok(())
    }

    fn switch_back(
        &mut self,
        service: &ServiceName,
        from: &Generation,
        to: &Generation,
    ) -> Result<(), RuntimeError> {
        self.read_perfs_of(service, to)?;
        let changes = self.state.pending.as_ref().map(|p| p.changes.clone()).unwrap_or_default();
        self.check_moves(service, from, to, &changes)?;
        self.copy_variables(service, from, to, &changes)?;
        self.carry_settings(service, to)?;
        self.switch(service, to)
    }

    pub(crate) fn previous(&self, service: &ServiceName) -> Result<Generation, RuntimeError> {
        let state = self.service_state(service)?;
        state.previous().cloned().ok_or_else(|| match state.previous_lost.clone() {
            Some(lost) => RuntimeError::PreviousLost { service: service.clone(), lost },
            None => RuntimeError::NoPrevious { service: service.clone() },
        })
    }

    /// After a reboot the kernel has nothing of the previous generation: its package is loaded as a new one, to which the service
    /// switches as in an upgrade.
    fn load_previous_again(
        &mut self,
        service: &ServiceName,
        to: &Generation,
    ) -> Result<Detail, RuntimeError> {
        let package = self.package(&to.index)?;
        let (service, params) = (service.clone(), to.params.clone());
        let install = Request { service, params, unset: BTreeSet::new() };
        Ok(self.upgrade_to(&package, &install, Direction::Back)?.detail)
    }
}
