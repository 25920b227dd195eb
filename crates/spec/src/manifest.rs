//! The resolved manifest: what `manifest.json` in an artifact says.
//!
//! `skep.toml`'s tables and keys unchanged, defaults filled in, plus `spec` and the digests of the objects.

mod map;
mod output;
mod program;
mod read;
mod support;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::map::{Export, Map, Merge, Upgrade};
pub use self::output::{Buckets, Field, Label, Output, OutputKind, When};
pub use self::program::{Alternatives, OnLimit, Otherwise, Program};
pub use self::read::{MAX_MANIFEST, ManifestError};
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
    /// `[requirements]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,
    /// `[health]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// `[limits]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// `[dependencies]`, by package name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<PackageName, Dependency>,
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

impl Object {
    /// The digest of the object for `arch`.
    #[must_use]
    pub fn digest(&self, arch: Arch) -> Option<Digest> {
        self.sha256.get(&arch).and_then(|hex| format!("sha256:{hex}").parse().ok())
    }
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
    /// Several values, globs allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub many: Option<bool>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
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

/// `[requirements]`: only what bytecode cannot show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirements {
    /// Kernel modules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
}

/// `[health]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How long conditions must hold after activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<String>,
    /// The conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

/// `[limits]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Share of the CPUs, such as `2%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Map memory, such as `32MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_memory: Option<String>,
    /// Events per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u64>,
    /// `warn`, `throttle` or `detach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<String>,
}

/// A package that another one needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Range of versions.
    pub version: String,
    /// Maps that are shared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maps: Vec<String>,
}
