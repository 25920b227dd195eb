//! Where cgroup v2 is mounted: at /sys/fs/cgroup, or beside v1 at /sys/fs/cgroup/unified, or elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::KernelError;

/// The mount point of the cgroup v2 tree.
///
/// # Errors
/// There is none in /proc/self/mounts.
pub fn root() -> Result<PathBuf, KernelError> {
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(|e| KernelError::new("read", "/proc/self/mounts", e))?;
    first_cgroup2(&mounts).ok_or_else(|| {
        KernelError::unsupported("find", "the cgroup v2 mount", "/proc/self/mounts has no cgroup2")
            .with_hint("mount one: mount -t cgroup2 none /sys/fs/cgroup")
    })
}

/// A cgroup named as the kernel and systemd name it, "/user.slice", as a folder; an absolute folder that exists stays as it is.
///
/// # Errors
/// cgroup v2 is not mounted, or there is no such cgroup.
pub fn folder(name: &str) -> Result<PathBuf, KernelError> {
    let root = root()?;
    let named = Path::new(name);
    if named.starts_with(&root) && named.is_dir() {
        return Ok(named.to_path_buf());
    }
    let path = root.join(name.trim_start_matches('/'));
    if path.is_dir() {
        return Ok(path);
    }
    let missing = std::io::Error::from_raw_os_error(libc::ENOENT);
    Err(KernelError::new("find the cgroup", name, missing).with_hint(format!(
        "name it as systemd does, /system.slice, or by its folder below {}",
        root.display()
    )))
}

fn first_cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(unescape_octal(path)))
    })
}

/// A path of /proc/self/mounts: blanks are `\040`.
fn unescape_octal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let Some(code) = code else { break };
        out.push(char::from(code));
        rest = &rest[at + 4..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hybrid_layout() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw 0 0\n";
        assert_eq!(first_cgroup2(mounts), Some("/sys/fs/cgroup/uni fied".into()));
        assert_eq!(first_cgroup2("tmpfs / tmpfs rw 0 0\n"), None);
    }

    #[test]
    fn a_cgroup_that_is_not_there() {
        let error = folder("/no-such-cgroup-of-skep").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        assert_eq!(error.to_string(), "cannot find the cgroup /no-such-cgroup-of-skep");
    }

    #[test]
    fn a_cgroup_is_named_as_it_was_typed() {
        let below = root().unwrap().join("no-such").display().to_string();
        let error = folder(&below).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot find the cgroup {below}"));
        assert!(error.hint().is_some_and(|hint| hint.contains("/system.slice")));
    }
}
