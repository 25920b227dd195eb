//! Inspektor Gadget's images: for each architecture a raw object, by its media type, and `gadget.yaml` as the config. Its
//! objects say by names of variables what is a parameter and what comes out (`include/gadget/macros.h`).

mod fields;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use skep_object::Facts;
use skep_oci::image::Image;

use self::fields::Annotated;
use self::yaml::Yaml;
pub use self::yaml::YamlError;
use super::{Peer, PeerError, add, of_type};
use crate::import::{Said, SaidKind, SaidOutput, SaidParam};

/// The manifest's `artifactType`.
pub(super) const ARTIFACT: &str = "application/vnd.gadget.v1+binary";
/// `gadget.yaml`.
pub(super) const CONFIG: &str = "application/vnd.gadget.config.v1+yaml";
/// The object.
pub(super) const OBJECT: &str = "application/vnd.gadget.ebpf.program.v1+binary";
/// Layers that no project has a place for, and what is in them.
const LEFT: [(&str, &str); 2] = [
    (
        "application/vnd.gadget.wasm.program.v1+binary",
        "its WebAssembly module, which works on events in user space",
    ),
    (
        "application/vnd.gadget.btfgen.v1+binary",
        "its kernel types (btfgen): the node's own are used",
    ),
];

pub(super) fn read(image: &Image, name: &str) -> Result<Peer, PeerError> {
    let (mut peer, mut left, mut configs) = (Peer::default(), BTreeSet::new(), Vec::new());
    for platform in &image.platforms {
        let found: Vec<_> = of_type(platform, OBJECT).collect();
        let [entry] = *found else { return Err(PeerError::Objects { found: found.len() }) };
        let bytes = platform.layer(entry).ok_or(PeerError::Objects { found: 0 })?;
        add(&mut peer.objects, name, platform.arch, bytes.to_vec());
        let layers = platform.manifest.layers.iter().map(|layer| &*layer.media_type);
        left.extend(layers.filter_map(|kind| LEFT.iter().find(|(left, _)| *left == kind)));
        let config = platform.config.as_slice();
        if platform.manifest.config.media_type == CONFIG && !configs.contains(&config) {
            configs.push(config);
        }
    }
    peer.unmapped.extend(left.iter().map(|(_, what)| format!("{what}: left out")));
    if configs.len() > 1 {
        peer.unmapped.push("its gadget.yaml differs by architecture: the first is read".to_owned());
    }
    let metadata = Metadata::parse(configs.first().copied().unwrap_or_default())?;
    let first = peer.objects.first().ok_or(PeerError::Objects { found: 0 })?;
    let facts = Facts::parse(&first.bytes)?;
    peer.said = metadata.said(&facts, &mut peer.unmapped);
    Ok(peer)
}

/// What a `gadget.yaml` says (`pkg/metadata/v1/metadata.go`).
#[derive(Default)]
struct Metadata {
    description: Option<String>,
    sources: BTreeMap<String, Source>,
    params: Vec<SaidParam>,
    /// What has no place in a project.
    left: Vec<String>,
}

/// A data source.
#[derive(Default)]
struct Source {
    annotations: Vec<String>,
    fields: Annotated,
}

impl Metadata {
    fn parse(bytes: &[u8]) -> Result<Self, YamlError> {
        let (yaml, mut metadata, mut links) = (Yaml::parse(bytes)?, Self::default(), Vec::new());
        for (key, value) in yaml.map("gadget.yaml")? {
            match key.as_str() {
                "name" => _ = value.text(key)?,
                "description" => metadata.description = Some(value.text(key)?.to_owned()),
                // Its own tools read both spellings.
                "datasources" | "dataSources" => metadata.sources(value)?,
                "params" => metadata.params(value)?,
                "annotations" => {
                    let keys = value.map(key)?.keys().map(|key| format!("annotations.{key}"));
                    links.extend(keys);
                }
                _ => links.push(key.clone()),
            }
        }
        if !links.is_empty() {
            metadata.left.push(format!("of its gadget.yaml: {}", links.join(", ")));
        }
        Ok(metadata)
    }

    fn sources(&mut self, yaml: &Yaml) -> Result<(), YamlError> {
        for (name, source) in yaml.map("datasources")? {
            let mut read = Source::default();
            for (key, value) in source.map(name)? {
                match key.as_str() {
                    "annotations" => read.annotations = value.map(key)?.keys().cloned().collect(),
                    "fields" => read.fields = Annotated::parse(value)?,
                    _ => read.annotations.push(key.clone()),
                }
            }
            self.sources.insert(name.clone(), read);
        }
        Ok(())
    }

    /// Parameters of the eBPF operator are variables; those of others are theirs.
    fn params(&mut self, yaml: &Yaml) -> Result<(), YamlError> {
        for (operator, params) in yaml.map("params")? {
            let params = params.map(operator)?;
            if operator != "ebpf" {
                let names = params.keys().cloned().collect::<Vec<_>>().join(", ");
                self.left.push(format!("parameters of its operator '{operator}': {names}"));
                continue;
            }
            for (variable, param) in params {
                let said = self.param(variable, param)?;
                self.params.push(said);
            }
        }
        Ok(())
    }

    fn param(&mut self, variable: &str, yaml: &Yaml) -> Result<SaidParam, YamlError> {
        let mut said = SaidParam {
            variable: variable.to_owned(),
            name: variable.to_owned(),
            ..SaidParam::default()
        };
        let mut left = Vec::new();
        for (key, value) in yaml.map(variable)? {
            match key.as_str() {
                "key" => value.text(key)?.clone_into(&mut said.name),
                "defaultValue" => said.default = Some(value.text(key)?.to_owned()),
                "description" => said.doc = Some(value.text(key)?.to_owned()),
                _ => left.push(key.as_str()),
            }
        }
        if !left.is_empty() {
            self.left.push(format!("of its parameter '{variable}': {}", left.join(", ")));
        }
        Ok(said)
    }

    /// What of it the object bears out.
    fn said(self, facts: &Facts, unmapped: &mut Vec<String>) -> Said {
        unmapped.extend(self.left);
        let mut params = self.params;
        for variable in marked(facts, "gadget_param_").filter_map(|parts| parts.first().copied()) {
            if !params.iter().any(|param| param.variable == variable) {
                let (name, variable) = (variable.to_owned(), variable.to_owned());
                params.push(SaidParam { variable, name, ..SaidParam::default() });
            }
        }
        let (mut outputs, mut sources) = (Vec::new(), self.sources);
        for parts in marked(facts, "gadget_tracer_") {
            let [name, map, of, ..] = *parts else { continue };
            let source = sources.remove(name).unwrap_or_default();
            let (fields, left) = source.fields.shown(facts, of);
            told(name, &source.annotations, &left, unmapped);
            let kind = SaidKind::Event { of: Some(of.to_owned()), fields };
            outputs.push(SaidOutput { name: name.to_owned(), map: map.to_owned(), kind });
        }
        for parts in marked(facts, "gadget_mapiter_") {
            let [name, map, ..] = *parts else { continue };
            let source = sources.remove(name).unwrap_or_default();
            told(name, &source.annotations, &source.fields.all(), unmapped);
            let (name, map) = (name.to_owned(), map.to_owned());
            outputs.push(SaidOutput { name, map, kind: SaidKind::Snapshot });
        }
        for name in sources.keys() {
            unmapped.push(format!("its data source '{name}', which comes of no buffer or map: of an iterator, or of another part of Inspektor Gadget"));
        }
        Said {
            whole: true,
            summary: self.description,
            params: Some(params),
            outputs,
            ..Said::default()
        }
    }
}

/// The parts of names of variables that only mark something, behind their beginning.
fn marked<'f>(facts: &'f Facts, beginning: &'f str) -> impl Iterator<Item = Vec<&'f str>> {
    let names: BTreeSet<&str> =
        facts.globals.iter().filter_map(|global| global.name.strip_prefix(beginning)).collect();
    names.into_iter().map(|name| name.split("___").collect())
}

fn told(name: &str, annotations: &[String], left: &[String], unmapped: &mut Vec<String>) {
    if !annotations.is_empty() {
        let annotations = annotations.join(", ");
        unmapped.push(format!("annotations of its data source '{name}': {annotations}"));
    }
    unmapped.extend(left.iter().map(|left| format!("fields of '{name}': {left}")));
}
