//! `[health]` and `[limits]`: when an activation counts as good, and what a service may use of a node.

mod condition;
mod share;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::condition::{
    Asks, CONDITION_PATTERN, Condition, ConditionError, Fact, Operator, Per, Threshold,
};
pub use self::share::{CPU_PATTERN, CpuShare, CpuShareError, Share};

/// When an activation counts as good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// How long the conditions must hold after an activation: a duration, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<String>,
    /// Conditions that must all hold, such as `attached(all)`, `runs(start) > 0`, `lost(request) < 1%`; never commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What the service may use of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Share of the time of all CPUs: above `0%`, at most `100%`, such as `2%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuShare>,
    /// Memory of all maps: a size, such as `32MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_memory: Option<String>,
    /// Events per second: an integer from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second: Option<u64>,
    /// What happens past a limit: `warn`, `throttle` or `detach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<String>,
}
