//! Folders of new projects: made whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is something already.
    #[error("{} is there already and is not empty", .0.display())]
    Occupied(PathBuf),
    /// It could not be written.
    #[error("can't write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What builds put into a project, which is nobody's to commit.
pub(crate) const IGNORE: (&str, &str) = (".gitignore", "/build\n");

/// Writes files, by their paths in it, into a folder that must not be there or be empty.
///
/// # Errors
/// The folder holds something, or cannot be written: then nothing was made.
pub fn make<P: AsRef<Path>, B: AsRef<[u8]>>(
    folder: &Path,
    files: impl IntoIterator<Item = (P, B)>,
) -> Result<(), FolderError> {
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(FolderError::Occupied(folder.to_owned()));
    }
    let was_there = folder.exists();
    let written = files
        .into_iter()
        .try_for_each(|(path, bytes)| write(&folder.join(path.as_ref()), bytes.as_ref()));
    if written.is_err() {
        // The folder was empty; what of it cannot go is told by the error as well.
        let _ = match was_there {
            true => empty(folder),
            false => fs::remove_dir_all(folder),
        };
    }
    written
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = made.and_then(|()| fs::write(path, bytes));
    written.map_err(|source| FolderError::Write { path: path.to_owned(), source })
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_whole_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(300); // longer than a name may be
        for is_there in [false, true] {
            let project = folder.path().join("project");
            if is_there {
                fs::create_dir_all(&project).unwrap();
            }
            let files = [("objects/a.o", "a"), ("skep.toml", "b"), (long.as_str(), "c")];
            let refused = make(&project, files).unwrap_err();
            assert!(matches!(&refused, FolderError::Write { path, .. } if path.ends_with(&long)));
            let left = project.read_dir().map(Iterator::count).ok();
            assert_eq!(left, is_there.then_some(0), "{is_there}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), [("a/b", "1")]).unwrap();
        assert_eq!(fs::read(folder.path().join("a/b")).unwrap(), b"1");
        let refused = make(folder.path(), [("a/b", "2")]).unwrap_err();
        assert!(matches!(refused, FolderError::Occupied(_)));
    }
}
