//! Where a kind of hook has its events: this process, a network namespace with `lo`, a cgroup.

use anyhow::{Context, Result};

use crate::generator::Kind;
use crate::own_cgroup::OwnCgroup;
use crate::packages::Set;

/// The place. A cgroup goes with it, a namespace with its thread.
pub struct Stage {
    /// What the parameter `place` is set to.
    pub place: Option<String>,
    _cgroup: Option<OwnCgroup>,
}

impl Stage {
    /// Prepares the calling thread for the events of `set`.
    pub fn set(set: &Set) -> Result<Self> {
        let mut stage = Self { place: None, _cgroup: None };
        if set.events == Kind::Packet {
            skep_kernel::netns::enter_new().context("make a network namespace")?;
            skep_kernel::netns::up("lo").context("bring lo up")?;
            stage.place = Some("lo".to_owned());
        }
        match set.name {
            "cgroup_skb" => {
                let cgroup = OwnCgroup::enter().context("go into a cgroup of its own")?;
                stage.place = Some(cgroup.folder().display().to_string());
                stage._cgroup = Some(cgroup);
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
