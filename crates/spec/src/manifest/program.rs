//! `[program]` and `[alternatives]`: what is attached, and what instead.

use serde::{Deserialize, Serialize};

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
