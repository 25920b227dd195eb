//! Hooks: where a service is attached, how, and how its program is replaced there.

use std::fmt;

use serde::{Deserialize, Serialize};
use skep_kernel::attach::FileId;
use skep_kernel::attach::tc::{Filter, FilterPlace};
use skep_kernel::program::LoadKind;
use skep_spec::Target;
pub use skep_spec::life::Mechanism;

/// One place of the kernel that a service is attached to. It outlives generations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Where.
    pub target: Target,
    /// The only process that it runs in; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How a program is replaced there.
    pub mechanism: Mechanism,
    /// What holds it.
    pub attachment: Attachment,
    /// What every program on it must be to the kernel.
    pub kind: LoadKind,
    /// The file of its binary that it was attached to, which another one may have replaced since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileId>,
    /// Whether its stub calls `bpf_get_func_ip`, so that programs behind it may.
    pub func_ip: bool,
}

/// What holds a program on its hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Attachment {
    /// Not yet known: the intent was written, the outcome was not.
    Intended,
    /// Nothing: the service is stopped.
    Off,
    /// A link, pinned in the hook's folder.
    Link {
        /// Its id in this kernel.
        id: u32,
    },
    /// A tc filter; it stays by itself.
    Tc {
        /// Interface.
        ifindex: i32,
        /// Egress instead of ingress.
        egress: bool,
        /// Order among filters.
        priority: u16,
        /// Number among filters of one priority.
        handle: u32,
    },
    /// An fd that can't be pinned; the holder keeps it under this key.
    Held {
        /// `<service>/<hook>`.
        key: String,
    },
}

impl Hook {
    /// Whether its program is replaced by itself, where it has no stub.
    #[must_use]
    pub const fn is_replaced(&self) -> bool {
        matches!(self.mechanism, Mechanism::Update | Mechanism::Replace)
    }
}

impl Attachment {
    /// The holder's key, for what it holds.
    #[must_use]
    pub fn held_key(&self) -> Option<&str> {
        match self {
            Self::Held { key } => Some(key),
            _ => None,
        }
    }

    /// The tc filter, for what is one.
    #[must_use]
    pub fn filter(&self) -> Option<Filter> {
        let Self::Tc { ifindex, egress, priority, handle } = *self else { return None };
        Some(Filter { ifindex, egress, place: FilterPlace { priority, handle } })
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intended => f.write_str("nothing yet"),
            Self::Off => f.write_str("nothing"),
            Self::Link { id } => write!(f, "link {id}"),
            Self::Tc { ifindex, priority, handle, .. } => {
                write!(f, "tc filter on interface {ifindex}, pref {priority}, handle {handle}")
            }
            Self::Held { .. } => f.write_str("the holder"),
        }
    }
}

impl From<Filter> for Attachment {
    fn from(filter: Filter) -> Self {
        let Filter { ifindex, egress, place: FilterPlace { priority, handle } } = filter;
        Self::Tc { ifindex, egress, priority, handle }
    }
}
