//! A cgroup for the events of a test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A cgroup that this process is in until this is dropped: sockets that it opens meanwhile belong to it.
pub struct OwnCgroup(PathBuf);

impl OwnCgroup {
    /// Makes it and goes into it.
    pub fn enter() -> io::Result<Self> {
        let root = skep_kernel::cgroup::root().map_err(io::Error::other)?;
        let folder = root.join(format!("skep-test-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(Self(folder))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        if let Some(root) = self.0.parent() {
            let _ = fs::write(root.join("cgroup.procs"), std::process::id().to_string());
        }
        let _ = fs::remove_dir(&self.0);
    }
}
