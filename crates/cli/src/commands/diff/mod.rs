//! `skep diff`.

mod page;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::Args;
use serde::Serialize;
use skep_object::difference::{Change, Difference, Version, changes};
use skep_spec::{Manifest, PackageRef};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::options::{Choice, PlaceOptions, Transport};
use crate::output::Output;
use crate::subject::{ObjectBytes, Subject};

/// Show what changed between two packages or objects, and what a warm upgrade can keep
///
/// Hooks, helpers, permissions, parameters, outputs, map layouts. Everything but parameters and outputs is read from the
/// objects themselves.
#[derive(Debug, Args)]
pub struct Diff {
    /// The old version: a folder with skep.toml (built), an object, an OCI layout, a bundle, or a reference
    old: OsString,
    /// The new version
    new: OsString,
    /// Which package of a layout or bundle that holds several, for the old version
    #[arg(long, value_name = "NAME:VERSION")]
    old_package: Option<PackageRef>,
    /// The same for the new version
    #[arg(long, value_name = "NAME:VERSION")]
    new_package: Option<PackageRef>,
    #[command(flatten)]
    transport: Transport,
}

/// What changed.
#[derive(Serialize)]
struct Shown {
    /// Whether the new version may do more.
    wider: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<Package>,
    objects: BTreeMap<String, Object>,
}

/// Between two manifests; each thing is told as its JSON.
#[derive(Serialize)]
struct Package {
    versions: [String; 2],
    parameters: Vec<Change>,
    outputs: Vec<Change>,
}

/// What became of an object.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Object {
    Added,
    Removed,
    Changed(Box<Difference>),
}

impl Diff {
    /// Runs it.
    ///
    /// # Errors
    /// Either is none of those, or cannot be read.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let find = |what: &OsStr, package| {
            let options = PlaceOptions { choice: Choice { package }, transport: self.transport };
            Subject::find(what, &options, config)
        };
        let old = find(&self.old, self.old_package)?;
        let new = find(&self.new, self.new_package)?;
        let objects = objects(&old, &new)?;
        let is_wider = |object: &Object| match object {
            Object::Added => true,
            Object::Removed => false,
            Object::Changed(difference) => difference.is_wider(),
        };
        let package = old.manifest().zip(new.manifest());
        let package = package.map(|(old, new)| Package::between(old, new));
        let shown = Shown { wider: objects.values().any(is_wider), package, objects };
        output.answer(&shown, || page::text(&shown));
        Ok(())
    }
}

/// Objects of one name belong together; so do two that are alone, whatever they are called.
fn objects(old: &Subject, new: &Subject) -> Result<BTreeMap<String, Object>> {
    let between = |before: &ObjectBytes, after: &ObjectBytes| -> Result<Difference> {
        let before = old.running(before, "compare")?.facts;
        let after = new.running(after, "compare")?.facts;
        Ok(Difference::between(
            Version { facts: &before, manifest: old.manifest() },
            Version { facts: &after, manifest: new.manifest() },
        ))
    };
    if let ([a], [b]) = (old.objects.as_slice(), new.objects.as_slice()) {
        let difference = between(a, b)?;
        return Ok(BTreeMap::from([(b.name.clone(), Object::Changed(Box::new(difference)))]));
    }
    if old.objects.is_empty() || new.objects.is_empty() {
        return Err(Error::new(Kind::Failed, "there is no object to compare"));
    }
    let mut all: BTreeMap<String, Object> = BTreeMap::new();
    for before in &old.objects {
        let after = new.objects.iter().find(|after| after.name == before.name);
        let object = match after {
            None => Object::Removed,
            Some(after) => Object::Changed(Box::new(between(before, after)?)),
        };
        all.insert(before.name.clone(), object);
    }
    for after in &new.objects {
        all.entry(after.name.clone()).or_insert(Object::Added);
    }
    Ok(all)
}

impl Package {
    fn between(old: &Manifest, new: &Manifest) -> Self {
        let version = |m: &Manifest| format!("{} {}", m.package.name, m.package.version);
        Self {
            versions: [version(old), version(new)],
            parameters: changes(&told(&old.param), &told(&new.param)),
            outputs: changes(&told(&old.output), &told(&new.output)),
        }
    }
}

fn told<K: ToString, T: Serialize>(things: &BTreeMap<K, T>) -> BTreeMap<String, String> {
    let json = |thing: &T| serde_json::to_string(thing).unwrap_or_default();
    things.iter().map(|(name, thing)| (name.to_string(), json(thing))).collect()
}
