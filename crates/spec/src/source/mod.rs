//! `skep.toml`, the source form of a manifest: read with positions, every mistake reported at once.

mod check;
mod found;
pub(crate) mod held;
mod json_schema;
mod schema;
pub mod services;
mod shape;
mod syntax;

pub use check::of_program as foreign;
pub use found::{Hint, Names};
pub use json_schema::{manifest_schema, source_schema};
pub use schema::FORMATS;
pub(crate) use schema::is_label;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::found::{Found, NONE};
use crate::chain::line;
use crate::manifest::{
    Alternatives, Dependency, Health, Limits, Manifest, Map, Object, Output, Package, Param,
    Permissions, Program, Requirements,
};
use crate::toml_1_0::{self, Later};
use crate::{Arch, Digest, PackageName, Version};

/// Most bytes of a `skep.toml`.
pub const MAX_SOURCE: usize = 256 << 10;
/// Most levels of tables and arrays in one another; what reads TOML stops there for each key and each value.
const MAX_DEPTH: usize = 80;

/// A `skep.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Source {
    /// The version of the standard that the file is written for: `"1.0"`.
    pub spec: String,
    /// What the package is called, its version and its licence.
    pub package: SourcePackage,
    /// How `sources` are compiled; not packed, and not needed where every object is prebuilt.
    #[serde(default)]
    pub build: Build,
    /// The BPF objects by name, at least one; a name has 1 to 64 of `a-z`, `0-9` and single `-` or `_` between them.
    #[serde(default)]
    pub object: BTreeMap<String, SourceObject>,
    /// What is loaded and attached, by a name of your choice; without any, every program of every object at the hook of its section.
    #[serde(default)]
    pub program: BTreeMap<String, Program>,
    /// Programs of which the first that work are used, by a name of your choice.
    #[serde(default)]
    pub alternatives: BTreeMap<String, Alternatives>,
    /// What an operator may set (`--set NAME=VALUE`), by a name of your choice.
    #[serde(default)]
    pub param: BTreeMap<String, Param>,
    /// Maps by their ELF symbol: their size, and what an upgrade does with what is in them.
    #[serde(default)]
    pub map: BTreeMap<String, Map>,
    /// What comes out and how it is shown, by a name of your choice.
    #[serde(default)]
    pub output: BTreeMap<String, Output>,
    /// What the code may do: it must cover what the objects' code shows, for every architecture.
    #[serde(default)]
    pub permissions: Option<Permissions>,
    /// What a node must have, where the bytecode cannot show it.
    #[serde(default)]
    pub requirements: Option<Requirements>,
    /// When an activation counts as good.
    #[serde(default)]
    pub health: Option<Health>,
    /// What the service may use of a node, and what happens past that.
    #[serde(default)]
    pub limits: Option<Limits>,
    /// Packages that this one needs, by `publisher/name`.
    #[serde(default)]
    pub dependencies: BTreeMap<PackageName, Dependency>,
    /// What the kit runs in a guest; not packed.
    #[serde(default)]
    pub test: Vec<Test>,
}

/// What the package is called, its version and its licence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SourcePackage {
    /// `publisher/name`: each part 1 to 64 of `a-z`, `0-9` and single hyphens between them.
    pub name: PackageName,
    /// A version as SemVer 2.0 has it: `MAJOR.MINOR.PATCH`, with `-pre` and `+build` if wanted.
    pub version: Version,
    /// The package's licence as an SPDX expression, such as `Apache-2.0`; the ELF's own licence is another matter.
    pub license: String,
    /// What the package does, in one line without a full stop.
    #[serde(default)]
    pub summary: Option<String>,
    /// Path of the README below the folder of `skep.toml`; its text is packed, at most 1 MiB.
    #[serde(default)]
    pub readme: Option<String>,
}

/// How `sources` are compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Build {
    /// By architecture, where the kernel types for `vmlinux.h` come from: `debian:SERIES` (`debian:6.12`), a file, or `host`.
    #[serde(default)]
    pub btf: BTreeMap<Arch, String>,
    /// More arguments for clang, after skep's own.
    #[serde(default)]
    pub cflags: Vec<String>,
}

/// A BPF object: compiled from `sources`, or prebuilt as `file`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct SourceObject {
    /// Paths of C files below the folder of `skep.toml`, compiled and linked in this order; not together with `file`.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Paths of prebuilt ELF objects by architecture (`x86_64`, `aarch64`, `riscv64`, `s390x`); not together with `sources`.
    #[serde(default)]
    pub file: BTreeMap<Arch, String>,
    /// With `sources`: what they are built for: `x86_64`, `aarch64`, `riscv64`, `s390x`; default `["x86_64"]`.
    #[serde(default = "default_arch")]
    pub arch: Vec<Arch>,
}

impl SourceObject {
    /// What it is built for, or has files for.
    #[must_use]
    pub fn architectures(&self) -> Vec<Arch> {
        match self.file.is_empty() {
            true => self.arch.clone(),
            false => self.file.keys().copied().collect(),
        }
    }
}

fn default_arch() -> Vec<Arch> {
    vec![Arch::X86_64]
}

/// What the kit runs in a guest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Test {
    /// A shell line that makes the events.
    pub run: String,
    /// What must come out of it.
    pub expect: Expect,
    /// How long it may take: a duration, such as `250ms` or `30s`.
    #[serde(default)]
    pub within: Option<String>,
}

/// What a test must bring out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Expect {
    /// The name of an output.
    pub output: String,
    /// At least this many records: an integer from 0.
    #[serde(default)]
    pub at_least: Option<u64>,
    /// Only records that this condition holds for.
    #[serde(default, rename = "where")]
    pub filter: Option<String>,
}

/// What kind of mistake it is: the standard's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Code {
    /// Not TOML.
    #[serde(rename = "toml.syntax")]
    Syntax,
    /// Too long.
    #[serde(rename = "toml.size")]
    Size,
    /// A key that is not known.
    #[serde(rename = "manifest.unknown-key")]
    UnknownKey,
    /// A value of another type.
    #[serde(rename = "manifest.type")]
    Type,
    /// A key that must be there is not.
    #[serde(rename = "manifest.missing")]
    Missing,
    /// A value that its key does not take.
    #[serde(rename = "manifest.value")]
    Value,
    /// A name that is nowhere.
    #[serde(rename = "manifest.reference")]
    Reference,
    /// Keys that exclude or need each other.
    #[serde(rename = "manifest.conflict")]
    Conflict,
}

impl Code {
    /// As the standard spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "toml.syntax",
            Self::Size => "toml.size",
            Self::UnknownKey => "manifest.unknown-key",
            Self::Type => "manifest.type",
            Self::Missing => "manifest.missing",
            Self::Value => "manifest.value",
            Self::Reference => "manifest.reference",
            Self::Conflict => "manifest.conflict",
        }
    }
}

/// One mistake in a `skep.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What kind of mistake.
    pub code: Code,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// In one line, whatever names it repeats.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, line(&self.message))?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {}", line(hint)))
    }
}

/// A mistake that shows only later than [`parse`] looks, at a key of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The keys that lead there, from the outside in.
    pub key: Vec<String>,
    /// What kind of mistake.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<Hint>,
}

/// A name as a key of TOML: quoted where it must be.
#[must_use]
pub fn key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

/// Reads a `skep.toml`.
///
/// # Errors
/// Every mistake, in the order of the text: syntax, unknown keys, wrong types, missing keys, names that are not there.
pub fn parse(text: &str) -> Result<Source, Vec<Diagnostic>> {
    let mut found = Found::new(text);
    let Some(table) = table(text, &mut found) else { return Err(found.sorted()) };
    let shape::Read { mut json, spans, broken } =
        shape::check(table.get_ref(), &schema::TOP, &mut found);
    if !found.list.is_empty() {
        stand_in(&mut json);
    }
    match serde_json::from_value::<Source>(Json::Object(json)) {
        Ok(source) => {
            check::references(&source, &spans, &broken, &mut found);
            if found.list.is_empty() {
                return Ok(source);
            }
            let tables = source.tables();
            let names = |kind: &str| tables.get(kind).map_or(&[][..], Vec::as_slice);
            Err(found.sorted_with(&names))
        }
        Err(error) => {
            if found.list.is_empty() {
                found.add(Code::Value, 0..0, error.to_string(), None);
            }
            Err(found.sorted())
        }
    }
}

/// A text as a table, as deep as is read; none where it is no TOML, of which every mistake is said.
fn table<'t>(text: &'t str, found: &mut Found<'_>) -> Option<Spanned<DeTable<'t>>> {
    if text.len() > MAX_SOURCE {
        let message = format!("it has {} bytes, more than the {MAX_SOURCE} allowed", text.len());
        found.add(Code::Size, 0..0, message, None);
        return None;
    }
    if text.starts_with('\u{feff}') {
        // TOML's reader skips it; the standard's texts have none.
        found.add(Code::Syntax, 0..0, "it begins with a byte order mark".to_owned(), None);
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for syntax::Mistake { at, message, hint } in syntax::mistakes(text) {
            found.add(Code::Syntax, at..at, message, hint.map(Hint::Do));
        }
        return None;
    }
    for Later { at, why } in toml_1_0::later(text) {
        found.add(Code::Syntax, at..at, format!("this is not TOML 1.0: {why}"), None);
    }
    if !found.list.is_empty() {
        return None;
    }
    let mut all = table.get_ref().iter();
    if let Some((key, _)) = all.find(|(_, value)| depth(value.get_ref()) > MAX_DEPTH) {
        found.add(Code::Syntax, key.span(), syntax::too_deep(), None);
        return None;
    }
    Some(table)
}

/// What must be there and has a mistake, so that the rest can be looked at; nobody gets to see it.
fn stand_in(json: &mut serde_json::Map<String, Json>) {
    let package = serde_json::json!({ "name": "a/a", "version": "0.0.0", "license": "MIT" });
    json.entry("spec").or_insert_with(|| Json::from("1.0"));
    json.entry("package").or_insert(package);
}

/// How many levels of tables and arrays a value has, itself one of them.
fn depth(value: &DeValue<'_>) -> usize {
    match value {
        DeValue::Array(items) => {
            1 + items.iter().map(|item| depth(item.get_ref())).max().unwrap_or_default()
        }
        DeValue::Table(table) => {
            1 + table.values().map(|value| depth(value.get_ref())).max().unwrap_or_default()
        }
        _ => 0,
    }
}

/// Where a table or key stands in a `skep.toml`: line and column from 1, or the nearest that encloses it.
#[must_use]
pub fn place(text: &str, path: &[&str]) -> [usize; 2] {
    let key = path.iter().map(|name| (*name).to_owned()).collect();
    let mistake = Mistake { key, code: Code::Value, message: String::new(), hint: None };
    placed(text, vec![mistake], NONE).first().map_or([1, 1], |found| [found.line, found.column])
}

/// Mistakes with their places in a `skep.toml`, as [`place`] finds them, in the order of the text, each once.
#[must_use]
pub fn placed<'n>(text: &str, mistakes: Vec<Mistake>, names: Names<'n>) -> Vec<Diagnostic> {
    let (table, _) = DeTable::parse_recoverable(text);
    let mut found = Found::new(text);
    for Mistake { key, code, message, hint } in mistakes {
        found.add(code, span(table.get_ref(), &key), message, hint);
    }
    let mut list = found.sorted_with(names);
    list.dedup();
    list
}

/// Where a key stands, or the last of those around it that is there.
fn span(table: &DeTable<'_>, path: &[String]) -> Range<usize> {
    let (mut table, mut span) = (Some(table), 0..0);
    for name in path {
        let entry = table.and_then(|table| table.get_key_value(name.as_str()));
        let Some((key, value)) = entry else { break };
        span = key.span();
        table = value.get_ref().as_table();
    }
    span
}

/// Whether `key`, such as `map.export`, is a key of this standard; `*` stands for a name that the author chose.
#[must_use]
pub fn knows(key: &str) -> bool {
    shape::knows(&schema::MANIFEST, key)
}

/// Holds the members of a `manifest.json` against the tables of the standard; unknown keys are left alone.
pub(crate) fn hold(manifest: &serde_json::Map<String, Json>) -> Result<(), held::Broken> {
    held::table("", manifest, &schema::MANIFEST)
}

impl Source {
    /// The names of its tables, by their kinds.
    fn tables(&self) -> BTreeMap<&'static str, Vec<&str>> {
        fn names<T>(table: &BTreeMap<String, T>) -> Vec<&str> {
            table.keys().map(String::as_str).collect()
        }
        let (programs, alternatives) = (names(&self.program), names(&self.alternatives));
        BTreeMap::from([
            ("object", names(&self.object)),
            ("param", names(&self.param)),
            ("output", names(&self.output)),
            (check::RUNS, [programs.as_slice(), &alternatives].concat()),
            ("program", programs),
        ])
    }

    /// The manifest, with the digests of the built objects.
    #[must_use]
    pub fn resolve(&self, digests: &BTreeMap<String, BTreeMap<Arch, Digest>>) -> Manifest {
        let object = |digests: &BTreeMap<Arch, Digest>| Object {
            sha256: digests.iter().map(|(arch, digest)| (*arch, digest.hex())).collect(),
        };
        Manifest {
            spec: self.spec.clone(),
            critical: Vec::new(),
            package: Package {
                name: self.package.name.clone(),
                version: self.package.version.clone(),
                license: self.package.license.clone(),
                summary: self.package.summary.clone(),
            },
            objects: digests
                .iter()
                .map(|(name, digests)| (name.clone(), object(digests)))
                .collect(),
            program: self.program.clone(),
            alternatives: self.alternatives.clone(),
            param: self.param.clone(),
            map: self.map.clone(),
            output: self.output.clone(),
            permissions: self.permissions.clone(),
            requirements: self.requirements.clone(),
            health: self.health.clone(),
            limits: self.limits.clone(),
            dependencies: self.dependencies.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
