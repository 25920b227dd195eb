//! Counters: what is in the maps that a package's manifest calls counters or gauges.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use skep_api::CounterRow;
use skep_runtime::Runtime;
use skep_runtime::contents::{Contents, Entry};
use skep_runtime::status::MapDetail;
use skep_spec::ServiceName;
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
    for (name, output) in package.manifest.output.iter().filter(|(_, output)| output.kind.counts())
    {
        if !maps.iter().any(|map| map.name == output.map) {
            continue;
        }
        match runtime.contents(service, &output.map) {
            Ok(contents) => {
                counters.insert(name.clone(), rows(&contents, output.value.as_deref()));
            }
            Err(error) => tracing::warn!(output = name, %error, "counter not read"),
        }
    }
    counters
}

/// The entries of a counter's map, by the field that counts.
#[must_use]
pub fn rows(contents: &Contents, field: Option<&str>) -> Vec<CounterRow> {
    let row = |entry: &Entry| CounterRow {
        key: parsed(&entry.key),
        value: counting(parsed(&entry.value), field),
    };
    contents.entries.iter().map(row).collect()
}

fn parsed(json: &RawValue) -> Value {
    // The runtime wrote it: it is JSON.
    serde_json::from_str(json.get()).unwrap_or_default()
}

/// What of an entry's value counts: the field that the manifest names, `a.b` inside another, or all of it.
fn counting(value: Value, field: Option<&str>) -> Value {
    let mut names = field.into_iter().flat_map(|field| field.split('.'));
    names
        .try_fold(value, |mut outer, name| outer.get_mut(name).map(Value::take))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_field_counts() {
        let value = || json!({"n": 1, "m": -1, "of": {"reads": 3}});
        assert_eq!(counting(value(), Some("m")), json!(-1));
        assert_eq!(counting(value(), Some("of.reads")), json!(3));
        assert_eq!(counting(value(), None), value());
        assert_eq!(counting(json!(5), None), json!(5));
        assert_eq!(counting(value(), Some("no")), Value::Null);
    }
}
