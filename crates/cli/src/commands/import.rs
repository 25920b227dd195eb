//! `skep import`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_kit::import::{self, ImportError, Imported, Wanted};
use skep_object::unlisted;
use skep_spec::license::Expression;
use skep_spec::{Arch, PackageName, Version};

use crate::error::{Context as _, Error, Kind, Result};
use crate::output::{Output, bytes, lossy, table};
use crate::subject::{self, ObjectBytes};

/// Make a project of objects that others built: of .o files, or of binaries that embed some
///
/// The objects stay as they are. skep.toml is written from what they say, and what it has no words for is told; read it, and
/// its [permissions], before you publish it. Example: skep import opensnoop.bpf.o --name acme/opensnoop
#[derive(Debug, Args)]
pub struct Import {
    /// BPF objects, or binaries that embed some (libbpf skeletons, bpf2go)
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The package's name, instead of local/FILE
    #[arg(long, value_name = "PUBLISHER/NAME")]
    name: Option<PackageName>,
    /// The package's version
    #[arg(long = "as", value_name = "VERSION", default_value = "0.1.0")]
    release: Version,
    /// The package's licence, as SPDX has it, instead of the one that the objects tell the kernel
    #[arg(long, value_name = "SPDX")]
    license: Option<Expression>,
    /// Only this object, as --list calls it; may be given several times
    #[arg(long, value_name = "NAME")]
    object: Vec<String>,
    /// What the objects are for, instead of what they can be told to be for; may be given several times
    #[arg(long, value_name = "ARCH")]
    arch: Vec<Arch>,
    /// The folder to make instead of ./NAME
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// List the objects, and make nothing
    #[arg(long)]
    list: bool,
}

#[derive(Serialize)]
struct Answer {
    package: PackageName,
    #[serde(serialize_with = "lossy")]
    folder: PathBuf,
    objects: Vec<Listed>,
    unmapped: Vec<String>,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    from: String,
    size: usize,
    architectures: Vec<Arch>,
    programs: Vec<String>,
}

/// An object that was found.
struct Found {
    object: import::Object,
    bytes: Vec<u8>,
    from: String,
}

impl Import {
    /// Runs it.
    ///
    /// # Errors
    /// A file holds no object, there is none of a name, its licence cannot be told, or the folder is occupied.
    pub fn run(self, output: &Output) -> Result<()> {
        let mut unmapped = Vec::new();
        let found = self.found(&mut unmapped)?;
        let listed: Vec<Listed> = found.iter().map(Found::listed).collect();
        if self.list {
            output.answer(&listed, || rows(&listed));
            return Ok(());
        }
        let name = self.name()?;
        let folder = self.folder.unwrap_or_else(|| PathBuf::from(name.short()));
        let (version, license) = (self.release, self.license);
        let wanted = Wanted { name: name.clone(), version, license };
        let (objects, files): (Vec<_>, Vec<_>) =
            found.into_iter().map(|found| (found.object, found.bytes)).unzip();
        let imported =
            import::describe(&wanted, &objects).map_err(|error| refused(&name, &error))?;
        write(&folder, &imported, &objects, &files)?;
        unmapped.extend(imported.unmapped);
        let answer = Answer { package: name, folder, objects: listed, unmapped };
        output.done(&answer, || answer.text());
        Ok(())
    }

    /// Those that are asked for of all objects of all files, each with a name of its own.
    fn found(&self, unmapped: &mut Vec<String>) -> Result<Vec<Found>> {
        let (mut found, mut names) = (Vec::new(), BTreeSet::new());
        for file in &self.files {
            for object in subject::file(file)? {
                let name = import::unique(&named(&object, file), &names);
                names.insert(name.clone());
                if self.object.is_empty() || self.object.contains(&name) {
                    found.push(self.read(name, object, unmapped)?);
                }
            }
        }
        let absent = self.object.iter().find(|name| !names.contains(*name));
        if let Some(absent) = absent {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let error = Error::usage(format!("--object {absent}: there is no object of that name"));
            return Err(error.hint(format!("there are: {names}")));
        }
        Ok(found)
    }

    fn read(&self, name: String, object: ObjectBytes, unmapped: &mut Vec<String>) -> Result<Found> {
        let facts = object.facts("import").map_err(|error| {
            error.hint("skep import takes BPF objects (ELF), and programs that embed some")
        })?;
        let arches = if self.arch.is_empty() {
            let host = Arch::host().unwrap_or(Arch::X86_64);
            let (arches, why) = import::arches(&facts, host);
            let listed = subject::listed(&arches);
            unmapped.extend(why.map(|why| {
                format!("the object '{name}' is for {listed} alone: {why}; --arch says otherwise")
            }));
            arches
        } else {
            self.arch.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
        };
        let file = format!("objects/{name}.o");
        let (from, bytes) = (object.place, object.bytes);
        Ok(Found { object: import::Object { name, file, arches, facts }, bytes, from })
    }

    fn name(&self) -> Result<PackageName> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let stem = self.files.first().map(|file| stem(file)).unwrap_or_default();
        let label = import::label(&stem, '-');
        let label = if label.is_empty() { "objects" } else { &label };
        format!("local/{label}").parse::<PackageName>().map_err(|error| {
            Error::caused(Kind::Usage, "the file's name is none for a package", &error)
                .hint("name it with --name PUBLISHER/NAME")
        })
    }
}

/// What a file is called, without what follows its first dot.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// An object's name: of one that is embedded its number's, otherwise its file's.
fn named(object: &ObjectBytes, file: &Path) -> String {
    let is_file = file.file_name().is_some_and(|name| name.to_string_lossy() == object.name);
    if is_file { import::label(&stem(file), '_') } else { object.name.clone() }
}

impl Found {
    fn listed(&self) -> Listed {
        let import::Object { name, arches, facts, .. } = &self.object;
        let alone = [(name.clone(), facts.clone())].into();
        let programs = unlisted(&alone)
            .into_iter()
            .map(|one| format!("{} at {}", one.program.name, one.program.target));
        Listed {
            name: name.clone(),
            from: self.from.clone(),
            size: self.bytes.len(),
            architectures: arches.clone(),
            programs: programs.collect(),
        }
    }
}

/// Writes the project into a folder that is not there or empty.
fn write(
    folder: &Path,
    imported: &Imported,
    objects: &[import::Object],
    files: &[Vec<u8>],
) -> Result<()> {
    let shown = folder.display();
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::new(Kind::Failed, format!("{shown} is there already and is not empty"))
            .hint("name another folder with --folder"));
    }
    let cannot = || format!("can't write {shown}");
    fs::create_dir_all(folder.join("objects")).context(cannot)?;
    for (object, bytes) in objects.iter().zip(files) {
        fs::write(folder.join(&object.file), bytes).context(cannot)?;
    }
    fs::write(folder.join(".gitignore"), "/build\n").context(cannot)?;
    fs::write(folder.join("skep.toml"), &imported.source).context(cannot)
}

fn refused(name: &PackageName, error: &ImportError) -> Error {
    let failed = Error::caused(Kind::Usage, format!("can't make {name} of them"), error);
    match error {
        ImportError::License { .. } => failed.hint("say it with --license, such as --license MIT"),
        ImportError::Source { .. } => failed,
    }
}

fn rows(listed: &[Listed]) -> String {
    let rows = listed.iter().map(|object| {
        let size = bytes(object.size as u64);
        [object.name.clone(), size, object.programs.join(", "), object.from.clone()]
    });
    table(["OBJECT", "SIZE", "PROGRAMS", "FROM"], rows)
}

impl Answer {
    fn text(&self) -> String {
        let folder = self.folder.display();
        let names: Vec<&str> = self.objects.iter().map(|object| &*object.name).collect();
        let mut lines = vec![format!("Made {folder}/ for {}: {}", self.package, names.join(", "))];
        if !self.unmapped.is_empty() {
            lines.push("not in its skep.toml:".to_owned());
            lines.extend(self.unmapped.iter().map(|what| format!("  {what}")));
        }
        lines.push(format!("Next: read {folder}/skep.toml, then skep pack {folder}"));
        lines.join("\n")
    }
}
