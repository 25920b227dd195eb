//! One error for one failed kernel call: the action, the thing, the errno, and what to do.

use std::fmt;
use std::io;

/// A call that the kernel refused.
///
/// `Display` says the action and the thing; the errno is the source; [`KernelError::hint`] says what to do.
#[derive(Debug)]
pub struct KernelError {
    action: &'static str,
    thing: String,
    source: io::Error,
    errno: Option<i32>,
    hint: Option<String>,
}

/// The kernel's ENOTSUPP, which no libc has a text for (include/linux/errno.h).
pub(crate) const ENOTSUPP: i32 = 524;

impl KernelError {
    /// An error of `action` ("pin the map") on `thing` ("/sys/fs/bpf/skep/exec"), for `source`.
    #[must_use]
    pub fn new(action: &'static str, thing: impl Into<String>, source: io::Error) -> Self {
        let (hint, errno) = (hint_for(&source), source.raw_os_error());
        let source = match errno {
            Some(ENOTSUPP) => io::Error::new(
                io::ErrorKind::Unsupported,
                "not supported by this kernel (ENOTSUPP)",
            ),
            _ => source,
        };
        Self { action, thing: thing.into(), source, errno, hint }
    }

    /// An error that is no errno: the kernel was asked for something that it can't be asked for.
    #[must_use]
    pub fn unsupported(
        action: &'static str,
        thing: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        let source = io::Error::new(io::ErrorKind::Unsupported, why.into());
        Self { action, thing: thing.into(), source, errno: None, hint: None }
    }

    /// The same error with a hint of the caller's own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether what was asked for is not there (ENOENT): all else may pass.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(libc::ENOENT)
    }

    /// Whether the kernel takes what it was asked for to be impossible (EINVAL).
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.errno() == Some(libc::EINVAL)
    }

    /// The errno, where the kernel gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.action, self.thing)
    }
}

impl std::error::Error for KernelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What an errno of bpf(2) most often asks for.
fn hint_for(source: &io::Error) -> Option<String> {
    let text = match source.raw_os_error()? {
        libc::EPERM | libc::EACCES if !crate::process::is_root() => {
            "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
        }
        libc::EROFS => "it is mounted read-only: mount -o remount,rw makes it writable",
        libc::ENOMEM => "the kernel is out of memory, or the cgroup's memory limit is reached",
        libc::EMFILE | libc::ENFILE => "raise the limit of open files (ulimit -n)",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn says_action_thing_and_errno() {
        let error =
            KernelError::new("open", "the map 'm'", io::Error::from_raw_os_error(libc::ENOENT));
        assert_eq!(error.to_string(), "cannot open the map 'm'");
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert!(error.source().is_some_and(|s| s.to_string().contains("os error 2")));
    }

    #[test]
    fn out_of_memory_has_a_hint() {
        let error = KernelError::new("make", "a map", io::Error::from_raw_os_error(libc::ENOMEM));
        assert!(error.hint().is_some_and(|hint| hint.contains("memory limit")));
    }
}
