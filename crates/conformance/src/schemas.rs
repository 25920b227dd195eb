//! Every JSON Schema of the standard, by the name of its file in `spec/schema`.

use serde_json::Value;
use skep_adapt::KernelFacts;
use skep_spec::life::Generation;
use skep_spec::{oci, schema, source};

use crate::facts::ObjectFacts;
use crate::vectors::Part;

/// `NAME.schema.json` and what it holds.
#[must_use]
pub fn all() -> Vec<(String, Value)> {
    let mut all = vec![
        ("skep", source::source_schema()),
        ("manifest", source::manifest_schema()),
        ("names", schema::names()),
        ("generation", Generation::schema()),
        ("kernel-facts", KernelFacts::schema()),
        ("object-facts", schema::of::<ObjectFacts>("object facts", "What a BPF object says", &[])),
        ("vectors", schema::of::<Part>("vectors", "A file of vectors", &[])),
    ];
    all.extend(oci::schemas());
    all.extend(skep_trust::schemas());
    all.into_iter().map(|(name, schema)| (format!("{name}.schema.json"), schema)).collect()
}
