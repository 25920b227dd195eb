//! Part 2.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use skep_spec::manifest::Param;
use skep_spec::param::{self, Value as Given};
use skep_spec::{Arch, Digest, Manifest, license as licenses, source};

use super::{Answered, Failure, question, unreadable};

#[derive(Deserialize)]
struct Source {
    text: String,
    #[serde(default)]
    objects: BTreeMap<String, BTreeMap<Arch, String>>,
}

pub(super) fn resolve(input: &Value) -> Answered {
    let Source { text, objects } = question(input)?;
    let source = source::parse(&text).map_err(|mistakes| match mistakes.first() {
        Some(first) => Failure::Refused {
            code: first.code.as_str(),
            message: first.to_string(),
            at: Some([first.line, first.column]),
        },
        None => unreadable("refused without a mistake"),
    })?;
    let digest = |hex: String| format!("sha256:{hex}").parse::<Digest>().map_err(unreadable);
    let mut digests = BTreeMap::new();
    for (name, arches) in objects {
        let arches: Result<BTreeMap<_, _>, _> =
            arches.into_iter().map(|(arch, hex)| Ok::<_, Failure>((arch, digest(hex)?))).collect();
        digests.insert(name, arches?);
    }
    Ok(canonical(&source.resolve(&digests)))
}

pub(super) fn read(input: &Value) -> Answered {
    let text = input.get("text").and_then(Value::as_str).ok_or_else(|| unreadable("no text"))?;
    Ok(canonical(&Manifest::parse(text.as_bytes())?))
}

fn canonical(manifest: &Manifest) -> Value {
    json!({"canonical": String::from_utf8_lossy(&manifest.canonical())})
}

/// Of a variable: an object has no more.
const MOST_BYTES: usize = 32 << 20;

#[derive(Deserialize)]
struct Encode {
    #[serde(flatten)]
    param: Param,
    text: String,
    size: usize,
    #[serde(default)]
    big_endian: bool,
}

pub(super) fn encode(input: &Value) -> Answered {
    let Encode { param, text, size, big_endian } = question(input)?;
    if size > MOST_BYTES {
        return Err(unreadable(format!("no object has a variable of {size} bytes")));
    }
    let bytes = param.encode_as(&Given::Text(text), size, big_endian)?;
    Ok(json!({"hex": hex::encode(bytes)}))
}

#[derive(Deserialize)]
struct Substitute {
    template: String,
    values: BTreeMap<String, Given>,
}

pub(super) fn substitute(input: &Value) -> Answered {
    let Substitute { template, values } = question(input)?;
    Ok(json!({"text": param::substitute(&template, |name| values.get(name))?}))
}

#[derive(Deserialize)]
struct License {
    license: Option<String>,
    #[serde(default)]
    programs: Vec<String>,
    #[serde(default)]
    helpers: Vec<String>,
    #[serde(default)]
    kfuncs: Vec<String>,
}

pub(super) fn license(input: &Value) -> Answered {
    let License { license, programs, helpers, kfuncs } = question(input)?;
    let [programs, helpers, kfuncs] =
        [&programs, &helpers, &kfuncs].map(|names| names.iter().map(String::as_str));
    licenses::check(license.as_deref(), programs, helpers, kfuncs)?;
    Ok(json!({}))
}
