//! What every call to libbpf and libc here needs: return values as `io::Result`, C strings, owned fds.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

/// A negative libbpf return value (`-errno`) as an error.
pub(crate) fn check(ret: c_int) -> io::Result<c_int> {
    if ret < 0 { Err(io::Error::from_raw_os_error(-ret)) } else { Ok(ret) }
}

/// A libc return value of -1 as errno.
pub(crate) fn errno(ret: c_int) -> io::Result<c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// A new fd that libbpf returned, owned.
pub(crate) fn owned(ret: c_int) -> io::Result<OwnedFd> {
    let fd = check(ret)?;
    // SAFETY: the call that returned `fd` made it for us and nothing else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A file that is in memory alone.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: a NUL-terminated name that outlives the call.
    let fd = errno(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: memfd_create made this fd for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A C string; a NUL inside is EINVAL.
pub(crate) fn cstring(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// A path as a C string; a NUL inside is EINVAL.
pub(crate) fn cpath(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Opens what a target names, which may be anything: a pipe is not waited at for its other end.
pub(crate) fn open_now(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// `size_of::<T>()` as the `sz` field that libbpf's option structs begin with.
pub(crate) const fn size<T>() -> libbpf_sys::size_t {
    size_of::<T>() as libbpf_sys::size_t
}

/// A name cut and cleaned to what the kernel takes: 15 bytes of letters, digits, `_` and `.`.
pub(crate) fn kernel_name(text: &str) -> CString {
    let clean: Vec<u8> = text
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() || b == b'_' || b == b'.' { b } else { b'_' })
        .take(15)
        .collect();
    CString::new(clean).unwrap_or_default()
}

/// A name in one of the kernel's fixed arrays.
pub(crate) fn name_of(raw: &[c_char]) -> String {
    let bytes: Vec<u8> = raw.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(kernel_name("a-very/long name\0indeed").as_bytes(), b"a_very_long_nam");
    }

    #[test]
    fn a_nul_in_a_path_is_refused() {
        let error = cstring("a\0b").map(|_| ());
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
