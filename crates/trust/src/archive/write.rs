//! Writing an archive blob after blob.

use std::io::{self, Write};

use skep_spec::Digest;
use skep_spec::oci::Layout;

use super::{ARCHIVE_MAX, ArchiveError, BLOBS, ENTRIES_MAX, INDEX};
use crate::layer::FILE_MAX;
use crate::ustar::{BLOCK, header};

/// An archive that is being written: the same index and blobs always give the same bytes.
pub struct Writer<W> {
    out: W,
    last: Option<Digest>,
    entries: usize,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Writes its beginning, with `index.json`.
    ///
    /// # Errors
    /// `out` fails.
    pub fn new(out: W, index: &[u8]) -> Result<Self, ArchiveError> {
        let mut writer = Self { out, last: None, entries: 0, bytes: 2 * BLOCK as u64 };
        writer.file(Layout::FILE, Layout::BYTES)?;
        writer.file(INDEX, index)?;
        Ok(writer)
    }

    /// Writes a blob; they come in the order of their digests.
    ///
    /// # Errors
    /// `out` fails, the blob comes out of its order, or more than the limits allow.
    pub fn add(&mut self, digest: Digest, data: &[u8]) -> Result<(), ArchiveError> {
        if self.last.replace(digest).is_some_and(|last| last >= digest) {
            return Err(ArchiveError::Order(digest));
        }
        self.file(&format!("{BLOBS}{}", digest.hex()), data)
    }

    /// Writes its end, and gives back what it was written to.
    ///
    /// # Errors
    /// `out` fails.
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        self.out.write_all(&[0; 2 * BLOCK]).and_then(|()| self.out.flush()).map_err(failed)?;
        Ok(self.out)
    }

    fn file(&mut self, name: &str, data: &[u8]) -> Result<(), ArchiveError> {
        if data.len() as u64 > FILE_MAX {
            return Err(ArchiveError::Limit("bytes in a blob"));
        }
        self.entries += 1;
        let padding = data.len().next_multiple_of(BLOCK) - data.len();
        self.bytes += (BLOCK + data.len() + padding) as u64;
        if self.entries > ENTRIES_MAX || self.bytes > ARCHIVE_MAX {
            return Err(ArchiveError::Limit("entries or bytes"));
        }
        let header = header(name, data.len())?;
        let parts = [header.as_slice(), data, &[0; BLOCK][..padding]];
        parts.iter().try_for_each(|part| self.out.write_all(part)).map_err(failed)
    }
}

fn failed(error: io::Error) -> ArchiveError {
    ArchiveError::Io { action: "write", why: error.to_string() }
}
