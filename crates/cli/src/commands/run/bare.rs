//! Objects that are no package: a manifest with nothing but their names.

use std::collections::BTreeMap;
use std::path::Path;

use skep_spec::manifest::{Manifest, Object, Package};
use skep_spec::{Digest, media};

use super::{Ready, host};
use crate::error::{Error, Result};
use crate::subject::{self, ObjectBytes};

/// A bare object, or those that a program embeds, or the one of them that is asked for. What is wrong with one that looks like an object, skepd says.
pub(super) fn ready(path: &Path, wanted: Option<&str>) -> Result<Ready> {
    let mut found = subject::file(path)?;
    if let Some(wanted) = wanted {
        let there: Vec<String> = found.iter().map(|object| object.name.clone()).collect();
        found.retain(|object| object.name == wanted);
        if found.is_empty() {
            let error = Error::usage(format!("--object {wanted}: there is no object of that name"));
            return Err(error.hint(format!("there are: {}", there.join(", "))));
        }
    }
    for object in found.iter().filter(|object| !object.is_object()) {
        object.facts("run").map_err(|error| match error.hints() {
            [] => error.hint("skep run takes a BPF object (ELF), a program that embeds some, or a folder with skep.toml"),
            _ => error,
        })?;
    }
    let is_empty =
        |object: &ObjectBytes| object.facts("run").is_ok_and(|facts| facts.programs.is_empty());
    if found.iter().all(is_empty) {
        let shown = path.display();
        return Err(Error::usage(format!("{shown} has no programs: there is nothing to run"))
            .hint("a program is a function in a section that says where it attaches, such as SEC(\"tp/sched/sched_process_exec\")")
            .hint(format!("skep inspect {shown} shows what the object has")));
    }
    let objects: BTreeMap<String, Vec<u8>> =
        found.into_iter().map(|object| (object.name, object.bytes)).collect();
    let arch = host()?;
    let listed = objects.iter().map(|(name, elf)| {
        (name.clone(), Object { sha256: BTreeMap::from([(arch, Digest::of(elf).hex())]) })
    });
    let wrong = |error: skep_spec::name::NameError| Error::usage(error.to_string());
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let manifest = Manifest {
        spec: media::SPEC_VERSION.to_owned(),
        package: Package {
            name: label(&stem).parse().map_err(wrong)?,
            version: "0.0.0".parse().map_err(wrong)?,
            license: "unknown".to_owned(),
            summary: None,
        },
        objects: listed.collect(),
        critical: Vec::new(),
        program: BTreeMap::new(),
        alternatives: BTreeMap::new(),
        param: BTreeMap::new(),
        map: BTreeMap::new(),
        output: BTreeMap::new(),
        permissions: None,
        requirements: None,
        health: None,
        limits: None,
        dependencies: BTreeMap::new(),
    };
    Ok(Ready { manifest, objects })
}

/// A file's name as a package's: `local/` and what a package may be called.
fn label(file: &str) -> String {
    let stem = file.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let words = stem.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words.collect::<Vec<_>>().join("-").chars().take(40).collect();
    let name = name.trim_end_matches('-');
    format!("local/{}", if name.is_empty() { "object" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names_that_packages_may_have() {
        for (file, name) in [
            ("exec.bpf.o", "local/exec"),
            ("Foo_Bar--x", "local/foo-bar-x"),
            ("--", "local/object"),
            ("", "local/object"),
        ] {
            assert_eq!(label(file), name);
            assert!(label(file).parse::<skep_spec::PackageName>().is_ok());
        }
    }
}
