//! `skep lint`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use skep_kit::lint::{self, Finding};
use skep_kit::pack;
use skep_kit::project::Project;
use skep_object::Facts;
use skep_oci::regular;
use skep_spec::Arch;

use super::build;
use crate::error::{Error, Kind, Result};
use crate::output::Output;

/// Say what would be better in a skep.toml that is right
///
/// Objects that were built, or are prebuilt, are looked at too: permissions that no program uses, maps without an upgrade
/// policy, and what 'skep pack' refuses. Exit status 1: something was found.
#[derive(Debug, Args)]
pub struct Lint {
    /// The folder with skep.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    allowed: Allowed,
}

/// Which findings are none.
#[derive(Debug, Args)]
pub struct Allowed {
    /// Leave a rule of skep lint out; may be repeated
    #[arg(long, value_name = "RULE", value_parser = rule)]
    allow: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    findings: Vec<Finding>,
}

fn rule(text: &str) -> std::result::Result<String, String> {
    let names: Vec<&str> = lint::Rule::ALL.iter().map(|rule| rule.name()).collect();
    if names.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("there is no such rule; there are {}", names.join(", ")))
}

impl Lint {
    /// Runs it.
    ///
    /// # Errors
    /// skep.toml cannot be read, or something was found.
    pub fn run(self, output: &Output) -> Result<()> {
        let project = build::read(&self.folder)?;
        let file = self.folder.join("skep.toml");
        let shown = file.display();
        let findings = self.allowed.findings(&project, output)?;
        let count = findings.len();
        let answer = Answer { findings };
        if count == 0 {
            output.done(&answer, || format!("{shown}: nothing to better"));
            return Ok(());
        }
        output.answer(&answer, || {
            let lines = answer.findings.iter().map(|finding| format!("{shown}:{finding}"));
            lines.collect::<Vec<_>>().join("\n")
        });
        let said = if count == 1 { "1 finding".to_owned() } else { format!("{count} findings") };
        Err(Error::new(Kind::Failed, said))
    }
}

impl Allowed {
    /// What would be better in a project.
    ///
    /// # Errors
    /// Its skep.toml or an object cannot be read.
    pub fn findings(&self, project: &Project, output: &Output) -> Result<Vec<Finding>> {
        let objects = built(project);
        let said = "the objects are those of the last build: skep build makes them anew";
        let failed = |error| build::refused("lint", project, &error).hint(said);
        let is_whole = objects.len() == project.source.object.len();
        let objects = pack::parsed(&objects).map_err(failed)?;
        let mut findings = Vec::new();
        if objects.is_empty() {
            output.note("nothing is built yet: rules about the code are left out");
        } else if is_whole {
            findings = pack::refused(project, &objects).map_err(failed)?;
        }
        let facts: Vec<&Facts> = objects.iter().map(pack::Parsed::facts).collect();
        findings.extend(lint::lint(&project.text, &project.source, &facts));
        findings.sort_by_key(|finding| (finding.line, finding.column, finding.rule));
        findings.retain(|finding| !self.allow.iter().any(|name| name == finding.rule.name()));
        Ok(findings)
    }
}

/// The objects that were built, or are prebuilt; what is not built yet is not looked at.
fn built(project: &Project) -> BTreeMap<String, BTreeMap<Arch, Vec<u8>>> {
    let mut all: BTreeMap<String, BTreeMap<Arch, Vec<u8>>> = BTreeMap::new();
    for (name, object) in &project.source.object {
        let built = object.arch.iter().map(|arch| (*arch, project.built(name, *arch)));
        let prebuilt = object.file.iter().map(|(arch, path)| (*arch, project.folder.join(path)));
        let paths: Vec<_> =
            if object.file.is_empty() { built.collect() } else { prebuilt.collect() };
        for (arch, path) in paths {
            if let Ok(elf) = regular::bytes(&path) {
                all.entry(name.clone()).or_default().insert(arch, elf);
            }
        }
    }
    all
}
