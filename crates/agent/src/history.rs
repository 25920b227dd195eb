//! What was done to services, by whom, and what came of it: a line of JSON a deed, in a file that nothing else depends on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use skep_api::Deed;
use skep_spec::ServiceName;

use crate::error::NodeError;

/// Bytes from which a new file is begun.
const MOST_BYTES: u64 = 1 << 20;

/// The file, and the one before it.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    writes: Mutex<()>,
}

impl History {
    /// The history of a state folder.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self { path: state.join("history"), writes: Mutex::new(()) }
    }

    /// Adds a deed. Where that fails, the log says so, and the deed is done all the same.
    pub fn add(&self, deed: &Deed) {
        if let Err(error) = self.write(deed) {
            let (path, service, what) = (self.path.display(), &deed.service, &deed.what);
            tracing::warn!(%service, what, "not written to {path}: {error}");
        }
    }

    fn write(&self, deed: &Deed) -> io::Result<()> {
        let _alone = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > MOST_BYTES) {
            fs::rename(&self.path, self.before())?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.create(true).read(true).append(true).mode(0o640).open(&self.path)?;
        // A line that was torn must not take this one with it.
        let mut line = if ends_a_line(&mut file)? { Vec::new() } else { b"\n".to_vec() };
        serde_json::to_writer(&mut line, deed)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    /// The last deeds of a service, the last first. What is no deed, such as a line that a power cut tore, is left out.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn last(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deed>, NodeError> {
        let mut deeds = Vec::new();
        let _alone = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        for path in [self.before(), self.path.clone()] {
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(|source| unread(&path, source))?,
            };
            for line in BufReader::new(file).split(b'\n') {
                let line = line.map_err(|source| unread(&path, source))?;
                let deed = serde_json::from_slice::<Deed>(&line).ok();
                deeds.extend(deed.filter(|deed| deed.service == *service));
            }
        }
        deeds.reverse();
        deeds.truncate(limit);
        Ok(deeds)
    }

    fn before(&self) -> PathBuf {
        self.path.with_extension("1")
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn unread(path: &Path, source: io::Error) -> NodeError {
    NodeError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(service: &str, at: u64, error: &str) -> Deed {
        let error = Some(error.to_owned()).filter(|error| !error.is_empty());
        let (service, what, by) = (service.parse().unwrap(), "stop".to_owned(), "root".to_owned());
        Deed { at, service, what, from: None, to: None, by, with: None, tried: None, error }
    }

    #[test]
    fn the_last_deeds_of_a_service_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        let exec = "exec".parse().unwrap();
        assert_eq!(history.last(&exec, 9).unwrap(), []);
        for at in 1..=3 {
            history.add(&deed("exec", at, "why"));
            history.add(&deed("other", at, ""));
        }
        let last = history.last(&exec, 2).unwrap();
        assert_eq!(last, [deed("exec", 3, "why"), deed("exec", 2, "why")]);
    }

    #[test]
    fn a_torn_line_costs_no_other_and_a_full_file_begins_another() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        let exec = "exec".parse().unwrap();
        history.add(&deed("exec", 1, ""));
        let mut file = OpenOptions::new().append(true).open(&history.path).unwrap();
        file.write_all(b"{\"at\":2,\"serv").unwrap();
        history.add(&deed("exec", 3, &"x".repeat(1 << 20)));
        history.add(&deed("exec", 4, ""));
        let at: Vec<u64> = history.last(&exec, 9).unwrap().iter().map(|deed| deed.at).collect();
        assert_eq!(at, [4, 3, 1]);
        assert!(fs::metadata(&history.path).unwrap().len() < 1000);
    }
}
