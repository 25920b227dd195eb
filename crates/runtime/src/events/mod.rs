//! Events: one thread for each service reads its ring and perf buffers and hands the records to any number of
//! readers.
//!
//! A ring is pinned and holds its reader's position, so that events go on where they were when the daemon
//! restarts. A thread begins with the first reader of a service; till then its ring keeps the events.

mod consumer;
mod source;
mod stream;

use std::collections::BTreeMap;

use skep_kernel::MapHandle;
use skep_kernel::maps::kind;
use skep_spec::ServiceName;

pub(crate) use source::{Source, choose as choose_decoding, decodings};
pub use stream::{Event, EventStream, Next};

use crate::error::RuntimeError;
use crate::events::consumer::Consumer;
use crate::plan::MapChange;
use crate::runtime::{Runtime, facts_of};
use crate::state::Generation;

/// The threads, by service.
#[derive(Debug, Default)]
pub(crate) struct Consumers(BTreeMap<ServiceName, Consumer>);

impl Consumers {
    /// Ends a service's thread and its readers' streams.
    pub(crate) fn forget(&mut self, service: &ServiceName) {
        self.0.remove(service);
    }
}

/// What a service's buffers gave so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Records read from the buffers.
    pub read: u64,
    /// Records that the perf buffers had no room for.
    pub lost: u64,
    /// Records that no reader took in time.
    pub dropped: u64,
}

impl Runtime {
    /// A new reader of a service's events; the first one gets what came before it, as far as that was kept.
    ///
    /// # Errors
    /// There is no such service, it has no events, or its package is gone.
    pub fn events(&mut self, service: &ServiceName) -> Result<EventStream, RuntimeError> {
        self.running(service)?;
        if !self.consumers.0.contains_key(service) {
            let (retiring, active) = self.sources(service)?;
            if active.is_empty() {
                return Err(RuntimeError::NoEvents { service: service.clone() });
            }
            let consumer = Consumer::start(service, retiring, active)?;
            self.consumers.0.insert(service.clone(), consumer);
        }
        let consumer = self.consumers.0.get(service);
        let none = || RuntimeError::NoEvents { service: service.clone() };
        consumer.map(Consumer::stream).ok_or_else(none)
    }

    /// What a service's buffers gave since its thread began; zeroes where none runs.
    #[must_use]
    pub fn event_counts(&self, service: &ServiceName) -> EventCounts {
        self.consumers.0.get(service).map(Consumer::counts).unwrap_or_default()
    }

    /// Reads the perf buffers of a generation that is about to run: what comes before its reader would be lost.
    pub(crate) fn read_perfs_of(
        &mut self,
        service: &ServiceName,
        to: &Generation,
    ) -> Result<(), RuntimeError> {
        if !self.consumers.0.contains_key(service) {
            return Ok(());
        }
        let mut sources = self.sources_of(service, to)?;
        sources.retain(|source| source.map.info().kind == kind::PERF_EVENT_ARRAY);
        match self.consumers.0.get_mut(service) {
            Some(consumer) => consumer.add_perfs(sources),
            None => Ok(()),
        }
    }

    /// Tells a service's thread that a switch changed its rings: the old ones are read to their end first.
    pub(crate) fn rings_changed(&mut self, service: &ServiceName) -> Result<(), RuntimeError> {
        let pending = self.state.pending.as_ref();
        let own_rings = pending.is_some_and(|p| p.changes.values().any(is_new_ring));
        if !own_rings {
            return Ok(());
        }
        let freed = pending.and_then(|p| p.retiring);
        // Without a reader a ring keeps its events; one that is about to go hands them to the thread's backlog.
        if !self.consumers.0.contains_key(service) && !self.has_unread(service, freed)? {
            return Ok(());
        }
        let (retiring, active) = self.sources(service)?;
        match self.consumers.0.get_mut(service) {
            Some(consumer) => consumer.set_sources(retiring, active),
            None => {
                let consumer = Consumer::start(service, retiring, active)?;
                self.consumers.0.insert(service.clone(), consumer);
                Ok(())
            }
        }
    }

    /// Whether a ring that only generation `freed` uses holds what nobody has read.
    fn has_unread(&self, name: &ServiceName, freed: Option<u64>) -> Result<bool, RuntimeError> {
        let Some(service) = self.state.services.get(name) else { return Ok(false) };
        let Some(generation) = freed.and_then(|n| service.generations.get(&n)) else {
            return Ok(false);
        };
        let maps = generation.incarnation.iter().flat_map(|i| i.maps.keys());
        for map in maps {
            let map = self.open_map(name, generation, map)?;
            if map.info().kind == kind::RINGBUF {
                let mut reader = skep_kernel::ring::Reader::new()?;
                let number = reader.add(&map)?;
                if reader.unread(number) > 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The buffers of a service: those that only a quiet generation uses, and those of the one that runs.
    fn sources(&self, name: &ServiceName) -> Result<(Vec<Source>, Vec<Source>), RuntimeError> {
        let service = self.service_state(name)?;
        let active = self.active(name)?;
        let freed = self.state.pending.as_ref().and_then(|p| p.from);
        let quiet = service.previous.or(freed).filter(|n| *n != active.number);
        let mut retiring = Vec::new();
        if let Some(quiet) = quiet.and_then(|n| service.generations.get(&n)) {
            retiring = self.sources_of(name, quiet)?;
            let shared: Vec<u32> = map_ids(&active);
            retiring.retain(|source| !shared.contains(&source.map.info().id));
        }
        Ok((retiring, self.sources_of(name, &active)?))
    }

    fn sources_of(
        &self,
        service: &ServiceName,
        generation: &Generation,
    ) -> Result<Vec<Source>, RuntimeError> {
        let Some(incarnation) = &generation.incarnation else { return Ok(Vec::new()) };
        let package = self.package(&generation.index)?;
        let objects = facts_of(&package)?;
        let mut sources = Vec::new();
        for (name, record) in &incarnation.maps {
            let Some(facts) = objects.get(&record.object) else { continue };
            let Some(decodings) = decodings(&package.manifest, facts, &record.symbol) else {
                continue;
            };
            let map: MapHandle = self.open_map(service, generation, name)?;
            sources.push(Source { map, decodings: decodings.into() });
        }
        Ok(sources)
    }
}

fn is_new_ring(change: &MapChange) -> bool {
    matches!(change, MapChange::Ring | MapChange::New | MapChange::Gone)
}

fn map_ids(generation: &Generation) -> Vec<u32> {
    generation.incarnation.iter().flat_map(|i| i.maps.values()).map(|map| map.id).collect()
}
