//! Writes the JSON Schemas of the standard: `cargo run -p skep-spec --example schema -- spec/schema`.

use std::path::PathBuf;

use skep_spec::source::{manifest_schema, source_schema};

fn main() -> std::io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).unwrap_or_default().into();
    for (name, schema) in
        [("skep.schema.json", source_schema()), ("manifest.schema.json", manifest_schema())]
    {
        std::fs::write(folder.join(name), format!("{schema:#}\n"))?;
    }
    Ok(())
}
