//! eunomia's `package.json`: an object in base64 of zlib, and what its loader makes of it: options of variables, buffers and
//! maps that it shows.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::ZlibDecoder;
use serde::Deserialize;
use serde_json::Value;
use skep_object::{Facts, MapKind, ObjectError, TypeId};
use skep_spec::json::{self, JsonError};

use super::{Peer, PeerObject};
use crate::import::{Said, SaidKind, SaidOutput, SaidParam};

/// Most bytes of a package.
const PACKAGE_MAX: usize = 96 * 1024 * 1024;
/// Most bytes of its object.
const OBJECT_MAX: u64 = 64 * 1024 * 1024;

/// Why bytes are no package of eunomia's.
#[derive(Debug, thiserror::Error)]
pub enum EunomiaError {
    /// Not JSON, or of another shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not base64.
    #[error("bpf_object is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not zlib, or cut off.
    #[error("bpf_object cannot be decompressed")]
    Zlib(#[source] io::Error),
    /// More than an object may have.
    #[error("bpf_object_size is {size}, more than the {OBJECT_MAX} bytes that an object may have")]
    TooLarge {
        /// Bytes that it says.
        size: u64,
    },
    /// Another size than it says.
    #[error("bpf_object_size is {said}, and bpf_object holds {}", match found { Some(found) => format!("{found} bytes"), None => "more".to_owned() })]
    Size {
        /// Bytes that it says.
        said: u64,
        /// Bytes that there are, unless there are more.
        found: Option<u64>,
    },
    /// No object.
    #[error("bpf_object is no object")]
    Object(#[from] ObjectError),
}

/// The whole (`bpf-loader-lib/src/meta`).
#[derive(Deserialize)]
struct Package {
    bpf_object: String,
    bpf_object_size: u64,
    #[serde(default)]
    meta: Value,
}

/// Whether a file is JSON, as `package.json` is; no object and no binary begins so.
#[must_use]
pub fn is_package(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Reads a package. `name` is what its object is called where it does not say.
///
/// # Errors
/// It is not JSON of this shape, or its object is none, or not of the size that it says.
pub fn read(bytes: &[u8], name: &str) -> Result<Peer, EunomiaError> {
    let Package { bpf_object, bpf_object_size, meta } = json::read(bytes, PACKAGE_MAX)?;
    let object = inflated(&bpf_object, bpf_object_size)?;
    let facts = Facts::parse(&object)?;
    let mut unmapped = Vec::new();
    let said = said(&meta, &facts, &mut unmapped);
    let name = said.name.clone().unwrap_or_else(|| name.to_owned());
    let objects = vec![PeerObject { name, arches: Vec::new(), image: None, bytes: object }];
    Ok(Peer { objects, said, unmapped }.told())
}

fn inflated(text: &str, size: u64) -> Result<Vec<u8>, EunomiaError> {
    if size > OBJECT_MAX {
        return Err(EunomiaError::TooLarge { size });
    }
    let text: String = text.split_ascii_whitespace().collect();
    let packed = STANDARD.decode(text)?;
    let mut object = Vec::new();
    let mut inflating = ZlibDecoder::new(packed.as_slice()).take(size + 1);
    inflating.read_to_end(&mut object).map_err(EunomiaError::Zlib)?;
    match object.len() as u64 {
        found if found == size => Ok(object),
        found => Err(EunomiaError::Size { said: size, found: (found < size).then_some(found) }),
    }
}

/// What of the description the object bears out. Older ones leave much out, so that nothing has to be there.
fn said(meta: &Value, facts: &Facts, unmapped: &mut Vec<String>) -> Said {
    let skeleton = &meta["bpf_skel"];
    let doc = &skeleton["doc"];
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let name = text(&skeleton["obj_name"]);
    let name = name.map(|name| name.strip_suffix("_bpf").unwrap_or(&name).to_owned());
    if doc["details"].is_string() {
        unmapped.push("details of its documentation".to_owned());
    }
    let params = skeleton["data_sections"].as_array().map(|sections| params(sections));
    loader(meta, unmapped);
    extras(&skeleton["progs"], unmapped);
    Said {
        whole: true,
        name,
        version: doc["version"].as_str().and_then(|version| version.parse().ok()),
        summary: text(&doc["brief"]).or_else(|| text(&doc["description"])),
        params,
        outputs: outputs(meta, facts, unmapped),
        ..Said::default()
    }
}

/// Constants, and those other variables that are given an option of their own.
fn params(sections: &[Value]) -> Vec<SaidParam> {
    let mut params = Vec::new();
    for section in sections {
        let constant = section["name"] == ".rodata";
        let variables = section["variables"].as_array().into_iter().flatten();
        for variable in variables.filter(|one| constant || one["cmdarg"].is_object()) {
            let Some(symbol) = variable["name"].as_str().filter(|name| !name.starts_with("__"))
            else {
                continue;
            };
            let option = &variable["cmdarg"];
            let doc = option["help"].as_str().or_else(|| variable["description"].as_str());
            let default = [&option["default"], &variable["value"]].into_iter().find_map(scalar);
            params.push(SaidParam {
                variable: symbol.to_owned(),
                name: option["long"].as_str().unwrap_or(symbol).to_owned(),
                doc: doc.map(str::to_owned),
                default,
            });
        }
    }
    params
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// What its loader shows: the records of its buffers, and maps that it reads from time to time.
fn outputs(meta: &Value, facts: &Facts, unmapped: &mut Vec<String>) -> Vec<SaidOutput> {
    let one = meta["export_types"].as_array().and_then(|all| all.first());
    let one = one.and_then(|one| one["name"].as_str());
    let several = meta["enable_multiple_export_types"] == true;
    let mut outputs = Vec::new();
    for map in meta["bpf_skel"]["maps"].as_array().into_iter().flatten() {
        let Some(name) = map["name"].as_str() else { continue };
        let Some(found) = facts.map(name) else { continue };
        let kind = match found.kind {
            MapKind::RingBuf | MapKind::PerfEventArray => {
                let own = exported(&map["export_config"], facts).filter(|_| several);
                Some(SaidKind::Event {
                    of: own.or_else(|| one.filter(|_| !several).map(str::to_owned)),
                    fields: Default::default(),
                })
            }
            _ => sampled(&map["sample"]),
        };
        if map["intepreter"]["stack_trace"].is_object() {
            unmapped.push(format!("stack traces of the records of '{name}': they stay numbers"));
        }
        if !map["export_config"]["custom_members"].is_null() {
            unmapped.push(format!("members that its loader gives the records of '{name}'"));
        }
        if let Some(kind) = kind {
            outputs.push(SaidOutput { name: name.to_owned(), map: name.to_owned(), kind });
        }
    }
    outputs
}

/// The struct that a map's own description names, by its number in the object's BTF.
fn exported(config: &Value, facts: &Facts) -> Option<String> {
    let number = u32::try_from(config["btf_type_id"].as_u64()?).ok()?;
    let btf = facts.btf.as_ref()?;
    let (id, ty) = btf.types().find(|(id, _)| *id == TypeId(number))?;
    btf.composite(id)?;
    Some(btf.name(ty)).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn sampled(sample: &Value) -> Option<SaidKind> {
    let unit = sample["unit"].as_str().filter(|unit| *unit != "(unit)").map(str::to_owned);
    match sample.as_object()?.get("type").and_then(Value::as_str) {
        Some("log2_hist") => Some(SaidKind::Histogram { scale: "log2", unit }),
        Some("linear_hist") => Some(SaidKind::Histogram { scale: "linear", unit }),
        _ => Some(SaidKind::Snapshot),
    }
}

/// Settings of its loader.
fn loader(meta: &Value, unmapped: &mut Vec<String>) {
    const OWN: [&str; 5] = [
        "debug_verbose",
        "perf_buffer_pages",
        "perf_buffer_time_ms",
        "poll_timeout_ms",
        "print_header",
    ];
    let set: Vec<&str> = OWN.into_iter().filter(|key| !meta[*key].is_null()).collect();
    if !set.is_empty() {
        unmapped.push(format!("settings of its loader: {}", set.join(", ")));
    }
}

/// Where its loader attaches what a section does not say.
fn extras(programs: &Value, unmapped: &mut Vec<String>) {
    const COMMON: [&str; 3] = ["attach", "link", "name"];
    let mut keys = BTreeSet::new();
    for program in programs.as_array().into_iter().flatten().filter_map(Value::as_object) {
        keys.extend(program.keys().map(String::as_str).filter(|key| !COMMON.contains(key)));
    }
    if !keys.is_empty() {
        let keys = keys.into_iter().collect::<Vec<_>>().join(", ");
        unmapped.push(format!("what its loader is told of programs: {keys}"));
    }
}
