//! Counters, read from a service's maps and decoded by its object's types.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use skep_api::CounterRow;
use skep_kernel::MapHandle;
use skep_object::event::Decoder;
use skep_object::{Facts, MapKind};
use skep_runtime::pins::Pins;
use skep_runtime::status::MapDetail;
use skep_spec::ServiceName;
use skep_spec::manifest::OutputKind;
use skep_trust::Package;

/// Most entries of one map that are shown.
const MOST: usize = 10_000;

/// Every counter and gauge that the manifest declares; those that cannot be read are left out.
#[must_use]
pub fn read(
    package: &Package,
    bpffs: &Path,
    service: &ServiceName,
    maps: &[MapDetail],
) -> BTreeMap<String, Vec<CounterRow>> {
    let mut counters = BTreeMap::new();
    let wanted = |kind: OutputKind| matches!(kind, OutputKind::Counter | OutputKind::Gauge);
    for (name, output) in package.manifest.output.iter().filter(|(_, output)| wanted(output.kind)) {
        let Some(detail) = maps.iter().find(|map| map.name == output.map) else { continue };
        let path = Pins::new(bpffs, service).map(&detail.name, detail.made_by);
        let facts = package.objects.values().filter_map(|elf| Facts::parse(elf).ok());
        let Some(facts) = facts.into_iter().find(|facts| facts.map(&output.map).is_some()) else {
            continue;
        };
        match MapHandle::open_pinned(&path) {
            Ok(map) => {
                counters.insert(name.clone(), rows(&facts, &output.map, &map));
            }
            Err(error) => tracing::warn!(output = name, %error, "counter not read"),
        }
    }
    counters
}

fn rows(facts: &Facts, name: &str, map: &MapHandle) -> Vec<CounterRow> {
    let Some((map_facts, btf)) = facts.map(name).zip(facts.btf.as_ref()) else { return Vec::new() };
    let decoder = |ty: Option<skep_object::TypeId>| {
        ty.and_then(|ty| Decoder::new(btf, ty, &BTreeMap::new()).ok()).unwrap_or_else(Decoder::raw)
    };
    let (key, value) = (decoder(map_facts.key_type), decoder(map_facts.value_type));
    let decode = |decoder: &Decoder, data: &[u8]| {
        serde_json::to_value(decoder.decode(data)).unwrap_or_default()
    };
    let is_array = matches!(map_facts.kind, MapKind::Array | MapKind::PercpuArray);
    let mut rows = Vec::new();
    for bytes in map.keys().unwrap_or_default().into_iter().take(MOST) {
        let cpus = match map.info().is_per_cpu() {
            true => map.lookup_per_cpu(&bytes).ok().flatten(),
            false => map.lookup(&bytes).ok().flatten().map(|value| vec![value]),
        };
        let Some(cpus) = cpus else { continue };
        let zero = cpus.iter().flatten().all(|byte| *byte == 0);
        if is_array && zero {
            continue; // an array always holds all its entries
        }
        let total = cpus.iter().map(|data| decode(&value, data)).reduce(|all, one| sum(&all, &one));
        rows.push(CounterRow { key: decode(&key, &bytes), value: total.unwrap_or_default() });
    }
    rows
}

/// Adds numbers, field by field.
fn sum(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let fields = a.iter().map(|(name, value)| {
                (name.clone(), sum(value, b.get(name).unwrap_or(&Value::Null)))
            });
            Value::Object(fields.collect())
        }
        (Value::Number(a), Value::Number(b)) => match (a.as_u64(), b.as_u64()) {
            (Some(a), Some(b)) => Value::from(a.wrapping_add(b)),
            _ => Value::from(a.as_i64().unwrap_or(0).wrapping_add(b.as_i64().unwrap_or(0))),
        },
        _ => a.clone(),
    }
}
