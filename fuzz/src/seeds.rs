//! Where fuzzing starts: the inputs of the standard's vectors, and objects cut into their parts.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object::{Object as _, ObjectSection as _, SectionKind};
use serde::Deserialize as _;
use serde_json::Value;
use skep_conformance::vectors::{Data, load};
use skep_trust::bundle::Bundle;

use crate::http::SEEDS;
use crate::trust::{CERTIFIED, PREDICATES};
use crate::{objects, peers};

/// Larger objects are held by the vectors; a fuzzer gets nowhere with them.
const MOST: usize = 1 << 20;

/// An input for a target.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed {
    /// The target's name.
    pub target: &'static str,
    /// The input.
    pub data: Vec<u8>,
}

/// The seeds of all targets, each once.
///
/// # Errors
/// The vectors cannot be read.
pub fn of_vectors() -> Result<Vec<Seed>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors"));
    let parts = load(folder)?;
    let mut seeds: Vec<Seed> = parts
        .iter()
        .flat_map(|part| &part.cases)
        .flat_map(|case| of_case(&case.op, &case.input))
        .collect();
    seeds.extend(peers::SEEDS.map(|(whose, words)| behind("peer", &[whose], words.as_bytes())));
    seeds.extend(SEEDS.map(|(target, text)| seed(target, text.as_bytes())));
    let [root, bundle] = CERTIFIED;
    let length = u32::try_from(root.len()).unwrap_or_default().to_le_bytes();
    let certified = [&length[..], root.as_bytes(), bundle.as_bytes()].concat();
    seeds.push(Seed { target: "certificate", data: certified });
    let notes = objects::note();
    seeds.extend([seed("usdt", &notes), seed("usdt", &objects::probes(&notes))]);
    let objects = folder.join("files/objects");
    for entry in std::fs::read_dir(&objects).with_context(|| objects.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "o") {
            seeds.extend(of_object(&std::fs::read(path)?));
        }
    }
    seeds.sort();
    seeds.dedup();
    Ok(seeds)
}

/// An object, and each of its parts.
#[must_use]
pub fn of_object(data: &[u8]) -> Vec<Seed> {
    let mut seeds = vec![seed("object", data)];
    let Ok(file) = object::File::parse(data) else { return seeds };
    let section = |name: &str| file.section_by_name(name).and_then(|section| section.data().ok());
    if let Some(types) = section(".BTF") {
        seeds.push(seed("btf", types));
        if let Some(ext) = section(".BTF.ext") {
            let length = u32::try_from(types.len()).unwrap_or_default().to_le_bytes();
            seeds.push(Seed { target: "btf_ext", data: [&length, types, ext].concat() });
        }
    }
    let code = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let code = code.filter_map(|section| section.data().ok()).filter(|code| !code.is_empty());
    seeds.extend(code.map(|code| behind("code", &[0], code)));
    seeds
}

fn of_case(op: &str, input: &Value) -> Vec<Seed> {
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default().as_bytes();
    let bytes = |key: &str| STANDARD.decode(text(key)).unwrap_or_default();
    match op {
        "name" | "reference" | "feature" => vec![seed("names", text("text"))],
        "version" => vec![seed("names", text("tag"))],
        "param.encode" => vec![behind("params", &[1, 8], text("text"))],
        "param.substitute" => vec![behind("params", &[4, 8], text("template"))],
        "source.resolve" => vec![seed("source", text("text"))],
        "manifest.read" => vec![seed("manifest", text("text"))],
        "document.read" => vec![seed("oci", text("text")), seed("hub_document", text("text"))],
        "generation.read" => vec![seed("journal", text("text"))],
        "journal.read" | "journal.cuts" => {
            let data = input.get("journal").and_then(|data| Data::deserialize(data).ok());
            data.map(|data| seed("journal", &data.0)).into_iter().collect()
        }
        "layer.read" => vec![seed("layer", &bytes("layer"))],
        "archive.read" => vec![seed("archive", &bytes("archive"))],
        "object.facts" => {
            let data = input.get("data").and_then(|data| Data::deserialize(data).ok());
            let data = data.filter(|data| data.0.len() <= MOST);
            data.map(|data| seed("object", &data.0)).into_iter().collect()
        }
        "event.decode" => {
            let record = text("hex").chunks(2).filter_map(|two| {
                std::str::from_utf8(two).ok().and_then(|two| u8::from_str_radix(two, 16).ok())
            });
            vec![
                behind("event", &[9, 3], &record.collect::<Vec<u8>>()),
                behind("condition", &[9], text("where")),
            ]
        }
        "key.read" => {
            vec![seed("key", text("spki")), seed("key", &bytes("spki"))]
        }
        "policy.read" => vec![seed("policy", text("text"))],
        "attestation.read" => of_bundle(&bytes("bundle")),
        "signature.verify" | "channel.follow" => bundles(input.get("bundles")),
        "rotation.follow" => {
            let documents = input.get("documents").and_then(Value::as_array);
            documents.into_iter().flatten().flat_map(|document| bundles(Some(document))).collect()
        }
        _ => Vec::new(),
    }
}

fn bundles(list: Option<&Value>) -> Vec<Seed> {
    let list = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    list.filter_map(|bundle| STANDARD.decode(bundle).ok())
        .flat_map(|bundle| of_bundle(&bundle))
        .collect()
}

/// A bundle, and what it signs.
fn of_bundle(data: &[u8]) -> Vec<Seed> {
    let mut seeds = vec![seed("bundle", data)];
    let statement = Bundle::parse(data).and_then(|bundle| bundle.unchecked_statement());
    if let Ok(statement) = statement {
        let kind = PREDICATES.iter().position(|kind| *kind == statement.predicate_type);
        let kind = kind.and_then(|kind| u8::try_from(kind).ok()).unwrap_or_default();
        seeds.push(behind("statement", &[kind], statement.predicate.to_string().as_bytes()));
    }
    seeds
}

fn seed(target: &'static str, data: &[u8]) -> Seed {
    Seed { target, data: data.to_vec() }
}

fn behind(target: &'static str, head: &[u8], data: &[u8]) -> Seed {
    Seed { target, data: [head, data].concat() }
}
