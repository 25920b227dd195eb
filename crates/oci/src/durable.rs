//! Files that are there whole or not at all, also after a power cut.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{StoreError, io_error};

/// How the names of files that are being written begin.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Writes a file of a store: [`replace`], readable by whoever may read its folder.
///
/// # Errors
/// When it cannot be written: what was there before stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes, 0o666).map_err(io_error("write", path))
}

/// Writes a file of a store, whole on the disk before others see it. Its name is there for good once its folder is
/// [`settle`]d, which many files can wait for at once.
pub(crate) fn place(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    put_there(path, bytes, 0o666).map_err(io_error("write", path))
}

/// Waits until the names of all that was placed in a folder are on the disk.
pub(crate) fn settle(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(io_error("write", folder))
}

/// Writes a file that can be made again, and so is not waited for until it is on the disk.
///
/// # Errors
/// When it cannot be written: what was there before stays.
pub fn pass(path: &Path, bytes: &[u8]) -> io::Result<()> {
    renamed(path, |temporary| fs::write(temporary, bytes))
}

/// [`pass`], and the folders that it is in.
///
/// # Errors
/// As [`pass`], and when a folder cannot be made.
pub fn pass_in_folders(path: &Path, bytes: &[u8]) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    pass(path, bytes)
}

/// Writes a file, so that others see all of it or what was there before. It is a new one, of this mode less the umask.
///
/// # Errors
/// When it cannot be written: what was there before stays.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    put_there(path, bytes, mode).and_then(|()| File::open(folder)?.sync_all())
}

/// Removes what processes that are gone left half written in a folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn remove_leftovers(folder: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(folder).map_err(io_error("list", folder))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)) else {
            continue;
        };
        let writer = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(writer).exists() {
            let _ = fs::remove_file(entry.path()); // another process may have been faster
        }
    }
    Ok(())
}

fn put_there(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    renamed(path, |temporary| write_new(temporary, bytes, mode))
}

fn renamed(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary(path);
    let written = write(&temporary).and_then(|()| fs::rename(&temporary, path));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&temporary); // it may never have been made
    })
}

fn temporary(path: &Path) -> PathBuf {
    path.with_file_name(format!("{TEMPORARY}{}", unique()))
}

/// A name that no other writer has: its process, for the one that cleans up, and 64 random bits.
fn unique() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_what_could_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("in").join("taken");
        fs::create_dir_all(&taken).unwrap();
        pass_in_folders(&taken, b"text").unwrap_err();
        replace(&taken, b"text", 0o666).unwrap_err();
        assert_eq!(taken.parent().unwrap().read_dir().unwrap().count(), 1);
        let path = folder.path().join("new").join("file");
        pass(&path, b"text").unwrap_err();
        pass_in_folders(&path, b"text").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"text");
    }
}
