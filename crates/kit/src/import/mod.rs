//! From objects that others built to a project: its `skep.toml`, and what of the objects that does not say.

mod data;
pub mod peer;
mod places;
mod programs;
mod said;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use skep_object::{Facts, ProgramFacts, declared};
use skep_spec::license::Expression;
use skep_spec::source::{self, Diagnostic};
use skep_spec::{Arch, Manifest, PackageName, Version};

pub use self::said::{Said, SaidKind, SaidOutput, SaidParam};
use crate::folder::IGNORE;
use crate::pack::{self, PackingError, Parsed};

/// Longest name of a table.
const NAME_MAX: usize = 64;

/// What the package is to be.
pub struct Wanted {
    /// Its name.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// Its licence; without one that which the objects' own says.
    pub license: Option<Expression>,
}

/// An object, and what it is for.
pub struct Object {
    /// Its name in the manifest; one has several objects of a name if each is for other architectures.
    pub name: String,
    /// Its file in the project.
    pub file: String,
    /// The architectures that it is packed for.
    pub arches: Vec<Arch>,
    /// What it says.
    pub facts: Facts,
}

/// A project that was made of objects.
#[derive(Debug)]
pub struct Imported {
    /// The `skep.toml`.
    pub source: String,
    /// What of the objects it does not say, a sentence each.
    pub unmapped: Vec<String>,
}

impl Imported {
    /// The project's files by their paths in it: objects, each with its bytes, first.
    pub fn files<'a>(
        &'a self,
        objects: &'a [Object],
        bytes: &'a [Vec<u8>],
    ) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let (ignore, what) = IGNORE;
        let objects = objects.iter().map(|object| object.file.as_str());
        let objects = objects.zip(bytes.iter().map(Vec::as_slice));
        objects.chain([(ignore, what.as_bytes()), ("skep.toml", self.source.as_bytes())])
    }
}

/// Why no project can be made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Nobody said what the licence is.
    #[error("{said}: nobody can tell the package's licence from that")]
    License {
        /// What the objects say.
        said: String,
    },
    /// What the objects say has no place in a manifest.
    #[error("the objects do not fit into a skep.toml: {}", mistakes.iter().map(|m| &*m.message).collect::<Vec<_>>().join("; "))]
    Source {
        /// Why not.
        mistakes: Vec<Diagnostic>,
    },
    /// No program of the objects can run.
    #[error("no program of the objects can run in a service: {}", whys.join("; "))]
    NoProgram {
        /// Why not, of each.
        whys: Vec<String>,
    },
    /// No package can be made of the objects, whatever their project says.
    #[error("the objects can't be packed")]
    Packing(#[from] PackingError),
}

/// Makes a `skep.toml` that runs what a service can run of these objects, with the permissions that their code asks for. What
/// is said of the objects elsewhere is taken over where they bear it out.
///
/// # Errors
/// Their licence is none that is known and none is given, their names have no place in a manifest, or no package can be made
/// of them.
pub fn describe(wanted: &Wanted, objects: &[Object], said: &Said) -> Result<Imported, ImportError> {
    let (mut unmapped, mut told) = (Vec::new(), Vec::new());
    let mut text = head(wanted, objects, said)?;
    let (programs, places) = programs::tables(objects, said, &mut told)?;
    let said_params = said.params.as_deref();
    let params = data::parameters(&text, places.taken(), objects, said_params, &mut unmapped)?;
    text += &places.tables();
    text += &params;
    text += &programs;
    unmapped.extend(told);
    text += &data::outputs(objects, &said.outputs, &mut unmapped);
    data::maps(objects, &mut unmapped);
    let manifest = parsed(&text)?;
    text += &permissions(&manifest, objects);
    can_be_packed(&text, objects)?;
    Ok(Imported { source: text, unmapped })
}

/// What `skep pack` would refuse is refused here: nobody wants a project of which nothing comes.
fn can_be_packed(text: &str, objects: &[Object]) -> Result<(), ImportError> {
    let each =
        objects.iter().flat_map(|object| object.arches.iter().map(move |arch| (object, *arch)));
    let all = each.map(|(object, arch)| Parsed::new(&object.name, arch, object.facts.clone()));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    Ok(pack::hold(Path::new("skep.toml"), text, &parsed(text)?, &all)?)
}

/// The architectures that an object may claim, where nobody says: all of its byte order, unless it reads what only one has.
#[must_use]
pub fn arches(facts: &Facts, host: Arch) -> (Vec<Arch>, Option<&'static str>) {
    const BOUND: [&str; 9] = [
        "kprobe",
        "kretprobe",
        "uprobe",
        "uretprobe",
        "usdt",
        "ksyscall",
        "kretsyscall",
        "perf_event",
        "raw_tp",
    ];
    if facts.big_endian {
        return (vec![Arch::S390x], None);
    }
    if let Some(arch) = facts.arch_hint {
        return (vec![arch], Some("it reads the registers of that one"));
    }
    let reads = facts.btf.as_ref().is_some_and(|btf| btf.type_by_name("pt_regs").is_some());
    let is_bound = |program: &ProgramFacts| BOUND.contains(&program.target.kind());
    if reads || facts.programs.iter().any(is_bound) {
        return (
            vec![host],
            Some("its programs get registers, which each architecture has its own of"),
        );
    }
    (Arch::ALL.into_iter().filter(|arch| *arch != Arch::S390x).collect(), None)
}

/// A text as the name of a table: words of `a-z` and `0-9` with a mark between them.
#[must_use]
pub fn label(text: &str, mark: char) -> String {
    let lower = text.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = String::new();
    for word in words {
        if !name.is_empty() {
            name.push(mark);
        }
        name += word;
    }
    name.truncate(NAME_MAX); // ASCII alone
    name.trim_end_matches(mark).to_owned()
}

/// The name that none has yet: with a number behind it, if need be.
#[must_use]
pub fn unique(name: &str, taken: &BTreeSet<String>) -> String {
    let name = if name.is_empty() { "unnamed" } else { name };
    if !taken.contains(name) {
        return name.to_owned();
    }
    let beginning = name.get(..name.len().min(NAME_MAX - 8)).unwrap_or(name);
    let mut numbered = (2_usize..).map(|number| format!("{beginning}_{number}"));
    numbered.find(|name| !taken.contains(name)).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn parsed(text: &str) -> Result<Manifest, ImportError> {
    let source = source::parse(text).map_err(|mistakes| ImportError::Source { mistakes })?;
    Ok(source.resolve(&BTreeMap::new()))
}

fn head(wanted: &Wanted, objects: &[Object], said: &Said) -> Result<String, ImportError> {
    let license = match &wanted.license {
        Some(license) => license.to_string(),
        None => license(objects)?,
    };
    let Wanted { name, version, .. } = wanted;
    let mut text = format!(
        "spec = \"1.0\"\n\n[package]\nname = \"{name}\"\nversion = \"{version}\"\nlicense = {}\n",
        quoted(&license)
    );
    // Writing to a String cannot fail, here and below.
    if let Some(summary) = said.summary.as_deref().and_then(said::line) {
        let _ = writeln!(text, "summary = {}", quoted(&summary));
    }
    let mut files: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Object { name, file, arches, .. } in objects {
        let each = arches.iter().map(|arch| format!("{arch} = {}", quoted(file)));
        files.entry(name).or_default().extend(each);
    }
    for (name, files) in files {
        let _ = write!(text, "\n[object.{name}]\nfile = {{ {} }}\n", files.join(", "));
    }
    Ok(text)
}

/// The licence that objects name to the kernel, as SPDX has it, where all name the same.
fn license(objects: &[Object]) -> Result<String, ImportError> {
    let said: BTreeSet<Option<&str>> =
        objects.iter().map(|object| object.facts.license.as_deref()).collect();
    let known = match said.iter().next().copied().flatten() {
        Some("GPL" | "GPL v2" | "GPL-2.0") => Some("GPL-2.0-only"),
        Some("Dual BSD/GPL") => Some("GPL-2.0-only OR BSD-2-Clause"),
        Some("Dual MIT/GPL") => Some("GPL-2.0-only OR MIT"),
        Some("Dual MPL/GPL") => Some("GPL-2.0-only OR MPL-2.0"),
        Some(text) if is_spdx(text) => Some(text),
        _ => None,
    };
    let told = |one: &Option<&str>| match one {
        Some(license) => format!("'{}'", skep_object::shown(license)),
        None => "no licence".to_owned(),
    };
    known.filter(|_| said.len() == 1).map(str::to_owned).ok_or_else(|| {
        let said = said.iter().map(told).collect::<Vec<_>>().join(" and ");
        ImportError::License { said: format!("the objects say {said}") }
    })
}

/// Whether a text is already how SPDX writes licences that programs of this kind have; any word is one in an expression.
fn is_spdx(text: &str) -> bool {
    const KNOWN: [&str; 12] = [
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "ISC",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "MIT",
        "MPL-2.0",
        "Zlib",
    ];
    let words = text.split([' ', '(', ')']).filter(|word| !["", "AND", "OR"].contains(word));
    text.parse::<Expression>().is_ok() && words.clone().all(|word| KNOWN.contains(&word))
}

/// The table that covers what the code does, on each architecture.
fn permissions(manifest: &Manifest, objects: &[Object]) -> String {
    let held = |arch| {
        let here = objects.iter().filter(|object| object.arches.contains(&arch));
        declared::hold(manifest, here.map(|object| &object.facts), &BTreeMap::new()).err()
    };
    let all = Arch::ALL.into_iter().filter_map(held).reduce(declared::Exceeded::and);
    all.map_or_else(String::new, |all| {
        format!(
            "\n# What the code shows that it does: read it before you publish it.\n{}",
            all.needed
        )
    })
}

#[cfg(test)]
mod tests;
