//! From a built project to a package in an OCI layout.

mod carried;
mod check;
mod error;
mod names;
mod refused;

use std::collections::BTreeMap;
use std::path::Path;

use skep_object::{Facts, MapOrigin};
use skep_oci::pack::{Input, Labels};
use skep_oci::{Store, regular};
use skep_spec::manifest::Manifest;
use skep_spec::source;
use skep_spec::{Arch, Digest, PackageRef};

pub use self::error::{PackingError, Unlicensed};
use self::names::There;
pub use self::refused::refused;
use crate::build::Built;
use crate::project::{Mistakes, Project};

/// What was packed.
#[derive(Clone, Debug)]
pub struct Packed {
    /// `publisher/name:version`.
    pub reference: PackageRef,
    /// Digest of the index.
    pub digest: Digest,
    /// The manifest.
    pub manifest: Manifest,
}

/// Packs `built` into the layout at `layout`, which is made where it is not there.
///
/// # Errors
/// The manifest names what is not there, permissions do not cover the code, a file cannot be read or written.
pub fn pack(project: &Project, built: &Built, layout: &Path) -> Result<Packed, PackingError> {
    let digest_of = |arches: &BTreeMap<Arch, Vec<u8>>| {
        arches.iter().map(|(arch, elf)| (*arch, Digest::of(elf))).collect()
    };
    let digests =
        built.objects.iter().map(|(name, arches)| (name.clone(), digest_of(arches))).collect();
    let manifest = project.source.resolve(&digests);
    let objects = parsed(&built.objects)?;
    hold(&project.file_of_source(), &project.text, &manifest, &objects)?;
    let readme = readme(project)?;
    let labels = labels(objects.iter().map(|one| &one.facts));
    let input = Input {
        manifest: &manifest,
        objects: &built.objects,
        readme: readme.as_deref(),
        labels: &labels,
    };
    let store = Store::create(layout)?;
    let digest = skep_oci::pack(&store, &input)?;
    let package = &manifest.package;
    let reference = PackageRef {
        registry: None,
        path: String::new(),
        name: package.name.clone(),
        version: Some(package.version.clone()),
        digest: None,
        channel: None,
    };
    Ok(Packed { reference, digest, manifest })
}

/// Whether the objects are what the manifest says of them; [`refused`] has what else packing refuses.
///
/// # Errors
/// [`PackingError::Mistakes`], all of them; an object that cannot be read.
pub fn check(
    project: &Project,
    built: &BTreeMap<String, BTreeMap<Arch, Vec<u8>>>,
) -> Result<(), PackingError> {
    let manifest = project.source.resolve(&BTreeMap::new());
    Ok(fits(&project.file_of_source(), &project.text, &manifest, &parsed(built)?)?)
}

/// Holds a manifest, whose `skep.toml` has a place and a text, against its objects: what it says of them must be so, and the code
/// must be one that can run.
pub(crate) fn hold(
    path: &Path,
    text: &str,
    manifest: &Manifest,
    objects: &[Parsed],
) -> Result<(), PackingError> {
    fits(path, text, manifest, objects)?;
    refused::licensed(path, text, objects)?;
    check::covered(manifest, objects)
}

fn fits(path: &Path, text: &str, manifest: &Manifest, objects: &[Parsed]) -> Result<(), Mistakes> {
    match check::mistakes(manifest, objects) {
        none if none.is_empty() => Ok(()),
        some => {
            let there = There::new(objects.iter().map(|one| &one.facts).collect());
            let list = source::placed(text, some, &|kind| there.of(kind));
            Err(Mistakes { path: path.to_owned(), list })
        }
    }
}

/// An object's facts, and the architecture that it is for.
#[derive(Debug)]
pub struct Parsed {
    object: String,
    arch: Arch,
    facts: Facts,
}

impl Parsed {
    /// What it says.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// An object that is to be packed for an architecture.
    pub(crate) fn new(object: &str, arch: Arch, facts: Facts) -> Result<Self, PackingError> {
        let object = object.to_owned();
        match facts.big_endian == arch.is_big_endian() {
            true => Ok(Self { object, arch, facts }),
            false => Err(PackingError::ByteOrder { object, arch }),
        }
    }
}

/// Objects as packing reads them.
///
/// # Errors
/// One cannot be read, or is not of its architecture's byte order.
pub fn parsed(
    built: &BTreeMap<String, BTreeMap<Arch, Vec<u8>>>,
) -> Result<Vec<Parsed>, PackingError> {
    let mut all = Vec::new();
    for (object, arches) in built {
        for (arch, elf) in arches {
            let failed =
                |source| PackingError::Object { object: object.clone(), arch: *arch, source };
            all.push(Parsed::new(object, *arch, Facts::parse(elf).map_err(failed)?)?);
        }
    }
    Ok(all)
}

fn readme(project: &Project) -> Result<Option<String>, PackingError> {
    let Some(name) = &project.source.package.readme else { return Ok(None) };
    let text = project.file(name).and_then(|path| regular::text(&path));
    let path = project.folder.join(name);
    text.map(Some).map_err(|source| PackingError::Readme { path, source })
}

/// What bpfman reads from an image's labels.
pub(crate) fn labels<'a>(facts: impl Iterator<Item = &'a Facts>) -> Labels {
    let mut labels = Labels::default();
    for facts in facts {
        for program in &facts.programs {
            let kind = match program.target.kind() {
                "kretprobe" => "kprobe",
                "uretprobe" => "uprobe",
                "tcx" | "tc" | "classifier" => "tcx",
                kind => kind,
            };
            labels.programs.insert(program.name.clone(), kind.to_owned());
        }
        for map in facts.maps.iter().filter(|map| map.origin != MapOrigin::Data) {
            // bpfman writes per_cpu_hash where the kernel writes percpu_hash.
            labels.maps.insert(map.name.clone(), map.kind.to_string().replace("percpu", "per_cpu"));
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_object_is_of_its_machines_byte_order() {
        let little = include_bytes!("../../../../spec/vectors/files/objects/types.o").to_vec();
        let big = include_bytes!("../../../../spec/vectors/files/objects/types-be.o").to_vec();
        let said = |arch, elf: &Vec<u8>| {
            let arches = BTreeMap::from([(arch, elf.clone())]);
            let built = BTreeMap::from([("x".to_owned(), arches)]);
            parsed(&built).map(drop).map_err(|error| error.to_string())
        };
        said(Arch::X86_64, &little).unwrap();
        said(Arch::S390x, &big).unwrap();
        assert_eq!(
            said(Arch::X86_64, &big).unwrap_err(),
            "the object 'x' for x86_64 is big-endian (clang -target bpfeb), and x86_64 is little-endian: no kernel there loads it"
        );
        assert_eq!(
            said(Arch::S390x, &little).unwrap_err(),
            "the object 'x' for s390x is little-endian (clang -target bpfel), and s390x is big-endian: no kernel there loads it"
        );
    }

    /// An object with a ring, two structs of one name and some variables.
    pub(super) fn compiled() -> Vec<Facts> {
        const SOURCE: &str = "struct ring { int (*type)[27]; int (*max_entries)[4096]; };\n\
            struct ring rb __attribute__((section(\".maps\")));\n\
            const volatile int fixed = 1; int live = 5; long total;\n\
            __attribute__((section(\"xdp\"))) int x(void *c) { total += live + fixed;\n\
            struct event { long a, b; }; static const struct event *volatile p; return p != 0; }\n\
            __attribute__((section(\"xdp\"))) int y(void *c) {\n\
            struct event { int port; }; static const struct event *volatile q; return q != 0; }\n";
        vec![facts_of(SOURCE)]
    }

    pub(super) fn facts_of(source: &str) -> Facts {
        let folder = tempfile::tempdir().unwrap();
        let (c, object) = (folder.path().join("t.c"), folder.path().join("t.o"));
        fs::write(&c, source).unwrap();
        let mut clang = std::process::Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
        assert!(clang.status().unwrap().success());
        Facts::parse(&fs::read(object).unwrap()).unwrap()
    }

    pub(super) fn with(tables: &str) -> Manifest {
        let source = format!(
            "spec = \"1.0\"\n[package]\nname = \"acme/x\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
             [object.a]\nsources = [\"a.bpf.c\"]\n{tables}"
        );
        skep_spec::source::parse(&source).unwrap().resolve(&BTreeMap::new())
    }
}
