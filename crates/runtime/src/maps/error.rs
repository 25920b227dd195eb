//! Why an entry of a map is not written or read.

use skep_kernel::KernelError;
use skep_object::event::EncodeError;
use skep_spec::ServiceName;

use crate::error::RuntimeError;

/// Why an entry is not written or read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// JSON that is no key or value of this map.
    #[error("map '{map}': {why}")]
    Encode {
        /// The map.
        map: String,
        /// Why.
        why: EncodeError,
    },
    /// Values per CPU, where there are none, or not as many as CPUs.
    #[error("the map '{map}' takes {takes}")]
    Values {
        /// The map.
        map: String,
        /// What it takes.
        takes: String,
    },
    /// There is no entry of that key.
    #[error("the map '{map}' has no entry with the key {key}")]
    NoEntry {
        /// The map.
        map: String,
        /// The key as JSON.
        key: String,
    },
    /// skepd's own map.
    #[error("the map with id {id} is skepd's own: it switches programs of {service} with it")]
    Own {
        /// The map.
        id: u32,
        /// Whose.
        service: ServiceName,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The service or its map cannot be found.
    #[error(transparent)]
    Runtime(#[from] Box<RuntimeError>),
}

impl From<RuntimeError> for EntryError {
    fn from(error: RuntimeError) -> Self {
        Self::Runtime(Box::new(error))
    }
}

impl EntryError {
    /// A stable word for programs, as `docs/reference/api.md` lists them.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encode { .. } | Self::Values { .. } => "value",
            Self::NoEntry { .. } => "no-entry",
            Self::Own { .. } => "own",
            Self::Kernel(_) => "kernel",
            Self::Runtime(error) => error.code(),
        }
    }

    /// What a person can do, where the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Kernel(error) => error.hint(),
            Self::Runtime(error) => error.hint(),
            Self::Own { .. } => Some("skep upgrade, rollback and remove write to it"),
            _ => None,
        }
    }
}
