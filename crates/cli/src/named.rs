//! Files that the command line names: one that cannot be read is a wrong call, whichever command it is.

use std::io;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// What `read` gives of such a file.
///
/// # Errors
/// It cannot be read.
pub fn read<T>(path: &Path, read: fn(&Path) -> io::Result<T>) -> Result<T> {
    read(path).map_err(|error| {
        Error::caused(Kind::Usage, format!("can't read '{}'", path.display()), &error)
    })
}
