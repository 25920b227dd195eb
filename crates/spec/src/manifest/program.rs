//! `[program]` and `[alternatives]`: what is attached, and what instead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is loaded and attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Program {
    /// The ELF symbol of the function; several programs may share one.
    pub function: String,
    /// The name of the object that holds it; must be there if there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Where it attaches instead of its section, spelled as sections are (`tp/sched/sched_switch`, `xdp/${param.iface}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// For uprobes, USDT and perf events: only in this process (`${param.pid}`); `0` is every process, as without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// Whether the service runs without it if the kernel refuses it; default `false`.
    #[serde(default)]
    pub optional: bool,
    /// The name of a parameter: loaded only if that one is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_param: Option<String>,
    /// For XDP: alone on its interface (`true`, the default), or sharing it by libxdp's protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
    /// Its place on a shared hook, low first: an integer from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// What guardrails may do to it: `detach` it (the default), or `keep` it, so that it fails closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_limit: Option<OnLimit>,
}

/// What guardrails may do to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLimit {
    /// Detach it.
    Detach,
    /// Never detach it: it fails closed.
    Keep,
}

/// Programs of which the first that work are used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alternatives {
    /// Members in order, at least one, each a list of programs' names, at least one: the first whose programs all load and attach is used.
    pub r#try: Vec<Vec<String>>,
    /// What happens where none works: `refuse` the install (the default), or `skip`, and the service runs without.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// What happens where no alternative works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// The install fails.
    #[default]
    Refuse,
    /// The service runs without, and says so.
    Skip,
}
