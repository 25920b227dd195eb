//! The regular files of a ustar archive, one after the other.

use std::io::{self, Read};

use super::{ARCHIVE_MAX, ArchiveError, ENTRIES_MAX, INDEX};
use crate::layer::FILE_MAX;
use crate::ustar::{BLOCK, MAGIC, NAME, PREFIX, SIZE, TYPE, USTAR, is_summed, octal, text};
use skep_spec::oci::MAX_DOCUMENT;

pub(super) struct Entries<R> {
    from: R,
    count: usize,
    bytes: u64,
}

impl<R: Read> Entries<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, count: 0, bytes: 0 }
    }

    /// How many bytes were read.
    pub(super) const fn position(&self) -> u64 {
        self.bytes
    }

    /// The next file, which must be this one.
    pub(super) fn must(&mut self, wanted: &'static str) -> Result<Vec<u8>, ArchiveError> {
        let absent = |why: String| ArchiveError::Layout { what: wanted, why };
        match self.next()? {
            Some((name, data)) if name == wanted => Ok(data),
            Some((name, _)) => Err(absent(format!("'{}' is in its place", name.escape_debug()))),
            None => Err(absent("it is not there".to_owned())),
        }
    }

    /// The next file; none at the end, after which there is nothing.
    pub(super) fn next(&mut self) -> Result<Option<(String, Vec<u8>)>, ArchiveError> {
        let header = self.block()?;
        if header.iter().all(|byte| *byte == 0) {
            return self.end();
        }
        self.count += 1;
        if self.count > ENTRIES_MAX {
            return Err(ArchiveError::Limit("entries"));
        }
        let (name, size) = described(&header)?;
        let max = if name == INDEX { MAX_DOCUMENT as u64 } else { FILE_MAX };
        if size > max {
            return Err(ArchiveError::Limit("bytes in an entry"));
        }
        let mut data = Vec::new();
        let padded = size.next_multiple_of(BLOCK as u64);
        self.room(padded)?;
        let read = (&mut self.from).take(padded).read_to_end(&mut data).map_err(failed)?;
        if (read as u64) < padded {
            return Err(cut());
        }
        data.truncate(usize::try_from(size).map_err(|_| cut())?);
        Ok(Some((name, data)))
    }

    fn end(&mut self) -> Result<Option<(String, Vec<u8>)>, ArchiveError> {
        let mut rest = Vec::new();
        (&mut self.from).take(BLOCK as u64 + 1).read_to_end(&mut rest).map_err(failed)?;
        match rest.len() == BLOCK && rest.iter().all(|byte| *byte == 0) {
            true => Ok(None),
            false => Err(tar("it does not end with two empty blocks")),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ArchiveError> {
        self.room(BLOCK as u64)?;
        let mut block = [0; BLOCK];
        self.from.read_exact(&mut block).map_err(failed)?;
        Ok(block)
    }

    fn room(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.bytes += bytes;
        if self.bytes > ARCHIVE_MAX { Err(ArchiveError::Limit("bytes")) } else { Ok(()) }
    }
}

/// The name and size in a header.
fn described(header: &[u8; BLOCK]) -> Result<(String, u64), ArchiveError> {
    if header[MAGIC] != *USTAR {
        return Err(tar("a header is no ustar header"));
    }
    if !is_summed(header) {
        return Err(tar("a header's checksum is wrong"));
    }
    let name = String::from_utf8_lossy(text(header, NAME)).into_owned();
    if header[TYPE] != b'0' || header[PREFIX].iter().any(|byte| *byte != 0) {
        return Err(unexpected(&name));
    }
    Ok((name, octal(&header[SIZE]).ok_or_else(|| tar("a size is no number"))?))
}

pub(super) fn unexpected(name: &str) -> ArchiveError {
    ArchiveError::Entry(name.escape_debug().to_string())
}

fn tar(why: &str) -> ArchiveError {
    ArchiveError::Tar(why.to_owned())
}

fn cut() -> ArchiveError {
    tar("it is cut off")
}

fn failed(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => cut(),
        _ => ArchiveError::Io { action: "read", why: error.to_string() },
    }
}
