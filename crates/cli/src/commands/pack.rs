//! `skep pack`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use skep_kit::build::Built;
use skep_kit::pack::{self, Packed};
use skep_kit::project::Project;
use skep_spec::{Digest, PackageRef};

use super::build;
use crate::config::Config;
use crate::error::Result;
use crate::output::{Output, lossy};

/// Build a package and put it into an OCI layout, ready to sign and push
///
/// The manifest is held against the objects: programs, maps and variables that it names must be there, and its
/// [permissions] must cover what the code does.
#[derive(Debug, Args)]
pub struct Pack {
    /// The folder with skep.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The layout to make or add to, instead of FOLDER/build/package (or DIR/package)
    #[arg(short = 'o', long = "layout", value_name = "LAYOUT")]
    layout: Option<PathBuf>,
    /// How to compile.
    #[command(flatten)]
    compiler: build::Compiler,
}

#[derive(Serialize)]
struct Answer {
    package: PackageRef,
    digest: Digest,
    #[serde(serialize_with = "lossy")]
    layout: PathBuf,
}

impl Pack {
    /// Runs it.
    ///
    /// # Errors
    /// It does not build, the manifest does not fit the objects, the layout cannot be written.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (project, built) = self.compiler.build(&self.folder, output, config)?;
        let layout = self.layout.unwrap_or_else(|| project.out.join("package"));
        let packed = packed(&project, &built, &layout, output)?;
        let answer = Answer { package: packed.reference, digest: packed.digest, layout };
        output.packaged(&answer, &[answer.digest], || {
            format!("Packed {} in {}\n{}", answer.package, answer.layout.display(), answer.digest)
        });
        Ok(())
    }
}

/// Packs what was built, and says what skepd does not do with it.
///
/// # Errors
/// As [`pack::pack`].
pub fn packed(project: &Project, built: &Built, layout: &Path, output: &Output) -> Result<Packed> {
    let packed = pack::pack(project, built, layout)
        .map_err(|error| build::refused("pack", project, &error))?;
    for (words, keys) in [
        ("skepd of this version refuses to install it for", packed.manifest.unsupported()),
        ("skepd of this version does not act on", packed.manifest.unheeded()),
    ] {
        if !keys.is_empty() {
            output.note(&format!("{words}: {}", keys.join(", ")));
        }
    }
    Ok(packed)
}
