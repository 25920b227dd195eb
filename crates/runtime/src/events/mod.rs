//! Events: one thread for each service reads its ring and perf buffers and hands the records to any number of
//! readers.
//!
//! A ring is pinned and holds its reader's position, so that events go on where they were when the daemon
//! restarts. It is read only while there is a reader; without one it keeps the events.

mod consumer;
mod readers;
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
use crate::runtime::{Runtime, facts_of};
use crate::state::Generation;

/// The threads, by service.
#[derive(Debug, Default)]
pub(crate) struct Consumers(BTreeMap<ServiceName, Consumer>);

impl Consumers {
    fn of(&mut self, service: &ServiceName) -> &mut Consumer {
        self.0.entry(service.clone()).or_insert_with(|| Consumer::new(service))
    }

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
    /// Of those read, records that no output takes.
    pub unknown: u64,
}

impl Runtime {
    /// A new reader of a service's events till the service ends; the first one gets what came before it, as far as
    /// that was kept.
    ///
    /// # Errors
    /// There is no such service, it has no events, or its package is gone.
    pub fn events(&mut self, service: &ServiceName) -> Result<EventStream, RuntimeError> {
        self.consumer(service).map(Consumer::follow)
    }

    /// A new reader of the events that wait now.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn waiting_events(&mut self, service: &ServiceName) -> Result<EventStream, RuntimeError> {
        self.consumer(service).map(Consumer::look)
    }

    /// One that is ready for a reader.
    fn consumer(&mut self, service: &ServiceName) -> Result<&Consumer, RuntimeError> {
        self.running(service)?;
        if !self.consumers.0.get(service).is_some_and(Consumer::is_ready) {
            let (retiring, active) = self.sources(service)?;
            if active.is_empty() {
                return Err(RuntimeError::NoEvents { service: service.clone() });
            }
            self.consumers.of(service).set_sources(retiring, active)?;
        }
        Ok(self.consumers.of(service))
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

    /// After a switch: the rings of quiet generations are read to their end, then those of the running one.
    /// Without a reader rings keep their events, but for those that are about to go: what is in them waits in
    /// memory for the first reader.
    pub(crate) fn rings_changed(&mut self, name: &ServiceName) -> Result<(), RuntimeError> {
        let Some(service) = self.state.services.get(name) else { return Ok(()) };
        let reading = self.consumers.0.get(name).is_some_and(Consumer::has_readers);
        let freed = self.state.pending.as_ref().and_then(|p| p.retiring);
        let quiet = service.generations.values().filter(|g| g.number != service.active);
        let wanted = |g: &&Generation| reading || freed == Some(g.number);
        let quiet: Vec<Generation> = quiet.filter(wanted).cloned().collect();
        let retiring = self.own_sources(name, &quiet)?;
        let active = if reading { self.sources_of(name, &self.active(name)?)? } else { Vec::new() };
        let same = self.consumers.0.get(name).is_none_or(|consumer| consumer.reads(&active));
        if retiring.is_empty() && same {
            return Ok(());
        }
        self.consumers.of(name).set_sources(retiring, active)
    }

    /// The buffers of a service: those that only quiet generations use, and those of the one that runs.
    fn sources(&self, name: &ServiceName) -> Result<(Vec<Source>, Vec<Source>), RuntimeError> {
        let service = self.service_state(name)?;
        let quiet = service.generations.values().filter(|g| g.number != service.active);
        let quiet: Vec<Generation> = quiet.cloned().collect();
        let retiring = self.own_sources(name, &quiet)?;
        Ok((retiring, self.sources_of(name, &self.active(name)?)?))
    }

    /// The buffers of quiet generations that the running one does not use.
    fn own_sources(
        &self,
        name: &ServiceName,
        quiet: &[Generation],
    ) -> Result<Vec<Source>, RuntimeError> {
        let shared = map_ids(&self.active(name)?);
        let mut own = Vec::new();
        for generation in quiet.iter().filter(|g| map_ids(g).iter().any(|id| !shared.contains(id)))
        {
            own.extend(self.sources_of(name, generation)?);
        }
        own.retain(|source| !shared.contains(&source.map.info().id));
        Ok(own)
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
            sources.push(Source { map, decodings });
        }
        Ok(sources)
    }
}

fn map_ids(generation: &Generation) -> Vec<u32> {
    generation.incarnation.iter().flat_map(|i| i.maps.values()).map(|map| map.id).collect()
}
