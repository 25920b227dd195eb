//! A buffer and how its records are read.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use skep_kernel::MapHandle;
use skep_object::event::{Clock, Decoder, Place, event_type};
use skep_object::{Facts, MapKind};
use skep_spec::Manifest;
use skep_spec::manifest::{Output, OutputKind};
use skep_spec::param::Value;

/// A ring or perf buffer.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) map: MapHandle,
    /// The first whose condition holds reads a record.
    pub(crate) decodings: Arc<[Decoding]>,
}

/// How the records of one output are read.
#[derive(Debug)]
pub(crate) struct Decoding {
    /// The output's name; without a manifest the map's.
    pub(crate) output: Arc<str>,
    pub(crate) decoder: Decoder,
    when: Option<(Place, i128)>,
}

impl Decoding {
    fn takes(&self, data: &[u8]) -> bool {
        self.when.as_ref().is_none_or(|(place, value)| place.number(data) == Some(*value))
    }
}

/// The decoding of a record: of several on one ring the first whose condition holds.
pub(crate) fn choose<'a>(decodings: &'a [Decoding], data: &[u8]) -> Option<&'a Decoding> {
    decodings.iter().find(|decoding| decoding.takes(data)).or(decodings.last())
}

/// How the records of `map` are read; none if it carries no events, or a manifest with outputs names it in none.
pub(crate) fn decodings(manifest: &Manifest, facts: &Facts, map: &str) -> Option<Vec<Decoding>> {
    let kind = facts.map(map)?.kind;
    if !matches!(kind, MapKind::RingBuf | MapKind::PerfEventArray) {
        return None;
    }
    let events = || manifest.output.iter().filter(|(_, o)| o.kind == OutputKind::Event);
    if events().next().is_none() {
        return Some(vec![without_manifest(facts, map)]);
    }
    let named: Vec<Decoding> = events()
        .filter(|(_, output)| output.map == map)
        .map(|(name, output)| by_output(facts, map, name, output))
        .collect();
    (!named.is_empty()).then_some(named)
}

/// How the records of `map` are read where nobody says: by the object's BTF, else as bytes.
pub(crate) fn without_manifest(facts: &Facts, map: &str) -> Decoding {
    Decoding {
        output: map.into(),
        decoder: decoder(facts, map, None, &BTreeMap::new()),
        when: None,
    }
}

fn by_output(facts: &Facts, map: &str, name: &str, output: &Output) -> Decoding {
    let decoder = decoder(facts, map, output.r#struct.as_deref(), &output.fields);
    let when = output.when.as_ref().and_then(|when| {
        let value = match &when.equals {
            Value::Int(number) => i128::from(*number),
            Value::Bool(yes) => i128::from(*yes),
            Value::Text(text) => text.parse().ok()?,
        };
        Some((decoder.place(&when.field)?, value))
    });
    Decoding { output: name.into(), decoder, when }
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
    let decoder = decoder.unwrap_or_else(Decoder::raw);
    match clock() {
        Some(clock) => decoder.with_clock(clock),
        None => decoder,
    }
}

/// When the monotonic clock was zero, from how long the machine is up; to a hundredth of a second.
fn clock() -> Option<Clock> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, hundredths) = uptime.split_whitespace().next()?.split_once('.')?;
    let up = seconds.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = u64::try_from(now.as_nanos()).ok()?;
    Some(Clock { unix_ns_at_zero: now.checked_sub(up * 10_000_000)?, offset_seconds: 0 })
}
