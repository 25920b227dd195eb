//! `skep inspect`.

mod disasm;
mod object;
pub mod page;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use clap::Args;
use serde::Serialize;
use skep_object::permissions::Power;
use skep_spec::Arch;

use self::object::Object;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::options::PlaceOptions;
use crate::output::Output;
use crate::subject::{Package, Subject};

/// Show what a package or object may do at worst, and the source lines that say so
///
/// What it reads, changes, drops and kills; hooks, helpers, maps, variables, licence. Everything is read from the objects
/// themselves, of a package those for all architectures, not from what its author says. Nothing is loaded.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A folder with skep.toml (built), an object, a binary that embeds objects, an OCI layout, a bundle, or a reference
    #[arg(required_unless_present = "disasm")]
    what: Option<OsString>,
    /// Show the instructions instead: of every program, or of one and what it calls
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, default_missing_value = "")]
    disasm: Option<OsString>,
    /// Look at one architecture of a package alone, instead of all
    #[arg(long)]
    arch: Option<Arch>,
    #[command(flatten)]
    options: PlaceOptions,
}

/// What is shown.
#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<Package>,
    /// Of all objects together, on whatever architecture.
    powers: Vec<Held>,
    objects: Vec<Object>,
    #[serde(skip)]
    looked_at: Vec<Arch>,
}

/// A power, and where the package has it.
#[derive(Serialize)]
struct Held {
    power: Power,
    /// None where it is that of a bare object.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    architectures: BTreeSet<Arch>,
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// It is none of those, or cannot be read.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let is_listed = self.disasm.is_some();
        // What stands alone behind --disasm is what is listed, not a program of it.
        let named = self.disasm.filter(|named| !named.is_empty());
        let (what, program) = match self.what {
            Some(what) => (what, named),
            None => (named.ok_or_else(|| Error::usage("give what is to be listed"))?, None),
        };
        let subject = Subject::find(&what, &self.options, self.arch, config)?;
        if is_listed {
            let program = program.map(|program| program.to_string_lossy().into_owned());
            return disasm::show(&subject, program.as_deref(), output);
        }
        let mut objects = Vec::new();
        for found in &subject.objects {
            let running = subject.running(found, "inspect")?;
            objects.push(Object::read(found, running, subject.manifest()));
        }
        let shown = Shown {
            powers: held(&objects),
            objects,
            looked_at: subject.architectures,
            package: subject.package,
        };
        output.answer(&shown, || shown.text());
        Ok(())
    }
}

fn held(objects: &[Object]) -> Vec<Held> {
    let mut all: BTreeMap<Power, BTreeSet<Arch>> = BTreeMap::new();
    for object in objects {
        for power in &object.powers {
            all.entry(*power).or_default().extend(&object.architectures);
        }
    }
    all.into_iter().map(|(power, architectures)| Held { power, architectures }).collect()
}

impl Shown {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.package.as_ref().map(|package| page::package(package, &self.looked_at)));
        if self.objects.len() > 1 && !self.looked_at.is_empty() {
            parts.push(page::together(&self.objects, &self.looked_at));
        }
        parts.extend(self.objects.iter().map(|object| page::object(object, &self.looked_at)));
        parts.join("\n\n")
    }
}
