//! The BPF file system: is it there, how a name becomes a pin, how a tree of pins goes away.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::KernelError;
use crate::sys;

/// `f_type` of a bpffs (`BPF_FS_MAGIC` in linux/magic.h).
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
/// Where every distribution mounts it.
pub const DEFAULT: &str = "/sys/fs/bpf";

/// Whether `path` lies on a bpffs.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    fs_magic(path).is_ok_and(|magic| magic == BPF_FS_MAGIC)
}

/// Sees to it that `path` exists on a bpffs; mounts one at [`DEFAULT`] where `path` is under it and
/// none is mounted. Says whether it mounted.
///
/// # Errors
/// The mount or the folder refused, or `path` is on another file system.
pub fn ensure_mounted(path: &Path) -> Result<bool, KernelError> {
    let mounted = if path.starts_with(DEFAULT) && !is_bpffs(Path::new(DEFAULT)) {
        mount_at(Path::new(DEFAULT))?;
        true
    } else {
        false
    };
    let shown = path.display().to_string();
    let is_there = |folder: &&Path| folder.exists() || folder.as_os_str().is_empty();
    let made_in = path.ancestors().find(is_there).filter(|folder| !folder.as_os_str().is_empty());
    if !is_bpffs(made_in.unwrap_or(Path::new("."))) {
        let hint = format!("mount one: mkdir -p {shown} && mount -t bpf bpf {shown}");
        return Err(
            KernelError::unsupported("pin under", shown, "it is not on a bpffs").with_hint(hint)
        );
    }
    fs::create_dir_all(path).map_err(|e| KernelError::new("make the folder", shown, e))?;
    Ok(mounted)
}

/// Mounts a new bpffs at `path`, which must exist.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, ENOENT without the folder.
pub fn mount_at(path: &Path) -> Result<(), KernelError> {
    let failed = |e| KernelError::new("mount a bpffs at", path.display().to_string(), e);
    let target = sys::cpath(path).map_err(failed)?;
    // SAFETY: three NUL-terminated strings that outlive the call; bpf takes no data.
    let ret = unsafe {
        libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null())
    };
    sys::errno(ret).map(drop).map_err(failed)
}

/// Unmounts `path`; for those who mounted it.
///
/// # Errors
/// EBUSY while somebody works in it.
pub fn unmount(path: &Path) -> Result<(), KernelError> {
    let failed = |e| KernelError::new("unmount", path.display().to_string(), e);
    let target: CString = sys::cpath(path).map_err(failed)?;
    // SAFETY: a NUL-terminated string that outlives the call.
    sys::errno(unsafe { libc::umount2(target.as_ptr(), 0) }).map(drop).map_err(failed)
}

/// One path component of a pin for any text: bpffs refuses dots and slashes, so `.` is `%2E`, `/` is
/// `%2F` and `%` is `%25`.
#[must_use]
pub fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '.' => out.push_str("%2E"),
            '/' => out.push_str("%2F"),
            '%' => out.push_str("%25"),
            c => out.push(c),
        }
    }
    out
}

/// Removes a pin; a pin that isn't there is no error.
///
/// # Errors
/// What unlink(2) says.
pub fn unpin(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(KernelError::new("remove the pin", path.display().to_string(), e))
        }
        _ => Ok(()),
    }
}

/// Removes a folder with all pins under it; symbolic links are removed, not followed. One that isn't there is no error.
///
/// # Errors
/// What unlink(2) or rmdir(2) says; `path` must be on a bpffs, so that a wrong path costs nothing.
pub fn unpin_tree(path: &Path) -> Result<(), KernelError> {
    if !path.exists() {
        return Ok(());
    }
    if !is_bpffs(path) {
        let thing = path.display().to_string();
        return Err(KernelError::unsupported(
            "remove the pins under",
            thing,
            "it is not on a bpffs",
        ));
    }
    fs::remove_dir_all(path)
        .map_err(|e| KernelError::new("remove the pins under", path.display().to_string(), e))
}

/// All pins under `path`, deepest last, as paths.
///
/// # Errors
/// What readdir says, except that a folder that isn't there has no pins.
pub fn pins(path: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let failed = |e| KernelError::new("list the pins under", path.display().to_string(), e);
    let mut found = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    Ok(found)
}

fn fs_magic(path: &Path) -> io::Result<u32> {
    let path = sys::cpath(path)?;
    // SAFETY: zeroes are a valid statfs, and the kernel fills it.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a NUL-terminated path and a statfs of ours, both alive during the call.
    sys::errno(unsafe { libc::statfs(path.as_ptr(), &raw mut stat) })?;
    Ok(stat.f_type as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_a_pin_of_its_own() {
        let pins = [".rodata.str1.1", "a/b%c", "%2E", "é.ü"].map(escape);
        assert_eq!(pins, ["%2Erodata%2Estr1%2E1", "a%2Fb%25c", "%252E", "é%2Eü"]);
    }

    #[test]
    fn an_ordinary_folder_is_no_bpffs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_bpffs(folder.path()));
        let error = ensure_mounted(folder.path()).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.starts_with("mount one")));
        assert!(unpin_tree(folder.path()).is_err());
    }
}
