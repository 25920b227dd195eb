//! The vectors of `spec/vectors` that this crate can be held against.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use serde_json::Value as Json;
use skep_spec::manifest::Param;
use skep_spec::oci::{ImageManifest, Index};
use skep_spec::param::Value;
use skep_spec::{Manifest, PackageRef};

/// Each case of a file, with what it is told by when it fails.
fn cases(file: &str) -> Vec<(String, Json)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let all: Json = serde_json::from_str(&text).unwrap();
    let cases = all["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    cases.iter().map(|case| (format!("{file}: {case}"), case.clone())).collect()
}

fn text<'a>(case: &'a Json, key: &str) -> &'a str {
    case[key].as_str().unwrap()
}

/// What came out, or `None` for a case that is to be refused and is.
fn outcome<T: std::fmt::Debug, E: std::fmt::Display>(
    at: &str,
    case: &Json,
    result: Result<T, E>,
) -> Option<T> {
    match (result, case.get("refuse")) {
        (Ok(value), None) => Some(value),
        (Err(_), Some(_)) => None,
        (Ok(value), Some(_)) => panic!("{at} was taken: {value:?}"),
        (Err(error), None) => panic!("{at} was refused: {error}"),
    }
}

#[test]
fn references() {
    for (at, case) in cases("references/cases.json") {
        let written = text(&case, "text");
        let Some(found) = outcome(&at, &case, written.parse::<PackageRef>()) else { continue };
        let optional = |value: Option<String>| value.map_or(Json::Null, Json::String);
        assert_eq!(optional(found.registry.clone()), case["registry"], "{at}");
        assert_eq!(found.path, text(&case, "path"), "{at}");
        assert_eq!(found.name.to_string(), text(&case, "name"), "{at}");
        assert_eq!(optional(found.version.as_ref().map(ToString::to_string)), case["version"]);
        assert_eq!(optional(found.digest.map(|digest| digest.to_string())), case["digest"], "{at}");
        assert_eq!(optional(found.channel.as_ref().map(ToString::to_string)), case["channel"]);
        assert_eq!(found.to_string(), written, "{at}");
    }
}

#[test]
fn manifests() {
    for (at, case) in cases("manifest/cases.json") {
        let manifest = Manifest::parse(text(&case, "json").as_bytes());
        let Some(manifest) = outcome(&at, &case, manifest) else { continue };
        let canonical = manifest.canonical();
        assert_eq!(String::from_utf8_lossy(&canonical), text(&case, "canonical"), "{at}");
        assert_eq!(Manifest::parse(&canonical).unwrap(), manifest, "{at}");
    }
}

#[test]
fn documents() {
    for (at, case) in cases("documents/cases.json") {
        let document = text(&case, "document").as_bytes();
        match text(&case, "kind") {
            "index" => drop(outcome(&at, &case, Index::parse(document))),
            _ => drop(outcome(&at, &case, ImageManifest::parse(document))),
        }
    }
}

#[cfg(target_endian = "little")]
#[test]
fn params() {
    for (at, case) in cases("params/cases.json") {
        let param: Param = serde_json::from_value(case.clone()).unwrap();
        let size = usize::try_from(case["size"].as_u64().unwrap()).unwrap();
        let value = Value::Text(text(&case, "text").to_owned());
        let Some(bytes) = outcome(&at, &case, param.encode(&value, size)) else { continue };
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, text(&case, "hex"), "{at}");
    }
}
