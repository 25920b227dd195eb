//! Packing: a manifest, its objects and a README become an OCI layout's blobs, the same ones each time.

use std::collections::BTreeMap;

use skep_spec::oci::{Annotations, Descriptor, ImageConfig, ImageManifest, Index, Platform};
use skep_spec::{Arch, Digest, Manifest, media};
use skep_trust::layer::{self, LayerError};

use crate::store::{Store, StoreError};

/// The title of the first object's layer, as bpfman's clients expect it.
const PRIMARY: &str = "bpf.o";

/// What a package is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The resolved manifest, whose digests are those of `objects`.
    pub manifest: &'a Manifest,
    /// Each object's ELF per architecture, by its name in the manifest.
    pub objects: &'a BTreeMap<String, BTreeMap<Arch, Vec<u8>>>,
    /// The README's text.
    pub readme: Option<&'a str>,
    /// What the objects hold, for other tools' eyes.
    pub labels: &'a Labels,
}

/// What a package's objects hold, as bpfman's labels say it. Nobody trusts it: readers derive it again.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Program name → type, in bpfman's spelling (`xdp`, `tracepoint`, `kprobe` …).
    pub programs: BTreeMap<String, String>,
    /// Map name → type (`hash`, `per_cpu_array`, `ringbuf` …).
    pub maps: BTreeMap<String, String>,
}

/// Why something cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// No object.
    #[error("cannot pack {0}: it has no object; build it first")]
    NoObjects(String),
    /// An object that the manifest names is not given, or not for an architecture that another has.
    #[error(
        "cannot pack {package}: the object '{object}' is not there for {arch}; build it for every architecture"
    )]
    NoObject {
        /// The package.
        package: String,
        /// The object.
        object: String,
        /// The architecture.
        arch: Arch,
    },
    /// An object is given that the manifest does not name.
    #[error("cannot pack {package}: the manifest does not name the object '{object}'")]
    Unnamed {
        /// The package.
        package: String,
        /// The object.
        object: String,
    },
    /// An object's bytes are not those that the manifest names.
    #[error(
        "cannot pack {package}: the object '{object}' for {arch} has the digest {found}, and the manifest says another; build it again"
    )]
    Digest {
        /// The package.
        package: String,
        /// The object.
        object: String,
        /// The architecture.
        arch: Arch,
        /// The digest of its bytes.
        found: Digest,
    },
    /// A layer cannot be made.
    #[error("cannot pack '{file}'")]
    Layer {
        /// The file.
        file: String,
        /// What is wrong.
        source: LayerError,
    },
    /// An annotation that tools would write in two ways.
    #[error(
        "cannot pack: the {what} is '{text}', and only ASCII without <, > and & keeps its bytes through every tool"
    )]
    Annotation {
        /// `licence` …
        what: &'static str,
        /// The text.
        text: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Packs a package into `store`, lists it there under `publisher/name:version`, and tells its index digest.
///
/// # Errors
/// When an object is missing, not named by the manifest, or not the one that it names; when a file is too large; when
/// the store cannot be written.
pub fn pack(store: &Store, input: &Input<'_>) -> Result<Digest, PackError> {
    let package = &input.manifest.package;
    check_annotation("licence", &package.license)?;
    let arches = architectures(input)?;
    let manifest = packed(store, "manifest.json", "manifest", &input.manifest.canonical())?;
    let readme = input.readme.map(|text| packed(store, "README.md", "readme", text.as_bytes()));
    let shared: Vec<Packed> = std::iter::once(manifest).chain(readme.transpose()?).collect();
    let mut entries = Vec::new();
    for arch in arches {
        let mut layers = objects(store, input, arch)?;
        layers.extend(shared.iter().cloned());
        entries.push(platform(store, input, arch, &layers)?);
    }
    let mut annotations = title_and_version(input.manifest);
    annotations.insert(media::LICENSES.into(), package.license.clone());
    annotations.insert(media::SPEC.into(), media::SPEC_VERSION.into());
    let bytes = Index::new(entries, annotations).to_bytes();
    let index = store.put(&bytes)?;
    store.list_package(&package.name, &package.version, index, bytes.len() as u64)?;
    Ok(index)
}

/// A layer with the digest of its uncompressed tar.
#[derive(Clone)]
pub(crate) struct Packed {
    pub(crate) layer: Descriptor,
    pub(crate) diff_id: Digest,
}

/// The architectures of all objects: each must be there for each.
fn architectures(input: &Input<'_>) -> Result<Vec<Arch>, PackError> {
    let package = || input.manifest.package.name.to_string();
    let Some(first) = input.objects.values().next() else {
        return Err(PackError::NoObjects(package()));
    };
    if let Some(object) = input.objects.keys().find(|o| !input.manifest.objects.contains_key(*o)) {
        return Err(PackError::Unnamed { package: package(), object: object.clone() });
    }
    let arches: Vec<Arch> = Arch::ALL
        .into_iter()
        .filter(|arch| input.objects.values().any(|object| object.contains_key(arch)))
        .collect();
    if arches.is_empty() || first.is_empty() {
        return Err(PackError::NoObjects(package()));
    }
    for object in input.manifest.objects.keys() {
        let given = |arch: &Arch| input.objects.get(object).is_some_and(|o| o.contains_key(arch));
        if let Some(arch) = arches.iter().copied().find(|arch| !given(arch)) {
            let object = object.clone();
            return Err(PackError::NoObject { package: package(), object, arch });
        }
    }
    Ok(arches)
}

fn objects(store: &Store, input: &Input<'_>, arch: Arch) -> Result<Vec<Packed>, PackError> {
    let mut layers = Vec::new();
    for (name, per_arch) in input.objects {
        let Some(bytes) = per_arch.get(&arch) else { continue };
        let found = Digest::of(bytes);
        if input.manifest.objects.get(name).and_then(|object| object.digest(arch)) != Some(found) {
            let package = input.manifest.package.name.to_string();
            return Err(PackError::Digest { package, object: name.clone(), arch, found });
        }
        let title = if layers.is_empty() { PRIMARY.to_owned() } else { format!("{name}.o") };
        layers.push(packed(store, &title, "object", bytes)?);
    }
    Ok(layers)
}

pub(crate) fn packed(
    store: &Store,
    title: &str,
    role: &str,
    data: &[u8],
) -> Result<Packed, PackError> {
    let refuse = |source| PackError::Layer { file: title.to_owned(), source };
    let diff_id = Digest::of(&layer::tar_of(title, data).map_err(refuse)?);
    let blob = layer::write(title, data).map_err(refuse)?;
    store.put(&blob)?;
    let mut layer = Descriptor::of(media::LAYER, &blob);
    layer.annotations.insert(media::TITLE.into(), title.into());
    layer.annotations.insert(media::ROLE.into(), role.into());
    Ok(Packed { layer, diff_id })
}

fn platform(
    store: &Store,
    input: &Input<'_>,
    arch: Arch,
    layers: &[Packed],
) -> Result<Descriptor, PackError> {
    let diff_ids = layers.iter().map(|packed| packed.diff_id).collect();
    let config = ImageConfig::new(arch, labels(input.labels), diff_ids).to_bytes();
    store.put(&config)?;
    let manifest = ImageManifest::new(
        media::PACKAGE,
        Descriptor::of(media::CONFIG, &config),
        layers.iter().map(|packed| packed.layer.clone()).collect(),
        title_and_version(input.manifest),
    )
    .to_bytes();
    store.put(&manifest)?;
    let platform = Some(Platform::linux(arch));
    Ok(Descriptor { platform, ..Descriptor::of(media::MANIFEST, &manifest) })
}

fn labels(labels: &Labels) -> Annotations {
    let mut labels = ebpf(labels);
    labels.insert(media::SPEC.into(), media::SPEC_VERSION.into());
    labels
}

/// bpfman's labels.
pub(crate) fn ebpf(labels: &Labels) -> Annotations {
    let json = |map: &BTreeMap<String, String>| serde_json::to_string(map).unwrap_or_default();
    Annotations::from([
        ("io.ebpf.programs".into(), json(&labels.programs)),
        ("io.ebpf.maps".into(), json(&labels.maps)),
    ])
}

fn title_and_version(manifest: &Manifest) -> Annotations {
    Annotations::from([
        (media::TITLE.into(), manifest.package.name.to_string()),
        (media::VERSION.into(), manifest.package.version.to_string()),
    ])
}

/// Go's JSON escapes `<`, `>` and `&`, others do not: bytes that some tool writes again would not be the same.
fn check_annotation(what: &'static str, text: &str) -> Result<(), PackError> {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) && !b"<>&\\\"".contains(&b)) {
        return Ok(());
    }
    Err(PackError::Annotation { what, text: text.escape_debug().to_string() })
}
