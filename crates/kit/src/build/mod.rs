//! Compiles a project's objects, the same bytes for the same input in any folder.

mod clang;
mod lock;
mod made;
mod types;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use skep_kernel::{KernelError, kit};
use skep_oci::{durable, regular};
use skep_spec::source::SourceObject;
use skep_spec::{Arch, Digest};

use clang::Paths;
pub use clang::{Clang, ClangError};
pub use lock::{Dependencies, Lock, LockError, Locked, Pin};
pub use made::Made;
use made::Read;
pub use types::{TypesError, fetch as kernel_types};

use crate::project::Project;

/// How to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// This clang instead of the newest that is found.
    pub clang: Option<PathBuf>,
    /// `host`, or a file: the kernel's types instead of `[build] btf`.
    pub btf: Option<PathBuf>,
    /// Refuse whatever differs from `skep.lock`.
    pub locked: bool,
    /// Only this architecture.
    pub arch: Option<Arch>,
    /// What the package needs, to be pinned; what was pinned stays where this is not said.
    pub dependencies: Option<Dependencies>,
    /// Where downloads are kept.
    pub cache: PathBuf,
}

/// What was built.
#[derive(Clone, Debug, Default)]
pub struct Built {
    /// The ELF objects by name and architecture.
    pub objects: BTreeMap<String, BTreeMap<Arch, Vec<u8>>>,
    /// What the compiler said without failing.
    pub warnings: String,
}

/// Why a project could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No usable clang.
    #[error("can't build without clang")]
    Clang(#[from] ClangError),
    /// No kernel types.
    #[error("can't make vmlinux.h for {arch}")]
    Types {
        /// The architecture.
        arch: Arch,
        /// Why.
        #[source]
        source: Box<TypesError>,
    },
    /// The lock file.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// clang refused the source: its own words.
    #[error("{source_file} does not compile for {arch}\n{said}")]
    Compile {
        /// The C file.
        source_file: String,
        /// The architecture.
        arch: Arch,
        /// What clang printed.
        said: String,
    },
    /// libbpf's linker refused the objects.
    #[error("can't link the object '{object}' for {arch}")]
    Link {
        /// The object.
        object: String,
        /// The architecture.
        arch: Arch,
        /// Why.
        source: KernelError,
    },
    /// A file.
    #[error("can't {action} {}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl BuildError {
    /// What to do next, where the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Link { source, .. } => source.hint().map(str::to_owned),
            Self::Types { source, .. } if source.is_without_mirror() => Some(
                "give the types: --btf FILE, or --btf host for those of this kernel".to_owned(),
            ),
            Self::File { action: "write", path, source }
            | Self::Lock(LockError::File { action: "write", path, source })
                if matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                let folder = path.ancestors().skip(1).find(|folder| folder.is_dir());
                let folder = folder.unwrap_or(path).display();
                Some(format!(
                    "build elsewhere with --out DIR, or as a user who may write in {folder}: without it a build writes build/ and skep.lock into the project"
                ))
            }
            _ => None,
        }
    }
}

/// Builds every object of `project` into its folder for that and brings `skep.lock` up to date.
///
/// # Errors
/// No clang, no kernel types, the lock refuses, clang or the linker refuse, files cannot be written.
pub fn build(project: &Project, options: &Options) -> Result<Built, BuildError> {
    let mut build = Build::new(project, options)?;
    let mut built = Built::default();
    let mut records = Vec::new();
    for (name, object) in &project.source.object {
        let mut arches = BTreeMap::new();
        for arch in wanted(object, options.arch) {
            let (bytes, read) = build.object(name, object, arch)?;
            let path = project.built(name, arch);
            write(&path, &bytes)?;
            records.push((path, build.made(read, &bytes, arch)));
            arches.insert(arch, bytes);
        }
        built.objects.insert(name.clone(), arches);
    }
    built.warnings = std::mem::take(&mut build.warnings);
    build.finish(records)?;
    Ok(built)
}

fn wanted(object: &SourceObject, only: Option<Arch>) -> Vec<Arch> {
    object
        .architectures()
        .into_iter()
        .filter(|arch| only.is_none_or(|only| only == *arch))
        .collect()
}

struct Build<'a> {
    project: &'a Project,
    options: &'a Options,
    clang: Option<Clang>,
    lock: Lock,
    /// Architectures whose `vmlinux.h` lies ready, and what it was made from.
    types: BTreeMap<Arch, (PathBuf, Pin)>,
    warnings: String,
}

impl<'a> Build<'a> {
    fn new(project: &'a Project, options: &'a Options) -> Result<Self, BuildError> {
        let compiles = project.source.object.values().any(|object| object.file.is_empty());
        let clang = compiles.then(|| Clang::find(options.clang.as_deref())).transpose()?;
        let mut lock = Lock::read(&project.folder, project.lock_folder(), options.locked)?;
        if let Some(dependencies) = &options.dependencies {
            lock.depend(dependencies)?;
        }
        if let Some(clang) = &clang {
            lock.compiler(clang, &project.source.build.cflags, headers_digest())?;
        }
        Ok(Self { project, options, clang, lock, types: BTreeMap::new(), warnings: String::new() })
    }

    fn object(
        &mut self,
        name: &str,
        object: &SourceObject,
        arch: Arch,
    ) -> Result<(Vec<u8>, Read), BuildError> {
        let mut read = Read::default();
        if let Some(file) = object.file.get(&arch) {
            let folder = &self.project.folder;
            let bytes = self.project.file(file).and_then(|path| {
                read.add(folder, &path)?;
                regular::bytes(&path)
            });
            return bytes.map(|bytes| (bytes, read)).map_err(|error| self.unreadable(file, error));
        }
        let parts: Vec<(&str, Vec<u8>)> = object
            .sources
            .iter()
            .map(|source| Ok((source.as_str(), self.compile(source, arch, &mut read)?)))
            .collect::<Result<_, BuildError>>()?;
        // One source goes through the linker too: it drops DWARF and keeps BTF.
        let linked = kit::link(&parts);
        let linked =
            linked.map_err(|source| BuildError::Link { object: name.to_owned(), arch, source })?;
        Ok((linked, read))
    }

    /// The record of an object.
    fn made(&self, read: Read, object: &[u8], arch: Arch) -> Made {
        let types = self.types.get(&arch).map(|(_, types)| types.clone());
        read.made(object, &self.lock, types)
    }

    fn compile(
        &mut self,
        source: &str,
        arch: Arch,
        read: &mut Read,
    ) -> Result<Vec<u8>, BuildError> {
        let include = self.include(arch)?;
        let folder = &self.project.folder;
        let opened = self.project.file(source).and_then(|path| regular::open(&path));
        opened.map_err(|error| self.unreadable(source, error))?;
        // clang would say of a folder that cannot be written to that the source does not compile.
        let part = Part::new(&self.project.out.join(arch.as_str()), source)?;
        let out = part.0.join("part.o");
        let clang = self.clang.as_ref().ok_or(ClangError::None)?;
        let cflags = &self.project.source.build.cflags;
        let elsewhere = Some(self.project.out.as_path());
        let elsewhere = elsewhere.filter(|_| !self.project.is_built_inside());
        let paths = Paths { folder, elsewhere, include: &include, out: &out };
        let said = clang.compile(source, arch, cflags, &paths)?;
        let said = said.map_err(|said| BuildError::Compile {
            source_file: source.to_owned(),
            arch,
            said,
        })?;
        let bytes = regular::bytes(&out);
        if matches!(&bytes, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            let said = format!("{said}clang makes no object of it: a source in C ends with .c");
            return Err(BuildError::Compile { source_file: source.to_owned(), arch, said });
        }
        self.warnings.push_str(&said);
        let rule = out.with_extension(clang::RULE);
        let noted = regular::bytes(&rule).and_then(|rule| read.compiled(folder, &include, &rule));
        noted.map_err(|source| BuildError::File { action: "read", path: rule, source })?;
        bytes.map_err(|source| BuildError::File { action: "read", path: out.clone(), source })
    }

    fn unreadable(&self, file: &str, source: io::Error) -> BuildError {
        BuildError::File { action: "read", path: self.project.folder.join(file), source }
    }

    /// The folder with `vmlinux.h` for `arch` and libbpf's headers: relative to the project's, if it lies in there.
    fn include(&mut self, arch: Arch) -> Result<PathBuf, BuildError> {
        if let Some((path, _)) = self.types.get(&arch) {
            return Ok(path.clone());
        }
        let folder = self.project.out.join(arch.as_str()).join("include");
        let inside = self.project.is_built_inside();
        let include = match folder.strip_prefix(&self.project.folder) {
            Ok(below) if inside => below.to_owned(),
            _ => absolute(&folder)?,
        };
        let types = |source| BuildError::Types { arch, source: Box::new(source) };
        let named = self.project.source.build.btf.get(&arch).map(String::as_str);
        let btf = types::find(&self.project.folder, arch, named, self.options, &mut self.lock)
            .map_err(types)?;
        let header = types::header(&btf, &self.options.cache).map_err(types)?;
        write(&folder.join("vmlinux.h"), header.as_bytes())?;
        for (name, text) in kit::headers() {
            write(&folder.join("bpf").join(name), text.as_bytes())?;
        }
        let from = self.options.btf.as_deref();
        self.types.insert(arch, (include.clone(), self.lock.used(arch, from, Digest::of(&btf))));
        Ok(include)
    }

    /// Writes the lock, and beside each object what it was made of.
    fn finish(self, records: Vec<(PathBuf, Made)>) -> Result<(), BuildError> {
        let folder = self.project.lock_folder();
        self.lock.write(folder)?;
        let mut rest = Read::default();
        for (folder, name) in [(self.project.folder.as_path(), "skep.toml"), (folder, lock::FILE)] {
            let path = folder.join(name);
            let noted = if path.exists() { rest.add(folder, &path) } else { Ok(()) };
            noted.map_err(|source| BuildError::File { action: "read", path, source })?;
        }
        for (object, mut made) in records {
            made.add(&rest);
            let path = Made::beside(&object);
            let failed = |source| BuildError::File { action: "write", path: path.clone(), source };
            write(&path, &made.to_bytes().map_err(failed)?)?;
        }
        Ok(())
    }
}

/// One digest over libbpf's headers, which objects include.
fn headers_digest() -> Digest {
    let mut all = Vec::new();
    for (name, text) in kit::headers() {
        all.extend_from_slice(name.as_bytes());
        all.push(0);
        all.extend_from_slice(text.as_bytes());
        all.push(0);
    }
    Digest::of(&all)
}

fn absolute(path: &Path) -> Result<PathBuf, BuildError> {
    let failed = |source| BuildError::File { action: "write", path: path.to_owned(), source };
    std::path::absolute(path).map_err(failed)
}

/// A folder of this process alone: builds of one project may run at once. It goes with its value.
struct Part(PathBuf);

impl Part {
    /// In `folder`, for what becomes of a source.
    fn new(folder: &Path, source: &str) -> Result<Self, BuildError> {
        let own = folder.join(format!(".part{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&own); // of a process that had the same number and was killed
        let made = std::fs::create_dir_all(folder).and_then(|()| std::fs::create_dir(&own));
        let path = folder.join(source.replace('/', "%")).with_extension("o");
        made.map_err(|source| BuildError::File { action: "write", path, source })?;
        Ok(Self(own))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // the next of that number removes it
    }
}

/// Writes a file whole or not at all; leaves it alone if it is the same.
fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    if regular::bytes(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let failed = |source| BuildError::File { action: "write", path: path.to_owned(), source };
    durable::pass_in_folders(path, bytes).map_err(failed)
}
