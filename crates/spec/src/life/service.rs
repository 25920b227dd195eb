//! What a node says of a service.

use std::fmt;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Generation, Mechanism};
use crate::{Target, Version};

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It runs.
    Running,
    /// It runs, but for something that each start tries to put back.
    Partial,
    /// It does not run.
    Failed,
    /// Somebody stopped it: nothing of it is attached, and its state is kept.
    Stopped,
}

/// What a rollback returns to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Previous {
    /// The generation's number.
    pub generation: u64,
    /// Its version.
    pub version: Version,
}

/// One generation, as the standard's document has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GenerationDetail {
    /// Whether it runs.
    pub active: bool,
    /// What it is.
    #[serde(flatten)]
    pub fixed: Generation,
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookDetail {
    /// Its name.
    pub name: String,
    /// Where.
    pub target: Target,
    /// How its program is replaced.
    pub mechanism: Mechanism,
    /// The program that runs on it.
    pub program: Option<String>,
    /// What holds it: `link 12`, `tc filter on interface 3, pref 49000, handle 1`, `the holder`.
    pub held_by: String,
    /// Why nothing is attached there now, as the kernel says it.
    pub detached: Option<String>,
    /// Events that the kernel kept from the stub, since it or, for a kprobe or perf event, any program or map call was
    /// under way on that processor. A plain attachment misses them too. 0 on kernels that don't count them.
    #[serde(default)]
    pub missed: u64,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MapDetail {
    /// Its name.
    pub name: String,
    /// Most entries, or bytes of a ring.
    pub max_entries: u32,
    /// Bytes of kernel memory.
    pub memory: u64,
    /// The generation that brought it.
    pub made_by: u64,
}

impl Deref for GenerationDetail {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.fixed
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}
