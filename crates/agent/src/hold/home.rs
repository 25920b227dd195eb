//! A cgroup of the holder's own, so that what stops the daemon's cgroup does not stop the holder.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use skep_kernel::cgroup;
use skep_spec::Digest;

/// The cgroup; it goes with this value.
#[derive(Debug)]
pub(super) struct Home(PathBuf);

impl Home {
    /// Moves this process into that of the holder at `socket`; none where cgroups cannot be made, which is no failure.
    pub(super) fn enter(socket: &Path) -> Option<Self> {
        let socket = std::path::absolute(socket).ok()?;
        let place = Digest::of(socket.as_os_str().as_bytes()).hex();
        let folder = cgroup::root().ok()?.join(format!("skep-holder-{}", &place[..12]));
        let made = fs::create_dir(&folder).is_ok() || folder.is_dir();
        let home = made.then_some(Self(folder))?;
        let pid = std::process::id().to_string();
        fs::write(home.0.join("cgroup.procs"), pid).ok().map(|()| home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A cgroup with a process in it cannot be removed.
        if let Some(root) = self.0.parent() {
            let _ = fs::write(root.join("cgroup.procs"), std::process::id().to_string());
        }
        let _ = fs::remove_dir(&self.0);
    }
}
