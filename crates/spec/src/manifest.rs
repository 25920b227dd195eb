//! The resolved manifest: what `manifest.json` in an artifact says.
//!
//! `skep.toml`'s tables and keys unchanged, defaults filled in, plus `spec` and the digests of the objects.

mod health;
mod map;
mod output;
mod program;
mod read;
mod support;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::health::{
    Asks, CONDITION_PATTERN, CPU_PATTERN, Condition, ConditionError, CpuShare, CpuShareError, Fact,
    Health, Limits, Operator, Per, Share, Threshold,
};
pub use self::map::{Export, Map, Merge, Upgrade};
pub use self::output::{Buckets, Field, Label, Output, OutputKind, When};
pub use self::program::{Alternatives, OnLimit, Otherwise, Program};
pub use self::read::{MAX_MANIFEST, ManifestError};
use crate::param::{ParamType, Value};
use crate::{Arch, Digest, PackageName, Range, Version};

/// A resolved manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The version of the standard that it is written for, `MAJOR.MINOR`.
    pub spec: String,
    /// Dotted keys that a reader must know, or refuse the manifest; `*` stands for a name that the author chose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub critical: Vec<String>,
    /// What the package is called, its version and its licence.
    pub package: Package,
    /// The BPF objects by name, with digests instead of sources.
    pub objects: BTreeMap<String, Object>,
    /// What is loaded and attached, by name; without any, every program of every object at the hook of its section.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub program: BTreeMap<String, Program>,
    /// Programs of which the first that work are used, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alternatives: BTreeMap<String, Alternatives>,
    /// What an operator may set, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub param: BTreeMap<String, Param>,
    /// Maps by their ELF symbol: their size, and what an upgrade does with what is in them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, Map>,
    /// What comes out and how it is shown, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub output: BTreeMap<String, Output>,
    /// What the code may do: it must cover what the objects' code shows, for every architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// What a node must have, where the bytecode cannot show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,
    /// When an activation counts as good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What the service may use of a node, and what happens past that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Packages that this one needs, by `publisher/name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<PackageName, Dependency>,
}

/// What the package is called, its version and its licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Package {
    /// `publisher/name`: each part 1 to 64 of `a-z`, `0-9` and single hyphens between them.
    pub name: PackageName,
    /// A version as SemVer 2.0 has it: `MAJOR.MINOR.PATCH`, with `-pre` and `+build` if wanted.
    pub version: Version,
    /// The package's licence as an SPDX expression, such as `Apache-2.0`; the ELF's own licence is another matter.
    pub license: String,
    /// What the package does, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// One BPF object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Object {
    /// By architecture, the SHA-256 of the uncompressed ELF: 64 lower-case hexadecimal digits.
    pub sha256: BTreeMap<Arch, String>,
}

impl Object {
    /// The digest of the object for `arch`.
    #[must_use]
    pub fn digest(&self, arch: Arch) -> Option<Digest> {
        self.sha256.get(&arch).and_then(|hex| format!("sha256:{hex}").parse().ok())
    }
}

/// What an operator may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Param {
    /// What a value looks like: a word such as `uint`, `duration` or `ip`.
    pub r#type: ParamType,
    /// For `duration`: what the variable counts in, `ns` (the default), `us`, `ms` or `s`; the rest is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The symbol of a `const volatile` global, written before the programs are loaded; not together with `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rodata: Option<String>,
    /// The symbol of a global of `.data` or `.bss`, which stays live; not together with `rodata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Other constants by symbol, each with the value that is written when the parameter is given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// The value when none is given, of the parameter's type and in its range; default: the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// `[lowest, highest]`, both allowed; for types that are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[Value; 2]>,
    /// Whether several values may be given; default `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub many: Option<bool>,
    /// What it means, in one line for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
}

/// What the code may do: it must cover what the bytecode shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Permissions {
    /// Hooks: kinds (`fentry`), targets (`tp_btf/block_rq_insert`), or a beginning with `*` at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// Helpers without `bpf_`, such as `map_lookup_elem`, or a beginning with `*` at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helpers: Vec<String>,
    /// Kfuncs by name, or a beginning with `*` at its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kfuncs: Vec<String>,
    /// Most memory of all maps of all objects together: a size, such as `16MiB`; left out, it is not held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_memory: Option<String>,
}

/// What a node must have: only what bytecode cannot show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requirements {
    /// Kernel modules by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
}

/// A package that another one needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// The versions that fit: `^1.2`, `~1.2.3`, `=1.2.3`, or several that must all hold, such as `>=1.4, <3`.
    pub version: Range,
    /// The maps that are shared, by their ELF symbol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<String>,
}
