//! Packages of peers: what is in them, and what they say of it.

mod bpfman;
pub mod eunomia;
mod gadget;

use skep_object::{ObjectError, carve};
use skep_oci::image::{self, Image, ImagePlatform, LayerError};
use skep_spec::json::JsonError;
use skep_spec::oci::{Annotations, Descriptor};
use skep_spec::{Arch, media};

use super::Said;
use super::said::one_line;

pub use self::eunomia::EunomiaError;
pub use self::gadget::YamlError;

/// A peer's package, unpacked.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its objects; those of one name are for several architectures.
    pub objects: Vec<PeerObject>,
    /// What it says of them.
    pub said: Said,
    /// What of it no project has a place for, a sentence each.
    pub unmapped: Vec<String>,
}

impl Peer {
    /// The same, whatever is in names that a stranger chose: each sentence is one line.
    fn told(mut self) -> Self {
        self.unmapped.iter_mut().for_each(|what| *what = one_line(what));
        self
    }
}

/// An object of a peer's package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerObject {
    /// Its name.
    pub name: String,
    /// The architectures that it is said to be for; without any the code decides.
    pub arches: Vec<Arch>,
    /// Of an image for one architecture: that one, whose registers the code may read.
    pub image: Option<Arch>,
    /// The ELF.
    pub bytes: Vec<u8>,
}

/// Whose image it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// bpfman's: an ordinary image of one layer with one object, which its labels describe.
    Bpfman,
    /// Inspektor Gadget's: raw layers by their media types, and a `gadget.yaml` as config.
    Gadget,
    /// eunomia's, as `ecli push` makes it: one layer that says it is WebAssembly.
    Ecli,
}

/// Why a peer's package cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A package of ours.
    #[error("it is a package of skep's own: skep pull gets it, skep inspect shows it")]
    Ours,
    /// Nobody's.
    #[error(
        "it is no image of bpfman's, Inspektor Gadget's or eunomia's: its config is {config}, its layers {}",
        none_or(layers)
    )]
    Unknown {
        /// The config's media type.
        config: String,
        /// The layers'.
        layers: Vec<String>,
    },
    /// An ordinary image.
    #[error(
        "it is an ordinary image without the label io.ebpf.programs (or the older io.ebpf.program_type and io.ebpf.bpf_function_name), by which bpfman tells its own"
    )]
    NoLabels,
    /// A label that is not as it should be.
    #[error("its label {label} cannot be read")]
    Label {
        /// The label.
        label: &'static str,
        /// What is wrong.
        source: JsonError,
    },
    /// A config that is none.
    #[error("its config cannot be read")]
    Config(#[source] JsonError),
    /// Nothing where the object should be, or several.
    #[error("it has {found} layers with an object, and one is what it should have")]
    Objects {
        /// How many there are.
        found: usize,
    },
    /// A layer that is no gzipped tar of one file.
    #[error("its object cannot be unpacked")]
    Layer(#[from] LayerError),
    /// A layer that is not what its media type says.
    #[error("its layer holds neither WebAssembly nor a package.json of eunomia's")]
    Module,
    /// No object in a WebAssembly module.
    #[error("its WebAssembly module embeds no BPF object")]
    Nothing,
    /// An object that is none.
    #[error("its object cannot be read")]
    Object(#[from] ObjectError),
    /// A `gadget.yaml` that cannot be read.
    #[error("its gadget.yaml cannot be read")]
    Yaml(#[from] YamlError),
    /// A `package.json` that cannot be read.
    #[error("its package.json cannot be read")]
    Eunomia(#[from] EunomiaError),
}

fn none_or(layers: &[String]) -> String {
    if layers.is_empty() { "none".to_owned() } else { layers.join(", ") }
}

/// The layer that `ecli push` makes, whatever is in it.
const WASM_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// How a WebAssembly module begins.
const WASM: &[u8] = b"\0asm";

impl Format {
    /// Tells whose image it is, by its documents alone.
    ///
    /// # Errors
    /// It is nobody's.
    pub fn of(image: &Image) -> Result<Self, PeerError> {
        let unknown = |config: &str, layers| PeerError::Unknown { config: config.into(), layers };
        let Some(first) = image.platforms.first() else { return Err(unknown("none", Vec::new())) };
        let manifest = &first.manifest;
        let config = manifest.config.media_type.as_str();
        let is_layer = |kind: &str| manifest.layers.iter().any(|layer| layer.media_type == kind);
        let kind = manifest.artifact_type.as_deref().unwrap_or_default();
        if kind == media::PACKAGE {
            return Err(PeerError::Ours);
        }
        if kind == gadget::ARTIFACT || config == gadget::CONFIG || is_layer(gadget::OBJECT) {
            return Ok(Self::Gadget);
        }
        if is_layer(WASM_LAYER) {
            return Ok(Self::Ecli);
        }
        let layers = manifest.layers.iter().map(|layer| layer.media_type.clone()).collect();
        let ordinary = [media::CONFIG, image::docker::CONFIG].contains(&config);
        match ordinary {
            false => Err(unknown(config, layers)),
            true if !bpfman::is_labelled(first)? => Err(PeerError::NoLabels),
            true if bpfman::layer(first).is_none() => Err(unknown(config, layers)),
            true => Ok(Self::Bpfman),
        }
    }

    /// The layers that are read.
    #[must_use]
    pub fn layers(self, platform: &ImagePlatform) -> Vec<Descriptor> {
        match self {
            Self::Bpfman => bpfman::layer(platform).into_iter().cloned().collect(),
            Self::Gadget => of_type(platform, gadget::OBJECT).cloned().collect(),
            Self::Ecli => of_type(platform, WASM_LAYER).take(1).cloned().collect(),
        }
    }

    /// Unpacks an image whose layers were brought. `name` is what an object is called.
    ///
    /// # Errors
    /// A layer, a label or the config is not as the peer writes it.
    pub fn read(self, image: &Image, name: &str) -> Result<Peer, PeerError> {
        let mut peer = match self {
            Self::Bpfman => bpfman::read(image, name),
            Self::Gadget => gadget::read(image, name),
            Self::Ecli => ecli(image, name),
        }?;
        annotated(&mut peer.said, &image.annotations);
        image.platforms.iter().for_each(|one| annotated(&mut peer.said, &one.manifest.annotations));
        Ok(peer.told())
    }
}

fn of_type<'p>(platform: &'p ImagePlatform, kind: &'p str) -> impl Iterator<Item = &'p Descriptor> {
    platform.manifest.layers.iter().filter(move |layer| layer.media_type == kind)
}

/// What annotations, or labels of the same names, say of an image where nothing better does.
fn annotated(said: &mut Said, annotations: &Annotations) {
    let text = |key: &str| annotations.get(key).filter(|text| !text.is_empty());
    let version = text(media::VERSION);
    let version = version.and_then(|text| text.strip_prefix('v').unwrap_or(text).parse().ok());
    said.version = said.version.take().or(version);
    let license = text(media::LICENSES).and_then(|text| text.parse().ok());
    said.license = said.license.take().or(license);
    let summary = text("org.opencontainers.image.description").cloned();
    said.summary = said.summary.take().or(summary);
}

/// What `ecli push` put into an image: any file.
fn ecli(image: &Image, name: &str) -> Result<Peer, PeerError> {
    let found = image
        .platforms
        .first()
        .and_then(|platform| platform.layer(of_type(platform, WASM_LAYER).next()?));
    let Some(bytes) = found else { return Err(PeerError::Objects { found: 0 }) };
    if eunomia::is_package(bytes) {
        return Ok(eunomia::read(bytes, name)?);
    }
    if !bytes.starts_with(WASM) {
        return Err(PeerError::Module);
    }
    let ranges = carve::objects(bytes).into_iter();
    let objects = ranges.enumerate().filter_map(|(at, range)| {
        let (name, bytes) = (format!("object{}", at + 1), bytes.get(range)?.to_vec());
        Some(PeerObject { name, arches: Vec::new(), image: None, bytes })
    });
    let objects: Vec<PeerObject> = objects.collect();
    if objects.is_empty() {
        return Err(PeerError::Nothing);
    }
    let unmapped = vec![
        "its WebAssembly module is left out, with what it does in user space: options, filling of maps, what it prints".to_owned(),
    ];
    Ok(Peer { objects, said: Said::default(), unmapped })
}

/// Adds an object of a platform: once for all of those for which it is the same.
fn add(objects: &mut Vec<PeerObject>, name: &str, arch: Option<Arch>, bytes: Vec<u8>) {
    if let Some(same) = objects.iter_mut().find(|object| object.bytes == bytes) {
        same.arches.extend(arch);
        return;
    }
    let arches = arch.into_iter().collect();
    objects.push(PeerObject { name: name.to_owned(), arches, image: None, bytes });
}
