//! What was found out of packages, kept while what it was found by stays as it was: who asks for services thousands of times
//! a second has no signature verified and no object parsed again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use skep_runtime::{Cause, Objects, Packages as _, facts_of};
use skep_spec::Digest;
use skep_trust::Package;

use crate::packages::{Answers, Shelf};

/// How late it may be seen that something has expired, or that a file that a rule names has changed.
const LATE: Duration = Duration::from_secs(2);

/// A file that was written so short a time ago may be written again at what its times call the same moment.
const SETTLES: Duration = Duration::from_millis(50);

/// Most bytes of objects whose facts are kept.
const MOST_BYTES: usize = 1 << 20;

/// Looks at what lies on a shelf. Whether a package may be let in, loaded or activated
/// is never asked here.
#[derive(Debug)]
pub(crate) struct Looks {
    files: Vec<PathBuf>,
    kept: Mutex<Kept>,
}

/// A package without its objects' bytes, and their facts where an output needs them.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) package: Package,
    pub(crate) objects: Objects,
}

impl Read {
    /// Whether an output is a number that somebody wants to see beside the service.
    pub(crate) fn counts(&self) -> bool {
        self.package.manifest.output.values().any(|output| output.kind.counts())
    }
}

#[derive(Debug, Default)]
struct Kept {
    grounds: Option<Grounds>,
    answers: BTreeMap<Digest, Answers>,
    read: BTreeMap<Digest, Arc<Read>>,
    /// Of the objects of what was read.
    bytes: usize,
}

/// What there was to find things by, and when.
#[derive(Debug)]
struct Grounds {
    at: SystemTime,
    files: Vec<Option<File>>,
}

/// What a file's metadata tells it by from the same file later: its inode, length, and last changes in nanoseconds.
type File = (u64, u64, i128, i128);

impl Looks {
    /// At this shelf.
    pub(crate) fn at(shelf: &Shelf) -> Self {
        Self { files: shelf.grounds(), kept: Mutex::default() }
    }

    /// Who answers for a package.
    pub(crate) fn answers(&self, shelf: &Shelf, index: &Digest) -> Answers {
        let since = match self.found(|kept| kept.answers.get(index)) {
            Ok(answers) => return answers,
            Err(since) => since,
        };
        let answers = shelf.answers(index);
        let mut kept = self.kept();
        if kept.since() == since {
            kept.answers.insert(*index, answers.clone());
        }
        answers
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It is gone, or counts no more.
    pub(crate) fn read(&self, shelf: &Shelf, index: &Digest) -> Result<Arc<Read>, Cause> {
        let since = match self.found(|kept| kept.read.get(index)) {
            Ok(read) => return Ok(read),
            Err(since) => since,
        };
        let package = shelf.package(index)?.into_inner();
        let shows = package.manifest.output.values().any(|output| output.kind.is_metric());
        let objects = if shows { facts_of(&package)? } else { Objects::default() };
        let bytes = match shows {
            true => package.objects.values().map(Vec::len).sum(),
            false => 0,
        };
        let package = Package {
            objects: BTreeMap::new(),
            manifest_bytes: Vec::new(),
            readme: None,
            ..package
        };
        let read = Arc::new(Read { package, objects });
        let mut kept = self.kept();
        if kept.since() == since && kept.bytes + bytes <= MOST_BYTES {
            kept.bytes += bytes;
            kept.read.insert(*index, Arc::clone(&read));
        }
        Ok(read)
    }

    /// Both, where they were found already.
    pub(crate) fn at_hand(&self, index: &Digest) -> Option<(Answers, Arc<Read>)> {
        let kept = self.kept();
        Some((kept.answers.get(index)?.clone(), Arc::clone(kept.read.get(index)?)))
    }

    /// What was found already, or since when it could have been.
    fn found<T: Clone>(&self, find: impl Fn(&Kept) -> Option<&T>) -> Result<T, Option<SystemTime>> {
        let kept = self.kept();
        find(&kept).cloned().ok_or_else(|| kept.since())
    }

    /// What still counts.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Grounds::now(&self.files);
        if !kept.grounds.as_ref().is_some_and(|grounds| grounds.hold(&now)) {
            *kept = Kept { grounds: Some(now), ..Kept::default() };
        }
        kept
    }
}

impl Kept {
    /// What is found after another moment may rest on something else.
    fn since(&self) -> Option<SystemTime> {
        self.grounds.as_ref().map(|grounds| grounds.at)
    }
}

impl Grounds {
    fn now(files: &[PathBuf]) -> Self {
        Self { at: SystemTime::now(), files: files.iter().map(|file| seen(file)).collect() }
    }

    fn hold(&self, now: &Self) -> bool {
        let age = now.at.duration_since(self.at);
        self.files == now.files && self.are_settled() && age.is_ok_and(|age| age < LATE)
    }

    fn are_settled(&self) -> bool {
        let at = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let written_at = self.files.iter().flatten().map(|(.., changed)| *changed).max();
        let since = written_at.map_or(i128::MAX, |last| at.as_nanos() as i128 - last);
        since > SETTLES.as_nanos() as i128
    }
}

fn seen(file: &Path) -> Option<File> {
    let of = fs::metadata(file).ok()?;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (modified, changed) =
        (nanos(of.mtime(), of.mtime_nsec()), nanos(of.ctime(), of.ctime_nsec()));
    Some((of.ino(), of.len(), modified, changed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Grounds that may hold: the files were written long enough ago.
    fn settled(files: &[PathBuf]) -> Grounds {
        loop {
            let grounds = Grounds::now(files);
            if grounds.are_settled() {
                return grounds;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_was_found_counts_until_a_file_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["rules", "later"].map(|name| folder.path().join(name));
        fs::write(&files[0], "a").unwrap();
        assert!(!Grounds::now(&files).are_settled(), "it may be written again at this moment");

        let grounds = settled(&files);
        assert!(grounds.hold(&Grounds::now(&files)));
        fs::write(&files[0], "b").unwrap();
        assert!(!grounds.hold(&Grounds::now(&files)), "as long as before");

        let grounds = settled(&files);
        fs::write(&files[1], "").unwrap();
        assert!(!grounds.hold(&Grounds::now(&files)), "it came");

        let grounds = settled(&files);
        fs::remove_file(&files[0]).unwrap();
        assert!(!grounds.hold(&Grounds::now(&files)), "it went");
    }

    #[test]
    fn what_was_found_counts_for_a_short_time() {
        let now = Grounds::now(&[]);
        let at = |at| Grounds { at, files: Vec::new() };
        assert!(at(now.at - LATE / 2).hold(&now));
        assert!(!at(now.at - LATE).hold(&now), "something may have expired");
        assert!(!at(now.at + LATE).hold(&now), "the clock was set back");
    }
}
