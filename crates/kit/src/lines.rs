//! Which errors say several lines of their own.

use std::error::Error;

use crate::build::BuildError;
use crate::guest::GuestError;
use crate::pack::PackingError;
use crate::project::{Mistakes, ProjectError};

/// Whether an error says several lines, of which each shows no line end of what it names: mistakes with their places, permissions
/// that are not covered, what a compiler or a console said, and what TOML's reader quotes of a file. All others say one.
#[must_use]
pub fn has_lines(error: &(dyn Error + 'static)) -> bool {
    let of_packing = matches!(
        error.downcast_ref(),
        Some(
            PackingError::Mistakes(_) | PackingError::License(_) | PackingError::Permissions { .. }
        )
    );
    let of_project = matches!(error.downcast_ref(), Some(ProjectError::Mistakes(_)));
    let of_build = matches!(error.downcast_ref(), Some(BuildError::Compile { .. }));
    let of_toml = error.is::<toml::de::Error>() || error.is::<Box<toml::de::Error>>();
    of_packing
        || of_project
        || of_build
        || of_toml
        || error.is::<Mistakes>()
        || error.is::<GuestError>()
}
