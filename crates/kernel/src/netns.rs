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
    set_up(interface, true)
}

/// Gives `interface` of the thread's namespace another name.
///
/// # Errors
/// ENODEV if it isn't there, EEXIST if another one has the name, EPERM.
pub fn rename(interface: &str, name: &str) -> io::Result<()> {
    set_up(interface, false)?;
    let mut request = request(interface)?;
    // SAFETY: the member that the call reads, zeroed before, so that a NUL follows.
    put(unsafe { &mut request.ifr_ifru.ifru_newname }, name)?;
    ask(libc::SIOCSIFNAME, &mut request)?;
    set_up(name, true)
}

fn set_up(interface: &str, up: bool) -> io::Result<()> {
    let mut request = request(interface)?;
    ask(libc::SIOCGIFFLAGS, &mut request)?;
    let flag = libc::IFF_UP as libc::c_short;
    // SAFETY: the call above filled the flags.
    let flags = unsafe { &mut request.ifr_ifru.ifru_flags };
    *flags = if up { *flags | flag } else { *flags & !flag };
    ask(libc::SIOCSIFFLAGS, &mut request)
}

fn request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    put(&mut request.ifr_name, interface)?;
    Ok(request)
}

/// A name with a NUL behind it.
fn put(place: &mut [libc::c_char], name: &str) -> io::Result<()> {
    if name.len() >= place.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in place.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(())
}

fn ask(what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let request = std::ptr::from_mut(request);
    // SAFETY: an open socket and an ifreq of ours with a NUL-terminated name.
    sys::errno(unsafe { libc::ioctl(socket.as_raw_fd(), what as _, request) }).map(drop)
}
