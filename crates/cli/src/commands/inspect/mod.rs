//! `skep inspect`.

mod disasm;
mod object;
pub mod page;

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;

use self::object::Object;
use crate::config::Config;
use crate::error::Result;
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::subject::{Package, Subject};

/// Show what a package or object may do at worst, and the source lines that say so
///
/// What it reads, changes, drops and kills; hooks, helpers, maps, variables, licence. Everything is read from the object
/// itself, not from what its author says. Nothing is loaded.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A folder with skep.toml (built), an object, a binary that embeds objects, an OCI layout, a bundle, or a reference
    what: OsString,
    /// Show the instructions instead: of every program, or of one and what it calls
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, default_missing_value = "")]
    disasm: Option<String>,
    #[command(flatten)]
    options: PlaceOptions,
}

/// What is shown.
#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<Package>,
    objects: Vec<Object>,
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// It is none of those, or cannot be read.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let subject = Subject::find(&self.what, &self.options, config)?;
        if let Some(program) = &self.disasm {
            let program = Some(program.as_str()).filter(|program| !program.is_empty());
            return disasm::show(&subject.objects, program, output);
        }
        let mut objects = Vec::new();
        for found in &subject.objects {
            objects.push(Object::read(found, subject.running(found, "inspect")?));
        }
        let shown = Shown { package: subject.package, objects };
        output.answer(&shown, || shown.text());
        Ok(())
    }
}

impl Shown {
    fn text(&self) -> String {
        let package = self.package.iter().map(page::package);
        package.chain(self.objects.iter().map(page::object)).collect::<Vec<_>>().join("\n\n")
    }
}
