//! Processes: who we are, what we cost, how they end.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

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

/// Opens the file that a process has mapped from `start` to `end`: by the kernel's own link, which leads there in whatever
/// namespace it is and though it was deleted, or by `path` seen from the process's root if that is the file of this device
/// and inode. Only a regular file: to open a device may do something.
///
/// # Errors
/// There is no such mapping, it is of no regular file, or the file of `path` is another.
pub fn open_mapped(
    pid: u32,
    (start, end): (u64, u64),
    path: &str,
    (device, inode): (u64, u64),
) -> io::Result<File> {
    if let Ok(file) = open_regular(Path::new(&format!("/proc/{pid}/map_files/{start:x}-{end:x}"))) {
        return Ok(file);
    }
    let file = open_regular(Path::new(&format!("/proc/{pid}/root{path}")))?;
    let found = file.metadata()?;
    let another = || io::Error::new(io::ErrorKind::NotFound, "another file has its path by now");
    (found.dev() == device && found.ino() == inode).then_some(file).ok_or_else(another)
}

/// The number of a device, as `stat` has it.
#[must_use]
pub const fn device(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Opens a regular file for reading, and nothing else.
fn open_regular(path: &Path) -> io::Result<File> {
    let place = File::options().read(true).custom_flags(libc::O_PATH).open(path)?; // opens nothing yet
    if !place.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_mapped_is_opened_though_its_path_leads_elsewhere() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains(" r-xp ") && line.contains('/')).unwrap();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (start, end) = words[0].split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let range = (number(start), number(end));
        let (pid, inode) = (std::process::id(), words[4].parse().unwrap());
        let metadata = fs::metadata(words[5]).unwrap();
        let file = open_mapped(pid, range, "/dev/null", (metadata.dev(), inode)).unwrap();
        assert_eq!(file.metadata().unwrap().ino(), inode);
        // Where the kernel's link may not be followed.
        let file = open_mapped(pid, (0, 0), words[5], (metadata.dev(), inode)).unwrap();
        assert_eq!(file.metadata().unwrap().ino(), inode);
        assert!(open_mapped(pid, (0, 0), words[5], (metadata.dev(), inode + 1)).is_err());
        assert!(open_mapped(pid, (0, 0), "/dev/zero", (metadata.dev(), inode)).is_err());
    }

    #[test]
    fn what_is_no_process() {
        assert!(terminate(0).is_err() && kill(u32::MAX).is_err());
    }

    #[test]
    fn what_we_are_and_cost() {
        assert!(usage().unwrap().minor_faults > 0);
        assert!(!is_root() || effective_capabilities().unwrap() != 0);
    }
}
