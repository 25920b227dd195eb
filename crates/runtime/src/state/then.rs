//! What a service is to be behind an operation, where that is not what such an operation makes of it.

use serde::{Deserialize, Serialize};

/// Written down with the operation, so that no crash forgets it. Older versions do not read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Behind a stop: it is started again.
    Started,
    /// Behind a load: it is attached to nothing, and stays stopped.
    Stopped,
}
