//! [`Verified`]: a value whose type says that it was checked, and by whom.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};
use skep_spec::Digest;

use crate::admit::Package;
use crate::key::KeyId;

/// A value that was verified, or let through by an explicit decision that its [`Origin`] keeps.
///
/// There is no way to one but [`crate::verify()`], [`crate::admit()`] and the explicit [`Verified::unsigned`] and
/// [`Verified::local`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    origin: Origin,
}

/// Why a [`Verified`] value was let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// Enough trusted keys and identities signed it.
    Signed {
        /// The keys, by id, each once.
        keys: Vec<KeyId>,
        /// The identities that signed by certificate, as the rule has them, each once.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        identities: Vec<String>,
        /// The pattern of the rule in `trust.toml` that they satisfied.
        rule: String,
    },
    /// Nobody checked a signature: the operator allowed it (`--allow-unsigned`).
    Unsigned,
    /// Taken from this machine's own side, with no signature asked for: a file, or what `skep run` has verified before it
    /// handed it over.
    Local,
}

impl<T> Verified<T> {
    pub(crate) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    /// Why it was let in.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The value; the proof is gone.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl Verified<Digest> {
    /// A digest that nobody verified: what the operator lets in with `--allow-unsigned`, and what is only looked at and
    /// never run, as `skep inspect` does.
    #[must_use]
    pub fn unsigned(digest: Digest) -> Self {
        Self { value: digest, origin: Origin::Unsigned }
    }
}

impl Verified<Package> {
    /// What `skep run` hands over: local files, or a package that it verified itself.
    #[must_use]
    pub fn local(package: Package) -> Self {
        Self { value: package, origin: Origin::Local }
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed { keys, identities, rule } => {
                let keys = keys.iter().map(KeyId::short);
                let by: Vec<String> = keys.chain(identities.iter().cloned()).collect();
                write!(f, "signed by {} (rule '{rule}')", by.join(", "))
            }
            Self::Unsigned => f.write_str("unsigned, allowed by --allow-unsigned"),
            Self::Local => f.write_str("a local file, unsigned"),
        }
    }
}
