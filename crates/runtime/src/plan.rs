//! What an operation will do, or did: for the journal, for `--dry-run` and for `show`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
pub use skep_adapt::Report;
pub use skep_spec::life::{
    Exactness, FieldMove, FieldSpan, HookChange, HookPlan, MapChange, MapPlan, Mechanism,
};
use skep_spec::{Digest, PackageName, ServiceName, Version};

/// What an upgrade (or install) would do; nothing was touched to find out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The service.
    pub service: ServiceName,
    /// What runs now; none for an install.
    pub from: Option<Identity>,
    /// What will run.
    pub to: Identity,
    /// The package and parameters are those that run already: nothing to do.
    pub already: bool,
    /// What becomes of each hook.
    pub hooks: Vec<HookPlan>,
    /// What becomes of each map, by name.
    pub maps: BTreeMap<String, MapPlan>,
    /// Hooks that do not switch by the one store of the service's switch word, each with the reason.
    pub separately: Vec<String>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// Which package a generation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The generation's number.
    pub generation: u64,
    /// `publisher/name`.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// Digest of its index.
    pub index: Digest,
}
