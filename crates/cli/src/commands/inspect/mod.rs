//! `skep inspect`.

mod disasm;
mod subject;

use clap::Args;
use serde::Serialize;
use skep_object::permissions::{self, Power};
use skep_object::{Facts, MapOrigin};
use skep_spec::PackageRef;

use self::subject::{Package, Subject};
use crate::config::Config;
use crate::error::Result;
use crate::output::{Output, bytes, table};

/// Show what a package or object holds: programs, maps, variables, outputs, what it may touch
///
/// Everything is read from the object itself, not from what its author says. Nothing is loaded.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A folder with skep.toml (built), an object, a binary that embeds objects, an OCI layout, or a reference
    what: String,
    /// Which package of a layout that holds several
    #[arg(long, value_name = "NAME:VERSION")]
    package: Option<PackageRef>,
    /// Show the instructions instead: of every program, or of one and what it calls
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, default_missing_value = "")]
    disasm: Option<String>,
    /// Speak HTTP without TLS (loopback addresses always do)
    #[arg(long)]
    plain_http: bool,
}

/// What is shown.
#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<Package>,
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    name: String,
    size: usize,
    license: Option<String>,
    programs: Vec<Program>,
    maps: Vec<Map>,
    variables: Vec<Variable>,
    hooks: Vec<String>,
    helpers: Vec<String>,
    kfuncs: Vec<String>,
    powers: Vec<Power>,
    relocations: usize,
}

#[derive(Serialize)]
struct Program {
    name: String,
    target: String,
    instructions: usize,
    source: Option<String>,
}

#[derive(Serialize)]
struct Map {
    name: String,
    r#type: String,
    key: u32,
    value: u32,
    max_entries: u32,
    memory: u64,
}

#[derive(Serialize)]
struct Variable {
    name: String,
    section: String,
    size: u64,
}

impl Inspect {
    /// Runs it.
    ///
    /// # Errors
    /// It is none of those, or cannot be read.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let (package, http) = (self.package.as_ref(), self.plain_http);
        let subject = Subject::find(&self.what, package, http, config)?;
        if let Some(program) = &self.disasm {
            let program = Some(program.as_str()).filter(|program| !program.is_empty());
            return disasm::show(&subject.objects, program, output);
        }
        let mut objects = Vec::new();
        for found in &subject.objects {
            objects.push(object(&found.name, found.bytes.len(), &found.facts()?));
        }
        let shown = Shown { package: subject.package, objects };
        output.answer(&shown, || shown.text());
        Ok(())
    }
}

fn object(name: &str, size: usize, facts: &Facts) -> Object {
    let summary = permissions::derive(facts);
    let programs = facts.programs.iter().map(|program| Program {
        name: program.name.clone(),
        target: program.target.to_string(),
        instructions: program.insns,
        source: program.source.as_ref().map(|source| format!("{}:{}", source.file, source.line)),
    });
    let maps = facts.maps.iter().filter(|map| map.origin != MapOrigin::Data).map(|map| {
        let memory = map.memory();
        Map {
            name: map.name.clone(),
            r#type: map.kind.to_string(),
            key: map.key_size,
            value: map.value_size,
            max_entries: map.max_entries,
            memory: memory.once.saturating_add(memory.per_cpu),
        }
    });
    let variables = facts.globals.iter().map(|global| Variable {
        name: global.name.clone(),
        section: global.section.clone(),
        size: global.size,
    });
    Object {
        name: name.to_owned(),
        size,
        license: facts.license.clone(),
        programs: programs.collect(),
        maps: maps.collect(),
        variables: variables.collect(),
        hooks: summary.hooks.into_iter().collect(),
        helpers: summary.helpers.into_iter().collect(),
        kfuncs: summary.kfuncs.into_iter().collect(),
        powers: summary.powers,
        relocations: facts.core_relocations.len(),
    }
}

impl Shown {
    fn text(&self) -> String {
        let package = self.package.iter().map(Package::text);
        package.chain(self.objects.iter().map(Object::text)).collect::<Vec<_>>().join("\n\n")
    }
}

impl Package {
    fn text(&self) -> String {
        let package = &self.manifest.package;
        let arches: Vec<&str> = self.architectures.iter().map(|arch| arch.as_str()).collect();
        let mut lines = vec![format!("{} {}", package.name, package.version)];
        lines.extend(package.summary.clone());
        lines.push(String::new());
        lines.push(format!("license        {}", package.license));
        lines.push(format!("architectures  {}", arches.join(", ")));
        lines.push(format!("digest         {}", self.digest));
        let signed = if self.signed_by.is_empty() {
            "by nobody".to_owned()
        } else {
            self.signed_by.join(", ")
        };
        lines.push(format!("signed         {signed}"));
        let params = self.manifest.param.iter().map(|(name, param)| {
            let default =
                param.default.as_ref().map(skep_spec::param::Value::text).unwrap_or_default();
            [name.clone(), default, param.doc.clone().unwrap_or_default()]
        });
        section(&mut lines, ["PARAMETER", "DEFAULT", "MEANING"], params);
        let outputs = self.manifest.output.iter().map(|(name, output)| {
            let kind = serde_json::to_value(output.kind).unwrap_or_default();
            [name.clone(), kind.as_str().unwrap_or_default().to_owned(), output.map.clone()]
        });
        section(&mut lines, ["OUTPUT", "KIND", "MAP"], outputs);
        lines.join("\n")
    }
}

impl Object {
    fn text(&self) -> String {
        let license = self.license.as_deref().unwrap_or("none");
        let count = |number: usize, what: &str| {
            format!("{number} {what}{}", if number == 1 { "" } else { "s" })
        };
        let mut lines = vec![format!(
            "object {}: {}, license {license}, {}",
            self.name,
            bytes(self.size as u64),
            count(self.relocations, "CO-RE relocation")
        )];
        let programs = self.programs.iter().map(|program| {
            let source = program.source.clone().unwrap_or_default();
            [program.name.clone(), program.target.clone(), program.instructions.to_string(), source]
        });
        section(&mut lines, ["PROGRAM", "HOOK", "INSTRUCTIONS", "SOURCE"], programs);
        let maps = self.maps.iter().map(|map| {
            let sizes = [map.key.to_string(), map.value.to_string(), map.max_entries.to_string()];
            let [key, value, entries] = sizes;
            [map.name.clone(), map.r#type.clone(), key, value, entries, bytes(map.memory)]
        });
        section(&mut lines, ["MAP", "TYPE", "KEY", "VALUE", "ENTRIES", "MEMORY"], maps);
        let variables =
            self.variables.iter().map(|v| [v.name.clone(), v.section.clone(), v.size.to_string()]);
        section(&mut lines, ["VARIABLE", "SECTION", "BYTES"], variables);
        let powers = self.powers.iter().map(|power| [format!("it {power}")]);
        section(&mut lines, ["WHAT IT MAY TOUCH"], powers);
        lines.push(String::new());
        lines.push(format!("helpers  {}", self.helpers.join(", ")));
        if !self.kfuncs.is_empty() {
            lines.push(format!("kfuncs   {}", self.kfuncs.join(", ")));
        }
        lines.join("\n")
    }
}

/// Adds a table if it has rows.
fn section<const N: usize>(
    lines: &mut Vec<String>,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<[String; N]> = rows.collect();
    if !rows.is_empty() {
        lines.push(String::new());
        lines.push(table(header, rows));
    }
}
