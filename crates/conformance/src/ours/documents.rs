//! Part 3.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};
use skep_spec::oci::{Annotations, Descriptor, ImageConfig, ImageManifest, Index, Platform};
use skep_spec::{Arch, Digest, PackageRef, media};
use skep_trust::{Blobs, Verified, admit, layer};

use super::{Answered, Bytes, question, refused, unreadable};

pub(super) fn read(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        kind: String,
        text: String,
    }
    let Asked { kind, text } = question(input)?;
    match kind.as_str() {
        "index" => drop(Index::parse(text.as_bytes())?),
        "list" => drop(Index::parse_list(text.as_bytes())?),
        "manifest" => drop(ImageManifest::parse(text.as_bytes())?),
        other => return Err(unreadable(format!("there is no kind '{other}'"))),
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Document {
    Index { manifests: Vec<Entry>, annotations: Annotations },
    Manifest { config: Entry, layers: Vec<Entry>, annotations: Annotations },
    Config { architecture: String, labels: Annotations, diff_ids: Vec<Digest> },
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
    size: u64,
    architecture: Option<String>,
    title: Option<String>,
    role: Option<String>,
}

impl Entry {
    fn descriptor(self, media_type: &str) -> Descriptor {
        let marks = [(media::TITLE, self.title), (media::ROLE, self.role)];
        let marks = marks.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Descriptor {
            digest: self.digest,
            size: self.size,
            platform: self
                .architecture
                .map(|architecture| Platform { architecture, os: "linux".to_owned() }),
            annotations: marks.collect(),
            ..Descriptor::of(media_type, b"")
        }
    }
}

pub(super) fn write(input: &Value) -> Answered {
    let bytes = match question(input)? {
        Document::Index { manifests, annotations } => {
            let manifests = manifests.into_iter().map(|entry| entry.descriptor(media::MANIFEST));
            Index::new(manifests.collect(), annotations).to_bytes()
        }
        Document::Manifest { config, layers, annotations } => {
            let layers = layers.into_iter().map(|entry| entry.descriptor(media::LAYER)).collect();
            let config = config.descriptor(media::CONFIG);
            ImageManifest::new(media::PACKAGE, config, layers, annotations).to_bytes()
        }
        Document::Config { architecture, labels, diff_ids } => {
            let arch = Arch::from_goarch(&architecture).ok_or_else(|| unreadable("no GOARCH"))?;
            ImageConfig::new(arch, labels, diff_ids).to_bytes()
        }
    };
    Ok(json!({"text": String::from_utf8_lossy(&bytes)}))
}

pub(super) fn read_layer(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        layer: Bytes,
        max: u64,
    }
    let asked: Asked = question(input)?;
    if asked.max > layer::FILE_MAX {
        return Err(unreadable(format!("no layer may hold {} bytes", asked.max)));
    }
    let file = layer::read(&asked.layer.0, asked.max)?;
    Ok(json!({"name": file.name, "sha256": Digest::of(&file.data).hex()}))
}

pub(super) fn write_layer(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        name: String,
        data: Bytes,
    }
    let Asked { name, data } = question(input)?;
    let tar = Digest::of(&layer::tar_of(&name, &data.0)?);
    let layer = Digest::of(&layer::write(&name, &data.0)?);
    Ok(json!({"sha256": layer.hex(), "diff_id": tar.hex()}))
}

pub(super) fn read_package(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        layout: PathBuf,
        digest: Digest,
        arch: Arch,
        reference: PackageRef,
    }
    let asked: Asked = question(input)?;
    let blobs = Layout(asked.layout);
    let package = admit(Verified::unsigned(asked.digest), &blobs, asked.arch, &asked.reference);
    let package = package.map_err(|error| match error.code() {
        Some(code) => refused(code, &error),
        None => unreadable(&error),
    })?;
    let objects = package.objects.iter();
    let objects: serde_json::Map<String, Value> =
        objects.map(|(name, elf)| (name.clone(), Digest::of(elf).hex().into())).collect();
    let manifest = Digest::of(&package.manifest_bytes).hex();
    Ok(json!({"manifest": manifest, "objects": objects}))
}

/// The blobs of an OCI layout.
pub(super) struct Layout(pub(super) PathBuf);

impl Blobs for Layout {
    fn blob(&self, digest: &Digest, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let path = self.0.join("blobs/sha256").join(digest.hex());
        match std::fs::read(path) {
            // One more than is allowed tells that it is too long.
            Ok(bytes) => Ok(Some(bytes.into_iter().take(limit as usize + 1).collect())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
