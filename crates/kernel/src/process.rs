//! Processes: who we are, what we cost, dying with the parent, what a child inherits.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub use crate::socket::{MAX_FDS, PeerCred, peer_cred, recv_fds, send_fds, socketpair};
use crate::sys;

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

/// Arranges that `command`'s child is killed when the thread that starts it ends, at the latest with this process.
/// Start it from a thread that stays: the kernel counts the thread as the parent.
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_no_process_and_no_fd() {
        assert!(terminate(0).is_err() && kill(u32::MAX).is_err());
        assert!(inherited_fd(2).is_err() && inherited_fd(9999).is_err());
    }

    #[test]
    fn what_we_are_and_cost() {
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

    #[test]
    fn a_child_goes_with_the_thread_that_started_it() {
        use std::os::unix::process::ExitStatusExt;
        let start = || {
            let mut command = std::process::Command::new("sleep");
            command.arg("600");
            child_dies_with_us(&mut command);
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
