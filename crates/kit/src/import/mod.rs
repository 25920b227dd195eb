//! From objects that others built to a project: its `skep.toml`, and what of the objects that does not say.

mod data;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use skep_object::suit::{attachable, plain};
use skep_object::{Facts, ProgramFacts, Unlisted, declared, unlisted};
use skep_spec::license::Expression;
use skep_spec::source::{self, Diagnostic};
use skep_spec::{Arch, Manifest, PackageName, Target, Version};

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
    /// Its name in the manifest.
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
}

/// Makes a `skep.toml` that runs what a service can run of these objects, with the permissions that their code asks for.
///
/// # Errors
/// Their licence is none that is known and none is given, or their names have no place in a manifest.
pub fn describe(wanted: &Wanted, objects: &[Object]) -> Result<Imported, ImportError> {
    let mut unmapped = Vec::new();
    let mut text = head(wanted, objects)?;
    let params = data::parameters(&text, objects, &mut unmapped)?;
    let (programs, places) = programs(objects, &mut unmapped);
    text += &places;
    text += &params;
    text += &programs;
    text += &data::outputs(objects, &mut unmapped);
    data::maps(objects, &mut unmapped);
    let manifest = parsed(&text)?;
    text += &permissions(&manifest, objects);
    parsed(&text)?;
    Ok(Imported { source: text, unmapped })
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

fn head(wanted: &Wanted, objects: &[Object]) -> Result<String, ImportError> {
    let license = match &wanted.license {
        Some(license) => license.to_string(),
        None => license(objects)?.to_owned(),
    };
    let Wanted { name, version, .. } = wanted;
    let mut text = format!(
        "spec = \"1.0\"\n\n[package]\nname = \"{name}\"\nversion = \"{version}\"\nlicense = {}\n",
        quoted(&license)
    );
    for Object { name, file, arches, .. } in objects {
        let files = arches.iter().map(|arch| format!("{arch} = {}", quoted(file)));
        let files = files.collect::<Vec<_>>().join(", ");
        // Writing to a String cannot fail, here and below.
        let _ = write!(text, "\n[object.{name}]\nfile = {{ {files} }}\n");
    }
    Ok(text)
}

/// The licence that objects name to the kernel, as SPDX has it, where all name the same.
fn license(objects: &[Object]) -> Result<&'static str, ImportError> {
    let said: BTreeSet<Option<&str>> =
        objects.iter().map(|object| object.facts.license.as_deref()).collect();
    let known = match said.iter().next().copied().flatten() {
        Some("GPL" | "GPL v2") => Some("GPL-2.0-only"),
        Some("Dual BSD/GPL") => Some("GPL-2.0-only OR BSD-2-Clause"),
        Some("Dual MIT/GPL") => Some("GPL-2.0-only OR MIT"),
        Some("Dual MPL/GPL") => Some("GPL-2.0-only OR MPL-2.0"),
        _ => None,
    };
    let told = |one: &Option<&str>| match one {
        Some(license) => format!("'{}'", skep_object::shown(license)),
        None => "no licence".to_owned(),
    };
    known.filter(|_| said.len() == 1).ok_or_else(|| {
        let said = said.iter().map(told).collect::<Vec<_>>().join(" and ");
        ImportError::License { said: format!("the objects say {said}") }
    })
}

/// The programs that a service can attach, and the parameters that say where, where their sections do not.
fn programs(objects: &[Object], unmapped: &mut Vec<String>) -> (String, String) {
    let facts: BTreeMap<String, Facts> =
        objects.iter().map(|object| (object.name.clone(), object.facts.clone())).collect();
    let (mut text, mut places, mut taken) = (String::new(), BTreeSet::new(), BTreeSet::new());
    for Unlisted { object, program, .. } in unlisted(&facts) {
        let arch = objects.iter().find(|one| one.name == object).and_then(|one| one.arches.first());
        let target = plain(program.target.clone(), arch.copied().unwrap_or(Arch::X86_64));
        if let Some(why) = unattached(program, &target) {
            unmapped.push(why);
            continue;
        }
        let name = unique(&label(&program.name, '_'), &taken);
        let _ = write!(text, "\n[program.{name}]\nfunction = {}\n", quoted(&program.name));
        taken.insert(name);
        if objects.len() > 1 {
            let _ = writeln!(text, "object = \"{object}\"");
        }
        if let Some((param, target)) = placed(program) {
            places.insert(param);
            let _ = writeln!(text, "target = {}", quoted(&target));
        }
    }
    for facts in facts.values() {
        let asleep = facts.programs.iter().filter(|program| !program.autoload);
        unmapped.extend(asleep.map(|program| {
            format!(
                "{} asks not to be loaded: list it under [program] if it is to run",
                of(program)
            )
        }));
    }
    let places = places
        .into_iter()
        .map(|(name, doc)| format!("\n[param.{name}]\ntype = \"{name}\"\ndoc = \"{doc}\"\n"));
    (text, places.collect())
}

/// Why a service cannot have a program as its object has it.
fn unattached(program: &ProgramFacts, target: &Target) -> Option<String> {
    if let Target::Uprobe { binary, .. } = target
        && binary.is_empty()
    {
        return Some(format!(
            "{} names no binary: list it under [program] with a target",
            of(program)
        ));
    }
    attachable(program, target).err().map(|error| error.to_string())
}

fn of(program: &ProgramFacts) -> String {
    let (name, section) = (skep_object::shown(&program.name), skep_object::shown(&program.section));
    format!("the program '{name}' (SEC(\"{section}\"))")
}

/// For a program whose section leaves its place open: the parameter that says it, with what that means, and the target.
#[allow(clippy::type_complexity, reason = "used once")]
fn placed(program: &ProgramFacts) -> Option<((&'static str, &'static str), String)> {
    const INTERFACE: (&str, &str) = ("interface", "The network interface to attach to");
    const CGROUP: (&str, &str) = ("cgroup", "The folder of the cgroup to attach to");
    match &program.target {
        Target::Xdp { interface, frags } if interface.is_empty() => {
            let kind = if *frags { "xdp.frags" } else { "xdp" };
            Some((INTERFACE, format!("{kind}/${{param.interface}}")))
        }
        Target::Tc { egress, interface } if interface.is_empty() => {
            let way = if *egress { "egress" } else { "ingress" };
            Some((INTERFACE, format!("tcx/{way}/${{param.interface}}")))
        }
        Target::CgroupSkb { egress, cgroup } if cgroup.is_empty() => {
            let way = if *egress { "egress" } else { "ingress" };
            Some((CGROUP, format!("cgroup_skb/{way}:${{param.cgroup}}")))
        }
        _ => None,
    }
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
