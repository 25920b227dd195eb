//! A cgroup of the holder's own, so that what stops the daemon's cgroup does not stop the holder.

use std::fs;
use std::path::PathBuf;

use skep_kernel::cgroup;

/// The cgroup; it goes with this value.
#[derive(Debug)]
pub(super) struct Home(PathBuf);

impl Home {
    /// Moves this process into it; none where cgroups cannot be made, which is no failure.
    pub(super) fn enter() -> Option<Self> {
        let folder = cgroup::root().ok()?.join("skep-holder");
        let made = fs::create_dir(&folder).is_ok() || folder.is_dir();
        let home = made.then_some(Self(folder))?;
        let pid = std::process::id().to_string();
        fs::write(home.0.join("cgroup.procs"), pid).ok().map(|()| home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // A cgroup with a process in it cannot be removed; nor can one where another holder is.
        if let Some(root) = self.0.parent() {
            let _ = fs::write(root.join("cgroup.procs"), std::process::id().to_string());
        }
        let _ = fs::remove_dir(&self.0);
    }
}
