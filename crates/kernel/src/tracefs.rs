//! Numbers of tracepoints, read from tracefs; where it isn't mounted, from a private mount that nobody else sees.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::error::KernelError;
use crate::sys;

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The id of tracepoint `category`/`name`, for perf_event_open's `config`.
///
/// # Errors
/// ENOENT if this kernel has no such tracepoint; EPERM if tracefs is not mounted and may not be.
pub fn tracepoint_id(category: &str, name: &str) -> Result<u64, KernelError> {
    let thing = || format!("the tracepoint {category}/{name}");
    let refuse = |e| KernelError::new("find", thing(), e);
    if [category, name].iter().any(|part| part.is_empty() || part.contains(['/', '.'])) {
        return Err(refuse(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let file = format!("events/{category}/{name}/id");
    let text = read(&file).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT) => refuse(e)
            .with_hint("this kernel has no such tracepoint: see /sys/kernel/tracing/events"),
        _ => refuse(e),
    })?;
    text.trim().parse().map_err(|_| refuse(io::Error::from_raw_os_error(libc::EINVAL)))
}

/// All tracepoints of this kernel as `category/name`; none where tracefs cannot be read.
pub(crate) fn tracepoints() -> Vec<String> {
    let text = read("available_events").unwrap_or_default();
    text.lines().map(|line| line.replacen(':', "/", 1)).collect()
}

/// All functions that can be traced.
///
/// # Errors
/// tracefs or its list cannot be read.
pub(crate) fn functions() -> io::Result<impl Iterator<Item = String>> {
    let text = read("available_filter_functions")?;
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let names: Vec<String> = text.lines().filter_map(name).collect();
    Ok(names.into_iter().filter(|name| !name.starts_with("__ftrace_invalid_address")))
}

fn read(file: &str) -> io::Result<String> {
    for place in PLACES {
        if fs::metadata(format!("{place}/events")).is_ok() {
            return fs::read_to_string(format!("{place}/{file}"));
        }
    }
    let root = private_mount()?;
    let path = sys::cstring(file)?;
    // SAFETY: a folder fd of ours and a NUL-terminated path that outlive the call.
    let fd = sys::errno(unsafe {
        libc::openat(root.as_raw_fd(), path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)
    })?;
    // SAFETY: openat made this fd for us.
    let mut opened = unsafe { fs::File::from_raw_fd(fd) };
    let mut text = String::new();
    opened.read_to_string(&mut text)?;
    Ok(text)
}

/// A tracefs that is attached to no folder: fsopen, fsconfig, fsmount (Linux 5.2). It goes with its fd.
fn private_mount() -> io::Result<OwnedFd> {
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6; // linux/mount.h
    // SAFETY: a NUL-terminated name; the result is an fd or -1.
    let context =
        sys::errno(unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), 1) } as i32)?;
    // SAFETY: fsopen made this fd for us.
    let context = unsafe { OwnedFd::from_raw_fd(context) };
    let null = std::ptr::null::<libc::c_void>();
    // SAFETY: the command takes no key and no value.
    sys::errno(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0)
    } as i32)?;
    // SAFETY: an fs context of ours; the flags are FSMOUNT_CLOEXEC and no mount attributes.
    let mount =
        sys::errno(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0) } as i32)?;
    // SAFETY: fsmount made this fd for us.
    Ok(unsafe { OwnedFd::from_raw_fd(mount) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_tracepoint() {
        assert!(tracepoint_id("sched", "sched_process_exec").unwrap() > 0);
    }

    #[test]
    fn says_which_tracepoint_is_missing() {
        let error = tracepoint_id("sched", "no_such_event").unwrap_err();
        assert_eq!(error.to_string(), "cannot find the tracepoint sched/no_such_event");
        assert_eq!(error.errno(), Some(libc::ENOENT));
    }

    #[test]
    fn a_name_does_not_leave_its_folder() {
        assert_eq!(tracepoint_id("..", "x").unwrap_err().errno(), Some(libc::EINVAL));
    }
}
