//! Dependencies: ranges of versions, and the one set of packages that is in all of them.

mod chains;
mod places;
mod range;
mod resolve;

use std::collections::BTreeMap;

pub use self::chains::{Conflict, Link};
pub use self::places::{Finder, Place};
pub(crate) use self::range::RANGE_PATTERN;
pub use self::range::{Range, RangeError};
pub use self::resolve::{Other, ResolveError, Resolved, Root, Unresolved, Versions, resolve};
use crate::PackageName;
use crate::manifest::Dependency;

/// Most packages of a set, without the root.
pub const MOST_PACKAGES: usize = 64;
/// Most packages that need each other in a row, without the root.
pub const MOST_DEPTH: usize = 16;
/// Most rounds of a resolution.
pub const MOST_ROUNDS: usize = 256;

/// What a package needs: ranges by name.
pub type Needs = BTreeMap<PackageName, Range>;

/// Ranges by package, of what a manifest or a `skep.toml` says.
#[must_use]
pub fn needs(dependencies: &BTreeMap<PackageName, Dependency>) -> Needs {
    dependencies.iter().map(|(name, on)| (name.clone(), on.version.clone())).collect()
}

/// The service that gives others a package, of those that run it: the one under its own name, or else the first by name.
#[must_use]
pub fn giver<'a>(
    package: &PackageName,
    runs_it: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    runs_it.clone().find(|service| *service == package.short()).or_else(|| runs_it.min())
}
