//! `skep inspect`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_object::permissions::{self, Power};
use skep_object::{Facts, MapOrigin, carve};
use skep_oci::registry::Part;
use skep_spec::oci::{Index, MAX_DOCUMENT};
use skep_spec::{Arch, Digest, Manifest, PackageRef};
use skep_trust::bundle::Bundle;
use skep_trust::{Verified, admit};

use super::fetch::{Fetched, fetch};
use super::place::{self, Place};
use crate::config::Config;
use crate::error::{Context as _, Error, Kind, Result};
use crate::output::{Output, bytes, table};

/// Show what a package or object holds: programs, maps, variables, outputs, what it may touch
///
/// Everything is read from the object itself, not from what its author says. Nothing is loaded.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A folder with skep.toml (built), an object, a binary that embeds objects, an OCI layout, or a reference
    what: String,
    /// Which package of a layout that holds several
    #[arg(long, value_name = "NAME:VERSION")]
    package: Option<PackageRef>,
    /// Speak HTTP without TLS (loopback addresses always do)
    #[arg(long)]
    plain_http: bool,
}

/// What is shown.
#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<Package>,
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Package {
    manifest: Manifest,
    digest: Digest,
    architectures: Vec<Arch>,
    /// Key ids that signatures name. Whether to trust them is `skep verify`'s matter.
    signed_by: Vec<String>,
}

#[derive(Serialize)]
struct Object {
    name: String,
    size: usize,
    license: Option<String>,
    programs: Vec<Program>,
    maps: Vec<Map>,
    variables: Vec<Variable>,
    hooks: Vec<String>,
    helpers: Vec<String>,
    kfuncs: Vec<String>,
    powers: Vec<Power>,
    relocations: usize,
}

#[derive(Serialize)]
struct Program {
    name: String,
    target: String,
    instructions: usize,
    source: Option<String>,
}

#[derive(Serialize)]
struct Map {
    name: String,
    r#type: String,
    key: u32,
    value: u32,
    max_entries: u32,
    memory: u64,
}

#[derive(Serialize)]
struct Variable {
    name: String,
    section: String,
    size: u64,
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// It is none of those, or cannot be read.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let path = Path::new(&self.what);
        let shown = if path.is_file() {
            Shown { package: None, objects: file(path)? }
        } else if path.join("skep.toml").is_file() {
            Shown { package: None, objects: project(path)? }
        } else {
            self.package(config)?
        };
        output.answer(&shown, || shown.text());
        Ok(())
    }

    /// A package's content, by its digests; nobody is asked to trust it.
    fn package(&self, config: &Config) -> Result<Shown> {
        let place = Place::parse(&self.what, config)?;
        let wanted = self.package.as_ref();
        let fetched =
            fetch(place, wanted, Part::Whole, self.plain_http, config, |_, digest, bundles| {
                Ok((digest, signers(bundles)))
            })?;
        packaged(fetched)
    }
}

/// An object, or the objects that a binary embeds.
fn file(path: &Path) -> Result<Vec<Object>> {
    let shown = path.display().to_string();
    let data = std::fs::read(path).context(|| format!("can't read {shown}"))?;
    let name =
        path.file_name().map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned());
    match Facts::parse(&data) {
        Ok(facts) => Ok(vec![object(&name, data.len(), &facts)]),
        Err(error) => {
            let ranges = carve::objects(&data);
            // A file that is one object whole embeds none: what is wrong with it is the answer.
            if ranges.is_empty() || ranges.first().is_some_and(|range| range.start == 0) {
                return Err(Error::caused(Kind::Failed, format!("can't inspect {shown}"), &error));
            }
            let embedded = ranges.into_iter().enumerate().map(|(at, range)| {
                let part = &data[range];
                let facts =
                    Facts::parse(part).context(|| format!("can't read object {at} in {shown}"))?;
                Ok(object(&format!("{name}[{at}]"), part.len(), &facts))
            });
            embedded.collect()
        }
    }
}

/// What `skep build` made of a project.
fn project(folder: &Path) -> Result<Vec<Object>> {
    let project = super::build::read(folder)?;
    let mut objects = Vec::new();
    for name in project.source.object.keys() {
        let built: Vec<PathBuf> = Arch::ALL
            .into_iter()
            .map(|arch| project.built(name, arch))
            .filter(|path| path.exists())
            .collect();
        let Some(path) = built.first() else {
            return Err(Error::new(Kind::Failed, format!("{} is not built yet", folder.display()))
                .hint(format!("skep build {}", folder.display())));
        };
        objects.extend(file(path)?);
    }
    Ok(objects)
}

fn packaged(fetched: Fetched<(Digest, Vec<String>)>) -> Result<Shown> {
    let Fetched { store, reference, checked: (digest, signed_by), .. } = &fetched;
    let digest = *digest;
    let document = store.require(&digest, MAX_DOCUMENT as u64).map_err(place::failed)?;
    let index = Index::parse(&document).map_err(place::failed)?;
    let architectures: Vec<Arch> =
        index.manifests.iter().filter_map(|entry| entry.platform.as_ref()?.arch()).collect();
    let arch = Arch::host()
        .filter(|host| architectures.contains(host))
        .or_else(|| architectures.first().copied());
    let arch =
        arch.ok_or_else(|| Error::new(Kind::Failed, format!("{reference} has nothing for Linux")))?;
    let package =
        admit(Verified::unsigned(digest), store, arch, reference).map_err(place::failed)?;
    let mut objects = Vec::new();
    for (name, elf) in &package.objects {
        let facts = Facts::parse(elf).context(|| format!("can't read the object '{name}'"))?;
        objects.push(object(name, elf.len(), &facts));
    }
    let (manifest, signed_by) = (package.manifest.clone(), signed_by.clone());
    let package = Package { manifest, digest, architectures, signed_by };
    Ok(Shown { package: Some(package), objects })
}

/// The keys that signatures name, each once.
fn signers(bundles: &[Vec<u8>]) -> Vec<String> {
    let signer =
        |bundle: &Vec<u8>| Some(Bundle::parse(bundle).ok()?.signer().key_id()?.to_string());
    let mut signers: Vec<String> = bundles.iter().filter_map(signer).collect();
    signers.sort();
    signers.dedup();
    signers
}

fn object(name: &str, size: usize, facts: &Facts) -> Object {
    let summary = permissions::derive(facts);
    let programs = facts.programs.iter().map(|program| Program {
        name: program.name.clone(),
        target: program.target.to_string(),
        instructions: program.insns,
        source: program.source.as_ref().map(|source| format!("{}:{}", source.file, source.line)),
    });
    let maps = facts.maps.iter().filter(|map| map.origin != MapOrigin::Data).map(|map| {
        let memory = map.memory();
        Map {
            name: map.name.clone(),
            r#type: map.kind.to_string(),
            key: map.key_size,
            value: map.value_size,
            max_entries: map.max_entries,
            memory: memory.once.saturating_add(memory.per_cpu),
        }
    });
    let variables = facts.globals.iter().map(|global| Variable {
        name: global.name.clone(),
        section: global.section.clone(),
        size: global.size,
    });
    Object {
        name: name.to_owned(),
        size,
        license: facts.license.clone(),
        programs: programs.collect(),
        maps: maps.collect(),
        variables: variables.collect(),
        hooks: summary.hooks.into_iter().collect(),
        helpers: summary.helpers.into_iter().collect(),
        kfuncs: summary.kfuncs.into_iter().collect(),
        powers: summary.powers,
        relocations: facts.core_relocations.len(),
    }
}

impl Shown {
    fn text(&self) -> String {
        let package = self.package.iter().map(Package::text);
        package.chain(self.objects.iter().map(Object::text)).collect::<Vec<_>>().join("\n\n")
    }
}

impl Package {
    fn text(&self) -> String {
        let package = &self.manifest.package;
        let arches: Vec<&str> = self.architectures.iter().map(|arch| arch.as_str()).collect();
        let mut lines = vec![format!("{} {}", package.name, package.version)];
        lines.extend(package.summary.clone());
        lines.push(String::new());
        lines.push(format!("license        {}", package.license));
        lines.push(format!("architectures  {}", arches.join(", ")));
        lines.push(format!("digest         {}", self.digest));
        let signed = if self.signed_by.is_empty() {
            "by nobody".to_owned()
        } else {
            self.signed_by.join(", ")
        };
        lines.push(format!("signed         {signed}"));
        let params = self.manifest.param.iter().map(|(name, param)| {
            let default =
                param.default.as_ref().map(skep_spec::param::Value::text).unwrap_or_default();
            [name.clone(), default, param.doc.clone().unwrap_or_default()]
        });
        section(&mut lines, ["PARAMETER", "DEFAULT", "MEANING"], params);
        let outputs = self.manifest.output.iter().map(|(name, output)| {
            let kind = serde_json::to_value(output.kind).unwrap_or_default();
            [name.clone(), kind.as_str().unwrap_or_default().to_owned(), output.map.clone()]
        });
        section(&mut lines, ["OUTPUT", "KIND", "MAP"], outputs);
        lines.join("\n")
    }
}

impl Object {
    fn text(&self) -> String {
        let license = self.license.as_deref().unwrap_or("none");
        let count = |number: usize, what: &str| {
            format!("{number} {what}{}", if number == 1 { "" } else { "s" })
        };
        let mut lines = vec![format!(
            "object {}: {}, license {license}, {}",
            self.name,
            bytes(self.size as u64),
            count(self.relocations, "CO-RE relocation")
        )];
        let programs = self.programs.iter().map(|program| {
            let source = program.source.clone().unwrap_or_default();
            [program.name.clone(), program.target.clone(), program.instructions.to_string(), source]
        });
        section(&mut lines, ["PROGRAM", "HOOK", "INSTRUCTIONS", "SOURCE"], programs);
        let maps = self.maps.iter().map(|map| {
            let sizes = [map.key.to_string(), map.value.to_string(), map.max_entries.to_string()];
            let [key, value, entries] = sizes;
            [map.name.clone(), map.r#type.clone(), key, value, entries, bytes(map.memory)]
        });
        section(&mut lines, ["MAP", "TYPE", "KEY", "VALUE", "ENTRIES", "MEMORY"], maps);
        let variables =
            self.variables.iter().map(|v| [v.name.clone(), v.section.clone(), v.size.to_string()]);
        section(&mut lines, ["VARIABLE", "SECTION", "BYTES"], variables);
        let powers = self.powers.iter().map(|power| [format!("it {power}")]);
        section(&mut lines, ["WHAT IT MAY TOUCH"], powers);
        lines.push(String::new());
        lines.push(format!("helpers  {}", self.helpers.join(", ")));
        if !self.kfuncs.is_empty() {
            lines.push(format!("kfuncs   {}", self.kfuncs.join(", ")));
        }
        lines.join("\n")
    }
}

/// Adds a table if it has rows.
fn section<const N: usize>(
    lines: &mut Vec<String>,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> = rows.collect();
    if !rows.is_empty() {
        lines.push(String::new());
        lines.push(table(header, rows));
    }
}
