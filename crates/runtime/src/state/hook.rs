//! Hooks: where a service is attached, how, and how its program is replaced there.

use std::fmt;

use serde::{Deserialize, Serialize};
use skep_kernel::attach::FileId;
use skep_kernel::attach::tc::{Filter, FilterPlace};
use skep_kernel::attach::{Action, Group, Route, Standing};
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
    /// A filter of tc whose action the program is; it stays by itself.
    Action {
        /// Interface.
        ifindex: i32,
        /// Egress instead of ingress.
        egress: bool,
        /// Order among filters.
        priority: u16,
    },
    /// A route of ours; it stays by itself.
    Route {
        /// Interface.
        ifindex: i32,
    },
    /// Sockets that share an address; their program stays as long as they do.
    Group {
        /// The number of the one that it was given by.
        inode: u64,
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

    /// What holds its program, where that is no link and stays by itself.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        Some(match self.attachment {
            Attachment::Tc { ifindex, egress, priority, handle } => Standing::Filter(Filter {
                ifindex,
                egress,
                place: FilterPlace { priority, handle },
            }),
            Attachment::Action { ifindex, egress, priority } => {
                Standing::Action(Action { ifindex, egress, priority })
            }
            Attachment::Route { ifindex } => Standing::Route(Route::at(&self.target, ifindex)?),
            Attachment::Group { inode } => Standing::Group(Group::at(&self.target, inode)?),
            Attachment::Intended
            | Attachment::Off
            | Attachment::Link { .. }
            | Attachment::Held { .. } => return None,
        })
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
            Self::Action { ifindex, priority, .. } => {
                write!(f, "a tc action on interface {ifindex}, pref {priority}")
            }
            Self::Route { ifindex } => write!(f, "a route by interface {ifindex}"),
            Self::Group { inode } => write!(f, "the sockets of socket {inode}"),
            Self::Held { .. } => f.write_str("the holder"),
        }
    }
}

impl From<Standing> for Attachment {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Filter(filter) => {
                let Filter { ifindex, egress, place: FilterPlace { priority, handle } } = filter;
                Self::Tc { ifindex, egress, priority, handle }
            }
            Standing::Action(Action { ifindex, egress, priority }) => {
                Self::Action { ifindex, egress, priority }
            }
            Standing::Route(route) => Self::Route { ifindex: route.ifindex },
            Standing::Group(group) => Self::Group { inode: group.inode },
        }
    }
}
