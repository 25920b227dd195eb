//! State across an upgrade: what becomes of each map ([`decide`]), and moving it.

mod decide;
mod entries;
mod execute;
mod explain;
mod pair;
mod variables;

pub(crate) use decide::{Side, decide};

/// Why an upgrade would lose state.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct MigrateError {
    /// One for each map, with the lines of a manifest that would allow it.
    pub problems: Vec<String>,
}
