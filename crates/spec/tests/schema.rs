//! The schemas of `spec/schema` are those of the code.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value;
use skep_spec::source::{manifest_schema, source_schema};

#[test]
fn the_schemas_have_not_drifted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/schema");
    for (name, schema) in
        [("skep.schema.json", source_schema()), ("manifest.schema.json", manifest_schema())]
    {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let written: Value = serde_json::from_str(&text).unwrap();
        assert!(
            written == schema,
            "{name} has drifted: cargo run -p skep-spec --example schema -- spec/schema"
        );
    }
}
