//! The socket: its place is looked at before anything is touched.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tokio::net::UnixListener;

use crate::hold;

/// Most bytes of a socket's path: `sun_path` of unix(7), with its NUL.
const MOST: usize = 107;

/// Refuses a place where no socket can be, or where another daemon answers.
///
/// # Errors
/// So it is.
pub fn check(path: &Path) -> Result<()> {
    let shown = path.display();
    let holders = hold::socket_of(path).as_os_str().len();
    if holders > MOST {
        let length = path.as_os_str().as_bytes().len();
        bail!(
            "the socket's path has {length} bytes, and at most {} fit: {shown}; give a shorter --socket",
            length + MOST - holders
        );
    }
    match fs::symlink_metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if !kind.is_socket() => {
            let what = if kind.is_dir() { "a folder" } else { "a file that is no socket" };
            bail!("{shown} is {what}: give another --socket, or remove it");
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            bail!("another skepd listens on {shown}: stop it, or give this one its own --socket");
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            bail!("{shown} cannot be a socket: a part of it that should be a folder is none");
        }
        _ => Ok(()),
    }
}

/// Listens at `path`; a socket that nobody listens on any more is replaced.
///
/// # Errors
/// As [`check`], or the kernel refuses.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let shown = path.display();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    check(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("can't remove {shown}"));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("can't listen on {shown}"))?;
    let mode = fs::Permissions::from_mode(0o660);
    fs::set_permissions(path, mode).with_context(|| format!("can't set the mode of {shown}"))?;
    Ok(listener)
}
