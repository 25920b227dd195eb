//! Counters: what is in the maps that a package's manifest calls counters or gauges.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use skep_api::CounterRow;
use skep_runtime::Runtime;
use skep_runtime::status::MapDetail;
use skep_spec::ServiceName;
use skep_spec::manifest::OutputKind;
use skep_trust::Package;

/// Every counter and gauge that the manifest declares; those that cannot be read are left out.
#[must_use]
pub fn read(
    runtime: &Runtime,
    package: &Package,
    service: &ServiceName,
    maps: &[MapDetail],
) -> BTreeMap<String, Vec<CounterRow>> {
    let mut counters = BTreeMap::new();
    let wanted = |kind: OutputKind| matches!(kind, OutputKind::Counter | OutputKind::Gauge);
    for (name, output) in package.manifest.output.iter().filter(|(_, output)| wanted(output.kind)) {
        if !maps.iter().any(|map| map.name == output.map) {
            continue;
        }
        match runtime.contents(service, &output.map) {
            Ok(contents) => {
                let rows = contents.entries.iter().map(|entry| CounterRow {
                    key: parsed(&entry.key),
                    value: parsed(&entry.value),
                });
                counters.insert(name.clone(), rows.collect());
            }
            Err(error) => tracing::warn!(output = name, %error, "counter not read"),
        }
    }
    counters
}

fn parsed(json: &RawValue) -> serde_json::Value {
    // The runtime wrote it: it is JSON.
    serde_json::from_str(json.get()).unwrap_or_default()
}
