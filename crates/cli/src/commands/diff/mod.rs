//! `skep diff`.

mod code;
mod objects;
mod page;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_object::difference::{Change, Difference, changes};
use skep_spec::{Arch, Manifest, PackageRef, permission};

use super::apply;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::options::{Choice, PlaceOptions, Transport};
use crate::output::Output;
use crate::subject::Subject;

/// Show what changed between two packages or objects, and what a warm upgrade can keep
///
/// Hooks, helpers, powers, parameters, outputs, map layouts, and all else that the manifests say. What the new version may
/// do is read from the objects themselves, of packages on every architecture.
///
/// With -f it answers another question: what skep apply would do for this node to be as a file of services says. The status is
/// then 1 where that is anything.
#[derive(Debug, Args)]
pub struct Diff {
    /// The old version: a folder with skep.toml (built), an object, an OCI layout, a bundle, or a reference
    #[arg(required_unless_present = "file")]
    old: Option<OsString>,
    /// The new version
    #[arg(required_unless_present = "file")]
    new: Option<OsString>,
    /// Show what skep apply -f FILE would do, instead
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with_all = ["old", "new", "old_package", "new_package", "arch", "plain_http"])]
    file: Option<PathBuf>,
    /// Which package of a layout or bundle that holds several, for the old version
    #[arg(long, value_name = "NAME:VERSION")]
    old_package: Option<PackageRef>,
    /// The same for the new version
    #[arg(long, value_name = "NAME:VERSION")]
    new_package: Option<PackageRef>,
    /// Compare one architecture of packages alone, instead of all
    #[arg(long)]
    arch: Option<Arch>,
    #[command(flatten)]
    transport: Transport,
}

/// What changed.
#[derive(Serialize)]
struct Shown {
    /// Whether the new version may do more, on any architecture.
    wider: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<Package>,
    /// By name, and what they are for where it is not the same for all: `exec for aarch64`.
    objects: BTreeMap<String, Object>,
}

/// Between two manifests; each thing is told as its JSON.
#[derive(Serialize)]
struct Package {
    versions: [String; 2],
    /// Whether `[permissions]` allow what they did not.
    permits_more: bool,
    parameters: Vec<Change>,
    outputs: Vec<Change>,
    /// All else that differs, by its path: `permissions.hooks`, `program.exec.optional`.
    manifest: Vec<Change>,
}

/// What became of an object.
#[derive(PartialEq, Serialize)]
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
        if let Some(file) = &self.file {
            return apply::differs(file, output, config);
        }
        let find = |what: &OsStr, package: Option<PackageRef>| {
            let options = PlaceOptions { choice: Choice { package }, transport: self.transport };
            Subject::find(what, &options, self.arch, config)
        };
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return Err(Error::usage("two packages or objects are compared: skep diff OLD NEW"));
        };
        let old = find(old, self.old_package.clone())?;
        let new = find(new, self.new_package.clone())?;
        let objects = objects::compared(&old, &new)?;
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

impl Package {
    fn between(old: &Manifest, new: &Manifest) -> Self {
        let version = |m: &Manifest| format!("{} {}", m.package.name, m.package.version);
        let permissions = |m: &Manifest| m.permissions.clone().unwrap_or_default();
        Self {
            versions: [version(old), version(new)],
            permits_more: permission::allow_more(&permissions(old), &permissions(new)),
            parameters: changes(&told(&old.param), &told(&new.param)),
            outputs: changes(&told(&old.output), &told(&new.output)),
            manifest: changes(&rest(old), &rest(new)),
        }
    }
}

/// What a manifest says beside what is told otherwise, by path.
fn rest(manifest: &Manifest) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if let Ok(serde_json::Value::Object(mut tables)) = serde_json::to_value(manifest) {
        tables.retain(|table, _| !matches!(table.as_str(), "objects" | "param" | "output"));
        if let Some(serde_json::Value::Object(package)) = tables.get_mut("package") {
            package.retain(|key, _| !matches!(key.as_str(), "name" | "version"));
        }
        flatten("", serde_json::Value::Object(tables), &mut all);
    }
    all
}

fn flatten(path: &str, value: serde_json::Value, all: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(members) if !members.is_empty() || path.is_empty() => {
            for (name, value) in members {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                flatten(&path, value, all);
            }
        }
        value => _ = all.insert(path.to_owned(), value.to_string()),
    }
}

fn told<K: ToString, T: Serialize>(things: &BTreeMap<K, T>) -> BTreeMap<String, String> {
    let json = |thing: &T| serde_json::to_string(thing).unwrap_or_default();
    things.iter().map(|(name, thing)| (name.to_string(), json(thing))).collect()
}
