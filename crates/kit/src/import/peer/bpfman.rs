//! bpfman's bytecode images: an ordinary image, docker's or OCI's, whose first layer holds one object and whose labels say
//! what is in it.

use std::collections::BTreeMap;

use serde::Deserialize;
use skep_oci::image::{self, Image, ImagePlatform, docker};
use skep_spec::oci::{Annotations, Descriptor};
use skep_spec::{Arch, json, media};

use super::{Peer, PeerError, Said, add, annotated};

/// Name → type, as JSON.
const PROGRAMS: &str = "io.ebpf.programs";
const MAPS: &str = "io.ebpf.maps";
/// The same of images with one program, from before there was a list.
const OLD_TYPE: &str = "io.ebpf.program_type";
const OLD_FUNCTIONS: [&str; 2] = ["io.ebpf.bpf_function_name", "io.ebpf.program_name"];

/// Most bytes of a label.
const LABEL_MAX: usize = 64 * 1024;
/// Most bytes of a config: what came is within that.
const CONFIG_MAX: usize = 1024 * 1024;

/// What is read of an image config.
#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    config: Option<Labelled>,
}

#[derive(Default, Deserialize)]
struct Labelled {
    #[serde(default, rename = "Labels")]
    labels: Option<Annotations>,
}

impl Config {
    fn of(platform: &ImagePlatform) -> Result<Self, PeerError> {
        json::read(&platform.config, CONFIG_MAX).map_err(PeerError::Config)
    }

    fn labels(&self) -> &Annotations {
        static NONE: Annotations = Annotations::new();
        self.config.as_ref().and_then(|config| config.labels.as_ref()).unwrap_or(&NONE)
    }
}

/// Whether its labels are bpfman's.
pub(super) fn is_labelled(platform: &ImagePlatform) -> Result<bool, PeerError> {
    let config = Config::of(platform)?;
    Ok(programs(config.labels())?.is_some())
}

/// The layer that bpfman reads.
pub(super) fn layer(platform: &ImagePlatform) -> Option<&Descriptor> {
    let first = platform.manifest.layers.first()?;
    [media::LAYER, docker::LAYER].contains(&&*first.media_type).then_some(first)
}

pub(super) fn read(image: &Image, name: &str) -> Result<Peer, PeerError> {
    let mut peer = Peer::default();
    let mut offered = BTreeMap::new();
    for platform in &image.platforms {
        let config = Config::of(platform)?;
        let labels = config.labels();
        offered.extend(programs(labels)?.ok_or(PeerError::NoLabels)?);
        maps(labels)?;
        annotated(&mut peer.said, labels);
        let found = layer(platform).and_then(|entry| platform.layer(entry));
        let file = image::file(found.ok_or(PeerError::Objects { found: 0 })?)?;
        add(&mut peer.objects, name, platform.arch, file.data);
        if platform.arch.is_none() {
            let own = config.architecture.as_deref().and_then(Arch::from_goarch);
            peer.objects.iter_mut().for_each(|object| object.image = own);
        }
        let more = platform.manifest.layers.len().saturating_sub(1);
        if more > 0 {
            peer.unmapped.push(format!(
                "{more} more layers of the image, which bpfman does not read either"
            ));
        }
    }
    peer.said = Said { whole: true, programs: Some(offered), ..peer.said };
    peer.unmapped.dedup();
    Ok(peer)
}

/// The functions that an image offers, with their types; none if it has no such label.
fn programs(labels: &Annotations) -> Result<Option<BTreeMap<String, String>>, PeerError> {
    if let Some(text) = labels.get(PROGRAMS) {
        return of_label(PROGRAMS, text).map(Some);
    }
    let function = OLD_FUNCTIONS.iter().find_map(|label| labels.get(*label));
    Ok(function.zip(labels.get(OLD_TYPE)).map(|(f, t)| BTreeMap::from([(f.clone(), t.clone())])))
}

/// Maps say nothing that the object does not: they are only held to their form.
fn maps(labels: &Annotations) -> Result<(), PeerError> {
    labels.get(MAPS).map_or(Ok(()), |text| of_label(MAPS, text).map(drop))
}

fn of_label(label: &'static str, text: &str) -> Result<BTreeMap<String, String>, PeerError> {
    json::read(text.as_bytes(), LABEL_MAX).map_err(|source| PeerError::Label { label, source })
}
