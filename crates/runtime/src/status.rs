//! What people see of services: states, generations, hooks, maps, lost events.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skep_kernel::maps::kind;
use skep_kernel::{MapHandle, Program};
pub use skep_spec::life::{GenerationDetail, HookDetail, MapDetail, Previous, ServiceState};
use skep_spec::{Digest, PackageName, ServiceName, Version};

use crate::attached::{Found, all_detached, not_attached};
use crate::error::RuntimeError;
use crate::failure::Failure;
use crate::plan::Report;
use crate::runtime::Runtime;
use crate::state::{Attachment, Generation, Hook, Service, Settings};

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The service.
    pub service: ServiceName,
    /// Its package.
    pub package: PackageName,
    /// The version that runs.
    pub version: Version,
    /// Digest of the index that runs.
    pub index: Digest,
    /// The generation that runs.
    pub generation: u64,
    /// What it is doing.
    pub state: ServiceState,
    /// Why it does not run, or not all of it, if so.
    pub failed: Option<String>,
    /// What a rollback returns to, if anything is kept.
    pub previous: Option<Previous>,
    /// What a rollback would have returned to, and why it is gone.
    pub previous_lost: Option<String>,
    /// What was begun on it and could be neither finished nor undone, and why.
    pub half_done: Option<String>,
    /// What is still to become of it, since others of its set went back and it did not, and why.
    pub owed: Option<String>,
    /// Whether upgrades to other packages are refused.
    #[serde(default)]
    pub held: bool,
    /// The services that it needs.
    pub needs: BTreeSet<ServiceName>,
    /// The services that need it.
    pub needed_by: BTreeSet<ServiceName>,
}

/// What is active of a service, and whether it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// The generation.
    pub generation: u64,
    /// Its version.
    pub version: Version,
    /// Whether somebody stopped it.
    pub stopped: bool,
    /// Whether the kernel has it.
    pub loaded: bool,
}

/// Everything about one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The line of the list.
    pub status: Status,
    /// The switch word: how often it switched; its parity picks the slot.
    pub switch: Option<u64>,
    /// Generations that are in the kernel, the running one last.
    pub generations: Vec<GenerationDetail>,
    /// Where it is attached.
    pub hooks: Vec<HookDetail>,
    /// Maps of the running generation.
    pub maps: Vec<MapDetail>,
    /// Bytes of kernel memory of all maps.
    pub map_memory: u64,
    /// Events that programs had no room for in their ring buffers, by program; where it is counted.
    pub lost: BTreeMap<String, u64>,
    /// Events that the perf buffers had no room for, as far as this process read them.
    pub perf_lost: u64,
    /// Records read from the buffers by this process.
    pub events_read: u64,
    /// Records that no reader took in time.
    pub events_dropped: u64,
    /// Records that no output takes: none has a `when` that fits.
    pub events_unknown: u64,
    /// What was adapted for this kernel.
    pub report: Report,
    /// Entries that did not fit its maps at the last upgrade or rollback, by map.
    pub no_room: BTreeMap<String, u64>,
    /// What of it was gone when it was last loaded again on this boot: its maps began empty then.
    pub state_lost: Option<String>,
    /// Its live parameters.
    pub settings: Settings,
}

impl Detail {
    /// The parameters that it runs with, of those that were set: its version's, and live ones as they are now.
    #[must_use]
    pub fn params(&self) -> BTreeMap<String, String> {
        let active = self.generations.iter().find(|generation| generation.active);
        let given = active.map(|active| active.fixed.params.clone()).unwrap_or_default();
        self.settings.over(&given)
    }
}

impl Runtime {
    /// A line for every service, by name.
    #[must_use]
    pub fn services(&self) -> Vec<Status> {
        let under_way = self.state.pending.iter().map(|pending| &pending.service);
        let waiting = self.state.aside.keys().chain(under_way);
        let names: BTreeSet<&ServiceName> = self.state.services.keys().chain(waiting).collect();
        let status = |name| {
            let service = self.state.service(name)?;
            self.status(name, &service, || self.detached(name, &service))
        };
        names.into_iter().filter_map(status).collect()
    }

    /// The active generation of a service and its version.
    #[must_use]
    pub fn standing(&self, service: &ServiceName) -> Option<(u64, Version)> {
        self.runs(service).map(|active| (active.number, active.version.clone()))
    }

    /// How each service stands, for who compares before and after.
    #[must_use]
    pub fn standings(&self) -> BTreeMap<ServiceName, Stands> {
        let stands = |name: ServiceName| {
            let (generation, version) = self.standing(&name)?;
            let (stopped, loaded) = (self.is_stopped(&name), !self.is_idle(&name));
            Some((name, Stands { generation, version, stopped, loaded }))
        };
        self.names().into_iter().filter_map(stands).collect()
    }

    /// `detached` says what is not attached that should be, if it is asked.
    fn status(
        &self,
        name: &ServiceName,
        service: &Service,
        detached: impl FnOnce() -> Option<String>,
    ) -> Option<Status> {
        let active = service.active()?;
        let half_done = self.half_done(name);
        let there = self.state.services.contains_key(name);
        let failure = self.failures.get(name);
        let failed = match failure {
            Some(failure) => Some(failure.why().to_owned()),
            None if service.stopped => None,
            None if there => detached(),
            None => half_done.clone(),
        };
        let state = match (failure, &failed) {
            (_, None) if service.stopped => ServiceState::Stopped,
            (Some(Failure::Down(_)), _) => ServiceState::Failed,
            (_, Some(_)) if there => ServiceState::Partial,
            (_, Some(_)) => ServiceState::Failed,
            (_, None) => ServiceState::Running,
        };
        Some(Status {
            service: name.clone(),
            package: active.package.clone(),
            version: active.version.clone(),
            index: active.index,
            generation: active.number,
            state,
            failed,
            previous: service.previous().map(|generation| Previous {
                generation: generation.number,
                version: generation.version.clone(),
            }),
            previous_lost: service.previous_lost.as_ref().map(ToString::to_string),
            half_done: half_done.filter(|_| there),
            owed: self.state.owed(name).map(ToString::to_string),
            held: service.held,
            needs: self.needs(name),
            needed_by: self.needed_by(name),
        })
    }

    /// What waits on a service, or was under way when the journal could not be written.
    fn half_done(&self, name: &ServiceName) -> Option<String> {
        let op = self.state.begun(name)?.op;
        let why = self.state.aside.get(name).map(|aside| aside.why.clone());
        let why = why
            .or_else(|| Some(format!("the journal was not written: {}", self.journal.broken()?)));
        Some(format!("its {op} is half done: {}", why.unwrap_or_default()))
    }

    /// The package of a service of which the kernel alone is asked for [`Self::service`]: a holder may take its time.
    #[must_use]
    pub fn told_at_once(&self, name: &ServiceName) -> Option<Digest> {
        let is_held = |hook: &Hook| matches!(hook.attachment, Attachment::Held { .. });
        let service = self.state.service(name)?;
        let active = service.active().filter(|_| !service.hooks.values().any(is_held));
        active.map(|active| active.index)
    }

    /// Everything about one service.
    ///
    /// # Errors
    /// There is no such service.
    pub fn service(&self, name: &ServiceName) -> Result<Detail, RuntimeError> {
        let service = match self.state.service(name) {
            Some(service) => service,
            None => Cow::Borrowed(self.service_state(name)?),
        };
        let gone = || RuntimeError::NotRunning {
            service: name.clone(),
            why: "its generation is gone".to_owned(),
        };
        let hooks = self.hook_details(name, &service);
        let status = self.status(name, &service, || {
            all_detached(hooks.iter().filter(|hook| hook.program.is_some()).filter_map(|hook| {
                Some(not_attached(&hook.name, &hook.target, hook.detached.as_ref()?))
            }))
        });
        let (status, active) = status.zip(service.active()).ok_or_else(gone)?;
        let generations = service.generations.values().map(|generation| GenerationDetail {
            active: generation.number == service.active,
            fixed: generation.fixed.clone(),
        });
        let maps = self.maps(name, active);
        let counts = self.event_counts(name);
        Ok(Detail {
            status,
            switch: service.switch,
            generations: generations.collect(),
            hooks,
            map_memory: maps.iter().map(|map| map.memory).sum(),
            maps,
            lost: self.lost(name, &service),
            perf_lost: counts.lost,
            events_read: counts.read,
            events_dropped: counts.dropped,
            events_unknown: counts.unknown,
            report: active.incarnation.as_ref().map(|i| i.report.clone()).unwrap_or_default(),
            no_room: service.no_room.clone(),
            state_lost: service.lost.clone(),
            settings: service.settings.clone(),
        })
    }

    fn hook_details(&self, name: &ServiceName, service: &Service) -> Vec<HookDetail> {
        let detail = |(hook_name, hook): (&String, &Hook)| {
            let stub = Program::open_pinned(&self.pins(name).stub(hook_name), hook.kind.clone());
            let missed = stub.ok().and_then(|stub| stub.missed().ok());
            let Found { held_by, detached } = self.found_at(name, hook_name, hook);
            HookDetail {
                name: hook_name.clone(),
                target: hook.target.clone(),
                mechanism: hook.mechanism,
                program: service.program_on(service.active, hook_name).map(|(p, _)| p.to_owned()),
                held_by,
                detached,
                missed: missed.unwrap_or(0),
            }
        };
        service.hooks.iter().map(detail).collect()
    }

    fn maps(&self, name: &ServiceName, generation: &Generation) -> Vec<MapDetail> {
        let maps = generation.incarnation.iter().flat_map(|i| &i.maps);
        let visible = maps.filter(|(_, record)| !record.is_lost());
        let detail = |(map, record): (&String, &crate::state::MapRecord)| {
            let opened = MapHandle::open_pinned(&self.pins(name).map(map, record.made_by)).ok()?;
            Some(MapDetail {
                name: map.clone(),
                max_entries: opened.info().max_entries,
                memory: self.memories.of(&opened).unwrap_or(0),
                made_by: record.made_by,
            })
        };
        visible.filter_map(detail).collect()
    }

    /// The lost events of all generations, by function: of those that are gone and of the living.
    fn lost(&self, name: &ServiceName, service: &Service) -> BTreeMap<String, u64> {
        let mut lost = service.lost_events.clone();
        for generation in service.generations.values() {
            for (function, events) in self.lost_by(name, generation) {
                *lost.entry(function).or_default() += events;
            }
        }
        lost
    }

    /// The events that one generation lost so far, by function.
    pub(crate) fn lost_by(
        &self,
        name: &ServiceName,
        generation: &Generation,
    ) -> BTreeMap<String, u64> {
        let mut lost = BTreeMap::new();
        let maps = generation.incarnation.iter().flat_map(|i| &i.maps);
        for (map, record) in maps.filter(|(_, record)| record.is_lost()) {
            let path = self.pins(name).map(map, record.made_by);
            let Ok(counters) = MapHandle::open_pinned(&path) else { continue };
            if counters.info().kind != kind::ARRAY {
                continue;
            }
            let Ok(counters) = counters.mmap() else { continue };
            for (slot, function) in record.counts.iter().enumerate() {
                *lost.entry(function.clone()).or_default() += counters.load(slot);
            }
        }
        lost
    }
}
