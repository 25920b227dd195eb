//! Files that the command line names: one that cannot be read is a wrong call, whichever command it is.

use std::io;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// What `read` gives of such a file.
///
/// # Errors
/// It cannot be read.
pub fn read<T>(path: &Path, read: fn(&Path) -> io::Result<T>) -> Result<T> {
    read(path).map_err(|error| unread(path, &error))
}

/// The same of one that need not be there.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_if_there<T>(path: &Path, read: fn(&Path) -> io::Result<T>) -> Result<Option<T>> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some).map_err(|error| unread(path, &error)),
    }
}

fn unread(path: &Path, error: &io::Error) -> Error {
    Error::caused(Kind::Usage, format!("can't read '{}'", path.display()), error)
}
