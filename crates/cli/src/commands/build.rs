//! `skep build`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_kit::build::{self, BuildError, Built, Options, TypesError};
use skep_kit::pack::{self, PackingError};
use skep_kit::project::{Mistakes, Project, ProjectError};
use skep_spec::{Arch, Digest};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::locked::dependencies;
use crate::output::{Output, bytes, lossy};

/// Compile a package's objects for every architecture that it names
///
/// Names in skep.toml that no object has are told all at once, with their places.
/// The same input gives the same bytes, in any folder and for any user: skep.lock pins clang's version, its arguments,
/// and the kernel types that vmlinux.h is made from.
#[derive(Debug, Args)]
pub struct Build {
    /// The folder with skep.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// How to compile.
    #[command(flatten)]
    compiler: Compiler,
}

/// How to compile: what `skep build` and `skep pack` have in common.
#[derive(Debug, Args)]
pub struct Compiler {
    /// Kernel types instead of those that [build] btf names: host, or a file
    #[arg(long, value_name = "host|FILE")]
    btf: Option<PathBuf>,
    /// This clang instead of the newest in PATH
    #[arg(long, value_name = "PATH")]
    clang: Option<PathBuf>,
    /// Build for one architecture only
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    /// Build into this folder instead of FOLDER/build, and write skep.lock there too: FOLDER is only read
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Refuse a compiler, arguments or kernel types that skep.lock does not pin
    #[arg(long)]
    locked: bool,
}

impl Compiler {
    /// Builds the project in `folder`.
    ///
    /// # Errors
    /// As [`read`] and [`run`].
    pub fn build(
        self,
        folder: &Path,
        output: &Output,
        config: &Config,
    ) -> Result<(Project, Built)> {
        let Self { btf, clang, arch, out, locked } = self;
        let project = in_folder(read(folder)?, out);
        let dependencies = dependencies(&project, locked, output, config)?;
        let cache = config.cache_dir.clone();
        let options = Options { btf, clang, arch, locked, cache, dependencies };
        let built = run(&project, &options, output)?;
        Ok((project, built))
    }
}

#[derive(Serialize)]
struct Row {
    object: String,
    arch: Arch,
    #[serde(serialize_with = "lossy")]
    path: PathBuf,
    digest: Digest,
    size: usize,
}

impl Build {
    /// Runs it.
    ///
    /// # Errors
    /// Mistakes in skep.toml, no clang, no kernel types, sources that do not compile, names that no object has.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (project, built) = self.compiler.build(&self.folder, output, config)?;
        pack::check(&project, &built.objects)
            .map_err(|error| refused("build", &project, &error))?;
        let rows = rows(&project, &built);
        output.done(&rows, || {
            let line = |row: &Row| {
                format!(
                    "{}  {}  {}",
                    row.path.display(),
                    bytes(row.size as u64),
                    row.digest.short()
                )
            };
            rows.iter().map(line).collect::<Vec<_>>().join("\n")
        });
        Ok(())
    }
}

/// Reads the project in `folder`; every mistake in its skep.toml is said.
///
/// # Errors
/// It cannot be read, or has mistakes.
pub fn read(folder: &Path) -> Result<Project> {
    Project::read(folder).map_err(|error| match error {
        ProjectError::Mistakes(ref mistakes) => mistaken(mistakes),
        ProjectError::Read { .. } => {
            Error::caused(Kind::Usage, format!("{} is no package", folder.display()), &error)
                .hint("skep new NAME starts one; skep build DIR takes the folder with skep.toml")
        }
    })
}

/// Each says its code; programs get the first one's.
fn mistaken(mistakes: &Mistakes) -> Error {
    let error = Error::usage(mistakes.to_string());
    match mistakes.list.first() {
        Some(first) => error.known_as(first.code.as_str()),
        None => error,
    }
}

/// What became of a project whose manifest does not fit its objects.
#[must_use]
pub fn refused(did: &str, project: &Project, error: &PackingError) -> Error {
    let what = || format!("can't {did} {}", project.folder.display());
    match error {
        PackingError::Mistakes(mistakes) => mistaken(mistakes),
        PackingError::Permissions { needed, .. } => Error::caused(Kind::Failed, what(), error)
            .hint(format!("what covers all of it:\n\n{needed}")),
        // Each says its code.
        PackingError::License(_) => {
            Error::caused(Kind::Failed, what(), error).known_as("license.object")
        }
        _ => Error::caused(Kind::Failed, what(), error),
    }
}

/// The project, built in another folder if one is given.
#[must_use]
pub fn in_folder(project: Project, out: Option<PathBuf>) -> Project {
    match out {
        Some(out) => project.built_in(out),
        None => project,
    }
}

/// Builds `project`, passing on what the compiler says.
///
/// # Errors
/// As [`build::build`].
pub fn run(project: &Project, options: &Options, output: &Output) -> Result<Built> {
    let built = build::build(project, options).map_err(|error| match &error {
        // clang's words come as they are, so that editors find the places.
        BuildError::Compile { source_file, arch, said } => {
            output.passing(said);
            Error::new(Kind::Failed, format!("{source_file} does not compile for {arch}"))
        }
        _ => {
            let message = format!("can't build {}", project.source.package.name);
            let kind = if is_named(&error, options) { Kind::Usage } else { Kind::Failed };
            let failed = Error::caused(kind, message, &error);
            error.hint().into_iter().fold(failed, Error::hint)
        }
    })?;
    if !built.warnings.is_empty() {
        output.note(built.warnings.trim_end());
    }
    Ok(built)
}

/// Whether it is about a file that the command line names.
fn is_named(error: &BuildError, options: &Options) -> bool {
    match error {
        BuildError::Clang(_) => options.clang.is_some(),
        BuildError::Types { source, .. } => {
            let wrong = matches!(**source, TypesError::Read { .. } | TypesError::NoTypes { .. });
            wrong && options.btf.as_ref().is_some_and(|btf| btf.as_path() != "host")
        }
        _ => false,
    }
}

fn rows(project: &Project, built: &Built) -> Vec<Row> {
    let mut rows = Vec::new();
    for (object, arches) in &built.objects {
        for (arch, bytes) in arches {
            let path = project.built(object, *arch);
            rows.push(Row {
                object: object.clone(),
                arch: *arch,
                path,
                digest: Digest::of(bytes),
                size: bytes.len(),
            });
        }
    }
    rows
}
