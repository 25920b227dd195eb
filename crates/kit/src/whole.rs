//! Files that are written whole or not at all.

use std::path::Path;
use std::{fs, io, process};

/// Writes a file and the folders that it is in; where that fails, what was written of it goes again.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let part = path.with_extension(format!("part{}", process::id()));
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part); // why it could not be written is what matters
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_could_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("in").join("taken");
        fs::create_dir_all(&taken).unwrap();
        write(&taken, b"text").unwrap_err();
        assert_eq!(taken.parent().unwrap().read_dir().unwrap().count(), 1);
        let path = folder.path().join("in").join("file");
        write(&path, b"text").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"text");
    }
}
