//! Locks on files: one daemon per state folder.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::sys;

/// Takes the exclusive lock on `file` without waiting; it goes with the last copy of the fd, also at `kill -9`.
///
/// # Errors
/// `WouldBlock` while another process holds it.
pub fn lock(file: &File) -> io::Result<()> {
    // SAFETY: an fd that `file` keeps open during the call.
    sys::errno(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_waits_outside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = File::create(&path).unwrap();
        lock(&first).unwrap();
        let second = File::open(&path).unwrap();
        assert_eq!(lock(&second).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        lock(&second).unwrap();
    }
}
