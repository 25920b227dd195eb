//! Whether a file system outlives the mount namespace of this process.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether process 1 has the file system at `path` mounted too, so that it stays when this process's mount namespace goes. In a
/// container process 1 may be the container's own.
///
/// # Errors
/// There is no /proc, or process 1 may not be looked at.
pub fn init_has(path: &Path) -> io::Result<bool> {
    let device = fs::metadata(path)?.dev();
    let device = format!("{}:{}", libc::major(device), libc::minor(device));
    let mounts = fs::read_to_string("/proc/1/mountinfo")?;
    // proc_pid_mountinfo(5): mount, parent, major:minor, …
    Ok(mounts.lines().any(|line| line.split(' ').nth(2) == Some(&device)))
}

/// Bytes that are free to unprivileged processes in the file system at `path`.
///
/// # Errors
/// It is not there.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut said = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a string that outlives the call, and room for one answer.
    if unsafe { libc::statvfs(path.as_ptr(), said.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, which is a value of it, and filled since.
    let said = unsafe { said.assume_init() };
    Ok(said.f_bavail.saturating_mul(said.f_frsize))
}

/// Whether processes are numbered as the machine's own, and not as a container's.
///
/// # Errors
/// There is no /proc.
pub fn in_first_pid_namespace() -> io::Result<bool> {
    const FIRST: u64 = 0xEFFF_FFFC; // PID_NS_INIT_INO, include/uapi/linux/nsfs.h
    Ok(fs::metadata("/proc/self/ns/pid")?.ino() == FIRST)
}
