//! Running a package or a bare object for as long as a value lives: nothing pinned, nothing journaled, no stub.

mod attach;
mod attempt;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_kernel::ring::{self, Waker};
use skep_kernel::{KernelError, Link, Loaded, MapHandle, perf};
use skep_object::MapKind;
use skep_object::event::{Decoder, Stacks};
use skep_spec::Target;
use skep_spec::manifest::Output;
use skep_trust::{Package, Verified};

use self::attempt::{Attempt, advised};
use crate::contents::{Contents, Reading};
use crate::error::RuntimeError;
use crate::events::{Decoding, HELD, Moment, Source, decoding_of, decodings, with_stacks};
use crate::params::Params;
use crate::plan::Report;
use crate::runtime;
use crate::stacks::MapsOfStacks;

/// One wait: programs may put out without waking the reader (`BPF_RB_NO_WAKEUP`), and perf buffers wake nobody here.
const TURN: Duration = Duration::from_millis(10);

/// What `skep run` was told beside the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Values of the package's parameters.
    pub params: BTreeMap<String, String>,
    /// The interface for XDP and tc programs whose section names none.
    pub interface: Option<String>,
    /// The cgroup for cgroup programs whose section names none.
    pub cgroup: Option<String>,
    /// Targets by program, in place of the section's.
    pub targets: BTreeMap<String, Target>,
    /// For uprobes: this process only.
    pub pid: Option<u32>,
    /// The types of this kernel, where its operator has them for it: objects are made to fit them.
    pub btf: Option<PathBuf>,
}

/// A package that runs until this value goes.
#[derive(Debug)]
pub struct Session {
    // Links first: what is detached last would run without its maps.
    links: Vec<Link>,
    attached: Vec<(String, Target)>,
    skipped: Vec<(String, String)>,
    report: Report,
    rings: ring::Reader,
    ring_sources: Vec<Source>,
    perfs: Vec<(perf::Reader, Source)>,
    perf_lost: u64,
    unknown: u64,
    /// Records that wait for older ones of other CPUs or rings.
    held: Vec<Held>,
    counters: Vec<MapHandle>,
    metrics: Vec<Metric>,
    /// By their names; libbpf's links are of objects that it keeps open.
    objects: Vec<(String, Loaded)>,
}

/// An output of the manifest that a map carries.
#[derive(Debug)]
struct Metric {
    name: String,
    output: Output,
    map: MapHandle,
    reading: Reading,
}

/// One record, as it lies in the buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The output; without a manifest the buffer's name.
    pub output: &'a str,
    /// How it is read.
    pub decoder: &'a Decoder,
    /// Its bytes.
    pub data: &'a [u8],
}

impl<'a> Record<'a> {
    fn of(decoding: &'a Decoding, data: &'a [u8]) -> Self {
        Self { output: &decoding.output, decoder: &decoding.decoder, data }
    }
}

/// A record that waits, and its place among others by its time.
#[derive(Debug)]
struct Held {
    place: u64,
    decoding: Arc<Decoding>,
    data: Vec<u8>,
}

/// Loads and attaches every program that can attach.
///
/// # Errors
/// The package cannot be read, a parameter is wrong, or not one program could be loaded and attached.
pub fn run(package: &Verified<Package>, options: &Options) -> Result<Session, RuntimeError> {
    if let Some(needed) = package.manifest.dependencies.keys().next() {
        let package = package.manifest.package.name.clone();
        return Err(RuntimeError::Alone { package, needed: needed.clone() });
    }
    let objects = runtime::facts_of(package)?;
    let params = Params::resolve(&package.manifest, &options.params)?;
    params.check_variables(objects.values())?;
    Attempt { package, objects: &objects, params: &params, options }.until_one_runs()
}

impl Session {
    fn read_buffers(
        &mut self,
        package: &Package,
        facts: &skep_object::Facts,
        loaded: &Loaded,
    ) -> Result<(), KernelError> {
        for map in &facts.maps {
            let Some(decodings) = decodings(&package.manifest, facts, &map.name) else { continue };
            let Some(handle) = loaded.map(&map.name) else { continue };
            let decodings = with_stacks(decodings, || maps_of_stacks(facts, loaded));
            let source = Source { map: handle.try_clone()?, decodings };
            if map.kind == MapKind::RingBuf {
                self.rings.add(&source.map)?;
                self.ring_sources.push(source);
            } else {
                self.perfs.push((perf::Reader::new(&source.map, perf::Reader::PAGES)?, source));
            }
        }
        Ok(())
    }

    fn find_metrics(
        &mut self,
        package: &Package,
        facts: &skep_object::Facts,
        loaded: &Loaded,
    ) -> Result<(), KernelError> {
        let outputs = package.manifest.output.iter();
        for (name, output) in outputs.filter(|(_, output)| output.kind.is_metric()) {
            let Some(map) = loaded.map(&output.map) else { continue };
            let policy = package.manifest.map.get(&output.map);
            self.metrics.push(Metric {
                name: name.clone(),
                output: output.clone(),
                map: map.try_clone()?,
                reading: Reading::new(
                    Some((facts, &output.map)),
                    (policy, Some(output)),
                    true,
                    &maps_of_stacks(facts, loaded),
                ),
            });
        }
        Ok(())
    }

    /// Takes every program off its hook; what they put out till then can still be read.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    /// Programs that run, and where.
    #[must_use]
    pub fn attached(&self) -> &[(String, Target)] {
        &self.attached
    }

    /// Programs that do not run, and why.
    #[must_use]
    pub fn skipped(&self) -> &[(String, String)] {
        &self.skipped
    }

    /// What was adapted for this kernel.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Whether there is anything to read.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.ring_sources.is_empty() || !self.perfs.is_empty()
    }

    /// Whether its manifest has outputs that maps carry.
    #[must_use]
    pub fn has_metrics(&self) -> bool {
        !self.metrics.is_empty()
    }

    /// The outputs of its manifest that maps carry, as they stand, by name.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn metrics(&self) -> Result<Vec<(&str, &Output, Contents)>, KernelError> {
        let read = |metric| -> Result<_, KernelError> {
            let metric: &Metric = metric;
            let contents = metric.reading.read(&metric.name, &metric.map)?;
            Ok((metric.name.as_str(), &metric.output, contents))
        };
        self.metrics.iter().map(read).collect()
    }

    /// The readers of its outputs, for the head of a table.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &Decoder)> {
        let perfs = self.perfs.iter().map(|(_, source)| source);
        let decodings = self.ring_sources.iter().chain(perfs).flat_map(|s| s.decodings.iter());
        decodings.map(|decoding| (&*decoding.output, &decoding.decoder))
    }

    /// Events that were lost so far because a buffer was full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let words = self.counters.iter().filter_map(|map| map.mmap().ok());
        let counted: u64 = words.map(|w| (0..w.len()).map(|i| w.load(i)).sum::<u64>()).sum();
        counted + self.perf_lost
    }

    /// Records so far that no output takes: none has a `when` that fits.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Ends [`Self::poll`]'s wait from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.rings.waker()
    }

    /// Hands at most `most` records to `each`, after waiting for the first one up to `timeout`; gives their number, with that of
    /// those that wait for older ones. Of several buffers they come in the order of their times.
    ///
    /// # Errors
    /// A buffer is damaged.
    pub fn poll(
        &mut self,
        timeout: Duration,
        most: usize,
        mut each: impl FnMut(Record<'_>),
    ) -> Result<usize, KernelError> {
        if self.perfs.is_empty() && self.ring_sources.len() < 2 {
            return self
                .take(timeout, most, &mut |decoding, data| each(Record::of(decoding, data)));
        }
        let (mut held, now) = (std::mem::take(&mut self.held), Moment::now());
        let timeout = if held.is_empty() { timeout } else { timeout.min(HELD) };
        let mut read = None; // the clocks are asked once, when the first comes
        self.take(timeout, most.saturating_sub(held.len()), &mut |decoding, data| {
            let before = held.last().map_or(0, |held: &Held| held.place);
            let read = *read.get_or_insert_with(Moment::now);
            let place = decoding.time(data, read).unwrap_or(before);
            held.push(Held { place, decoding: decoding.clone(), data: data.to_vec() });
        })?;
        held.sort_by_key(|held| held.place);
        let ready = held.partition_point(|held| held.place <= now.unix_ns).min(most);
        self.held = held.split_off(ready);
        held.iter().for_each(|held| each(Record::of(&held.decoding, &held.data)));
        Ok(held.len() + self.held.len())
    }

    /// Hands on records as the buffers give them.
    fn take(
        &mut self,
        timeout: Duration,
        most: usize,
        each: &mut impl FnMut(&Arc<Decoding>, &[u8]),
    ) -> Result<usize, KernelError> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut records = self.poll_perf(most, each)?;
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if records > 0 { Duration::ZERO } else { left.min(TURN) };
            let (sources, unknown) = (&self.ring_sources, &mut self.unknown);
            let polled = self.rings.poll(Some(wait), most - records, |number, data| {
                if let Some(source) = sources.get(number) {
                    *unknown += u64::from(!hand_on(source, data, each));
                }
            })?;
            records += polled.records;
            if records > 0 || polled.woken || left <= wait {
                return Ok(records);
            }
        }
    }

    fn poll_perf(
        &mut self,
        most: usize,
        each: &mut impl FnMut(&Arc<Decoding>, &[u8]),
    ) -> Result<usize, KernelError> {
        let (mut records, lost, unknown) = (0, &mut self.perf_lost, &mut self.unknown);
        for (reader, source) in &mut self.perfs {
            let left = most - records;
            reader.poll(Some(Duration::ZERO), left, |_, record| match record {
                perf::Record::Sample(data) => {
                    records += 1;
                    *unknown += u64::from(!hand_on(source, data, each));
                }
                perf::Record::Lost(more) => *lost += more,
            })?;
        }
        Ok(records.min(most))
    }
}

fn maps_of_stacks(facts: &skep_object::Facts, loaded: &Loaded) -> Arc<dyn Stacks> {
    let maps = facts.maps.iter().filter(|map| map.kind == MapKind::StackTrace);
    MapsOfStacks::of(
        maps.filter_map(|map| Some((map.name.clone(), loaded.map(&map.name)?.try_clone().ok()?))),
    )
}

/// Whether an output takes the record.
fn hand_on(source: &Source, data: &[u8], each: &mut impl FnMut(&Arc<Decoding>, &[u8])) -> bool {
    let Some(decoding) = decoding_of(&source.decodings, data) else { return false };
    each(decoding, data);
    true
}
