//! Part 1.

use serde::Deserialize;
use serde_json::{Value, json};
use skep_spec::{Arch, Channel, Digest, PackageName, PackageRef, Range, ServiceName, Version};

use super::{Answered, question, refused, unreadable};

#[derive(Deserialize)]
struct Name {
    kind: String,
    text: String,
}

pub(super) fn name(input: &Value) -> Answered {
    let Name { kind, text } = question(input)?;
    match kind.as_str() {
        "package" => drop(text.parse::<PackageName>()?),
        "service" => drop(text.parse::<ServiceName>()?),
        "channel" => drop(text.parse::<Channel>()?),
        "version" => drop(text.parse::<Version>()?),
        "range" => drop(text.parse::<Range>()?),
        "digest" => {
            text.parse::<Digest>().map_err(|error| refused("name.digest", &error))?;
        }
        "architecture" => {
            text.parse::<Arch>().map_err(|error| refused("name.architecture", &error))?;
        }
        "goarch" => {
            let none = skep_spec::arch::ArchError(text.clone());
            Arch::from_goarch(&text).ok_or_else(|| refused("name.architecture", &none))?;
        }
        other => return Err(unreadable(format!("there is no kind '{other}'"))),
    }
    Ok(json!({}))
}

pub(super) fn tag(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        version: String,
    }
    let Asked { version } = question(input)?;
    Ok(json!({"tag": version.parse::<Version>()?.tag()}))
}

pub(super) fn version(input: &Value) -> Answered {
    #[derive(Deserialize)]
    struct Asked {
        tag: String,
    }
    let Asked { tag } = question(input)?;
    Ok(json!({"version": Version::from_tag(&tag)?.to_string()}))
}

pub(super) fn reference(input: &Value) -> Answered {
    let text = input.get("text").and_then(Value::as_str).ok_or_else(|| unreadable("no text"))?;
    let found: PackageRef = text.parse().map_err(|error| refused("name.reference", &error))?;
    Ok(json!({
        "registry": found.registry,
        "path": found.path,
        "name": found.name,
        "version": found.version,
        "digest": found.digest,
        "channel": found.channel,
    }))
}
