//! Air-gap archives: an OCI layout as one ustar file. Every blob is held against its name, and must be reached from
//! `index.json`; who signed what is still to be checked as if it had come from a registry.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::oci::{Descriptor, DocumentError, ImageManifest, Index, Layout, MAX_DOCUMENT};
use skep_spec::{Digest, PackageRef, media, schema};

use crate::layer::{self, BLOCK, FILE_MAX, LayerError};

/// Most entries of an archive.
pub const ENTRIES_MAX: usize = 65_536;
/// Most bytes of an archive.
pub const ARCHIVE_MAX: u64 = 4 << 30;

const BLOBS: &str = "blobs/sha256/";

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive<'a> {
    /// `index.json`.
    pub index: Index,
    /// The packages, by `publisher/name:version`. Names are for finding only.
    pub packages: BTreeMap<String, Digest>,
    /// The blobs.
    pub blobs: BTreeMap<Digest, &'a [u8]>,
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
}

impl ArchiveError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tar(_) | Self::Header(_) => "archive.tar",
            Self::Entry(_) => "archive.entry",
            Self::Layout { .. } | Self::Document { .. } => "archive.layout",
            Self::Altered(_) => "archive.altered",
            Self::Missing(_) => "archive.missing",
            Self::Stray(_) => "archive.stray",
            Self::Limit(_) => "archive.limit",
        }
    }
}

/// Reads an archive.
///
/// # Errors
/// Not ustar, an entry too many or in another place, a blob that is altered, missing or unnamed, or beyond the limits.
pub fn read(bytes: &[u8]) -> Result<Archive<'_>, ArchiveError> {
    if bytes.len() as u64 > ARCHIVE_MAX {
        return Err(ArchiveError::Limit("bytes"));
    }
    let mut entries = Entries { rest: bytes, count: 0 };
    let layout = entries.must(Layout::FILE)?;
    is_layout(layout)?;
    let index_bytes = entries.must("index.json")?;
    let index = Index::parse_list(index_bytes).map_err(|error| ArchiveError::Layout {
        what: "index.json",
        why: format!("{error} ({})", error.code()),
    })?;
    let mut blobs = BTreeMap::new();
    while let Some((name, data)) = entries.next()? {
        let digest = blob_name(&name).ok_or_else(|| entry(&name))?;
        if blobs.last_key_value().is_some_and(|(last, _)| *last >= digest) {
            return Err(entry(&name));
        }
        if Digest::of(data) != digest {
            return Err(ArchiveError::Altered(digest));
        }
        blobs.insert(digest, data);
    }
    let packages = packages(&index)?;
    reached(&index, &blobs)?;
    Ok(Archive { index, packages, blobs })
}

/// Writes an archive: the same index and blobs always give the same bytes.
///
/// # Errors
/// A blob of more than 64 MiB.
pub fn write(index: &[u8], blobs: &BTreeMap<Digest, Vec<u8>>) -> Result<Vec<u8>, ArchiveError> {
    let mut out = Vec::new();
    let mut add = |name: &str, data: &[u8]| {
        if data.len() as u64 > FILE_MAX {
            return Err(ArchiveError::Limit("bytes in a blob"));
        }
        out.extend_from_slice(&layer::header(name, data.len())?);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
        Ok(())
    };
    add(Layout::FILE, Layout::BYTES)?;
    add("index.json", index)?;
    for (digest, data) in blobs {
        add(&format!("{BLOBS}{}", digest.hex()), data)?;
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    Ok(out)
}

/// The schema of `oci-layout`.
pub(crate) fn schema() -> serde_json::Value {
    let codes = &[("*", "archive.layout")];
    schema::of::<Layout>(Layout::FILE, "The first file of an OCI layout", codes)
}

fn is_layout(bytes: &[u8]) -> Result<(), ArchiveError> {
    let layout = |why: String| ArchiveError::Layout { what: Layout::FILE, why };
    match Layout::read(bytes).map_err(|error| layout(error.to_string()))?.is_known() {
        true => Ok(()),
        false => Err(layout(format!("its version is not {}", Layout::VERSION))),
    }
}

fn packages(index: &Index) -> Result<BTreeMap<String, Digest>, ArchiveError> {
    let mut packages = BTreeMap::new();
    for entry in index.manifests.iter().filter(|entry| entry.media_type == media::INDEX) {
        let name = entry.annotations.get(media::REF_NAME).map_or("", String::as_str);
        let fine = |found: &PackageRef| found.registry.is_none() && found.version.is_some();
        if !name.parse::<PackageRef>().is_ok_and(|found| fine(&found) && !name.contains('@')) {
            let why = format!("'{}' is not publisher/name:version", name.escape_debug());
            return Err(ArchiveError::Layout { what: "index.json", why });
        }
        packages.insert(name.to_owned(), entry.digest);
    }
    Ok(packages)
}

/// Follows every descriptor: nothing may be missing, and nothing may be left.
fn reached(index: &Index, blobs: &BTreeMap<Digest, &[u8]>) -> Result<(), ArchiveError> {
    let mut seen = BTreeSet::new();
    let mut todo: Vec<Descriptor> = index.manifests.clone();
    while let Some(descriptor) = todo.pop() {
        let digest = descriptor.digest;
        let there = blobs.get(&digest).filter(|data| data.len() as u64 == descriptor.size);
        let data = there.ok_or(ArchiveError::Missing(digest))?;
        if !seen.insert(digest) {
            continue;
        }
        let document = |source| ArchiveError::Document { digest, source: Box::new(source) };
        match descriptor.media_type.as_str() {
            media::INDEX => {
                let inner = Index::parse(data).map_err(document)?;
                // Platforms may be left out of an archive.
                let there = |entry: &Descriptor| blobs.contains_key(&entry.digest);
                todo.extend(inner.manifests.into_iter().filter(there));
            }
            media::MANIFEST => {
                let inner = ImageManifest::parse(data).map_err(document)?;
                todo.push(inner.config);
                todo.extend(inner.layers);
            }
            _ => {}
        }
    }
    let stray = blobs.keys().find(|digest| !seen.contains(digest));
    stray.map_or(Ok(()), |digest| Err(ArchiveError::Stray(*digest)))
}

fn blob_name(name: &str) -> Option<Digest> {
    format!("sha256:{}", name.strip_prefix(BLOBS)?).parse().ok()
}

fn entry(name: &str) -> ArchiveError {
    ArchiveError::Entry(name.escape_debug().to_string())
}

/// The regular files of a ustar archive, in their order.
struct Entries<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Entries<'a> {
    fn must(&mut self, wanted: &'static str) -> Result<&'a [u8], ArchiveError> {
        match self.next()? {
            Some((name, data)) if name == wanted => Ok(data),
            Some((name, _)) if name.starts_with(BLOBS) || name == "index.json" => {
                Err(ArchiveError::Layout { what: wanted, why: "it is not there".to_owned() })
            }
            Some((name, _)) => Err(entry(&name)),
            None => Err(ArchiveError::Layout { what: wanted, why: "it is not there".to_owned() }),
        }
    }

    fn next(&mut self) -> Result<Option<(String, &'a [u8])>, ArchiveError> {
        let tar = |why: &str| ArchiveError::Tar(why.to_owned());
        let cut = || tar("it is cut off");
        let (header, rest) = self.rest.split_at_checked(BLOCK).ok_or_else(cut)?;
        if header.iter().all(|byte| *byte == 0) {
            let end = rest.len() == BLOCK && rest.iter().all(|byte| *byte == 0);
            return if end { Ok(None) } else { Err(tar("it does not end with two empty blocks")) };
        }
        self.count += 1;
        if self.count > ENTRIES_MAX {
            return Err(ArchiveError::Limit("entries"));
        }
        let field = |from: usize, len: usize| header.get(from..from + len).unwrap_or_default();
        if field(257, 8) != b"ustar\x0000" {
            return Err(tar("a header is no ustar header"));
        }
        let spaces =
            |at: usize, byte: u8| if (148..156).contains(&at) { 32 } else { u64::from(byte) };
        let sum: u64 = header.iter().enumerate().map(|(at, byte)| spaces(at, *byte)).sum();
        if octal(field(148, 8)) != Some(sum) {
            return Err(tar("a header's checksum is wrong"));
        }
        let name = field(0, 100).split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        if field(156, 1) != b"0" || field(345, 155).iter().any(|byte| *byte != 0) {
            return Err(entry(&name));
        }
        let size = octal(field(124, 12)).ok_or_else(|| tar("a size is no number"))?;
        let max = if name == "index.json" { MAX_DOCUMENT as u64 } else { FILE_MAX };
        if size > max {
            return Err(ArchiveError::Limit("bytes in an entry"));
        }
        let size = usize::try_from(size).map_err(|_| cut())?;
        let (data, _) = rest.split_at_checked(size).ok_or_else(cut)?;
        let (_, rest) = rest.split_at_checked(size.next_multiple_of(BLOCK)).ok_or_else(cut)?;
        self.rest = rest;
        Ok(Some((name, data)))
    }
}

/// An octal number that NUL or a space ends.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_end_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
