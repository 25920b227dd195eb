//! From a built project to a package in an OCI layout.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use skep_object::bound::{self, Misbound};
use skep_object::btf::Kind;
use skep_object::event::{self, Decoder, DecoderError, WhenError, event_type};
use skep_object::moves::{self, Misnamed};
use skep_object::named::{self, Absent, TwoMaps};
use skep_object::suit::{Unattachable, Unsuited, all_suit, attachable, loadable, plain};
use skep_object::{
    Btf, Facts, MapOrigin, ObjectError, ProgramFacts, TypeId, declared, gpl, unlisted,
};
use skep_oci::pack::{Input, Labels, PackError};
use skep_oci::{Store, StoreError, regular};
use skep_spec::license::LicenseError;
use skep_spec::manifest::{Manifest, Output, OutputKind};
use skep_spec::{Arch, Digest, PackageRef, Target};

use crate::build::Built;
use crate::project::Project;

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

/// Why a project could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// An object that cannot be read.
    #[error("the object '{object}' for {arch} cannot be read")]
    Object {
        /// The object.
        object: String,
        /// The architecture.
        arch: Arch,
        /// Why.
        source: ObjectError,
    },
    /// An object of the other byte order.
    #[error(
        "the object '{object}' for {arch} is {} (clang -target {}), and {arch} is {}: no kernel there loads it",
        order(!arch.is_big_endian()), if arch.is_big_endian() { "bpfel" } else { "bpfeb" }, order(arch.is_big_endian())
    )]
    ByteOrder {
        /// The object.
        object: String,
        /// What it is to be for.
        arch: Arch,
    },
    /// The manifest names what no object has.
    #[error("skep.toml {0}")]
    Absent(#[from] Absent),
    /// The manifest says what becomes of fields that are not there.
    #[error("skep.toml says wrongly what an upgrade moves: {0}")]
    Misnamed(#[from] Misnamed),
    /// The manifest names a program without saying where it attaches, and its section does not either.
    #[error(
        "the program '{program}' says nowhere what it attaches to: give [program.{program}] a target"
    )]
    NoTarget {
        /// The program.
        program: String,
    },
    /// A parameter cannot set its variable.
    #[error("skep.toml has a parameter that cannot be set")]
    Bound(#[from] Misbound),
    /// The manifest gives a program a target of another kind.
    #[error("skep.toml gives a program a target that it cannot have")]
    Unsuited(#[from] Unsuited),
    /// A program that runs nowhere.
    #[error("{0}; list the programs that are to run under [program], without it")]
    Unattachable(#[from] Unattachable),
    /// The manifest shows fields that the record does not have, or not so.
    #[error("[output.{output}] does not fit its record")]
    Output {
        /// The output.
        output: String,
        /// Why.
        source: DecoderError,
    },
    /// The struct of an output's records is several.
    #[error(
        "[output.{output}] names the struct '{told}', and the object has different ones of that name: {each}; give each its own name"
    )]
    Namesakes {
        /// The output.
        output: String,
        /// The struct's name.
        told: String,
        /// The fields of each.
        each: String,
    },
    /// A counter shows variables, which are no entries.
    #[error(
        "[output.{output}] shows {map}, and a {kind} shows the entries of a map: put what counts into a map of its own, such as an array of one entry"
    )]
    Variables {
        /// The output.
        output: String,
        /// The section.
        map: String,
        /// `counter` or `gauge`.
        kind: &'static str,
    },
    /// Two objects have the map that an output shows.
    #[error("{0}: give it another name in one of them")]
    TwoMaps(#[from] TwoMaps),
    /// An output's condition says nothing of its records.
    #[error(transparent)]
    When(#[from] WhenError),
    /// The code does more than `[permissions]` say.
    #[error("[permissions] do not cover what the code does:\n{}", missing.join("\n"))]
    Permissions {
        /// What is not covered.
        missing: Vec<String>,
        /// Permissions that cover all of it.
        needed: String,
    },
    /// The code calls what its own licence does not allow.
    #[error("the kernel would refuse the object")]
    License(#[from] LicenseError),
    /// The README.
    #[error("can't read the README {}", path.display())]
    Readme {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The layout.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The package.
    #[error(transparent)]
    Pack(#[from] PackError),
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
    let parsed = parsed(built)?;
    hold(&manifest, &parsed)?;
    let readme = readme(project)?;
    let labels = labels(parsed.iter().map(|one| &one.facts));
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

const fn order(big_endian: bool) -> &'static str {
    if big_endian { "big-endian" } else { "little-endian" }
}

/// An object's facts, and the architecture that it is for.
pub(crate) struct Parsed {
    object: String,
    arch: Arch,
    facts: Facts,
}

impl Parsed {
    /// An object that is to be packed for an architecture.
    pub(crate) fn new(object: &str, arch: Arch, facts: Facts) -> Result<Self, PackingError> {
        let object = object.to_owned();
        match facts.big_endian == arch.is_big_endian() {
            true => Ok(Self { object, arch, facts }),
            false => Err(PackingError::ByteOrder { object, arch }),
        }
    }
}

/// Holds a manifest against its objects: what it names must be there, and the code must be one that can run.
pub(crate) fn hold(manifest: &Manifest, parsed: &[Parsed]) -> Result<(), PackingError> {
    let facts: Vec<Facts> = parsed.iter().map(|one| one.facts.clone()).collect();
    check(manifest, &facts)?;
    parsed.iter().try_for_each(|one| all_suit(manifest, &one.object, &one.facts))?;
    are_attachable(manifest, parsed)?;
    are_told_apart(manifest, parsed)?;
    are_bound(manifest, parsed)?;
    covered(manifest, parsed)
}

fn parsed(built: &Built) -> Result<Vec<Parsed>, PackingError> {
    let mut all = Vec::new();
    for (object, arches) in &built.objects {
        for (arch, elf) in arches {
            let failed =
                |source| PackingError::Object { object: object.clone(), arch: *arch, source };
            all.push(Parsed::new(object, *arch, Facts::parse(elf).map_err(failed)?)?);
        }
    }
    Ok(all)
}

/// Holds the manifest against what the objects are.
fn check(manifest: &Manifest, facts: &[Facts]) -> Result<(), PackingError> {
    named::are_there(manifest, facts)?;
    moves::all_named(manifest, facts)?;
    for (name, program) in manifest.program.iter().filter(|(_, program)| program.target.is_none()) {
        let found = facts.iter().find_map(|facts| facts.program(&program.function));
        if found.is_some_and(|f| matches!(&f.target, Target::Other(section) if section.is_empty()))
        {
            return Err(PackingError::NoTarget { program: name.clone() });
        }
    }
    are_records(manifest, facts)?;
    are_counts(manifest, facts)?;
    event::conditions(manifest, facts)?;
    facts.iter().try_for_each(gpl::check).map_err(PackingError::from)
}

/// Whether a service can have the programs that run. Targets that the manifest gives are of the programs' kinds.
fn are_attachable(manifest: &Manifest, parsed: &[Parsed]) -> Result<(), PackingError> {
    let by_section = |program: &ProgramFacts, arch| {
        attachable(program, &plain(program.target.clone(), arch)).map_err(PackingError::from)
    };
    for Parsed { object, arch, facts } in parsed {
        let here = |told: &Option<String>| told.as_ref().is_none_or(|told| told == object);
        for own in manifest.program.values().filter(|own| here(&own.object)) {
            let Some(program) = facts.program(&own.function) else { continue };
            match own.target {
                None => by_section(program, *arch)?,
                Some(_) => loadable(program)?,
            }
        }
        if manifest.program.is_empty() {
            let alone = BTreeMap::from([(object.clone(), facts.clone())]);
            let all = unlisted(&alone);
            all.iter().try_for_each(|one| by_section(one.program, *arch))?;
        }
    }
    Ok(())
}

/// Whether the structs and fields of event outputs are there: readers would show bytes or leave formats out.
fn are_records(manifest: &Manifest, facts: &[Facts]) -> Result<(), PackingError> {
    for (name, output) in manifest.output.iter().filter(|(_, o)| o.kind == OutputKind::Event) {
        let holders = facts.iter().filter(|facts| facts.map(&output.map).is_some());
        for (facts, btf) in holders.filter_map(|facts| Some((facts, facts.btf.as_ref()?))) {
            let told = output.r#struct.as_deref();
            let Some(ty) = event_type(facts, &output.map, told) else {
                let Some(told) = told else { continue };
                are_one(btf, name, told)?;
                let structs = btf.types().filter(|(_, ty)| matches!(ty.kind, Kind::Struct(_)));
                let structs = structs.map(|(_, ty)| btf.name(ty));
                return Err(Absent::new("struct", told, structs).into());
            };
            Decoder::new(btf, ty, &output.fields)
                .map_err(|source| PackingError::Output { output: name.clone(), source })?;
        }
    }
    Ok(())
}

/// Whether the struct of an output is one, and not several of a name.
fn are_one(btf: &Btf, output: &str, told: &str) -> Result<(), PackingError> {
    let Some(first) = btf.type_by_name(told) else { return Ok(()) };
    let others = event::namesakes(btf, first);
    if others.is_empty() {
        return Ok(());
    }
    let fields = |ty: &TypeId| {
        let names = btf.composite(*ty).into_iter().flat_map(|all| &all.members);
        names.map(|member| btf.name(member)).collect::<Vec<_>>().join(", ")
    };
    let all = std::iter::once(&first).chain(&others);
    let each = all.map(|ty| format!("{{ {} }}", fields(ty))).collect::<Vec<_>>().join(" and ");
    Err(PackingError::Namesakes { output: output.to_owned(), told: told.to_owned(), each })
}

/// Whether the fields that metrics name are in their maps: numbers of the value, or for a histogram an array of them, and the
/// labels of the key.
fn are_counts(manifest: &Manifest, facts: &[Facts]) -> Result<(), PackingError> {
    for (name, output) in manifest.output.iter().filter(|(_, output)| output.kind.is_metric()) {
        let data =
            |facts: &Facts| facts.map(&output.map).is_some_and(|map| map.origin == MapOrigin::Data);
        if facts.iter().any(data) {
            let (output, map, kind) = (name.clone(), output.map.clone(), word(output.kind));
            return Err(PackingError::Variables { output, map, kind });
        }
        for facts in facts {
            let failed = |source| PackingError::Output { output: name.clone(), source };
            counts(output, facts).map_err(failed)?;
        }
    }
    Ok(())
}

fn counts(output: &Output, facts: &Facts) -> Result<(), DecoderError> {
    let Some((btf, map)) = facts.btf.as_ref().zip(facts.map(&output.map)) else { return Ok(()) };
    if let Some(key) = map.key_type {
        event::Labels::new(btf, key, &output.labels)?;
    }
    let Some(value) = map.value_type else { return Ok(()) };
    let (decoder, ty) = (Decoder::new(btf, value, &output.fields)?, btf.describe(value));
    match (output.kind, &output.value) {
        (OutputKind::Histogram, field) => decoder.needs_counts(field.as_deref().unwrap_or(""), &ty),
        (OutputKind::Snapshot, _) | (_, None) => Ok(()),
        (_, Some(field)) => decoder.needs_number(field, &ty),
    }
}

const fn word(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Event => "event",
        OutputKind::Counter => "counter",
        OutputKind::Gauge => "gauge",
        OutputKind::Histogram => "histogram",
        OutputKind::Snapshot => "snapshot",
        OutputKind::Stacks => "stacks",
    }
}

/// As [`named::are_told_apart`], of the objects of each architecture.
fn are_told_apart(manifest: &Manifest, objects: &[Parsed]) -> Result<(), TwoMaps> {
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    arches.into_iter().try_for_each(|arch| {
        let here = objects.iter().filter(|one| one.arch == arch);
        named::are_told_apart(manifest, here.map(|one| (one.object.as_str(), &one.facts)))
    })
}

/// As [`bound::all_bound`], of the objects of each architecture.
fn are_bound(manifest: &Manifest, objects: &[Parsed]) -> Result<(), Misbound> {
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    arches.into_iter().try_for_each(|arch| {
        let here = objects.iter().filter(move |one| one.arch == arch);
        bound::all_bound(manifest, here.map(|one| &one.facts))
    })
}

/// The objects of each architecture are held together, with parameters at their defaults.
fn covered(manifest: &Manifest, objects: &[Parsed]) -> Result<(), PackingError> {
    let held = |arch| {
        let here = objects.iter().filter(|one| one.arch == arch).map(|one| &one.facts);
        declared::hold(manifest, here, &BTreeMap::new()).err()
    };
    let arches: BTreeSet<Arch> = objects.iter().map(|one| one.arch).collect();
    match arches.into_iter().filter_map(held).reduce(declared::Exceeded::and) {
        None => Ok(()),
        Some(exceeded) => Err(PackingError::Permissions {
            missing: exceeded.missing,
            needed: exceeded.needed.to_string(),
        }),
    }
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
mod tests;
