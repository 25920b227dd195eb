//! The functions of files that processes run: read once, within limits, since whose files they are nobody knows.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_object::functions::Functions;

/// Bytes of all functions that are remembered.
const MOST: usize = 256 << 20;
/// Files that are remembered; those without functions take none of that room.
const MOST_FILES: usize = 4096;
/// Bytes that are read in a while at most: a process may have any number of large files mapped.
const MOST_AT_ONCE: usize = 256 << 20;
const WHILE: Duration = Duration::from_secs(1);

/// A file as it was when it was read: device, inode, size, and when it was changed.
pub(super) type Key = (u64, u64, u64, (i64, i64));

/// Functions by files.
#[derive(Debug, Default)]
pub(super) struct Files {
    known: HashMap<Key, Known>,
    bytes: usize,
    /// Counts the questions.
    clock: u64,
    /// Since when how many bytes were read.
    spent: Option<(Instant, usize)>,
}

#[derive(Debug)]
struct Known {
    functions: Result<Functions, Arc<str>>,
    build_id: Option<Arc<str>>,
    used: u64,
}

/// What is at a place in a file.
#[derive(Debug)]
pub(super) struct Found {
    /// The function, and how far behind its start.
    pub(super) symbol: Option<(String, u64)>,
    /// The address that the file gives the place.
    pub(super) address: u64,
    pub(super) build_id: Option<Arc<str>>,
    /// Why there is no function, if there is none.
    pub(super) why: Arc<str>,
}

impl Files {
    /// What is at a place in a file that was read; none if it was forgotten.
    pub(super) fn find(&mut self, key: Key, place: u64) -> Option<Result<Found, Arc<str>>> {
        self.clock += 1;
        let known = self.known.get_mut(&key)?;
        known.used = self.clock;
        let functions = match &known.functions {
            Ok(functions) => functions,
            Err(why) => return Some(Err(why.clone())),
        };
        let address = functions.address(place);
        let symbol = address.and_then(|address| functions.find(address));
        let why = match functions.is_empty() {
            true => "no symbols",
            false => "no symbol there",
        };
        let (address, build_id) = (address.unwrap_or(place), known.build_id.clone());
        Some(Ok(Found { symbol, address, build_id, why: why.into() }))
    }

    /// Reads a file, if it is not known as it is.
    pub(super) fn read(&mut self, file: File) -> io::Result<Key> {
        let is = file.metadata()?;
        let key = (is.dev(), is.ino(), is.size(), (is.mtime(), is.mtime_nsec()));
        if self.known.contains_key(&key) {
            return Ok(key);
        }
        let (mut read, left) = (0, self.left());
        let functions = Functions::read(|offset, into| {
            read += into.len();
            if read > left {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "too much is read at once"));
            }
            file.read_exact_at(into, offset)
        });
        let functions = match functions {
            Err(skep_object::functions::FunctionsError::Io(error))
                if error.kind() == io::ErrorKind::WouldBlock =>
            {
                return Err(error);
            }
            other => other.map_err(|error| Arc::<str>::from(error.to_string())),
        };
        if let Some((_, spent)) = &mut self.spent {
            *spent += read;
        }
        self.keep(key, functions);
        Ok(key)
    }

    /// Bytes that may still be read in this while.
    fn left(&mut self) -> usize {
        let is_over = self.spent.is_none_or(|(since, _)| since.elapsed() > WHILE);
        if is_over {
            self.spent = Some((Instant::now(), 0));
        }
        self.spent.map_or(0, |(_, spent)| MOST_AT_ONCE.saturating_sub(spent))
    }

    /// Remembers them; what was asked for least lately is forgotten beyond the limits.
    fn keep(&mut self, key: Key, functions: Result<Functions, Arc<str>>) {
        self.bytes += functions.as_ref().map_or(0, Functions::memory);
        let build_id = functions.as_ref().ok().and_then(|all| all.build_id().map(Into::into));
        self.clock += 1;
        self.known.insert(key, Known { functions, build_id, used: self.clock });
        while (self.bytes > MOST || self.known.len() > MOST_FILES) && self.known.len() > 1 {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            let Some(key) = oldest.map(|(key, _)| *key) else { break };
            let gone = self.known.remove(&key);
            let memory = gone.and_then(|gone| Some(gone.functions.ok()?.memory()));
            self.bytes -= memory.unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_said_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, [b'x'; 100]).unwrap();
        let mut files = Files::default();
        let key = files.read(File::open(&path).unwrap()).unwrap();
        let said = files.find(key, 0).unwrap().unwrap_err();
        assert_eq!(&*said, "it is no ELF file");
        assert!(files.find((0, 0, 0, (0, 0)), 0).is_none());
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_harms_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        let file = File::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(200).unwrap();
        let mut files = Files::default();
        let key = files.read(file).unwrap();
        let said = files.find(key, 0).unwrap().unwrap_err();
        assert!(said.starts_with("it cannot be read"), "{said}");
    }

    #[test]
    fn no_more_is_read_at_once_than_may_be() {
        let mut files = Files { spent: Some((Instant::now(), MOST_AT_ONCE)), ..Files::default() };
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(files.read(own).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn as_many_files_are_remembered_as_may_be() {
        let mut files = Files::default();
        for inode in 0..MOST_FILES as u64 + 3 {
            files.keep((0, inode, 0, (0, 0)), Err("why".into()));
        }
        assert_eq!(files.known.len(), MOST_FILES);
        assert!(!files.known.contains_key(&(0, 2, 0, (0, 0))));
    }
}
