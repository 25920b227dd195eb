//! Air-gap archives: an OCI layout as one ustar file. Every blob is held against its name, and must be reached from
//! `index.json`; who signed what is still to be checked as if it had come from a registry.

mod entries;
mod read;
mod write;

use std::collections::BTreeMap;

use skep_spec::oci::{DocumentError, Index, Layout};
use skep_spec::{Digest, schema};

pub use self::read::Reader;
pub use self::write::Writer;
use crate::layer::LayerError;

/// Most entries of an archive.
pub const ENTRIES_MAX: usize = 65_536;
/// Most bytes of an archive.
pub const ARCHIVE_MAX: u64 = 4 << 30;

const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256/";

/// What a small archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// `index.json`.
    pub index: Index,
    /// The packages, by `publisher/name:version`. Names are for finding only.
    pub packages: BTreeMap<String, Digest>,
    /// The blobs.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

/// Why bytes are no archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Not tar, or cut off.
    #[error("the archive is not a ustar archive: {0}")]
    Tar(String),
    /// An entry that should not be there, or not in this place.
    #[error("the archive holds '{0}', which should not be there or not in this place")]
    Entry(String),
    /// `oci-layout` or `index.json`.
    #[error("the archive's {what} is not as it should be: {why}")]
    Layout {
        /// The file.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A document that is reached from `index.json`.
    #[error("the archive's blob {digest} is not what its descriptor says")]
    Document {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        source: Box<DocumentError>,
    },
    /// Other bytes than the name says.
    #[error("the archive's blob {0} was altered")]
    Altered(Digest),
    /// Named and not there, or of another size.
    #[error("the archive names {0}, and does not hold it with that size")]
    Missing(Digest),
    /// There and not named.
    #[error("the archive holds {0}, which nothing names")]
    Stray(Digest),
    /// Too much.
    #[error("the archive has more {0} than are read")]
    Limit(&'static str),
    /// A file that no header can describe.
    #[error(transparent)]
    Header(#[from] LayerError),
    /// Blobs that are not given in the order of their names.
    #[error("the blob {0} is written out of its order")]
    Order(Digest),
    /// What it is read from, or written to, fails.
    #[error("cannot {action} the archive: {why}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Why.
        why: String,
    },
}

impl ArchiveError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tar(_) | Self::Header(_) | Self::Io { .. } => "archive.tar",
            Self::Entry(_) | Self::Order(_) => "archive.entry",
            Self::Layout { .. } | Self::Document { .. } => "archive.layout",
            Self::Altered(_) => "archive.altered",
            Self::Missing(_) => "archive.missing",
            Self::Stray(_) => "archive.stray",
            Self::Limit(_) => "archive.limit",
        }
    }
}

/// Reads an archive that memory has room for; see [`Reader`] for larger ones.
///
/// # Errors
/// Not ustar, an entry too many or in another place, a blob that is altered, missing or unnamed, or beyond the limits.
pub fn read(bytes: &[u8]) -> Result<Archive, ArchiveError> {
    let mut reader = Reader::new(bytes)?;
    let mut blobs = BTreeMap::new();
    while let Some((digest, data)) = reader.blob()? {
        blobs.insert(digest, data);
    }
    let (index, packages) = reader.finish(|digest| Ok(blobs.get(digest).cloned()))?;
    Ok(Archive { index, packages, blobs })
}

/// Writes an archive that memory has room for; see [`Writer`] for larger ones.
///
/// # Errors
/// More than the limits allow.
pub fn write(index: &[u8], blobs: &BTreeMap<Digest, Vec<u8>>) -> Result<Vec<u8>, ArchiveError> {
    let mut writer = Writer::new(Vec::new(), index)?;
    for (digest, data) in blobs {
        writer.add(*digest, data)?;
    }
    writer.finish()
}

/// The schema of `oci-layout`.
pub(crate) fn schema() -> serde_json::Value {
    let codes = &[("*", "archive.layout")];
    schema::of::<Layout>(Layout::FILE, "The first file of an OCI layout", codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ustar::BLOCK;

    #[test]
    fn an_archive_of_nothing_comes_back() {
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        let bytes = write(index, &BTreeMap::new()).unwrap();
        assert_eq!(bytes.len(), 4 * BLOCK + 2 * BLOCK);
        let archive = read(&bytes).unwrap();
        assert!(archive.packages.is_empty() && archive.blobs.is_empty());
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_archive_never_panics(at in 0usize..2048, to in proptest::prelude::any::<u8>()) {
            let mut bytes = write(br#"{"schemaVersion":2,"manifests":[]}"#, &BTreeMap::new()).unwrap();
            bytes[at] = to;
            let _ = read(&bytes);
        }
    }
}
