//! Unix sockets between processes of ours: who is at the other end, and fds that cross.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use crate::sys;

/// Most fds in one message (`SCM_MAX_FD` of the kernel).
pub const MAX_FDS: usize = 253;

/// The peer of a Unix socket at the time that it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCred {
    /// Process id.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The process at the other end.
///
/// # Errors
/// getsockopt(2) refused.
pub fn peer_cred(socket: &impl AsRawFd) -> io::Result<PeerCred> {
    let mut raw = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the option writes at most `len` bytes into `raw`, which is that large.
    sys::errno(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut raw).cast(),
            &raw mut len,
        )
    })?;
    Ok(PeerCred { pid: raw.pid, uid: raw.uid, gid: raw.gid })
}

/// A connected pair of Unix stream sockets, close-on-exec.
///
/// # Errors
/// socketpair(2) refused.
pub fn socketpair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

/// Sends `bytes` (at least one) with `fds` over a Unix socket, whole or not at all.
///
/// # Errors
/// EINVAL for no bytes or more than [`MAX_FDS`]; what sendmsg(2) says; `WriteZero` if only a part went.
pub fn send_fds(socket: &impl AsRawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > MAX_FDS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let iov = [IoSlice::new(bytes)];
    let mut control = vec![0u64; control_words(fds.len())];
    // SAFETY: zeroes are a valid msghdr with no name, no data and no control part.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iov.as_ptr().cast_mut().cast();
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control_len(fds.len()) as _;
        // SAFETY: the control buffer is large enough and aligned for one header and `fds`.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of_val(fds) as u32) as _;
            std::ptr::copy_nonoverlapping(
                fds.as_ptr().cast::<u8>(),
                libc::CMSG_DATA(header),
                size_of_val(fds),
            );
        }
    }
    let sent = retry(|| {
        // SAFETY: `message` points at buffers that are alive during the call.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }
    })?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives bytes into `buffer` and the fds that came with them, close-on-exec; 0 bytes is the end.
///
/// # Errors
/// What recvmsg(2) says; `InvalidData` if more fds came than a message may hold (they are closed).
pub fn recv_fds(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut iov = [IoSliceMut::new(buffer)];
    let mut control = vec![0u64; control_words(MAX_FDS)];
    // SAFETY: zeroes are a valid msghdr with no name, no data and no control part.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iov.as_mut_ptr().cast();
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control_len(MAX_FDS) as _;
    let received = retry(|| {
        // SAFETY: `message` points at buffers that are alive during the call.
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) }
    })?;
    let fds = take_fds(&message);
    if message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more fds than a message may hold"));
    }
    Ok((received, fds))
}

fn take_fds(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled the control buffer; the macros walk it within msg_controllen, and
    // each SCM_RIGHTS number is a new fd of this process that nothing else owns.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for i in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(i).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    fds
}

fn control_len(fds: usize) -> usize {
    // SAFETY: CMSG_SPACE only computes.
    unsafe { libc::CMSG_SPACE((fds * size_of::<RawFd>()) as u32) as usize }
}

fn control_words(fds: usize) -> usize {
    control_len(fds).div_ceil(8)
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn fds_cross_a_socket() {
        let (a, b) = socketpair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_fds(&a, b"take these", &[writer.as_raw_fd(), writer.as_raw_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 64];
        let (n, fds) = recv_fds(&b, &mut buffer).unwrap();
        assert_eq!((&buffer[..n], fds.len()), (&b"take these"[..], 2));
        for fd in fds {
            File::from(fd).write_all(b"x").unwrap();
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "xx");
    }

    #[test]
    fn the_end_is_no_bytes() {
        let (a, b) = socketpair().unwrap();
        drop(a);
        let (n, fds) = recv_fds(&b, &mut [0; 8]).unwrap();
        assert_eq!((n, fds.len()), (0, 0));
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        let (a, _b) = socketpair().unwrap();
        assert_eq!(send_fds(&a, b"", &[]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let many = vec![0; MAX_FDS + 1];
        assert_eq!(send_fds(&a, b"x", &many).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn the_peer_is_us() {
        let (a, _b) = socketpair().unwrap();
        assert_eq!(peer_cred(&a).unwrap().pid as u32, std::process::id());
    }
}
