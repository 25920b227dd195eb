//! Processes: who we are, who the peer is, dying with the parent, passing fds.

use std::fs;
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

/// What a process has cost so far (getrusage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults that read from a disk.
    pub major_faults: u64,
    /// Processor time, user and system, in microseconds.
    pub cpu_us: u64,
}

/// Whether the effective user is root.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The effective capabilities as a bit set: bit 39 is CAP_BPF, 38 CAP_PERFMON, 12 CAP_NET_ADMIN, 21 CAP_SYS_ADMIN.
///
/// # Errors
/// /proc is not readable.
pub fn effective_capabilities() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no CapEff"))
}

/// Asks the kernel to SIGKILL this process when its parent thread ends; says whether the parent `expected` is still there.
///
/// The parent may have gone before the call: then the caller should end itself.
///
/// # Errors
/// prctl(2) refused.
pub fn die_with_parent(expected: u32) -> io::Result<bool> {
    // SAFETY: prctl with an integer argument only.
    sys::errno(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: getppid takes nothing and cannot fail.
    Ok(unsafe { libc::getppid() } as u32 == expected)
}

/// Ends this process by SIGKILL, as a crash would: no destructor runs.
pub fn kill_self() -> ! {
    // SAFETY: signals this process only.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    std::process::abort()
}

/// Starts a new session, so that signals of the terminal and of the old group pass this process by.
///
/// # Errors
/// EPERM for a process group leader.
pub fn new_session() -> io::Result<()> {
    // SAFETY: setsid takes nothing.
    sys::errno(unsafe { libc::setsid() }).map(drop)
}

/// Sends SIGTERM to a child or another process of ours.
///
/// # Errors
/// ESRCH if it is gone, EINVAL for 0 and for what is not a process id.
pub fn terminate(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGTERM)
}

/// Sends SIGKILL to a child or another process of ours.
///
/// # Errors
/// ESRCH if it is gone, EINVAL for 0 and for what is not a process id.
pub fn kill(pid: u32) -> io::Result<()> {
    signal(pid, libc::SIGKILL)
}

fn signal(pid: u32, number: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: a positive pid, so exactly one process.
    sys::errno(unsafe { libc::kill(pid, number) }).map(drop)
}

/// The id of the calling thread, which is what a tracing program sees in the low half of `bpf_get_current_pid_tgid`.
#[must_use]
pub fn thread_id() -> u32 {
    // SAFETY: gettid takes nothing and cannot fail.
    unsafe { libc::gettid() as u32 }
}

/// Faults and processor time of this process so far.
///
/// # Errors
/// getrusage(2) refused.
pub fn usage() -> io::Result<Usage> {
    // SAFETY: zeroes are a valid rusage, and the kernel fills it.
    let mut raw: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a rusage of ours that is alive during the call.
    sys::errno(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut raw) })?;
    let us = |t: libc::timeval| (t.tv_sec as u64) * 1_000_000 + t.tv_usec as u64;
    Ok(Usage {
        minor_faults: raw.ru_minflt as u64,
        major_faults: raw.ru_majflt as u64,
        cpu_us: us(raw.ru_utime) + us(raw.ru_stime),
    })
}

/// Binds the calling thread to one CPU.
///
/// # Errors
/// EINVAL if the CPU is not online or not allowed.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: zeroes are an empty CPU set; `cpu` is below its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: 0 means the calling thread; the set is alive during the call.
    sys::errno(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
        .map(drop)
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

/// Makes an inherited fd, such as the 3 that a parent left, into an owned one; close-on-exec from now on.
///
/// # Errors
/// EBADF if it is not open; EINVAL for 0, 1 and 2.
pub fn inherited_fd(number: i32) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: fcntl on a number; what is not an fd gives EBADF.
    sys::errno(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // A copy, so that a caller that owns `number` already cannot see it closed twice.
    // SAFETY: the fd is open, as checked above.
    let copy = sys::errno(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fcntl made this copy for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Arranges that `command`'s child finds `fd` as number `number`; `fd` stays open here until `command` goes.
pub fn pass_fd(command: &mut std::process::Command, fd: OwnedFd, number: RawFd) {
    use std::os::unix::process::CommandExt;
    let set = move || {
        let from = fd.as_raw_fd();
        if from == number {
            // SAFETY: clears close-on-exec of an fd that is open in the child, as it was in the parent.
            return sys::errno(unsafe { libc::fcntl(from, libc::F_SETFD, 0) }).map(drop);
        }
        // SAFETY: both are plain numbers; dup2 is async-signal-safe.
        sys::errno(unsafe { libc::dup2(from, number) }).map(drop)
    };
    // SAFETY: the closure makes one async-signal-safe call and allocates nothing.
    unsafe { command.pre_exec(set) };
}

/// Arranges that `command`'s child is killed when this thread's process ends.
pub fn child_dies_with_us(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let parent = std::process::id();
    let set = move || {
        if die_with_parent(parent)? {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: prctl and getppid are async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(set) };
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
            fs::File::from(fd).write_all(b"x").unwrap();
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
        assert!(terminate(0).is_err() && kill(u32::MAX).is_err());
        assert!(inherited_fd(2).is_err() && inherited_fd(9999).is_err());
    }

    #[test]
    fn the_peer_is_us() {
        let (a, _b) = socketpair().unwrap();
        let peer = peer_cred(&a).unwrap();
        assert_eq!(peer.pid as u32, std::process::id());
        assert!(usage().unwrap().minor_faults > 0);
        assert!(!is_root() || effective_capabilities().unwrap() != 0);
    }

    #[test]
    fn a_child_inherits_what_it_is_passed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "echo hello >&7"]);
        pass_fd(&mut command, writer.into(), 7);
        child_dies_with_us(&mut command);
        assert!(command.status().unwrap().success());
        drop(command);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\n");
    }
}
