//! Writes the JSON Schemas of the standard: `cargo run -p skep-conformance --example schema -- spec/schema`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).unwrap_or_default().into();
    for (name, schema) in skep_conformance::schemas::all() {
        std::fs::write(folder.join(name), format!("{schema:#}\n"))?;
    }
    Ok(())
}
