//! The load report: what was decided about a program on this kernel, in words for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One decision that makes a program other than its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What kind of decision.
    pub pass: Pass,
    /// The program, map or group that it is about.
    pub on: String,
    /// What was done and why, one sentence without a full stop.
    pub what: String,
}

/// The kinds of decisions, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// A member of `[alternatives]` was chosen.
    Alternatives,
    /// An optional program was left out.
    Optional,
    /// tc's clsact instead of tcx.
    Tcx,
    /// An attachment without a `bpf_link`, which cannot be pinned.
    LegacyAttach,
    /// Failed ring-buffer output is counted, or is not.
    LostEvents,
    /// A map whose size its own loader would have set was given one.
    Sizes,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alternatives => "alternatives",
            Self::Optional => "optional",
            Self::Tcx => "tcx",
            Self::LegacyAttach => "legacy-attach",
            Self::LostEvents => "lost-events",
            Self::Sizes => "sizes",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.on, self.what, self.pass)
    }
}
