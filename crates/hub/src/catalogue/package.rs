//! Reading a package that is being pushed: is it what its name says, and what is in it?

use std::path::PathBuf;

use skep_object::Facts;
use skep_spec::manifest::{self, Manifest};
use skep_spec::{Arch, Digest, chain, media};
use skep_trust::layer::{self, LayerError};

use super::describe::{self, Build};
use crate::document::{Descriptor, Document, Parts};
use crate::listing::{Listing, ObjectListing};
use crate::name::{Reference, Repository, Tag};
use crate::store::{Store, StoreError};

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
    #[error("{0}")]
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
        parameters: manifest.param.iter().map(describe::parameter).collect(),
        outputs: manifest.output.iter().map(describe::output).collect(),
        declared: manifest.permissions.clone(),
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
    let bytes = layer.file(manifest::MAX_MANIFEST as u64)?;
    Manifest::parse(&bytes).map_err(|error| Refusal::Manifest(chain(&error)))
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
        let build = Build { name, arch, digest, size: bytes.len() as u64 };
        found.push(describe::object(&build, &facts, manifest));
    }
    for (name, listed) in &manifest.objects {
        let is_here = found.iter().any(|object| object.name == *name);
        if listed.digest(arch).is_some() && !is_here {
            return Err(Refusal::MissingObject { object: name.clone(), arch });
        }
    }
    Ok(found)
}
