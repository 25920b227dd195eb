//! Network namespaces: for tests and trials that must touch no interface of the machine.

use std::io;
use std::os::fd::AsRawFd;

use crate::sys;

/// Puts the calling thread into a new network namespace; it goes with its last thread, interface and socket.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn enter_new() -> io::Result<()> {
    // SAFETY: changes the namespace of this thread only.
    sys::errno(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Puts the calling thread into the namespace that `file` (`/proc/PID/ns/net`) is.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN; EINVAL for another kind of file.
pub fn enter(file: &std::fs::File) -> io::Result<()> {
    // SAFETY: an open fd; changes the namespace of this thread only.
    sys::errno(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Brings up `interface` of the thread's namespace; a new one has only `lo`, down.
///
/// # Errors
/// ENODEV if it isn't there, EPERM.
pub fn up(interface: &str) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: an open socket and an ifreq of ours with a NUL-terminated name.
    sys::errno(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request)
    })?;
    // SAFETY: the call above filled the flags.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    // SAFETY: as for reading them.
    sys::errno(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    })
    .map(drop)
}
