//! The journal: an append-only file of [`Record`]s, in the form of [`skep_spec::journal`].
//!
//! A torn last record, as a power cut leaves it, is dropped. A bad record with good ones behind it is damage,
//! and refused. A checkpoint holds the whole state and begins a new file, which takes the old one's place by rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use skep_spec::journal::VERSION;
use skep_spec::journal::{self as format, Fault};

use crate::state::{Record, State};

/// Largest file that is read, in bytes.
pub const MOST_BYTES: u64 = 256 << 20;
/// Size in bytes from which a checkpoint is worth it.
const COMPACT_FROM: u64 = 128 << 10;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error("cannot {action} the journal {path}", path = path.display())]
    File {
        /// Such as "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a journal of skep's; move it away, and remove the pins of services whose names are lost with it", path = path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("the journal {path} has format {found}; this skepd reads format {VERSION}: use the skepd that wrote it, or a newer one", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A record is of a type that only a newer version knows.
    #[error("record {sequence} of the journal {path} has the unknown type {number}: use the skepd that wrote it, or a newer one", path = path.display())]
    UnknownRecord {
        /// The file.
        path: PathBuf,
        /// Which record.
        sequence: u64,
        /// Its type.
        number: u16,
    },
    /// A bad record that is not the torn end of the file.
    #[error("the journal {path} is damaged at byte {at}: {why}, and it is no last record that was being written; restore it from a backup, or move it away and remove what is pinned", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// More than is read.
    #[error("the journal {path} has {bytes} bytes; at most {MOST_BYTES} are read", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A record that no reader would take.
    #[error("the journal's record {record} would have {bytes} bytes; a record has at most {most}", most = format::MOST_JSON)]
    TooLong {
        /// Its name.
        record: &'static str,
        /// The size of its JSON.
        bytes: usize,
    },
    /// A record cannot be written as JSON.
    #[error("cannot write the journal's record {record}")]
    Encode {
        /// Its name.
        record: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl JournalError {
    /// What a person can do, where the message does not say.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let Self::File { source, .. } = self else { return None };
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        full.contains(&source.kind()).then_some(
            "the disk is full: free some space there; then the next operation goes on where this one stopped",
        )
    }
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    next: u64,
    bytes: u64,
    /// Why the end of the file is not known.
    broken: Option<String>,
}

impl Journal {
    /// Opens or makes the journal at `path` and gives the state that its records lead to.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(path: &Path) -> Result<(Self, State), JournalError> {
        let failed =
            |action| move |source| JournalError::File { action, path: path.into(), source };
        if !fs::exists(path).map_err(failed("find"))? {
            Self::create(path, &[])?;
        }
        let bytes = fs::metadata(path).map_err(failed("read"))?.len();
        if bytes > MOST_BYTES {
            return Err(JournalError::TooLarge { path: path.to_owned(), bytes });
        }
        let content = fs::read(path).map_err(failed("read"))?;
        let read = format::Journal::read(&content).map_err(|fault| fault_in(path, fault))?;
        let file = OpenOptions::new().append(true).open(path).map_err(failed("open"))?;
        if read.good < content.len() {
            tracing::warn!(path = %path.display(), at = read.good, "dropped the journal's torn last record");
            file.set_len(read.good as u64).map_err(failed("shorten"))?;
            file.sync_data().map_err(failed("sync"))?;
        }
        let mut state = State::default();
        for entry in &read.records {
            let record = Record::decode(entry.name, entry.json);
            state.apply(record.map_err(|_| fault_in(path, entry.not_json()))?);
        }
        let (next, bytes) =
            (read.records.last().map_or(0, |last| last.sequence + 1), read.good as u64);
        Ok((Self { path: path.to_owned(), file, next, bytes, broken: None }, state))
    }

    /// Adds a record; an intent is on the disk when this returns, and so is everything before it.
    ///
    /// # Errors
    /// The disk is full or broken. From then on nothing more is written, since the file may end in half a record, until a
    /// checkpoint takes the file's place.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let frame = frame(self.next, record)?;
        let mut write = || {
            if let Some(why) = &self.broken {
                return Err(io::Error::other(format!("an earlier write failed ({why})")));
            }
            self.file.write_all(&frame)?;
            if record.is_synced() { self.file.sync_data() } else { Ok(()) }
        };
        if let Err(source) = write() {
            self.broken.get_or_insert_with(|| source.to_string());
            return Err(JournalError::File { action: "write", path: self.path.clone(), source });
        }
        self.next += 1;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    /// Why nothing can be appended before a checkpoint, if so.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Whether the file has grown so much that a checkpoint is worth it.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.bytes > COMPACT_FROM
    }

    /// Writes a new file with one checkpoint, which takes the old one's place.
    ///
    /// # Errors
    /// The new file could not be written; the old one stays.
    pub fn checkpoint(&mut self, state: &State) -> Result<(), JournalError> {
        let frame = frame(self.next, &Record::Checkpoint { state: state.clone() })?;
        Self::create(&self.path, &frame)?;
        let opened = OpenOptions::new().append(true).open(&self.path);
        self.file = opened.map_err(|source| {
            self.broken = Some(source.to_string());
            JournalError::File { action: "open", path: self.path.clone(), source }
        })?;
        self.next += 1;
        self.bytes = (format::header().len() + frame.len()) as u64;
        self.broken = None;
        Ok(())
    }

    fn create(path: &Path, frame: &[u8]) -> Result<(), JournalError> {
        let new = path.with_extension("new");
        let failed = |source| JournalError::File { action: "write", path: new.clone(), source };
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(&format::header()).and_then(|()| file.write_all(frame)).map_err(failed)?;
        file.sync_all().and_then(|()| fs::rename(&new, path)).map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// A record's bytes.
fn frame(sequence: u64, record: &Record) -> Result<Vec<u8>, JournalError> {
    let encoded = record.encode();
    let (number, json) =
        encoded.map_err(|source| JournalError::Encode { record: record.name(), source })?;
    if json.len() > format::MOST_JSON {
        return Err(JournalError::TooLong { record: record.name(), bytes: json.len() });
    }
    Ok(format::frame(sequence, number, &json))
}

fn fault_in(path: &Path, fault: Fault) -> JournalError {
    let path = path.to_owned();
    match fault {
        Fault::NotAJournal => JournalError::NotAJournal { path },
        Fault::Newer(found) => JournalError::Newer { path, found },
        Fault::UnknownRecord { sequence, number } => {
            JournalError::UnknownRecord { path, sequence, number }
        }
        Fault::Damaged { at, why } => JournalError::Damaged { path, at: at as u64, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: &str) -> Record {
        Record::Boot { boot_id: id.to_owned() }
    }

    /// A journal with three records, and its bytes.
    fn three() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, state) = Journal::open(&path).unwrap();
        assert_eq!(state, State::default());
        ["a", "b", "c"].iter().for_each(|id| journal.append(&boot(id)).unwrap());
        let bytes = fs::read(&path).unwrap();
        (folder, path, bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_folder, path, _) = three();
        let (mut journal, state) = Journal::open(&path).unwrap();
        assert_eq!(state.boot, "c");
        journal.append(&boot("d")).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1.boot, "d");
    }

    #[test]
    fn every_torn_tail_is_dropped() {
        let (_folder, path, bytes) = three();
        let header = format::header().len();
        let ends: Vec<usize> = {
            let one = (bytes.len() - header) / 3;
            vec![header, header + one, header + 2 * one, bytes.len()]
        };
        for cut in header..=bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let (mut journal, state) = Journal::open(&path).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(state.boot, ["", "a", "b", "c"][whole], "cut at {cut}");
            journal.append(&boot("next")).unwrap();
            assert_eq!(Journal::open(&path).unwrap().1.boot, "next");
        }
    }

    #[test]
    fn a_tail_of_zeroes_is_torn() {
        let (_folder, path, mut bytes) = three();
        bytes.extend([0; 4096]);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1.boot, "c");
    }

    #[test]
    fn damage_in_the_middle_is_refused_wherever_it_is() {
        let (_folder, path, bytes) = three();
        let header = format::header().len();
        let last = header + (bytes.len() - header) / 3 * 2;
        for at in header..last {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            fs::write(&path, &bad).unwrap();
            let error = Journal::open(&path).unwrap_err();
            assert!(matches!(error, JournalError::Damaged { .. }), "{at}: {error}");
        }
    }

    #[test]
    fn other_files_and_newer_formats_are_refused() {
        let (_folder, path, bytes) = three();
        for content in [&b"[settings]\n"[..], b"", b"skepjrnX\x01\0\0\0"] {
            fs::write(&path, content).unwrap();
            let error = Journal::open(&path).unwrap_err();
            assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
        }
        let mut newer = bytes.clone();
        newer[8] = 2;
        fs::write(&path, &newer).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(error.to_string().contains("has format 2; this skepd reads format 1"), "{error}");
    }

    #[test]
    fn a_record_of_the_future_is_refused() {
        let (_folder, path, mut bytes) = three();
        bytes.extend(format::frame(3, 99, b"{}"));
        fs::write(&path, &bytes).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, JournalError::UnknownRecord { sequence: 3, number: 99, .. }));
    }

    #[test]
    fn a_checkpoint_takes_the_place_of_all_before() {
        let (_folder, path, bytes) = three();
        let (mut journal, state) = Journal::open(&path).unwrap();
        journal.checkpoint(&state).unwrap();
        journal.append(&boot("d")).unwrap();
        assert_ne!(fs::read(&path).unwrap()[12..40], bytes[12..40]);
        assert_eq!(Journal::open(&path).unwrap().1.boot, "d");
        assert!(!path.with_extension("new").exists());
    }

    #[test]
    fn what_no_reader_would_take_is_not_written() {
        let (_folder, path, bytes) = three();
        let (mut journal, _) = Journal::open(&path).unwrap();
        let error = journal.append(&boot(&"x".repeat(format::MOST_JSON))).unwrap_err();
        assert!(matches!(error, JournalError::TooLong { record: "Boot", .. }), "{error}");
        let state = State { boot: "x".repeat(format::MOST_JSON), ..State::default() };
        journal.checkpoint(&state).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        journal.append(&boot("d")).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1.boot, "d");
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let (_folder, path, _) = three();
        let (mut journal, state) = Journal::open(&path).unwrap();
        journal.checkpoint(&state).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(error.to_string().contains("damaged at byte 12"), "{error}");
    }

    #[test]
    fn a_full_disk_is_said() {
        let full = Path::new("/dev/full");
        let mut journal = Journal {
            path: full.to_owned(),
            file: OpenOptions::new().append(true).open(full).unwrap(),
            next: 0,
            bytes: 0,
            broken: None,
        };
        let error = journal.append(&boot("a")).unwrap_err();
        assert_eq!(error.to_string(), "cannot write the journal /dev/full");
        assert!(error.hint().is_some_and(|hint| hint.contains("the disk is full")));
        assert!(journal.append(&boot("b")).is_err());
    }

    #[test]
    fn a_checkpoint_mends_what_could_not_be_written() {
        let (_folder, path, bytes) = three();
        let (mut journal, state) = Journal::open(&path).unwrap();
        journal.file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        journal.append(&boot("lost")).unwrap_err();
        assert!(journal.broken().is_some_and(|why| why.contains("No space left")));
        assert_eq!(fs::read(&path).unwrap(), bytes);
        journal.checkpoint(&state).unwrap();
        assert_eq!(journal.broken(), None);
        journal.append(&boot("d")).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1.boot, "d");
    }
}
