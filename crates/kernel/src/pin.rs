//! Pins of any kind on a bpffs, and what kind an fd is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::error::KernelError;
use crate::sys;

/// Pins any BPF fd.
pub(crate) fn pin(
    fd: BorrowedFd<'_>,
    action: &'static str,
    path: &Path,
) -> Result<(), KernelError> {
    let failed = |e: std::io::Error| {
        let dotted = path.file_name().is_some_and(|n| n.to_string_lossy().contains('.'));
        let refused = e.raw_os_error() == Some(libc::EPERM) && dotted;
        let off = e.raw_os_error() == Some(libc::EINVAL);
        let error = KernelError::new(action, path.display().to_string(), e);
        match (refused, off) {
            (true, _) => error.with_hint("bpffs takes no dots in names"),
            (_, true) => error.with_hint("is a bpffs mounted there? mount -t bpf bpf /sys/fs/bpf"),
            _ => error,
        }
    };
    let cpath = sys::cpath(path).map_err(failed)?;
    // SAFETY: an open fd and a NUL-terminated path that outlive the call.
    sys::check(unsafe { libbpf_sys::bpf_obj_pin(fd.as_raw_fd(), cpath.as_ptr()) })
        .map(drop)
        .map_err(failed)
}

/// What a BPF fd is, as its link under /proc/self/fd names it.
pub(crate) mod fd_kind {
    pub(crate) const MAP: &str = "bpf-map";
    pub(crate) const PROGRAM: &str = "bpf-prog";
    pub(crate) const LINK: &str = "bpf-link";
}

/// Opens a pin of one kind; EINVAL for another. (The kernel would give information of any kind of fd.)
pub(crate) fn open_pinned(path: &Path, kind: &str) -> std::io::Result<OwnedFd> {
    let path = sys::cpath(path)?;
    // SAFETY: a NUL-terminated path that outlives the call.
    let fd = sys::owned(unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) })?;
    expect_kind(fd.as_fd(), kind).map(|()| fd)
}

/// EINVAL if `fd` is of another kind.
pub(crate) fn expect_kind(fd: BorrowedFd<'_>, kind: &str) -> std::io::Result<()> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    if link.to_string_lossy().replace('_', "-").contains(kind) {
        return Ok(());
    }
    Err(std::io::Error::from_raw_os_error(libc::EINVAL))
}
