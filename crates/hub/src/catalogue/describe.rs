//! From what the bytecode shows and the manifest says to what the pages list.

use std::collections::BTreeMap;

use skep_object::permissions::hooks;
use skep_object::{Facts, Loose, MapFacts, ProgramFacts, declared};
use skep_spec::manifest::{Manifest, Output, Param};
use skep_spec::param::{self, Value};
use skep_spec::{Arch, Digest};

use crate::listing::{MapListing, ObjectListing, OutputListing, ParameterListing, ProgramListing};

/// Which object, built for what.
pub struct Build<'a> {
    /// Its name in the manifest.
    pub name: &'a str,
    /// What it is for.
    pub arch: Arch,
    /// Of the ELF.
    pub digest: Digest,
    /// Bytes of the ELF.
    pub size: u64,
}

/// An object as `manifest` uses it.
pub fn object(build: &Build<'_>, facts: &Facts, manifest: &Manifest) -> ObjectListing {
    let held = declared::hold(manifest, [facts], &BTreeMap::new());
    let running = declared::runs(manifest, build.name, facts, &BTreeMap::new());
    let exceeds = held.err().filter(|_| manifest.permissions.is_some());
    ObjectListing {
        name: build.name.to_owned(),
        architecture: build.arch,
        digest: build.digest.to_string(),
        size: build.size,
        license: facts.license.clone(),
        programs: running.programs.iter().map(program).collect(),
        maps: facts.maps.iter().map(|facts| map(facts, manifest)).collect(),
        undeclared: exceeds.map_or_else(Vec::new, declared::Exceeded::missing),
        loose: facts.loose.iter().map(Loose::instructions).sum(),
    }
}

/// A program at a place where the manifest attaches it.
fn program(facts: &ProgramFacts) -> ProgramListing {
    ProgramListing {
        name: facts.name.clone(),
        target: facts.target.to_string(),
        hook: facts.target.kind().to_owned(),
        hooks: hooks(facts).iter().map(ToString::to_string).collect(),
        helpers: facts.helpers.iter().cloned().collect(),
        kfuncs: facts.kfuncs.iter().cloned().collect(),
        instructions: facts.insns,
        unknown_calls: facts.unknown_calls,
    }
}

/// A map as the manifest sizes it.
fn map(facts: &MapFacts, manifest: &Manifest) -> MapListing {
    let told = manifest.map.get(&facts.name);
    let mut sized = facts.clone();
    let entries = told.and_then(|map| map.max_entries.as_ref());
    if let Some(entries) = entries.and_then(|value| entries_of(value, manifest)) {
        sized.max_entries = entries;
    }
    let memory = sized.memory();
    MapListing {
        name: facts.name.clone(),
        kind: facts.kind.to_string(),
        key_size: facts.key_size,
        value_size: facts.value_size,
        max_entries: sized.max_entries.into(),
        memory: memory.once,
        memory_per_cpu: memory.per_cpu,
        upgrade: told.and_then(|map| map.upgrade).map(|upgrade| word(&upgrade)),
    }
}

/// A number, a size, or a parameter that has one by default.
fn entries_of(value: &Value, manifest: &Manifest) -> Option<u32> {
    let default = |name: &str| manifest.param.get(name)?.default.as_ref();
    let text = param::substitute(&value.text(), default).ok()?;
    u32::try_from(param::parse_size(&text)?).ok()
}

/// A parameter of the manifest.
pub fn parameter((name, param): (&String, &Param)) -> ParameterListing {
    ParameterListing {
        name: name.clone(),
        kind: word(&param.r#type),
        default: param.default.as_ref().map(word),
        doc: param.doc.clone(),
    }
}

/// An output of the manifest.
pub fn output((name, output): (&String, &Output)) -> OutputListing {
    OutputListing { name: name.clone(), kind: word(&output.kind) }
}

/// A value as JSON writes it, without quotes.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
