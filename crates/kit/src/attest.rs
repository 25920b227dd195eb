//! What a package's attestations say, by the project that it was built from: what it is made of, and how.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use skep_spec::{Arch, Digest, Manifest};

use crate::build::{Made, Pin};
use crate::project::Project;

/// Where a package comes from: what the builds of its objects have noted.
#[derive(Debug)]
pub struct Origin<'a> {
    manifest: &'a Manifest,
    made: Vec<(Arch, Made)>,
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
        "the object '{object}' for {arch} in the package is not what the project was built into last"
    )]
    Object {
        /// Which.
        object: String,
        /// For what.
        arch: Arch,
    },
    /// Nothing tells what an object was made of.
    #[error(
        "nothing says what the object '{object}' for {arch} was made of: can't read {}, which its build wrote",
        path.display()
    )]
    Record {
        /// Which.
        object: String,
        /// For what.
        arch: Arch,
        /// The record.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl<'a> Origin<'a> {
    /// Of a package that holds the very objects that the project was built into. What they were made of was noted then: files
    /// may have changed since.
    ///
    /// # Errors
    /// It is of another name or version, or holds others; or no record of an object can be read.
    pub fn of(project: &Project, manifest: &'a Manifest) -> Result<Self, AttestError> {
        let named = |name: &dyn std::fmt::Display, version| format!("{name}:{version}");
        let own = &project.source.package;
        let own = named(&own.name, own.version.to_string());
        let package = named(&manifest.package.name, manifest.package.version.to_string());
        if own != package {
            return Err(AttestError::Another { project: own, package });
        }
        let mut made = Vec::new();
        for (name, digests) in &manifest.objects {
            for arch in digests.sha256.keys().copied() {
                let object = || name.clone();
                let built = project.built(name, arch);
                let record = Made::read(&built).map_err(|source| {
                    let path = Made::beside(&built);
                    AttestError::Record { object: object(), arch, path, source }
                })?;
                if Some(record.object) != digests.digest(arch) {
                    return Err(AttestError::Object { object: object(), arch });
                }
                made.push((arch, record));
            }
        }
        Ok(Self { manifest, made })
    }

    fn files(&self) -> BTreeSet<(&String, &Digest)> {
        self.made.iter().flat_map(|(_, made)| &made.files).collect()
    }

    fn headers(&self) -> BTreeSet<Digest> {
        self.made.iter().filter_map(|(_, made)| made.headers).collect()
    }

    fn types(&self) -> Vec<(Arch, &Pin)> {
        distinct(self.made.iter().filter_map(|(arch, made)| Some((*arch, made.types.as_ref()?))))
    }

    fn compilations(&self) -> Vec<Value> {
        let compiled = self.made.iter().filter_map(|(_, made)| Some((made.clang.as_ref()?, made)));
        distinct(compiled.map(|(clang, made)| json!({"clang": clang, "flags": made.flags})))
    }

    fn compilers(&self) -> BTreeSet<&String> {
        self.made.iter().filter_map(|(_, made)| made.clang.as_ref()).collect()
    }

    /// A CycloneDX 1.6 document: files, compiler, headers, kernel types, objects and the licence.
    #[must_use]
    pub fn sbom(&self) -> Value {
        let package = &self.manifest.package;
        let sha256 = |digest: &Digest| json!([{"alg": "SHA-256", "content": digest.hex()}]);
        let file = |name: &str, digest: &Digest| json!({"type": "file", "name": name, "hashes": sha256(digest)});
        let mut components: Vec<Value> =
            self.files().into_iter().map(|(name, digest)| file(name, digest)).collect();
        for (name, object) in &self.manifest.objects {
            let digests =
                object.sha256.keys().filter_map(|arch| Some((arch, object.digest(*arch)?)));
            components.extend(
                digests.map(|(arch, digest)| file(&format!("{arch}/{name}.bpf.o"), &digest)),
            );
        }
        components.extend(
            self.compilers()
                .into_iter()
                .map(|version| json!({"type": "application", "name": "clang", "version": version})),
        );
        components.extend(self.headers().iter().map(
            |digest| json!({"type": "library", "name": "libbpf headers", "hashes": sha256(digest)}),
        ));
        components.extend(self.types().into_iter().map(|(arch, types)| {
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
            self.files().into_iter().map(|(name, digest)| from(name.clone(), digest)).collect();
        let headers = self.headers();
        materials.extend(headers.iter().map(|digest| from("libbpf headers".to_owned(), digest)));
        materials.extend(self.types().into_iter().map(|(arch, types)| {
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
                    "compilations": self.compilations(),
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

/// Each once, in their order.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
