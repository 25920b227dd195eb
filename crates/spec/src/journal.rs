//! The journal that part 8 describes: its bytes, and what they say about an operation that was cut off.
//!
//! ```text
//! file   = "skepjrnl" version:u32 record*
//! record = length:u32 sequence:u64 type:u16 json[length] crc32c:u32    (little-endian; the checksum covers all before it)
//! ```

mod begun;
mod tail;

use crate::json;
use crate::life::{Op, Step};
use begun::Said;

/// The first eight bytes of the file.
pub const MAGIC: [u8; 8] = *b"skepjrnl";
/// The format that this version writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Types of records, from 1; a number is never used for something else.
pub const TYPES: [&str; 27] = [
    "Boot",
    "Begin",
    "Loaded",
    "Attach",
    "Attached",
    "SlotsFilled",
    "Precopied",
    "Switching",
    "Switched",
    "Quiesced",
    "Merged",
    "SoakUntil",
    "Committed",
    "RolledBack",
    "Detached",
    "Freed",
    "End",
    "Checkpoint",
    "Lost",
    "SetAside",
    "TakeUp",
    "LostGeneration",
    "SetBegan",
    "SetEnded",
    "SetOwes",
    "Held",
    "Setting",
];

/// Bytes of a record before its JSON.
const HEAD: usize = 4 + 8 + 2;
/// Bytes of a record after its JSON.
const TAIL: usize = 4;
const CUT: &str = "the record is cut off";
/// Largest JSON of one record, in bytes.
pub const MOST_JSON: usize = 16 << 20;
/// Largest number of a record.
const LAST_NUMBER: u64 = (1 << 53) - 1;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal<'a> {
    /// The whole records.
    pub records: Vec<Entry<'a>>,
    /// Bytes up to the end of the last whole record: what is behind them was torn.
    pub good: usize,
}

/// A whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// One more than the one before.
    pub sequence: u64,
    /// One of [`TYPES`].
    pub name: &'static str,
    /// What it says.
    pub json: &'a [u8],
    /// Where it begins in the file.
    pub at: usize,
}

/// Why bytes are no journal that is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else.
    #[error("it is not a journal of skep's")]
    NotAJournal,
    /// A newer version wrote it.
    #[error("it has format {0}, this program reads {VERSION}")]
    Newer(u32),
    /// A record of a type that only a newer version knows.
    #[error("record {sequence} has the unknown type {number}")]
    UnknownRecord {
        /// Which record.
        sequence: u64,
        /// Its type.
        number: u16,
    },
    /// A bad record that is not the torn end of the file.
    #[error("it is damaged at byte {at}: {why}")]
    Damaged {
        /// Where.
        at: usize,
        /// What is wrong there.
        why: &'static str,
    },
}

impl Fault {
    /// The standard's code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAJournal | Self::Newer(_) => "life.journal",
            Self::UnknownRecord { .. } => "life.record",
            Self::Damaged { .. } => "life.damaged",
        }
    }
}

/// The file's first twelve bytes.
#[must_use]
pub fn header() -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_le_bytes()].concat()
}

/// A record's bytes.
#[must_use]
pub fn frame(sequence: u64, number: u16, json: &[u8]) -> Vec<u8> {
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD + json.len() + TAIL);
    bytes.extend(length.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend(json);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

impl<'a> Journal<'a> {
    /// All whole records of a file.
    ///
    /// # Errors
    /// It is something else, newer, or damaged before its end.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let rest = check_header(bytes)?;
        let mut good = bytes.len() - rest.len();
        let mut records: Vec<Entry<'a>> = Vec::new();
        while good < bytes.len() {
            let next = records.last().map(|last| last.sequence + 1);
            let raw = match Raw::at(&bytes[good..]) {
                Ok(raw) if next.is_none_or(|next| raw.sequence == next) => raw,
                Ok(_) => {
                    let why = "its sequence number is not the next one";
                    return Err(Fault::Damaged { at: good, why });
                }
                Err(why) if tail::is_damage(&bytes[good..], next) => {
                    return Err(Fault::Damaged { at: good, why });
                }
                Err(_) => break, // torn
            };
            let name = usize::from(raw.number).checked_sub(1).and_then(|at| TYPES.get(at));
            let name =
                name.ok_or(Fault::UnknownRecord { sequence: raw.sequence, number: raw.number })?;
            let entry = Entry { sequence: raw.sequence, name, json: raw.json, at: good };
            entry.step()?;
            good += HEAD + raw.json.len() + TAIL;
            records.push(entry);
        }
        Ok(Self { records, good })
    }
}

impl Entry<'_> {
    /// What the record says about the operation under way.
    ///
    /// # Errors
    /// Its JSON is not what the type has.
    pub fn step(&self) -> Result<Option<Step>, Fault> {
        let lacks = || self.not_json();
        let named = |said: Said| Some(said).filter(|said| !said.service.is_empty());
        Ok(match self.name {
            "Begin" => {
                let said = named(self.said()?).ok_or_else(lacks)?;
                let op = said.op.filter(|op| *op != Op::Recover); // which begins nothing
                Some(Step::Begin(op.ok_or_else(lacks)?))
            }
            "Lost" | "TakeUp" | "LostGeneration" => {
                named(self.said()?).ok_or_else(lacks)?;
                None
            }
            "Boot" => {
                self.said()?.boot_id.ok_or_else(lacks)?;
                Some(Step::Boot)
            }
            "Checkpoint" => match self.said()?.state.is_in_order() {
                true => None,
                false => return Err(lacks()),
            },
            "Switched" => Some(Step::Switched),
            "RolledBack" => Some(Step::RolledBack),
            "End" => Some(Step::End),
            _ => None,
        })
    }

    fn said(&self) -> Result<Said, Fault> {
        json::read(self.json, MOST_JSON).map_err(|_| self.not_json())
    }

    /// The record's JSON is not what the type has.
    #[must_use]
    pub const fn not_json(&self) -> Fault {
        Fault::Damaged { at: self.at, why: "its JSON is not what the type has" }
    }
}

fn check_header(bytes: &[u8]) -> Result<&[u8], Fault> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or(Fault::NotAJournal)?;
    let (version, rest) = rest.split_first_chunk().ok_or(Fault::NotAJournal)?;
    match u32::from_le_bytes(*version) {
        VERSION => Ok(rest),
        found => Err(Fault::Newer(found)),
    }
}

/// The fields before the JSON.
#[derive(Clone, Copy)]
struct Head {
    length: usize,
    sequence: u64,
    number: u16,
}

impl Head {
    fn at(bytes: &[u8]) -> Result<Self, &'static str> {
        let (length, rest) = bytes.split_first_chunk().ok_or(CUT)?;
        let (sequence, rest) = rest.split_first_chunk().ok_or(CUT)?;
        let (number, _) = rest.split_first_chunk().ok_or(CUT)?;
        let head = Self {
            length: u32::from_le_bytes(*length) as usize,
            sequence: u64::from_le_bytes(*sequence),
            number: u16::from_le_bytes(*number),
        };
        match head {
            Self { length, .. } if length > MOST_JSON => Err("its length is beyond all records"),
            Self { sequence, .. } if sequence > LAST_NUMBER => {
                Err("its number is beyond all records")
            }
            head => Ok(head),
        }
    }

    /// Bytes of the whole record.
    const fn size(self) -> usize {
        HEAD + self.length + TAIL
    }
}

struct Raw<'a> {
    sequence: u64,
    number: u16,
    json: &'a [u8],
}

impl<'a> Raw<'a> {
    fn at(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let head = Head::at(bytes)?;
        let (covered, rest) = bytes.split_at_checked(HEAD + head.length).ok_or(CUT)?;
        let (checksum, _) = rest.split_first_chunk().ok_or(CUT)?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
            return Err("its checksum is wrong");
        }
        let Head { sequence, number, .. } = head;
        Ok(Self { sequence, number, json: &covered[HEAD..] })
    }
}
