//! What an object is told when it asks for the kernel's version (`LINUX_KERNEL_VERSION`), where that is not the kernel's own.
//!
//! libbpf answers that question itself, whatever a caller says. Asked for an option of the kernel's configuration, it takes the
//! caller's answer: so the question gets another name, of the same length, in the names of symbols and of types.

use std::ffi::CString;

/// The question, with the ends of the names around it.
const ASKED: &[u8] = b"\0LINUX_KERNEL_VERSION\0";
/// An option that no kernel has.
const INSTEAD: &[u8] = b"\0CONFIG_SKEP_VERSION_\0";

/// A version as `KERNEL_VERSION(a, b, c)` makes a number of it.
#[must_use]
pub const fn code(major: u32, minor: u32) -> u32 {
    (major << 16) | (minor << 8)
}

/// The object with the other question, and the answer to that.
pub(super) fn told(bytes: &[u8], version: u32) -> (Vec<u8>, CString) {
    let mut own = bytes.to_vec();
    let windows = bytes.windows(ASKED.len()).enumerate();
    for (at, _) in windows.filter(|(_, window)| *window == ASKED) {
        own[at..at + ASKED.len()].copy_from_slice(INSTEAD);
    }
    let name = String::from_utf8_lossy(&INSTEAD[1..INSTEAD.len() - 1]);
    (own, CString::new(format!("{name}={version}\n")).unwrap_or_default())
}
