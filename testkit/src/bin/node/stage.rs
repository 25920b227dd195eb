//! Where a kind of hook has its events: this process, a network namespace with `lo`, a cgroup.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::generator::Kind;
use crate::packages::Set;

/// The place. A cgroup goes with it, a namespace with its thread.
pub struct Stage {
    /// What the parameter `place` is set to.
    pub place: Option<String>,
    cgroup: Option<PathBuf>,
}

impl Stage {
    /// Prepares the calling thread for the events of `set`.
    pub fn set(set: &Set) -> Result<Self> {
        let mut stage = Self { place: None, cgroup: None };
        if set.events == Kind::Packet {
            skep_kernel::netns::enter_new().context("make a network namespace")?;
            skep_kernel::netns::up("lo").context("bring lo up")?;
            stage.place = Some("lo".to_owned());
        }
        match set.name {
            "cgroup_skb" => {
                let folder = own_cgroup()?;
                stage.place = Some(folder.display().to_string());
                stage.cgroup = Some(folder);
            }
            "uprobe" => {
                let me = std::env::current_exe().context("find this program's own path")?;
                stage.place = Some(me.display().to_string());
            }
            _ => {}
        }
        Ok(stage)
    }
}

/// A cgroup that this process goes into: sockets that it opens from now on belong to it.
fn own_cgroup() -> Result<PathBuf> {
    let root = skep_kernel::cgroup::root().context("find the cgroup folder")?;
    let folder = root.join(format!("skep-node-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let pid = std::process::id().to_string();
    std::fs::write(folder.join("cgroup.procs"), pid).context("go into the cgroup")?;
    Ok(folder)
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some(folder) = &self.cgroup else { return };
        if let Some(root) = folder.parent() {
            let _ = std::fs::write(root.join("cgroup.procs"), std::process::id().to_string());
        }
        let _ = std::fs::remove_dir(folder);
    }
}
