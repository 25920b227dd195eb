//! A buffer and how its records are read.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use skep_kernel::MapHandle;
use skep_kernel::clock::monotonic_ns;
use skep_object::event::{Clock, Condition, Decoder, Stacks, Symbols, event_type};
use skep_object::{Facts, MapKind};
use skep_spec::Manifest;
use skep_spec::manifest::{Output, OutputKind};

/// A ring or perf buffer.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) map: MapHandle,
    pub(crate) decodings: Decodings,
}

/// The first whose condition holds reads a record.
pub(crate) type Decodings = Vec<Arc<Decoding>>;

/// How the records of one output are read.
#[derive(Debug)]
pub(crate) struct Decoding {
    /// The output's name; without a manifest the map's.
    pub(crate) output: Arc<str>,
    pub(crate) decoder: Decoder,
    when: Option<Condition>,
}

impl Decoding {
    fn takes(&self, data: &[u8]) -> bool {
        self.when.as_ref().is_none_or(|when| when.takes(data))
    }
}

/// The decoding of a record: of several on one ring the first whose condition holds; none of an unknown record.
pub(crate) fn decoding_of<'a>(
    decodings: &'a [Arc<Decoding>],
    data: &[u8],
) -> Option<&'a Arc<Decoding>> {
    decodings.iter().find(|decoding| decoding.takes(data))
}

/// How the records of `map` are read; none if it carries no events, or a manifest with outputs names it in none. An output
/// whose condition cannot be told takes no record.
pub(crate) fn decodings(manifest: &Manifest, facts: &Facts, map: &str) -> Option<Decodings> {
    let kind = facts.map(map)?.kind;
    if !matches!(kind, MapKind::RingBuf | MapKind::PerfEventArray) {
        return None;
    }
    let events = || manifest.output.iter().filter(|(_, o)| o.kind == OutputKind::Event);
    if events().next().is_none() {
        return Some(vec![Arc::new(without_manifest(facts, map))]);
    }
    let named = events()
        .filter(|(_, output)| output.map == map)
        .filter_map(|(name, output)| by_output(facts, map, name, output).map(Arc::new))
        .collect();
    events().any(|(_, output)| output.map == map).then_some(named)
}

/// The same with names for the frames of stacks, where there are any.
pub(crate) fn with_stacks(
    decodings: Decodings,
    stacks: impl FnOnce() -> Arc<dyn Stacks>,
) -> Decodings {
    if !decodings.iter().any(|decoding| decoding.decoder.has_stacks()) {
        return decodings;
    }
    let stacks = stacks();
    let with = |decoding: Arc<Decoding>| match Arc::try_unwrap(decoding) {
        Ok(Decoding { output, decoder, when }) => {
            Arc::new(Decoding { output, decoder: decoder.with_stacks(stacks.clone()), when })
        }
        Err(shared) => shared,
    };
    decodings.into_iter().map(with).collect()
}

/// How the records of `map` are read where nobody says: by the object's BTF, else as bytes.
pub(crate) fn without_manifest(facts: &Facts, map: &str) -> Decoding {
    Decoding {
        output: map.into(),
        decoder: decoder(facts, map, None, &BTreeMap::new()),
        when: None,
    }
}

fn by_output(facts: &Facts, map: &str, name: &str, output: &Output) -> Option<Decoding> {
    let decoder = decoder(facts, map, output.r#struct.as_deref(), &output.fields);
    let when = output.when.as_ref().map(|when| Condition::new(name, when, &decoder)).transpose();
    let unknown = |error| tracing::warn!(map, "the output gets no records: {error}");
    Some(Decoding { output: name.into(), when: when.map_err(unknown).ok()?, decoder })
}

fn decoder(
    facts: &Facts,
    map: &str,
    told: Option<&str>,
    fields: &BTreeMap<String, skep_spec::manifest::Field>,
) -> Decoder {
    let ty = event_type(facts, map, told).zip(facts.btf.as_ref());
    let decoder = ty.and_then(|(ty, btf)| {
        let made = Decoder::new(btf, ty, fields).or_else(|error| {
            tracing::warn!(map, "formats are left out: {error}");
            Decoder::new(btf, ty, &BTreeMap::new())
        });
        made.ok()
    });
    equipped(decoder.unwrap_or_else(Decoder::raw))
}

/// A decoder with what its formats need of this machine.
pub(crate) fn equipped(mut decoder: Decoder) -> Decoder {
    if let Some(clock) = clock() {
        decoder = decoder.with_clock(clock);
    }
    if decoder.has_addresses() {
        decoder = decoder.with_symbols(symbols());
    }
    decoder
}

/// The kernel's symbols, as they were when they were first needed; where they are hidden, none.
fn symbols() -> Arc<Symbols> {
    static KNOWN: OnceLock<Arc<Symbols>> = OnceLock::new();
    let read = || {
        let text = fs::read("/proc/kallsyms").unwrap_or_default();
        Arc::new(Symbols::parse(&String::from_utf8_lossy(&text)))
    };
    KNOWN.get_or_init(read).clone()
}

/// When the monotonic clock was zero, as the clocks stand now.
fn clock() -> Option<Clock> {
    Moment::now().clock
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Nanoseconds since 1970.
    pub(crate) unix_ns: u64,
    clock: Option<Clock>,
}

impl Moment {
    pub(crate) fn now() -> Self {
        // Of both at one moment: again, where something else ran between them.
        let both = || {
            let (before, since) = (monotonic_ns(), SystemTime::now().duration_since(UNIX_EPOCH));
            let unix_ns = u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
            (monotonic_ns() - before, before, unix_ns)
        };
        let (_, monotonic, unix_ns) = (0..3).map(|_| both()).min().unwrap_or_default();
        let zero = unix_ns.checked_sub(monotonic);
        let clock = zero.map(|unix_ns_at_zero| Clock { unix_ns_at_zero, offset_seconds: 0 });
        Self { unix_ns, clock }
    }
}

impl Decoding {
    /// When a record that is read now was made, as it says itself; none where it does not, or cannot be right.
    pub(crate) fn time(&self, data: &[u8], now: Moment) -> Option<u64> {
        let told = self.decoder.time(data, now.clock?)?;
        (told <= now.unix_ns + SLACK).then_some(told)
    }
}

/// Nanoseconds by which the clocks may have been set since they were read.
const SLACK: u64 = 1_000_000_000;

/// Records whose first 8 bytes are a time.
#[cfg(test)]
pub(super) fn timed() -> Vec<Arc<Decoding>> {
    const TOUCH: &[u8] = include_bytes!("../../../../spec/vectors/files/objects/touch.o");
    let manifest = r#"{"objects":{},"output":{"a":{"fields":{"ts":{"format":"ktime"}},"kind":"event","map":"events"}},"package":{"license":"MIT","name":"a/b","version":"1.0.0"},"spec":"1.0"}"#;
    let manifest = Manifest::parse(manifest.as_bytes()).expect("a manifest");
    decodings(&manifest, &Facts::parse(TOUCH).expect("an object"), "events").expect("events")
}

/// Any record, as bytes.
#[cfg(test)]
pub(super) fn raw(output: &str) -> Decoding {
    Decoding { output: output.into(), decoder: Decoder::raw(), when: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOUCH: &[u8] = include_bytes!("../../../../spec/vectors/files/objects/touch.o");

    fn of(outputs: &str) -> Vec<Arc<Decoding>> {
        let manifest = format!(
            r#"{{"objects":{{}},"output":{outputs},"package":{{"license":"MIT","name":"a/b","version":"1.0.0"}},"spec":"1.0"}}"#
        );
        let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
        decodings(&manifest, &Facts::parse(TOUCH).unwrap(), "events").unwrap()
    }

    fn record(pid: u32) -> Vec<u8> {
        [&1_u64.to_le_bytes()[..], &pid.to_le_bytes(), &[0; 16]].concat()
    }

    #[test]
    fn a_record_is_of_the_first_output_whose_condition_holds_or_of_none() {
        let decodings = of(r#"{
            "b": {"kind": "event", "map": "events", "when": {"field": "pid", "equals": 7}},
            "a": {"kind": "event", "map": "events", "when": {"field": "pid", "equals": "0x8"}},
            "c": {"kind": "event", "map": "events", "when": {"field": "pid", "equals": 8}}}"#);
        let chosen = |pid| decoding_of(&decodings, &record(pid)).map(|found| &*found.output);
        assert_eq!([chosen(7), chosen(8), chosen(9)], [Some("b"), Some("a"), None]);
        assert!(decoding_of(&decodings, &[1]).is_none(), "too short for a pid");
    }

    #[test]
    fn an_output_whose_condition_cannot_be_told_takes_nothing() {
        for when in [r#"{"field": "nobody", "equals": 7}"#, r#"{"field": "pid", "equals": "x"}"#] {
            let decodings =
                of(&format!(r#"{{"a": {{"kind": "event", "map": "events", "when": {when}}}}}"#));
            assert!(decoding_of(&decodings, &record(7)).is_none());
        }
    }
}
