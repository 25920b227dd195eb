//! What a package may touch: held against what its manifest says, and against another version.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::manifest::Permissions;
use crate::{Target, param};

/// What a version may touch: as derived from its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touches {
    /// Targets of hooks.
    pub hooks: BTreeSet<String>,
    /// Helpers without `bpf_`.
    pub helpers: BTreeSet<String>,
    /// Kernel functions.
    pub kfuncs: BTreeSet<String>,
    /// Powers, the gravest first.
    #[serde(default)]
    pub powers: Vec<String>,
    /// Bytes of all maps.
    #[serde(default)]
    pub map_memory: u64,
}

/// What is touched and not covered by `[permissions]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncovered {
    /// A hook.
    #[error("hooks lacks '{0}'")]
    Hook(String),
    /// A helper.
    #[error("helpers lacks '{0}'")]
    Helper(String),
    /// A kernel function.
    #[error("kfuncs lacks '{0}'")]
    Kfunc(String),
    /// The maps.
    #[error("map-memory is {allowed}, the maps take {needed} bytes")]
    Memory {
        /// What is allowed.
        allowed: String,
        /// What the maps take.
        needed: u64,
    },
}

impl Uncovered {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Hook(_) => "permission.hook",
            Self::Helper(_) => "permission.helper",
            Self::Kfunc(_) => "permission.kfunc",
            Self::Memory { .. } => "permission.memory",
        }
    }
}

/// Holds what is touched against `permissions`.
///
/// # Errors
/// The first hook, helper or kernel function that is not covered, or the memory.
pub fn check(permissions: &Permissions, touches: &Touches) -> Result<(), Uncovered> {
    let covers = |hook: &&String| covers_hook(&permissions.hooks, &Target::of(hook));
    let hook = touches.hooks.iter().find(|hook| !covers(hook));
    if let Some(hook) = hook {
        return Err(Uncovered::Hook(hook.clone()));
    }
    let lacks = |list: &[String], names: &BTreeSet<String>| {
        names.iter().find(|name| !covers_name(list, name)).cloned()
    };
    if let Some(helper) = lacks(&permissions.helpers, &touches.helpers) {
        return Err(Uncovered::Helper(helper));
    }
    if let Some(kfunc) = lacks(&permissions.kfuncs, &touches.kfuncs) {
        return Err(Uncovered::Kfunc(kfunc));
    }
    match &permissions.map_memory {
        Some(allowed) if !covers_memory(allowed, touches.map_memory) => {
            Err(Uncovered::Memory { allowed: allowed.clone(), needed: touches.map_memory })
        }
        _ => Ok(()),
    }
}

/// Whether a hook is covered by its target, its kind, or a beginning of its target.
#[must_use]
pub fn covers_hook(list: &[String], target: &Target) -> bool {
    let (text, kind) = (target.to_string(), target.kind());
    list.iter().any(|one| matches(one, &text) || one == kind || (one == "tc" && kind == "tcx"))
}

/// Whether a helper or kernel function is covered by its name or a beginning of it.
#[must_use]
pub fn covers_name(list: &[String], name: &str) -> bool {
    list.iter().any(|one| matches(one, name))
}

/// Whether the maps take no more than a size such as `16MiB`.
#[must_use]
pub fn covers_memory(allowed: &str, needed: u64) -> bool {
    param::parse_size(allowed).is_some_and(|allowed| i128::from(needed) <= allowed)
}

/// Whether `new` covers something that `old` does not.
#[must_use]
pub fn allow_more(old: &Permissions, new: &Permissions) -> bool {
    let is_covered = |list: &[String], one: &String| covers_name(list, one);
    let hook = |one: &String| {
        let kind = one.split(['/', '.']).next().unwrap_or_default();
        is_covered(&old.hooks, one) || old.hooks.iter().any(|own| own == kind && kind != one)
    };
    let memory = |text: &Option<String>| text.as_deref().map(param::parse_size);
    let more_memory = match (memory(&old.map_memory), memory(&new.map_memory)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(old), Some(new)) => new > old,
    };
    more_memory
        || !new.hooks.iter().all(hook)
        || !new.helpers.iter().all(|one| is_covered(&old.helpers, one))
        || !new.kfuncs.iter().all(|one| is_covered(&old.kfuncs, one))
}

/// A pattern with `*` at its end matches the rest.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// What only one of two versions may touch; memory is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Only {
    /// Targets of hooks.
    pub hooks: Vec<String>,
    /// Helpers.
    pub helpers: Vec<String>,
    /// Kernel functions.
    pub kfuncs: Vec<String>,
    /// Powers, the gravest first.
    pub powers: Vec<String>,
}

/// The difference of two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// What only the new version may touch.
    pub added: Only,
    /// What only the old version may touch.
    pub removed: Only,
    /// Whether who agreed to the old version has to be asked again.
    pub wider: bool,
}

/// Compares two versions.
#[must_use]
pub fn compare(old: &Touches, new: &Touches) -> Comparison {
    let (added, removed) = (Only::of(new, old), Only::of(old, new));
    let wider = added != Only::default() || new.map_memory > old.map_memory;
    Comparison { added, removed, wider }
}

impl Only {
    fn of(has: &Touches, lacks: &Touches) -> Self {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
        let powers = has.powers.iter().filter(|power| !lacks.powers.contains(power));
        Self {
            hooks: only(&has.hooks, &lacks.hooks),
            helpers: only(&has.helpers, &lacks.helpers),
            kfuncs: only(&has.kfuncs, &lacks.kfuncs),
            powers: powers.cloned().collect(),
        }
    }
}
