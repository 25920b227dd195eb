//! `trust.toml` as a file, with the trusted roots that it names.

use std::io;
use std::path::Path;

use skep_trust::Policy;
use skep_trust::policy::PolicyError;

use crate::regular;

/// The text of a file; of one that is not there, none: without rules nobody is trusted.
///
/// # Errors
/// It is there and cannot be read: it may revoke.
pub fn text(file: &Path) -> io::Result<String> {
    match regular::text(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// The rules of a file that has this text, with the trusted roots that they name, from its folder.
///
/// # Errors
/// It is none.
pub fn rules(text: &str, file: &Path) -> Result<Policy, PolicyError> {
    let folder = file.parent().unwrap_or(Path::new("."));
    Ok(Policy::parse(text)?.with_roots(|root| regular::text(&folder.join(root))))
}
