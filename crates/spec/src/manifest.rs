//! The resolved manifest: what `manifest.json` in an artifact says.
//!
//! `skep.toml`'s tables and keys unchanged, defaults filled in, plus `spec` and the digests of the objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::param::{ParamType, Value};
use crate::{Arch, Digest, PackageName, Version};

/// A resolved manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The standard's version, `MAJOR.MINOR`.
    pub spec: String,
    /// Keys that a reader must know or refuse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
    /// `[package]`.
    pub package: Package,
    /// `[object.<name>]`, with digests instead of sources.
    pub objects: BTreeMap<String, Object>,
    /// `[program.<name>]`. Empty: every program of every object, by its section.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub program: BTreeMap<String, Program>,
    /// `[alternatives.<name>]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alternatives: BTreeMap<String, Alternatives>,
    /// `[param.<name>]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub param: BTreeMap<String, Param>,
    /// `[map.<name>]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, Map>,
    /// `[output.<name>]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub output: BTreeMap<String, Output>,
    /// `[permissions]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
}

/// `[package]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// `publisher/name`.
    pub name: PackageName,
    /// SemVer.
    pub version: Version,
    /// SPDX expression for the package; the ELF's own licence is another matter.
    pub license: String,
    /// One line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// One BPF object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// SHA-256 of the uncompressed ELF per architecture.
    pub sha256: BTreeMap<Arch, String>,
}

/// `[program.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Program {
    /// ELF symbol.
    pub function: String,
    /// The object that holds it, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Attach target instead of the section's; may hold `${param.NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// May fail to load or attach.
    #[serde(default)]
    pub optional: bool,
    /// Not loaded unless this parameter is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_param: Option<String>,
}

/// `[alternatives.<name>]`: the first member whose programs all load and attach wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternatives {
    /// Members in order, each a list of names in `[program]`.
    pub r#try: Vec<Vec<String>>,
    /// What happens where none works.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// What happens where no alternative works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// The install fails.
    #[default]
    Refuse,
    /// The service runs without, and says so.
    Skip,
}

/// `[param.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// The type.
    pub r#type: ParamType,
    /// For `duration`: what the variable counts in (`ns`, `us`, `ms`, `s`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// ELF symbol in `.rodata*`, written before load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rodata: Option<String>,
    /// ELF symbol in `.data*`: live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Other constants written when the parameter is given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// The value when none is given; absent leaves the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Lowest and highest value, both allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[Value; 2]>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
}

/// `[map.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Map {
    /// Entries (or bytes, for a ring buffer): a number, a size, or `${param.NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<Value>,
    /// What an upgrade does with the contents; absent means keep if the BTF layout is equal, else refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// For `migrate`: how each field of the new value is merged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Merge>,
    /// For `migrate`: new field name = old field name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

/// What an upgrade does with a map's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// The same map; refused if the BTF layout differs.
    Keep,
    /// Moved entry by entry into the new map.
    Migrate,
    /// The new version starts empty.
    Reset,
}

/// How two values of a field become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Merge {
    /// Added.
    Sum,
    /// The larger.
    Max,
    /// The smaller, where zero means "never set".
    Min,
    /// The new version's, where it is not zero.
    Last,
}

/// `[output.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What comes out.
    pub kind: OutputKind,
    /// The map that carries it.
    pub map: String,
    /// For events: the C struct of a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#struct: Option<String>,
    /// For counters: the field of the map's value; absent means the value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How fields are shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Field>,
}

/// The kind of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Records of a ring or perf buffer.
    Event,
    /// A number that only grows.
    Counter,
    /// A number.
    Gauge,
    /// Buckets.
    Histogram,
    /// A map's contents on demand.
    Snapshot,
    /// Stack traces.
    Stacks,
}

/// How a field is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// `ktime`, `comm`, `duration`, `hex`, `ip`, `mac`, `errno`, `signal`, `size`, `path`, `bool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The unit that the field counts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The column's name instead of the field's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `[permissions]`: must cover what the bytecode shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Permissions {
    /// Hook kinds (`fentry`) or exact targets (`tp_btf/block_rq_insert`); `*` at an end matches the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// Helper names without `bpf_`; `*` at an end matches the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helpers: Vec<String>,
    /// Kfunc names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kfuncs: Vec<String>,
    /// Most map memory, such as `16MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_memory: Option<String>,
}

impl Object {
    /// The digest of the object for `arch`.
    #[must_use]
    pub fn digest(&self, arch: Arch) -> Option<Digest> {
        self.sha256.get(&arch).and_then(|hex| format!("sha256:{hex}").parse().ok())
    }
}
