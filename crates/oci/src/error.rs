//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use skep_spec::oci::DocumentError;
use skep_spec::{Digest, PackageRef};

/// Why a store did not give or keep something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not a layout.
    #[error(
        "'{}' is not an OCI layout: it has no oci-layout file of version 1; 'skep pack' and 'skep pull' make layouts", .0.display()
    )]
    NotALayout(PathBuf),
    /// The file system.
    #[error("cannot {action} '{}'{}", path.display(), hint(source))]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A blob whose bytes are not what its name says.
    #[error(
        "the blob {digest} in '{}' is damaged: its bytes have the digest {found}; delete it and pull again", root.display()
    )]
    Damaged {
        /// The store.
        root: PathBuf,
        /// Its name.
        digest: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// A blob longer than the reader takes.
    #[error("the blob {digest} has {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its name.
        digest: Digest,
        /// Bytes that it has.
        size: u64,
        /// Bytes that it may have.
        limit: u64,
    },
    /// A blob that should be there.
    #[error("'{}' holds no blob {digest}: the layout is not whole; pull or pack it again", root.display())]
    Missing {
        /// The store.
        root: PathBuf,
        /// Its name.
        digest: Digest,
    },
    /// No package is listed, or not the one that is asked for.
    #[error("'{}' holds no {}{}", root.display(), wanted.as_ref().map_or_else(|| "package".to_owned(), ToString::to_string), instead(listed))]
    NoPackage {
        /// The store.
        root: PathBuf,
        /// What is asked for, where something is.
        wanted: Option<Box<PackageRef>>,
        /// What it lists.
        listed: Vec<String>,
    },
    /// Several packages are listed, and none is named.
    #[error("'{}' holds several packages: {}", root.display(), listed.join(", "))]
    Several {
        /// The store.
        root: PathBuf,
        /// What it lists.
        listed: Vec<String>,
    },
    /// A document of a package that is none.
    #[error("the {what} {digest} is no part of a package")]
    Document {
        /// What it should be.
        what: &'static str,
        /// Which.
        digest: Digest,
        /// What is wrong.
        source: Box<DocumentError>,
    },
    /// An `index.json` that is not one.
    #[error("'{}' is not an OCI index", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<DocumentError>,
    },
    /// More than an `index.json` has room for.
    #[error("'{}' has no room for another entry; use another layout, or take out what nobody needs", path.display())]
    Full {
        /// The file, which stays as it was.
        path: PathBuf,
        /// What would be too much.
        source: Box<DocumentError>,
    },
}

impl StoreError {
    /// Whether a package is not what its digests say: refused, wherever its bytes came from.
    #[must_use]
    pub const fn is_altered(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Missing { .. }
                | Self::TooLarge { .. }
                | Self::Document { .. }
        )
    }

    /// The standard's code, where a package or its layout is not what it should be.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Damaged { .. } => Some("oci.altered"),
            Self::TooLarge { .. } => Some("oci.too-large"),
            Self::Missing { .. } => Some("oci.missing"),
            Self::Document { source, .. } | Self::Index { source, .. } => Some(source.code()),
            _ => None,
        }
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

fn instead(listed: &[String]) -> String {
    match listed {
        [] => String::new(),
        listed => format!("; it holds {}", listed.join(", ")),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space and do it again: nothing half written was kept"
        }
        io::ErrorKind::PermissionDenied => "; run it as a user who may, or choose another folder",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/full` answers every write with ENOSPC, as a full disk does.
    #[test]
    fn a_full_disk_keeps_nothing_and_says_what_to_do() {
        let full = std::fs::write("/dev/full", "x").unwrap_err();
        let error = io_error("write", Path::new("/store/blob"))(full).to_string();
        assert!(error.contains("free some space"), "{error}");
    }
}
