//! What is looked at: a file, a project, a layout, a bundle or a reference, down to the bytes of its objects.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use skep_object::{Facts, ObjectError, carve, declared, with_defaults};
use skep_oci::registry::Part;
use skep_oci::{Store, archive, regular};
use skep_spec::oci::{Descriptor, Index, MAX_DOCUMENT};
use skep_spec::source::SourceObject;
use skep_spec::{Arch, Digest, Manifest, PackageRef};
use skep_trust::attestation;
use skep_trust::bundle::Bundle;
use skep_trust::{Verified, admit};

use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::fetch::{Fetched, fetch};
use crate::named;
use crate::options::{Choice, PlaceOptions};
use crate::place::{self, Place};

/// What an argument names, before anything of it is read.
pub enum Named {
    /// An object, or a binary that embeds some.
    File(PathBuf),
    /// A folder with a skep.toml.
    Project(PathBuf),
    /// A package.
    Package(Place),
}

impl Named {
    /// Tells by what is there.
    ///
    /// # Errors
    /// It is none of those, or holds nothing to choose from.
    pub fn parse(what: &OsStr, choice: &Choice, config: &Config) -> Result<Self> {
        let path = Path::new(what);
        if path.is_file() {
            return Ok(match archive::is_archive(path) {
                true => Self::Package(Place::Bundle(path.to_owned())),
                false => {
                    choice.is_not_for("an object is in no package")?;
                    Self::File(path.to_owned())
                }
            });
        }
        if path.join("skep.toml").is_file() {
            choice.is_not_for("a project is one package")?;
            return Ok(Self::Project(path.to_owned()));
        }
        match unusable(path) {
            Some(error) => Err(error.hint(
                "give a folder with skep.toml, an object, an OCI layout, a bundle, or publisher/name:version",
            )),
            None => Place::parse(what, choice, config).map(Self::Package),
        }
    }
}

/// Why what was named can be neither a folder nor a reference; `None` if it can.
fn unusable(path: &Path) -> Option<Error> {
    let what = path.display();
    if path.is_dir() {
        let is_layout = path.join("oci-layout").exists();
        let neither = format!("there is no skep.toml in '{what}', and it is no OCI layout");
        return (!is_layout).then(|| Error::usage(neither));
    }
    if path.exists() {
        return Some(Error::usage(format!("'{what}' is neither a file nor a folder")));
    }
    if let Ok(to) = std::fs::read_link(path) {
        let to = to.display();
        return Some(Error::usage(format!("'{what}' is a link to '{to}', which is not there")));
    }
    let absent = Error::usage(format!("there is no file or folder '{what}'"));
    let Some(text) = path.to_str() else { return Some(absent) };
    match text.parse::<PackageRef>() {
        Ok(_) => None,
        Err(error) if text.contains('/') && !place::is_path(text) => {
            Some(absent.because(error.to_string()))
        }
        Err(_) => Some(absent),
    }
}

/// What was asked for.
pub struct Subject {
    /// The package, unless it is a bare object.
    pub package: Option<Package>,
    /// What the skep.toml of a project says, for one that is no package yet.
    pub project: Option<Manifest>,
    /// What it is made for; a bare object says nothing of that.
    pub architectures: Vec<Arch>,
    /// Its objects, unread: one of a name for each architecture, or for several where they are the same.
    pub objects: Vec<ObjectBytes>,
}

/// What runs of an object.
pub struct Running {
    /// With the programs that run, at the targets of the manifest, and maps in its sizes.
    pub facts: Facts,
    /// Programs of the object that the package does not run.
    pub left_out: BTreeSet<String>,
}

/// An object that nobody has read yet.
pub struct ObjectBytes {
    /// Its name in the manifest, or the file's.
    pub name: String,
    /// What errors call it.
    pub place: String,
    /// What kind of failure it is if it is none: of a file that was named, a wrong call.
    pub wrong: Kind,
    /// The ELF.
    pub bytes: Vec<u8>,
    /// Architectures that it is for; none for a bare object.
    pub architectures: Vec<Arch>,
}

/// A package's own words, held by its digest.
#[derive(Serialize)]
pub struct Package {
    /// The manifest.
    pub manifest: Manifest,
    /// Of the index.
    pub digest: Digest,
    /// What it has objects for.
    pub architectures: Vec<Arch>,
    /// What it has objects for too that are not here, so that nobody looks at them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Arch>,
    /// What lies beside it.
    #[serde(flatten)]
    pub beside: Beside,
}

/// Signatures and attestations by their own words: whether to trust them is `skep verify`'s matter.
#[derive(Clone, Serialize)]
pub struct Beside {
    /// Key ids that signatures name.
    pub signed_by: Vec<String>,
    /// What else was said of it.
    pub attestations: Vec<Attested>,
}

/// An attestation, as it says itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Attested {
    /// `sbom`, `provenance`, `compatibility`, or its predicate type.
    pub kind: String,
    /// The id of the key that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Package {
    /// Its own name and version.
    pub fn reference(&self) -> String {
        let package = &self.manifest.package;
        format!("{}:{}", package.name, package.version)
    }
}

impl ObjectBytes {
    /// Whether it has the outlines of an object, which says nothing about what is in it.
    pub fn is_object(&self) -> bool {
        !carve::objects(&self.bytes).is_empty()
    }

    /// What it says, for what is to be done with it: "inspect", "run".
    ///
    /// # Errors
    /// It is no object.
    pub fn facts(&self, action: &str) -> Result<Facts> {
        Facts::parse(&self.bytes).map_err(|error| self.unreadable(action, &error))
    }

    /// The error of one that is no object, with the standard's code. Of a program for a CPU that is no news: the wonder is that it
    /// embeds none.
    pub fn unreadable(&self, action: &str, error: &ObjectError) -> Error {
        let what = format!("can't {action} {}", self.place);
        match error {
            ObjectError::OtherMachine { machine, .. } if self.is_linked() => {
                Error::new(self.wrong, what)
                    .coded(Some(error.code()))
                    .because(format!("this is a program for {machine}, and it embeds no BPF object"))
                    .hint("an object that is compressed in it, or that it fetches or compiles when it runs, cannot be found: give the object itself (.bpf.o), or the image that it is shipped in")
            }
            error => Error::caused(self.wrong, what, error),
        }
    }

    /// Whether it is an ELF that a linker made, whichever its byte order: ET_EXEC or ET_DYN (include/uapi/linux/elf.h).
    fn is_linked(&self) -> bool {
        matches!(self.bytes.get(16..18), Some([2 | 3, 0] | [0, 2 | 3]))
    }

    /// Whether it is for an architecture, if it says which.
    pub fn is_for(&self, arch: Option<Arch>) -> bool {
        self.architectures.is_empty() || arch.is_none_or(|arch| self.architectures.contains(&arch))
    }
}

impl Subject {
    /// What it says of itself; nothing if it is a bare object.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.package.as_ref().map(|package| &package.manifest).or(self.project.as_ref())
    }

    /// What runs of one of its objects, as the manifest's defaults set it; all of an object that belongs to no package.
    ///
    /// # Errors
    /// It is no object.
    pub fn running(&self, object: &ObjectBytes, action: &str) -> Result<Running> {
        let Some(manifest) = self.manifest() else {
            return Ok(Running { facts: object.facts(action)?, left_out: BTreeSet::new() });
        };
        let all = with_defaults(&object.bytes, manifest);
        let all = all.map_err(|error| object.unreadable(action, &error))?;
        let facts = declared::runs(manifest, &object.name, &all, &BTreeMap::new());
        let runs = |name: &str| facts.programs.iter().any(|program| program.name == name);
        let names = all.programs.iter().map(|program| &program.name);
        let left_out = names.filter(|name| !runs(name)).cloned().collect();
        Ok(Running { facts, left_out })
    }

    /// Finds it; of a package for all architectures, or for one of them alone.
    ///
    /// # Errors
    /// It is none of those, cannot be read, or is not made for the architecture.
    pub fn find(
        what: &OsStr,
        options: &PlaceOptions,
        only: Option<Arch>,
        config: &Config,
    ) -> Result<Self> {
        let place = match Named::parse(what, &options.choice, config)? {
            Named::File(path) => return bare(&path, only),
            Named::Project(folder) => return project(&folder, only),
            Named::Package(place) => place,
        };
        // By its digests; nobody is asked to trust it.
        let look = |_: &_, digest, bundles: &[_]| Ok((digest, Beside::of(bundles)));
        packaged(fetch(place, options, Part::Whole, config, look)?, only)
    }
}

fn bare(path: &Path, only: Option<Arch>) -> Result<Subject> {
    if only.is_some() {
        let what = format!("--arch is for packages: '{}' is one file", path.display());
        return Err(Error::usage(what));
    }
    let (package, project, architectures) = (None, None, Vec::new());
    Ok(Subject { package, project, architectures, objects: file(path)? })
}

/// Those that are looked at: all, or the one that is asked for.
fn chosen(what: &str, all: &[Arch], only: Option<Arch>) -> Result<Vec<Arch>> {
    let Some(only) = only else { return Ok(all.to_vec()) };
    if all.contains(&only) {
        return Ok(vec![only]);
    }
    let error = Error::new(Kind::Failed, format!("{what} has nothing for {only}"));
    Err(error.hint(format!("it is for {}", listed(all))))
}

/// Architectures in words.
pub fn listed(architectures: &[Arch]) -> String {
    architectures.iter().map(|arch| arch.as_str()).collect::<Vec<_>>().join(", ")
}

/// Objects by their names, each once for all architectures for which it is the same.
#[derive(Default)]
struct Gathered(Vec<ObjectBytes>);

impl Gathered {
    fn add(&mut self, name: &str, bytes: Vec<u8>, arch: Arch, place: String) {
        let same = |object: &&mut ObjectBytes| object.name == name && object.bytes == bytes;
        match self.0.iter_mut().find(same) {
            Some(object) => object.architectures.push(arch),
            None => self.0.push(ObjectBytes {
                name: name.to_owned(),
                place,
                wrong: Kind::Failed,
                bytes,
                architectures: vec![arch],
            }),
        }
    }

    /// By name; those of one name by architecture.
    fn objects(mut self) -> Vec<ObjectBytes> {
        self.0.sort_by(|a, b| a.name.cmp(&b.name));
        self.0
    }
}

/// An object, or the objects that a binary embeds: those are numbered, from 1.
///
/// # Errors
/// The file cannot be read.
pub fn file(path: &Path) -> Result<Vec<ObjectBytes>> {
    let shown = path.display().to_string();
    let bytes = named::read(path, regular::bytes)?;
    let wrong = Kind::Usage;
    let name = path.file_name().map_or_else(|| shown.clone(), |n| n.to_string_lossy().into_owned());
    let ranges = carve::objects(&bytes);
    // A file that is one object whole embeds none; of one that holds none, what is wrong with it is the answer.
    let is_whole = |range: &Range<usize>| range.start == 0;
    if ranges.is_empty() || matches!(ranges.as_slice(), [one] if is_whole(one)) {
        let architectures = Vec::new();
        return Ok(vec![ObjectBytes { name, place: shown, wrong, bytes, architectures }]);
    }
    let embedded = ranges.into_iter().enumerate().filter_map(|(at, range)| {
        let bytes = bytes.get(range)?.to_vec();
        let number = at + 1;
        let place = format!("object {number} in {shown}");
        let name = format!("object{number}");
        Some(ObjectBytes { name, place, wrong, bytes, architectures: Vec::new() })
    });
    Ok(embedded.collect())
}

/// What `skep build` made of a project.
fn project(folder: &Path, only: Option<Arch>) -> Result<Subject> {
    let project = crate::commands::build::read(folder)?;
    let listed: BTreeSet<Arch> =
        project.source.object.values().flat_map(SourceObject::architectures).collect();
    let architectures: Vec<Arch> = listed.into_iter().collect();
    let wanted = chosen(&folder.display().to_string(), &architectures, only)?;
    let mut objects = Gathered::default();
    for name in project.source.object.keys() {
        let built = wanted.iter().map(|arch| (*arch, project.built(name, *arch)));
        let built: Vec<(Arch, PathBuf)> = built.filter(|(_, path)| path.exists()).collect();
        if built.is_empty() {
            return Err(Error::new(Kind::Failed, format!("{} is not built yet", folder.display()))
                .hint(format!("skep build {}", folder.display())));
        }
        for (arch, path) in built {
            for object in file(&path)? {
                objects.add(name, object.bytes, arch, object.place);
            }
        }
    }
    let manifest = project.source.resolve(&BTreeMap::new());
    let (package, project, objects) = (None, Some(manifest), objects.objects());
    Ok(Subject { package, project, architectures: wanted, objects })
}

fn packaged(fetched: Fetched<(Digest, Beside)>, only: Option<Arch>) -> Result<Subject> {
    let Fetched { store, reference, checked: (digest, beside), .. } = &fetched;
    let digest = *digest;
    let document = store.require(&digest, MAX_DOCUMENT as u64).map_err(failed)?;
    let index = Index::parse(&document).map_err(failed)?;
    let arches = |entries: Vec<&Descriptor>| -> Vec<Arch> {
        entries.into_iter().filter_map(|entry| entry.platform.as_ref()?.arch()).collect()
    };
    // A bundle may be made for some platforms only; where none is there, what is missing is said.
    let there = arches(index.manifests.iter().filter(|entry| store.has(&entry.digest)).collect());
    let all = arches(index.manifests.iter().collect());
    let architectures = if there.is_empty() { all.clone() } else { there };
    let absent = all.into_iter().filter(|arch| !architectures.contains(arch)).collect();
    let looked_at = chosen(&reference.to_string(), &architectures, only)?;
    let (mut objects, mut manifest) = (Gathered::default(), None);
    for arch in &looked_at {
        let package = admit(Verified::unsigned(digest), store, *arch, reference);
        let package = package.map_err(failed)?.into_inner();
        for (name, bytes) in package.objects {
            let place = match looked_at.len() {
                1 => format!("the object '{name}'"),
                _ => format!("the object '{name}' for {arch}"),
            };
            objects.add(&name, bytes, *arch, place);
        }
        manifest.get_or_insert(package.manifest);
    }
    let manifest = manifest
        .ok_or_else(|| Error::new(Kind::Failed, format!("{reference} has nothing for Linux")))?;
    let beside = beside.clone();
    let package = Package { manifest, digest, architectures, absent, beside };
    let (project, objects) = (None, objects.objects());
    Ok(Subject { package: Some(package), project, architectures: looked_at, objects })
}

/// What a package in a store says it is, of which nobody's signature was checked.
///
/// # Errors
/// It is not whole there.
pub fn manifest_of(store: &Store, digest: Digest, reference: &PackageRef) -> Result<Manifest> {
    let document = store.require(&digest, MAX_DOCUMENT as u64).map_err(failed)?;
    let index = Index::parse(&document).map_err(failed)?;
    let there = index.manifests.iter().filter(|entry| store.has(&entry.digest));
    let arch = there.filter_map(|entry| entry.platform.as_ref()?.arch()).next();
    let arch =
        arch.ok_or_else(|| Error::new(Kind::Failed, format!("{reference} has nothing for Linux")))?;
    admit::manifest(digest, store, arch, reference).map_err(failed)
}

impl Beside {
    /// Each once.
    fn of(bundles: &[Vec<u8>]) -> Self {
        let signer =
            |bundle: &Vec<u8>| Some(Bundle::parse(bundle).ok()?.signer().key_id()?.to_string());
        let attested = |bundle: &Vec<u8>| {
            let (predicate_type, key) = attestation::unchecked(bundle)?;
            let kind = attestation::Kind::named(&predicate_type).to_owned();
            Some(Attested { kind, key: key.map(|key| key.to_string()) })
        };
        let signatures = bundles.iter().filter(|bundle| !attestation::is_attestation(bundle));
        let signed_by: BTreeSet<String> = signatures.filter_map(signer).collect();
        let attestations: BTreeSet<Attested> = bundles.iter().filter_map(attested).collect();
        let (signed_by, attestations) =
            (signed_by.into_iter().collect(), attestations.into_iter().collect());
        Self { signed_by, attestations }
    }
}
