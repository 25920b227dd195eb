//! What a package's attestations say, by the project that it was built from: what it is made of, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skep_oci::regular;
use skep_spec::{Arch, Digest, Manifest};

use crate::build::{Lock, LockError};
use crate::project::Project;

/// The predicate type of [`Origin::sbom`].
pub const SBOM: &str = "https://cyclonedx.org/bom";
/// The predicate type of [`Origin::provenance`].
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Where a package comes from.
#[derive(Debug)]
pub struct Origin<'a> {
    manifest: &'a Manifest,
    /// The project's files that went into it.
    files: BTreeMap<String, Digest>,
    lock: Lock,
}

/// Why a project says nothing about a package.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// Another package.
    #[error("the project is {project}, and the package is {package}")]
    Another {
        /// The project's name and version.
        project: String,
        /// The package's.
        package: String,
    },
    /// What was built last is not what was packed.
    #[error(
        "the object '{object}' for {arch} in the package is not what the project was built into"
    )]
    Object {
        /// Which.
        object: String,
        /// For what.
        arch: Arch,
    },
    /// A file.
    #[error("can't read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lock file.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl<'a> Origin<'a> {
    /// Of a package that holds the very objects that the project was built into.
    ///
    /// # Errors
    /// It is of another name or version, or holds others; or a file cannot be read.
    pub fn of(project: &Project, manifest: &'a Manifest) -> Result<Self, AttestError> {
        let named = |name: &dyn std::fmt::Display, version| format!("{name}:{version}");
        let own = &project.source.package;
        let own = named(&own.name, own.version.to_string());
        let package = named(&manifest.package.name, manifest.package.version.to_string());
        if own != package {
            return Err(AttestError::Another { project: own, package });
        }
        for (object, digests) in &manifest.objects {
            for arch in digests.sha256.keys() {
                let built = built(project, object, *arch);
                if built.and_then(|path| digest(&path).ok()) != digests.digest(*arch) {
                    return Err(AttestError::Object { object: object.clone(), arch: *arch });
                }
            }
        }
        let mut files = BTreeMap::new();
        for name in names(project)? {
            files.insert(name.clone(), digest(&project.folder.join(&name))?);
        }
        let lock = Lock::read(&project.folder, project.lock_folder(), false)?;
        Ok(Self { manifest, files, lock })
    }

    /// A CycloneDX 1.6 document: files, compiler, headers, kernel types, objects and the licence.
    #[must_use]
    pub fn sbom(&self) -> Value {
        let package = &self.manifest.package;
        let sha256 = |digest: &Digest| json!([{"alg": "SHA-256", "content": digest.hex()}]);
        let file = |name: &str, digest: &Digest| json!({"type": "file", "name": name, "hashes": sha256(digest)});
        let mut components: Vec<Value> =
            self.files.iter().map(|(name, digest)| file(name, digest)).collect();
        for (name, object) in &self.manifest.objects {
            let digests =
                object.sha256.keys().filter_map(|arch| Some((arch, object.digest(*arch)?)));
            components.extend(
                digests.map(|(arch, digest)| file(&format!("{arch}/{name}.bpf.o"), &digest)),
            );
        }
        components.extend(
            self.lock
                .clang()
                .map(|version| json!({"type": "application", "name": "clang", "version": version})),
        );
        components.extend(self.lock.headers().map(|digest| {
            json!({"type": "library", "name": "libbpf headers", "hashes": sha256(&digest)})
        }));
        components.extend(self.lock.types().map(|(arch, types)| {
            json!({
                "type": "operating-system",
                "name": format!("Linux BTF for {arch}, {}", types.source),
                "version": types.release,
                "hashes": sha256(&types.digest),
            })
        }));
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "name": package.name.to_string(),
                    "version": package.version.to_string(),
                    "licenses": [{"expression": package.license.to_string()}],
                },
                "tools": {"components": [tool()]},
            },
            "components": components,
        })
    }

    /// SLSA provenance v1: what it was built from, how, and by whom, who is a URI.
    #[must_use]
    pub fn provenance(&self, builder: &str) -> Value {
        let package = &self.manifest.package;
        let from = |name: String, digest: &Digest| json!({"name": name, "digest": {"sha256": digest.hex()}});
        let mut materials: Vec<Value> =
            self.files.iter().map(|(name, digest)| from(name.clone(), digest)).collect();
        materials
            .extend(self.lock.headers().map(|digest| from("libbpf headers".to_owned(), &digest)));
        materials.extend(self.lock.types().map(|(arch, types)| {
            from(format!("Linux BTF for {arch}, {}", types.source), &types.digest)
        }));
        let arches: BTreeSet<&Arch> =
            self.manifest.objects.values().flat_map(|object| object.sha256.keys()).collect();
        json!({
            "buildDefinition": {
                "buildType": "urn:skep:build:v1",
                "externalParameters": {
                    "package": package.name.to_string(),
                    "version": package.version.to_string(),
                    "architectures": arches,
                },
                "internalParameters": {
                    "skep": env!("CARGO_PKG_VERSION"),
                    "clang": self.lock.clang(),
                    "flags": self.lock.flags(),
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": builder}},
        })
    }
}

fn tool() -> Value {
    json!({"type": "application", "name": "skep", "version": env!("CARGO_PKG_VERSION")})
}

/// What an object of the project is: what was built, or a file of its own.
fn built(project: &Project, object: &str, arch: Arch) -> Option<PathBuf> {
    let source = project.source.object.get(object)?;
    match source.file.get(&arch) {
        Some(file) => project.file(file).ok(),
        None => Some(project.built(object, arch)),
    }
}

/// The files of a project that its objects are made of: `skep.toml`, the lock, sources, headers beside them, objects.
fn names(project: &Project) -> Result<BTreeSet<String>, AttestError> {
    let mut names = BTreeSet::from(["skep.toml".to_owned()]);
    if project.folder.join("skep.lock").is_file() {
        names.insert("skep.lock".to_owned());
    }
    for object in project.source.object.values() {
        names.extend(object.file.values().cloned());
        for source in &object.sources {
            names.insert(source.clone());
            names.extend(headers(project, source)?);
        }
    }
    Ok(names)
}

fn headers(project: &Project, source: &str) -> Result<Vec<String>, AttestError> {
    let beside = Path::new(source).parent().unwrap_or(Path::new(""));
    let path = project.folder.join(beside);
    let cannot = |source| AttestError::Read { path: path.clone(), source };
    let mut found = Vec::new();
    for entry in path.read_dir().map_err(cannot)? {
        let name = beside.join(entry.map_err(cannot)?.file_name());
        if name.extension().is_some_and(|extension| extension == "h") {
            found.extend(name.to_str().map(str::to_owned));
        }
    }
    Ok(found)
}

fn digest(path: &Path) -> Result<Digest, AttestError> {
    let bytes = regular::bytes(path);
    let bytes = bytes.map_err(|source| AttestError::Read { path: path.to_owned(), source })?;
    Ok(Digest::of(&bytes))
}
