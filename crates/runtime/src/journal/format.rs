//! The journal's bytes.

use std::path::Path;

use super::JournalError;
use crate::state::Record;

/// The first eight bytes of the file.
pub const MAGIC: [u8; 8] = *b"skepjrnl";
/// The format that this version writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// Bytes of a record before its JSON.
const HEAD: usize = 4 + 8 + 2;
/// Bytes of a record after its JSON.
const TAIL: usize = 4;
/// Largest JSON of one record.
const MOST_JSON: usize = 16 << 20;

/// What a file holds.
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    /// Where the last good record ends.
    pub(super) good: u64,
    /// The next sequence number.
    pub(super) next: u64,
}

/// The file's first twelve bytes.
pub(super) fn header() -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_le_bytes()].concat()
}

/// A record's bytes.
pub(super) fn frame(sequence: u64, record: &Record) -> Result<Vec<u8>, JournalError> {
    let encoded = record.encode();
    let (number, json) =
        encoded.map_err(|source| JournalError::Encode { record: record.name(), source })?;
    Ok(frame_of(sequence, number, &json))
}

pub(super) fn frame_of(sequence: u64, number: u16, json: &[u8]) -> Vec<u8> {
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD + json.len() + TAIL);
    bytes.extend(length.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend(json);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// All records of a file; `path` is for messages.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Read, JournalError> {
    let rest = check_header(path, bytes)?;
    let start = bytes.len() - rest.len();
    let mut read = Read { records: Vec::new(), good: start as u64, next: 0 };
    let mut at = start;
    while at < bytes.len() {
        let frame = match Frame::at(&bytes[at..]) {
            Ok(frame) if read.records.is_empty() || frame.sequence == read.next => frame,
            Ok(_) => return Err(damaged(path, at, "its sequence number is not the next one")),
            Err(why) if good_record_after(&bytes[at + 1..], read.next) => {
                return Err(damaged(path, at, why));
            }
            Err(_) => break, // torn
        };
        let unknown = || JournalError::UnknownRecord {
            path: path.to_owned(),
            sequence: frame.sequence,
            number: frame.number,
        };
        let record = Record::decode(frame.number, frame.json).ok_or_else(unknown)?;
        let not_json = |_| damaged(path, at, "its JSON is not what the type has");
        read.records.push(record.map_err(not_json)?);
        read.next = frame.sequence + 1;
        at += HEAD + frame.json.len() + TAIL;
        read.good = at as u64;
    }
    Ok(read)
}

fn check_header<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8], JournalError> {
    let not_ours = || JournalError::NotAJournal { path: path.to_owned() };
    let rest = bytes.strip_prefix(&MAGIC).ok_or_else(not_ours)?;
    let (version, rest) = rest.split_first_chunk().ok_or_else(not_ours)?;
    match u32::from_le_bytes(*version) {
        VERSION => Ok(rest),
        found => Err(JournalError::Newer { path: path.to_owned(), found }),
    }
}

fn damaged(path: &Path, at: usize, why: &'static str) -> JournalError {
    JournalError::Damaged { path: path.to_owned(), at: at as u64, why }
}

struct Frame<'a> {
    sequence: u64,
    number: u16,
    json: &'a [u8],
}

impl<'a> Frame<'a> {
    fn at(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let cut = "the record is cut off";
        let (length, rest) = bytes.split_first_chunk().ok_or(cut)?;
        let (sequence, rest) = rest.split_first_chunk().ok_or(cut)?;
        let (number, rest) = rest.split_first_chunk().ok_or(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MOST_JSON {
            return Err("its length is beyond all records");
        }
        let (json, rest) = rest.split_at_checked(length).ok_or(cut)?;
        let (checksum, _) = rest.split_first_chunk().ok_or(cut)?;
        if crc32c::crc32c(&bytes[..HEAD + length]) != u32::from_le_bytes(*checksum) {
            return Err("its checksum is wrong");
        }
        Ok(Self {
            sequence: u64::from_le_bytes(*sequence),
            number: u16::from_le_bytes(*number),
            json,
        })
    }
}

/// Whether a good record with a higher number lies somewhere in `bytes`: then what is before is damage, not a torn tail.
fn good_record_after(bytes: &[u8], expected: u64) -> bool {
    let later = |rest: &[u8]| {
        // The sequence number first: a checksum over megabytes at every byte would take too long.
        let number = rest.get(4..12).and_then(|n| n.first_chunk()).map(|n| u64::from_le_bytes(*n));
        number.is_some_and(|n| n > expected && n - expected < 1 << 20) && Frame::at(rest).is_ok()
    };
    (0..bytes.len()).any(|at| later(&bytes[at..]))
}
