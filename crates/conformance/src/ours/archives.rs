//! Part 11.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use skep_spec::Digest;
use skep_trust::archive;

use super::{Answered, Bytes, Failure, question, unreadable};

pub(super) fn read(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        archive: Bytes,
    }
    let asked: Asked = question(input)?;
    let archive = archive::read(&asked.archive.0)?;
    let packages: Vec<&String> = archive.packages.keys().collect();
    Ok(json!({"packages": packages, "blobs": archive.blobs.len()}))
}

pub(super) fn write(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        layout: PathBuf,
    }
    let Asked { layout } = question(input)?;
    let index = std::fs::read(layout.join("index.json")).map_err(unreadable)?;
    let bytes = archive::write(&index, &blobs(&layout.join("blobs/sha256"))?)?;
    archive::read(&bytes)?;
    Ok(json!({"sha256": Digest::of(&bytes).hex()}))
}

fn blobs(folder: &Path) -> Result<BTreeMap<Digest, Vec<u8>>, Failure> {
    let mut blobs = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digest = format!("sha256:{name}").parse().map_err(unreadable)?;
        blobs.insert(digest, std::fs::read(&path).map_err(unreadable)?);
    }
    Ok(blobs)
}
