//! What one kernel can do, as far as somebody has asked it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_object::{MapKind, ProgramKind};
use skep_spec::{Arch, schema};

/// What a kernel can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelFacts {
    /// `uname -r`. For messages only: decisions go by the features.
    pub release: String,
    /// Its architecture.
    pub arch: Arch,
    /// Possible CPUs: how often per-CPU values exist.
    pub cpus: u32,
    /// What was asked and answered.
    #[serde(default)]
    pub features: BTreeMap<Feature, Support>,
}

/// Something that kernels have or lack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// `btf`: the kernel tells its own types (`/sys/kernel/btf/vmlinux`).
    Btf,
    /// `program:KIND`: programs of a kind load.
    Program(ProgramKind),
    /// `map:KIND`: maps of a kind can be made.
    Map(MapKind),
    /// `helper:NAME`: a helper, without `bpf_`.
    Helper(String),
    /// `kfunc:NAME`: a kernel function that programs may call.
    Kfunc(String),
    /// `function:NAME`: a kernel function to attach to.
    Function(String),
    /// `tracepoint:NAME`: a tracepoint to attach to.
    Tracepoint(String),
    /// `attach:KIND`: attaching at a hook works, by the kinds of [`skep_spec::Target::kind`], and `tc` for clsact.
    Attach(String),
    /// `link:KIND`: such an attachment is a `bpf_link`, which can be pinned.
    Link(String),
}

skep_spec::text_schema!(
    Feature,
    "pattern": "^(btf|(program|map|helper|kfunc|function|tracepoint|attach|link):.+)$"
);

/// An answer. A probe that failed for another reason than the kernel's lack of the feature is no "no".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// The kernel has it.
    Yes,
    /// The kernel lacks it.
    No,
    /// Nobody knows, and why.
    Unknown(String),
}

impl KernelFacts {
    /// The schema of the facts.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schema::of::<Self>("kernel facts", "What a kernel can do, as far as it was asked", &[])
    }

    /// Facts without an answer yet.
    #[must_use]
    pub fn new(release: impl Into<String>, arch: Arch, cpus: u32) -> Self {
        Self { release: release.into(), arch, cpus, features: BTreeMap::new() }
    }

    /// The answer about a feature; unknown if nobody asked.
    #[must_use]
    pub fn support(&self, feature: &Feature) -> Support {
        let known = self.features.get(feature).cloned();
        known.unwrap_or_else(|| Support::Unknown("the kernel was not asked".to_owned()))
    }

    /// Records an answer.
    pub fn learn(&mut self, feature: Feature, support: Support) {
        self.features.insert(feature, support);
    }
}

impl Support {
    /// Whether the kernel is known to lack it.
    #[must_use]
    pub const fn is_no(&self) -> bool {
        matches!(self, Self::No)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Btf => f.write_str("btf"),
            Self::Program(kind) => write!(f, "program:{kind}"),
            Self::Map(kind) => write!(f, "map:{kind}"),
            Self::Helper(name) => write!(f, "helper:{name}"),
            Self::Kfunc(name) => write!(f, "kfunc:{name}"),
            Self::Function(name) => write!(f, "function:{name}"),
            Self::Tracepoint(name) => write!(f, "tracepoint:{name}"),
            Self::Attach(kind) => write!(f, "attach:{kind}"),
            Self::Link(kind) => write!(f, "link:{kind}"),
        }
    }
}

/// Why a text is not a feature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a feature, such as btf, map:ringbuf, helper:loop or attach:tcx")]
pub struct FeatureError(String);

impl FromStr for Feature {
    type Err = FeatureError;

    fn from_str(text: &str) -> Result<Self, FeatureError> {
        let refused = || FeatureError(text.to_owned());
        if text == "btf" {
            return Ok(Self::Btf);
        }
        let (kind, name) = text.split_once(':').ok_or_else(refused)?;
        if name.is_empty() {
            return Err(refused());
        }
        let name_owned = name.to_owned();
        Ok(match kind {
            "program" => Self::Program(ProgramKind::from_name(name).ok_or_else(refused)?),
            "map" => Self::Map(MapKind::from_name(name).ok_or_else(refused)?),
            "helper" => Self::Helper(name_owned),
            "kfunc" => Self::Kfunc(name_owned),
            "function" => Self::Function(name_owned),
            "tracepoint" => Self::Tracepoint(name_owned),
            "attach" => Self::Attach(name_owned),
            "link" => Self::Link(name_owned),
            _ => return Err(refused()),
        })
    }
}

impl Serialize for Feature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Feature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_json() {
        let mut facts = KernelFacts::new("6.1.0-40-amd64", Arch::X86_64, 2);
        facts.learn(Feature::Btf, Support::Yes);
        facts.learn(Feature::Map(MapKind::RingBuf), Support::Yes);
        facts.learn(Feature::Attach("tcx".into()), Support::No);
        facts.learn(Feature::Helper("loop".into()), Support::Unknown("no permission".into()));
        let text = serde_json::to_string(&facts).unwrap();
        insta::assert_snapshot!(text, @r#"{"release":"6.1.0-40-amd64","arch":"x86_64","cpus":2,"features":{"btf":"yes","map:ringbuf":"yes","helper:loop":{"unknown":"no permission"},"attach:tcx":"no"}}"#);
        assert_eq!(serde_json::from_str::<KernelFacts>(&text).unwrap(), facts);
    }

    #[test]
    fn what_nobody_asked_is_unknown() {
        let mut facts = KernelFacts::new("6.1", Arch::X86_64, 1);
        insta::assert_debug_snapshot!(facts.support(&Feature::Btf), @r#"
        Unknown(
            "the kernel was not asked",
        )
        "#);
        facts.learn(Feature::Btf, Support::No);
        assert!(facts.support(&Feature::Btf).is_no());
    }

    #[test]
    fn a_text_that_is_no_feature_is_refused() {
        for text in ["", "btf2", "map:nothing", "colour:red"] {
            assert_eq!(text.parse::<Feature>(), Err(FeatureError(text.to_owned())));
        }
    }
}
