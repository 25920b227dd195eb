//! Events: threads read a service's rings and perf buffers and hand the records to any number of readers.
//!
//! A ring is pinned and holds its reader's position, so that events go on where they were when the daemon
//! restarts. It is read only while there is a reader; without one it keeps the events. A perf buffer keeps nothing
//! without a reader of ours: it is read from the moment on when its programs may run, into a backlog where nobody follows.
//!
//! Whoever has the runtime waits for no reading but that of a ring that goes while nobody follows; the threads never wait
//! for the runtime.

mod backlog;
mod consumer;
mod past;
mod readers;
mod sorted;
mod source;
mod stream;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skep_kernel::MapHandle;
use skep_kernel::maps::kind;
use skep_object::event::{Decoder, Stacks};
use skep_spec::{ServiceName, chain};

pub(crate) use sorted::HELD;
pub(crate) use source::{Decoding, Moment, Source, decoding_of, decodings, equipped, with_stacks};
pub use stream::{Event, EventStream, Format, Next};

use crate::error::RuntimeError;
use crate::events::consumer::Consumer;
use crate::runtime::{Runtime, facts_of};
use crate::stacks::MapsOfStacks;
use crate::state::Generation;

/// What events come from.
const BUFFERS: &[u32] = &[kind::RINGBUF, kind::PERF_EVENT_ARRAY];

/// The threads, by service.
#[derive(Debug, Default)]
pub(crate) struct Consumers(BTreeMap<ServiceName, Consumer>);

impl Consumers {
    fn of(&mut self, service: &ServiceName) -> &mut Consumer {
        self.0.entry(service.clone()).or_insert_with(|| Consumer::new(service))
    }

    /// Ends a service's threads and its readers' streams.
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
        self.consumer(service).map(|consumer| consumer.follow(None))
    }

    /// A new reader of the events that wait now.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn waiting_events(&mut self, service: &ServiceName) -> Result<EventStream, RuntimeError> {
        self.consumer(service).map(|consumer| consumer.look(None))
    }

    /// A new reader of what was since a moment, in nanoseconds since 1970, also of what others took, as far as it is kept; then
    /// of all that comes, or of what waits.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn events_since(
        &mut self,
        service: &ServiceName,
        since: u64,
        follow: bool,
    ) -> Result<EventStream, RuntimeError> {
        let consumer = self.consumer(service)?;
        Ok(if follow { consumer.follow(Some(since)) } else { consumer.look(Some(since)) })
    }

    /// How the records of a service's outputs are read.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn event_decoders(&self, service: &ServiceName) -> Result<Vec<Decoder>, RuntimeError> {
        let sources = self.sources_of(service, &self.active(service)?, BUFFERS)?;
        let decodings = sources.iter().flat_map(|source| &source.decodings);
        Ok(decodings.map(|decoding| decoding.decoder.clone()).collect())
    }

    /// One that is ready for a reader.
    fn consumer(&mut self, service: &ServiceName) -> Result<&Consumer, RuntimeError> {
        self.running(service)?;
        if !self.consumers.0.get(service).is_some_and(Consumer::is_ready) {
            let generation = self.active(service)?.number;
            let (retiring, active) = self.sources(service)?;
            if active.is_empty() {
                return Err(RuntimeError::NoEvents { service: service.clone() });
            }
            self.consumers.of(service).set_sources(retiring, (generation, active))?;
        }
        Ok(self.consumers.of(service))
    }

    /// What a service's buffers gave since this process first read them; zeroes where it has not.
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
        let perfs = self.sources_of(service, to, &[kind::PERF_EVENT_ARRAY])?;
        if perfs.is_empty() {
            return Ok(()); // and no thread
        }
        self.consumers.of(service).add_perfs(perfs)
    }

    /// The same for a service that ran on: it does so without its events too.
    pub(crate) fn read_perfs_again(&mut self, service: &ServiceName) {
        let read = self.active(service).and_then(|active| self.read_perfs_of(service, &active));
        if let Err(error) = read {
            let why = chain(&error);
            tracing::warn!(%service, "events of perf buffers are lost until somebody reads them: {why}");
        }
    }

    /// After an operation was undone: what it loaded is read no more.
    pub(crate) fn stop_reading_unknown(&mut self, name: &ServiceName) {
        let Some(service) = self.state.services.get(name) else {
            return self.consumers.forget(name);
        };
        let known: BTreeSet<u32> = service.generations.values().flat_map(map_ids).collect();
        if let Some(consumer) = self.consumers.0.get_mut(name) {
            consumer.keep_perfs(&known);
        }
    }

    /// After a switch: the rings of quiet generations are read to their end, then those of the running one.
    /// Without a reader rings keep their events, but for those that are about to go: what is in them waits in
    /// memory for the next reader.
    pub(crate) fn change_rings(&mut self, name: &ServiceName) -> Result<(), RuntimeError> {
        let Some(service) = self.state.services.get(name) else { return Ok(()) };
        let reading = self.consumers.0.get(name).is_some_and(Consumer::has_readers);
        let freed = self.state.pending.as_ref().and_then(|p| p.retiring);
        let quiet = service.generations.values().filter(|g| g.number != service.active);
        let wanted = |g: &&Generation| reading || freed == Some(g.number);
        let quiet: Vec<Generation> = quiet.filter(wanted).cloned().collect();
        let retiring = self.own_sources(name, &quiet)?;
        let generation = service.active;
        let active = if reading {
            self.sources_of(name, &self.active(name)?, BUFFERS)?
        } else {
            self.decode_perfs(name)?; // with a reader they are among the sources
            Vec::new()
        };
        let reads = self.consumers.0.get(name).and_then(Consumer::reads);
        if retiring.is_empty() && reads == (!active.is_empty()).then_some(generation) {
            return Ok(());
        }
        self.consumers.of(name).set_sources(retiring, (generation, active))
    }

    /// A perf buffer is read on by one thread while versions change, each by its own outputs.
    fn decode_perfs(&self, name: &ServiceName) -> Result<(), RuntimeError> {
        let Some(consumer) = self.consumers.0.get(name).filter(|consumer| consumer.has_perfs())
        else {
            return Ok(());
        };
        let perfs = self.sources_of(name, &self.active(name)?, &[kind::PERF_EVENT_ARRAY])?;
        consumer.decode_perfs(&perfs);
        Ok(())
    }

    /// The buffers of a service: those that only quiet generations use, and those of the one that runs.
    fn sources(&self, name: &ServiceName) -> Result<(Vec<Source>, Vec<Source>), RuntimeError> {
        let service = self.service_state(name)?;
        let quiet = service.generations.values().filter(|g| g.number != service.active);
        let quiet: Vec<Generation> = quiet.cloned().collect();
        let retiring = self.own_sources(name, &quiet)?;
        Ok((retiring, self.sources_of(name, &self.active(name)?, BUFFERS)?))
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
            own.extend(self.sources_of(name, generation, BUFFERS)?);
        }
        own.retain(|source| !shared.contains(&source.map.info().id));
        Ok(own)
    }

    /// The maps of stacks of one of a generation's objects.
    pub(crate) fn maps_of_stacks(
        &self,
        service: &ServiceName,
        generation: &Generation,
        object: &str,
    ) -> Arc<dyn Stacks> {
        let maps = generation.incarnation.iter().flat_map(|incarnation| &incarnation.maps);
        let here = maps.filter(|(_, record)| record.object == object && !record.is_lost());
        MapsOfStacks::of(here.filter_map(|(name, record)| {
            Some((record.symbol.clone(), self.open_map(service, generation, name).ok()?))
        }))
    }

    /// A generation's buffers of these kinds.
    fn sources_of(
        &self,
        service: &ServiceName,
        generation: &Generation,
        kinds: &[u32],
    ) -> Result<Vec<Source>, RuntimeError> {
        let Some(incarnation) = &generation.incarnation else { return Ok(Vec::new()) };
        let is_wanted = |map: &MapHandle| kinds.contains(&map.info().kind);
        let open = |name| self.open_map(service, generation, name);
        if !incarnation.maps.keys().any(|name| open(name).is_ok_and(|map| is_wanted(&map))) {
            return Ok(Vec::new()); // without a look into its package, which may be gone
        }
        let package = self.package(&generation.index)?;
        let objects = facts_of(&package)?;
        let mut sources = Vec::new();
        for (name, record) in &incarnation.maps {
            let Some(facts) = objects.get(&record.object) else { continue };
            let Some(decodings) = decodings(&package.manifest, facts, &record.symbol) else {
                continue;
            };
            let map = open(name)?;
            if is_wanted(&map) {
                let stacks = || self.maps_of_stacks(service, generation, &record.object);
                let decodings = with_stacks(decodings, stacks);
                sources.push(Source { map, decodings });
            }
        }
        Ok(sources)
    }
}

fn map_ids(generation: &Generation) -> Vec<u32> {
    generation.incarnation.iter().flat_map(|i| i.maps.values()).map(|map| map.id).collect()
}
