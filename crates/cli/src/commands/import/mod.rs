//! `skep import`.

mod source;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_kit::folder::{self, FolderError};
use skep_kit::import::{self, ImportError, Wanted};
use skep_object::{Facts, ObjectError, unlisted};
use skep_spec::license::Expression;
use skep_spec::{Arch, PackageName, Version};

use self::source::{Candidate, Source};
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::options::Transport;
use crate::output::{Output, bytes, lossy, table};
use crate::subject::{self, ObjectBytes};

/// Make a project of what others built: objects, binaries that embed some, and images of bpfman, Inspektor Gadget and eunomia
///
/// The objects stay as they are. skep.toml is written from what they say, and from what the image says of them; what it has no
/// words for is told. Nobody's signature is checked: read it, and its [permissions], before you publish it. Examples:
/// skep import opensnoop.bpf.o --name acme/opensnoop; skep import ghcr.io/inspektor-gadget/gadget/trace_open:latest
#[derive(Debug, Args)]
pub struct Import {
    /// BPF objects, binaries that embed some, a package.json of eunomia's, a layout, or host[:port]/repository:tag
    #[arg(required = true, value_name = "FILE|LAYOUT|IMAGE")]
    sources: Vec<PathBuf>,
    /// The package's name, instead of local/ and that of the file or image
    #[arg(long, value_name = "PUBLISHER/NAME")]
    name: Option<PackageName>,
    /// The package's version, instead of the image's own or 0.1.0
    #[arg(long = "as", value_name = "VERSION")]
    release: Option<Version>,
    /// The package's licence, as SPDX has it, instead of the image's own or the one that the objects tell the kernel
    #[arg(long, value_name = "SPDX")]
    license: Option<Expression>,
    /// Only this object, as --list calls it; may be given several times
    #[arg(long, value_name = "NAME")]
    object: Vec<String>,
    /// What the objects are for, instead of what they can be told to be for; may be given several times
    #[arg(long, value_name = "ARCH")]
    arch: Vec<Arch>,
    /// Which image of a layout that holds several, by its name there
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// The folder to make instead of ./NAME
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// List the objects, and make nothing
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    transport: Transport,
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

/// The version of what has none.
const FIRST: &str = "0.1.0";

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
    /// What is named holds no object, there is none of a name, its licence cannot be told, no package can be made of it, or the
    /// folder is occupied.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let source = Source::read(&self.sources, self.tag.clone(), self.transport, config)?;
        let Source { name, objects, said, mut unmapped } = source;
        let found = self.found(objects, &mut unmapped)?;
        let listed: Vec<Listed> = found.iter().map(Found::listed).collect();
        if self.list {
            output.answer(&listed, || rows(&listed));
            return Ok(());
        }
        let name = self.package(&name)?;
        let folder = self.folder.unwrap_or_else(|| PathBuf::from(name.short()));
        let version = self.release.or_else(|| said.version.clone());
        let version = version.map_or_else(|| FIRST.parse().map_err(failed), Ok)?;
        let license = self.license.or_else(|| said.license.clone());
        let wanted = Wanted { name: name.clone(), version, license };
        let (objects, files): (Vec<_>, Vec<_>) =
            found.into_iter().map(|found| (found.object, found.bytes)).unzip();
        let imported = import::describe(&wanted, &objects, &said);
        let imported = imported.map_err(|error| refused(&name, &error))?;
        unmapped.extend(imported.unmapped.iter().cloned());
        folder::make(&folder, imported.files(&objects, &files)).map_err(|error| match error {
            FolderError::Occupied(_) => Error::new(Kind::Failed, error.to_string())
                .hint("name another folder with --folder"),
            FolderError::Write { .. } => {
                Error::caused(Kind::Failed, format!("can't make {}", folder.display()), &error)
            }
        })?;
        let answer = Answer { package: name, folder, objects: listed, unmapped };
        output.done(&answer, || answer.text());
        Ok(())
    }

    /// Those that are asked for of all objects.
    fn found(&self, all: Vec<Candidate>, unmapped: &mut Vec<String>) -> Result<Vec<Found>> {
        let names: BTreeSet<String> = all.iter().map(|one| one.name.clone()).collect();
        if let Some(absent) = self.object.iter().find(|name| !names.contains(*name)) {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let error = Error::usage(format!("--object {absent}: there is no object of that name"));
            return Err(error.hint(format!("there are: {names}")));
        }
        let is_alone = names.len() == all.len();
        let mut found = Vec::new();
        for one in all.into_iter().filter(|one| self.is_asked_for(&one.name)) {
            let arches = self.arches(&one, is_alone);
            if arches.as_ref().is_none_or(|arches| !arches.is_empty()) {
                found.push(read(one, arches, is_alone, unmapped)?);
            }
        }
        match found.is_empty() {
            true => {
                Err(Error::usage(format!("there is no object for {}", subject::listed(&self.arch))))
            }
            false => Ok(found),
        }
    }

    fn is_asked_for(&self, name: &str) -> bool {
        self.object.is_empty() || self.object.iter().any(|asked| asked == name)
    }

    /// What an object is for, where the command line or its image says; of several for several architectures those asked for.
    fn arches(&self, one: &Candidate, is_alone: bool) -> Option<Vec<Arch>> {
        let asked: BTreeSet<Arch> = self.arch.iter().copied().collect();
        let own = one.arches.iter().copied();
        match (asked.is_empty(), is_alone || one.arches.is_empty()) {
            (true, _) => (!one.arches.is_empty()).then(|| own.collect()),
            (false, true) => Some(asked.into_iter().collect()),
            (false, false) => Some(own.filter(|arch| asked.contains(arch)).collect()),
        }
    }

    fn package(&self, name: &str) -> Result<PackageName> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let label = import::label(name, '-');
        let label = if label.is_empty() { "objects" } else { &label };
        format!("local/{label}").parse::<PackageName>().map_err(|error| {
            Error::caused(Kind::Usage, "the file's name is none for a package", &error)
                .hint("name it with --name PUBLISHER/NAME")
        })
    }
}

/// Reads an object: what it is for, if nobody says, its code does.
fn read(
    one: Candidate,
    arches: Option<Vec<Arch>>,
    is_alone: bool,
    unmapped: &mut Vec<String>,
) -> Result<Found> {
    let Candidate { name, image, object, .. } = one;
    let facts = Facts::parse(&object.bytes).map_err(|error| no_object(&object, &error))?;
    let arches = arches.unwrap_or_else(|| {
        let host = image.or(Arch::host()).unwrap_or(Arch::X86_64);
        let (arches, why) = import::arches(&facts, host);
        let listed = subject::listed(&arches);
        unmapped.extend(why.map(|why| {
            format!("the object '{name}' is for {listed} alone: {why}; --arch says otherwise")
        }));
        arches
    });
    let file = match arches.first().filter(|_| !is_alone) {
        Some(arch) => format!("objects/{arch}/{name}.o"),
        None => format!("objects/{name}.o"),
    };
    let (from, bytes) = (object.place, object.bytes);
    Ok(Found { object: import::Object { name, file, arches, facts }, bytes, from })
}

fn no_object(object: &ObjectBytes, error: &ObjectError) -> Error {
    let unreadable = object.unreadable("import", error);
    match unreadable.hints() {
        [] => unreadable.hint("skep import takes BPF objects (ELF), programs that embed some, and images of bpfman, Inspektor Gadget and eunomia"),
        _ => unreadable,
    }
}

impl Found {
    fn listed(&self) -> Listed {
        let import::Object { name, arches, facts, .. } = &self.object;
        let programs = unlisted([(name, facts)])
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

fn refused(name: &PackageName, error: &ImportError) -> Error {
    let failed = Error::caused(Kind::Usage, format!("can't make {name} of them"), error);
    match error {
        ImportError::License { .. } => failed.hint("say it with --license, such as --license MIT"),
        ImportError::NoProgram { .. } => failed.hint(
            "skep inspect shows the objects; a service runs programs that attach by themselves",
        ),
        ImportError::Source { .. } | ImportError::Packing(_) => failed,
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
        let mut names: Vec<&str> = self.objects.iter().map(|object| &*object.name).collect();
        names.dedup(); // one for several architectures is one
        let mut lines = vec![format!("Made {folder}/ for {}: {}", self.package, names.join(", "))];
        if !self.unmapped.is_empty() {
            lines.push("not in its skep.toml:".to_owned());
            lines.extend(self.unmapped.iter().map(|what| format!("  {what}")));
        }
        lines.push(format!("Next: read {folder}/skep.toml, then skep pack {folder}"));
        lines.join("\n")
    }
}
