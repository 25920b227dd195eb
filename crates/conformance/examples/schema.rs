//! Writes the JSON Schemas and the values of the standard: `cargo run -p skep-conformance --example schema -- spec`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).unwrap_or_default().into();
    for (name, schema) in skep_conformance::schemas::all() {
        std::fs::write(folder.join("schema").join(name), format!("{schema:#}\n"))?;
    }
    let values = skep_conformance::values::all();
    std::fs::write(folder.join("values.json"), format!("{values:#}\n"))
}
