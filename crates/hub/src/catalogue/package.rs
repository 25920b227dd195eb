//! Reading a package that is being pushed: is it what its name says, and what is in it?

use std::path::PathBuf;

use skep_object::Facts;
use skep_spec::manifest::{Manifest, Output, Param};
use skep_spec::{Arch, Digest, media};
use skep_trust::layer::{self, LayerError};

use super::listing::{
    Listing, MapListing, ObjectListing, OutputListing, ParameterListing, ProgramListing,
};
use crate::document::{Descriptor, Document, Parts};
use crate::name::{Reference, Repository, Tag};
use crate::store::{Store, StoreError};

const MANIFEST_BYTES: u64 = 1 << 20;
const README_BYTES: u64 = 512 << 10;
/// What gzip and tar may add to a file.
const LAYER_OVERHEAD: u64 = 1 << 20;
const MAX_PLATFORMS: usize = 16;

/// Why a package is not taken.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error(
        "this is one platform of a package: push the package's index (with skopeo: `copy --all`), tagged with its version"
    )]
    NotAnIndex,
    #[error("packages are pushed to publisher/name, '{0}' is not of that form")]
    Repository(String),
    #[error("the package is called {is}: push it to {is}, not to {asked}")]
    Name { is: String, asked: String },
    #[error("the package is version {is}: push it as {is}, not as {asked}")]
    Version { is: String, asked: String },
    #[error("the package says spec {0}: this hub reads 1.x")]
    Spec(String),
    #[error("the index lists {0} platforms, at most {MAX_PLATFORMS} are taken")]
    Platforms(usize),
    #[error("the index lists {0} without the platform linux/amd64, arm64, riscv64 or s390x")]
    Platform(String),
    #[error("{0} is not an image manifest of a package")]
    Part(String),
    #[error("the manifest of {0} has no layer with the role 'manifest', or several")]
    NoManifest(Arch),
    #[error("the platforms have different manifests: {0} and {1}")]
    Manifests(String, String),
    #[error("'{0}' cannot be read: {1}")]
    Layer(String, LayerError),
    #[error("manifest.json is not readable: {0}")]
    Manifest(String),
    #[error("the object '{layer}' ({digest}) is none that the manifest lists for {arch}")]
    UnknownObject { layer: String, digest: Digest, arch: Arch },
    #[error("the manifest lists the object '{object}' for {arch}, no layer holds it")]
    MissingObject { object: String, arch: Arch },
    #[error("the object '{0}' for {1} is not readable: {2}")]
    Object(String, Arch, skep_object::ObjectError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One platform's layers, each with its blob.
struct Platform {
    arch: Arch,
    layers: Vec<Layer>,
}

struct Layer {
    role: String,
    title: String,
    digest: String,
    path: PathBuf,
    size: u64,
}

/// What is in `document` if it is a package; none if it is something else.
///
/// # Errors
/// When it is a package but not the one that `repository` and `tag` name, or its parts contradict each other.
pub async fn read(
    store: &Store,
    repository: &Repository,
    tag: Option<&Tag>,
    document: &Document,
) -> Result<Option<Listing>, Refusal> {
    let is_package =
        |document: &Document| document.artifact_type.as_deref() == Some(media::PACKAGE);
    let (Some(tag), Parts::Manifests(children)) = (tag, &document.parts) else {
        let alone = tag.is_some() && is_package(document);
        return if alone { Err(Refusal::NotAnIndex) } else { Ok(None) };
    };
    let mut platforms = Vec::new();
    for child in children.iter().take(MAX_PLATFORMS + 1) {
        match child_document(store, repository, child).await? {
            Some(manifest) if is_package(&manifest) => {
                platforms.push(platform(store, repository, child, &manifest).await?);
            }
            _ if platforms.is_empty() => return Ok(None),
            _ => return Err(Refusal::Part(child.digest.to_string())),
        }
    }
    if platforms.is_empty() {
        return Ok(None);
    }
    if children.len() > MAX_PLATFORMS {
        return Err(Refusal::Platforms(children.len()));
    }
    let (repository, tag) = (repository.clone(), tag.clone());
    match tokio::task::spawn_blocking(move || listing(&repository, &tag, &platforms)).await {
        Ok(listing) => listing.map(Some),
        Err(join) => std::panic::resume_unwind(join.into_panic()),
    }
}

async fn child_document(
    store: &Store,
    repository: &Repository,
    child: &Descriptor,
) -> Result<Option<Document>, Refusal> {
    let reference = Reference::Digest(child.digest.clone());
    let stored = store.manifest(repository, &reference).await?;
    Ok(stored.and_then(|stored| Document::parse(&stored.content, Some(&stored.media_type)).ok()))
}

async fn platform(
    store: &Store,
    repository: &Repository,
    child: &Descriptor,
    manifest: &Document,
) -> Result<Platform, Refusal> {
    let arch = child.platform.as_ref().filter(|platform| platform.os == "linux");
    let arch = arch
        .and_then(|platform| Arch::from_goarch(&platform.architecture))
        .ok_or_else(|| Refusal::Platform(child.digest.to_string()))?;
    let Parts::Blobs { layers: descriptors, .. } = &manifest.parts else {
        return Err(Refusal::Part(child.digest.to_string()));
    };
    let mut layers = Vec::new();
    for descriptor in descriptors {
        let annotation = |key| descriptor.annotations.get(key).cloned().unwrap_or_default();
        if let Some(blob) = store.blob(repository, &descriptor.digest).await? {
            let (role, title) = (annotation(media::ROLE), annotation(media::TITLE));
            let digest = descriptor.digest.to_string();
            layers.push(Layer { role, title, digest, path: blob.path, size: blob.size });
        }
    }
    Ok(Platform { arch, layers })
}

fn listing(repository: &Repository, tag: &Tag, platforms: &[Platform]) -> Result<Listing, Refusal> {
    let manifest = manifest(platforms)?;
    check_name(repository, tag, &manifest)?;
    let mut objects = Vec::new();
    for platform in platforms {
        objects.extend(objects_of(platform, &manifest)?);
    }
    let readme = match platforms.first().and_then(|platform| platform.one("readme")) {
        Some(layer) => Some(String::from_utf8_lossy(&layer.file(README_BYTES)?).into_owned()),
        None => None,
    };
    Ok(Listing {
        version: manifest.package.version.clone(),
        license: manifest.package.license.clone(),
        summary: manifest.package.summary.clone(),
        readme,
        objects,
        parameters: manifest.param.iter().map(parameter).collect(),
        outputs: manifest.output.iter().map(output).collect(),
        declared: manifest.permissions.clone(),
        undeclared: Vec::new(),
    })
}

impl Platform {
    fn one(&self, role: &str) -> Option<&Layer> {
        let mut with_role = self.layers.iter().filter(|layer| layer.role == role);
        with_role.next().filter(|_| with_role.next().is_none())
    }
}

impl Layer {
    fn file(&self, most: u64) -> Result<Vec<u8>, Refusal> {
        let refuse = |error| Refusal::Layer(self.title.clone(), error);
        if self.size > most + LAYER_OVERHEAD {
            return Err(refuse(LayerError::TooLarge { max: most }));
        }
        let at = |source| StoreError::File { action: "read", path: self.path.clone(), source };
        let bytes = std::fs::read(&self.path).map_err(at)?;
        layer::read(&bytes, most).map(|file| file.data).map_err(refuse)
    }
}

/// The one manifest, which every platform must share.
fn manifest(platforms: &[Platform]) -> Result<Manifest, Refusal> {
    let mut first: Option<&Layer> = None;
    for platform in platforms {
        let layer = platform.one("manifest").ok_or(Refusal::NoManifest(platform.arch))?;
        match first {
            Some(first) if first.digest != layer.digest => {
                return Err(Refusal::Manifests(first.digest.clone(), layer.digest.clone()));
            }
            _ => first = Some(layer),
        }
    }
    let layer = first.ok_or(Refusal::Platforms(0))?;
    let bytes = layer.file(MANIFEST_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| Refusal::Manifest(error.to_string()))
}

fn check_name(repository: &Repository, tag: &Tag, manifest: &Manifest) -> Result<(), Refusal> {
    let package = &manifest.package;
    let asked = repository.package().ok_or_else(|| Refusal::Repository(repository.to_string()))?;
    if package.name != asked {
        let (is, asked) = (package.name.to_string(), asked.to_string());
        return Err(Refusal::Name { is, asked });
    }
    if package.version.tag() != tag.as_str() {
        let (is, asked) = (package.version.tag(), tag.to_string());
        return Err(Refusal::Version { is, asked });
    }
    if manifest.spec.split('.').next() != Some("1") {
        return Err(Refusal::Spec(manifest.spec.clone()));
    }
    Ok(())
}

fn objects_of(platform: &Platform, manifest: &Manifest) -> Result<Vec<ObjectListing>, Refusal> {
    let arch = platform.arch;
    let mut found = Vec::new();
    for layer in platform.layers.iter().filter(|layer| layer.role == "object") {
        let bytes = layer.file(skep_object::limits::OBJECT_BYTES as u64)?;
        let digest = Digest::of(&bytes);
        let listed =
            manifest.objects.iter().find(|(_, object)| object.digest(arch) == Some(digest));
        let (name, _) = listed.ok_or_else(|| Refusal::UnknownObject {
            layer: layer.title.clone(),
            digest,
            arch,
        })?;
        let facts = Facts::parse(&bytes)
            .map_err(|error| Refusal::Object(layer.title.clone(), arch, error))?;
        found.push(object(name, arch, digest, bytes.len() as u64, &facts, manifest));
    }
    for (name, listed) in &manifest.objects {
        let is_here = found.iter().any(|object| object.name == *name);
        if listed.digest(arch).is_some() && !is_here {
            return Err(Refusal::MissingObject { object: name.clone(), arch });
        }
    }
    Ok(found)
}

fn object(
    name: &str,
    architecture: Arch,
    digest: Digest,
    size: u64,
    facts: &Facts,
    manifest: &Manifest,
) -> ObjectListing {
    ObjectListing {
        name: name.to_owned(),
        architecture,
        digest: digest.to_string(),
        size,
        license: facts.license.clone(),
        programs: facts.programs.iter().map(|facts| program(name, facts, manifest)).collect(),
        maps: facts.maps.iter().map(|facts| map(facts, manifest)).collect(),
    }
}

/// A program as the manifest attaches it: its target there wins over the section's.
fn program(object: &str, facts: &skep_object::ProgramFacts, manifest: &Manifest) -> ProgramListing {
    let named = manifest.program.values().find(|program| {
        program.function == facts.name && program.object.as_deref().is_none_or(|o| o == object)
    });
    let told = named.and_then(|program| program.target.clone());
    let target = told.unwrap_or_else(|| facts.target.to_string());
    let hook = target.parse().map_or_else(
        |_| facts.target.kind().to_owned(),
        |target: skep_spec::Target| target.kind().to_owned(),
    );
    ProgramListing {
        name: facts.name.clone(),
        target,
        hook,
        helpers: facts.helpers.iter().cloned().collect(),
        kfuncs: facts.kfuncs.iter().cloned().collect(),
        instructions: facts.insns,
        unknown_calls: facts.unknown_calls,
    }
}

fn map(facts: &skep_object::MapFacts, manifest: &Manifest) -> MapListing {
    let told = manifest.map.get(&facts.name);
    let memory = facts.memory();
    MapListing {
        name: facts.name.clone(),
        kind: facts.kind.to_string(),
        key_size: facts.key_size,
        value_size: facts.value_size,
        max_entries: facts.max_entries.into(),
        memory: memory.once,
        memory_per_cpu: memory.per_cpu,
        upgrade: told.and_then(|map| map.upgrade).map(|upgrade| word(&upgrade)),
    }
}

fn parameter((name, param): (&String, &Param)) -> ParameterListing {
    ParameterListing {
        name: name.clone(),
        kind: word(&param.r#type),
        default: param.default.as_ref().map(word),
        doc: param.doc.clone(),
    }
}

fn output((name, output): (&String, &Output)) -> OutputListing {
    OutputListing { name: name.clone(), kind: word(&output.kind) }
}

/// A value as JSON writes it, without quotes.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
