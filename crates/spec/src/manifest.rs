//! The resolved manifest: what `manifest.json` in an artifact says.
//!
//! `skep.toml`'s tables and keys unchanged, defaults filled in, plus `spec` and the digests of the objects.

mod support;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::param::{ParamType, Value};
use crate::{Arch, Digest, PackageName, Version, media};

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
    /// XDP: alone on its interface (the default), or sharing it by libxdp's protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
    /// Place on a shared hook, low first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// What guardrails may do to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_limit: Option<OnLimit>,
}

/// What guardrails may do to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLimit {
    /// Detach it.
    Detach,
    /// Never detach it: it fails closed.
    Keep,
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
    /// Several values, globs allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub many: Option<bool>,
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
    /// How the map is written; derived from the bytecode, shown because exactness depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writers: Option<String>,
    /// Saved over a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<bool>,
    /// `config`: the contents belong to the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The format of a key of a `config` map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A stable pin for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
}

impl Map {
    /// How a field is merged: said for itself, or for what it is in.
    #[must_use]
    pub fn merge_of(&self, field: &str) -> Option<Merge> {
        let mut outer = std::iter::successors(Some(field), |path| Some(path.rsplit_once('.')?.0));
        outer.find_map(|path| self.fields.get(path).copied())
    }
}

/// A stable pin for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Mode of the pin, octal.
    pub mode: String,
    /// Group that owns the pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
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
    /// For events: which records are of this struct, where several share a ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// For histograms: what the slots stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Buckets>,
    /// For metrics: labels from the map's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Label>,
}

/// Which records of a ring are of an output's struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// A field that every record has.
    pub field: String,
    /// The value that it has in these.
    pub equals: Value,
}

/// What a histogram's slots stand for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buckets {
    /// `log2` or `linear`.
    pub scale: String,
    /// The unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A metric's label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The field of the map's key.
    pub key: String,
    /// How it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
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

/// Most bytes of a manifest.
pub const MAX_MANIFEST: usize = 1 << 20;

/// Why bytes are not a manifest that we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON.
    #[error("manifest.json cannot be read")]
    Json(#[source] crate::json::JsonError),
    /// A key of the standard with what it does not take.
    #[error("manifest.json is not as it should be: {why}")]
    Broken {
        /// The standard's code.
        code: &'static str,
        /// What is wrong, and where.
        why: String,
    },
    /// Written for a later standard.
    #[error(
        "manifest.json is written for version {found} of the standard, this program reads up to {}",
        media::SPEC_VERSION
    )]
    Later {
        /// The version that it names.
        found: String,
    },
    /// No version of the standard.
    #[error("manifest.json has spec '{0}', which is not MAJOR.MINOR")]
    Spec(String),
    /// It needs a reader that knows this key.
    #[error("manifest.json says that the key '{0}' is critical, and this program does not know it")]
    Critical(String),
}

impl Manifest {
    /// Reads `manifest.json`: unknown keys are ignored unless they are critical.
    ///
    /// # Errors
    /// Too long, not JSON, a key twice, a wrong type, a later major version, an unknown critical key.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let value = crate::json::parse_exact(bytes, MAX_MANIFEST).map_err(ManifestError::Json)?;
        let not = |code, why: String| ManifestError::Broken { code, why };
        let serde_json::Value::Object(members) = &value else {
            return Err(not("manifest.type", "it should be an object".to_owned()));
        };
        Self::readable(members)?;
        crate::source::hold(members).map_err(|broken| not(broken.code.as_str(), broken.why))?;
        crate::json::typed(value).map_err(ManifestError::Json)
    }

    /// The bytes that are packed: RFC 8785, so equal manifests have equal digests.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // Strings, integers and maps with string keys: nothing in a manifest can fail to serialise.
        serde_json_canonicalizer::to_vec(self).unwrap_or_default()
    }

    /// What a later version of the standard may have changed is looked at first.
    fn readable(members: &serde_json::Map<String, serde_json::Value>) -> Result<(), ManifestError> {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        if let Some(spec) = members.get("spec").and_then(text) {
            let found = major(&spec).ok_or_else(|| ManifestError::Spec(spec.clone()))?;
            if Some(found) > major(media::SPEC_VERSION) {
                return Err(ManifestError::Later { found: spec });
            }
        }
        let critical = members.get("critical").and_then(serde_json::Value::as_array);
        let mut keys = critical.into_iter().flatten().filter_map(text);
        keys.find(|key| !crate::source::knows(key))
            .map_or(Ok(()), |key| Err(ManifestError::Critical(key)))
    }
}

/// The major of `MAJOR.MINOR`, each of any number of digits.
fn major(text: &str) -> Option<u32> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (major, minor) = text.split_once('.')?;
    (is_number(major) && is_number(minor)).then(|| major.parse().unwrap_or(u32::MAX))
}

impl ManifestError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Json(error) => error.code("manifest.value"),
            Self::Broken { code, .. } => code,
            Self::Later { .. } => "manifest.later",
            Self::Spec(_) => "manifest.spec",
            Self::Critical(_) => "manifest.critical",
        }
    }
}

impl Object {
    /// The digest of the object for `arch`.
    #[must_use]
    pub fn digest(&self, arch: Arch) -> Option<Digest> {
        self.sha256.get(&arch).and_then(|hex| format!("sha256:{hex}").parse().ok())
    }
}
