//! What a link is still attached to. The link stays when its interface or cgroup goes, and its program then never runs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use skep_spec::site::{Direction, Route};
use skep_spec::{Site, Target};

use super::{Link, net};
use crate::cgroup;
use crate::error::KernelError;

/// What a link has hold of, where the kernel says so of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// The interface with this index; 0 is none.
    Interface(u32),
    /// The cgroup with this id; 0 is none.
    Cgroup(u64),
    /// The network namespace with this inode; 0 is none.
    Netns(u32),
    /// Something that cannot go while the link is there.
    Other,
}

impl Link {
    /// Whether it is there and holds nothing any more of what `target` names: its interface, cgroup or network namespace went, or is another one now,
    /// or somebody detached it. The kernel lets go of
    /// a cgroup some time after its folder went (`cgroup_bpf_release`): the folder at `target` says so at once.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_cut_off(&self, target: &Target) -> Result<bool, KernelError> {
        Ok(match self.hold()? {
            Hold::Interface(index) => index == 0 || names_another(target, index),
            Hold::Cgroup(id) => id == 0 || is_another(target, id),
            Hold::Netns(inode) => inode == 0 || is_another_netns(target, inode),
            Hold::Other => false,
        })
    }

    /// What the interface that it holds is called now, where `target` names it otherwise.
    #[must_use]
    pub fn renamed(&self, target: &Target) -> Option<String> {
        match self.hold() {
            Ok(Hold::Interface(index)) => called_now(target, index),
            _ => None,
        }
    }

    fn hold(&self) -> Result<Hold, KernelError> {
        let info = self.info()?;
        let more = info.__bindgen_anon_1;
        Ok(match info.type_ {
            // SAFETY: the kernel fills what belongs to the type; all of it is integers, zero where it fills less.
            libbpf_sys::BPF_LINK_TYPE_XDP => Hold::Interface(unsafe { more.xdp.ifindex }),
            // SAFETY: as above.
            libbpf_sys::BPF_LINK_TYPE_TCX => Hold::Interface(unsafe { more.tcx.ifindex }),
            // SAFETY: as above.
            libbpf_sys::BPF_LINK_TYPE_NETKIT => Hold::Interface(unsafe { more.netkit.ifindex }),
            // SAFETY: as above.
            libbpf_sys::BPF_LINK_TYPE_NETNS => Hold::Netns(unsafe { more.netns.netns_ino }),
            // SAFETY: as above.
            libbpf_sys::BPF_LINK_TYPE_CGROUP => Hold::Cgroup(unsafe { more.cgroup.cgroup_id }),
            _ => Hold::Other,
        })
    }
}

/// Whether another interface has the name: the one with this index was renamed.
fn names_another(target: &Target, index: u32) -> bool {
    let found = interface_of(target).map(|name| net::index_of(&name));
    let found = found.and_then(Result::ok).and_then(|found| u32::try_from(found).ok());
    let held = match is_at_other_end(target) {
        true => found.and_then(|found| net::other_end(found).ok().flatten()),
        false => found,
    };
    held.is_some_and(|held| held != index)
}

/// Whether what the link holds is the other end of the interface that `target` names.
fn is_at_other_end(target: &Target) -> bool {
    matches!(target, Target::At { section, .. } if section == "netkit/peer")
}

/// What the interface with this index is called, where it is not what `target` names.
#[must_use]
pub fn called_now(target: &Target, index: u32) -> Option<String> {
    let named = interface_of(target).filter(|_| !is_at_other_end(target))?;
    net::name_of(index).filter(|name| *name != named)
}

fn interface_of(target: &Target) -> Option<String> {
    match target {
        Target::Xdp { interface, .. } | Target::Tc { interface, .. } => Some(interface.clone()),
        Target::At { place, .. } => match target.site()? {
            Site::Netkit => Some(place.clone()),
            Site::Action => place.parse::<Direction>().ok().map(|at| at.interface),
            Site::Route => place.parse::<Route>().ok().map(|route| route.interface),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the folder of a cgroup is gone, or is another one's than that with this id.
fn is_another(target: &Target, id: u64) -> bool {
    let cgroup = match target {
        Target::CgroupSkb { cgroup, .. } => cgroup,
        Target::At { place, .. } if target.site() == Some(Site::Cgroup) => place,
        _ => return false,
    };
    match cgroup::folder(cgroup) {
        Ok(folder) => folder.metadata().is_ok_and(|metadata| metadata.ino() != id),
        Err(error) => error.is_not_found(),
    }
}

/// Whether the file of a network namespace is gone, or another one's. Where none is named it is that of who attached it.
fn is_another_netns(target: &Target, inode: u32) -> bool {
    let Target::At { place, .. } = target else { return false };
    if place.is_empty() {
        return false;
    }
    match fs::metadata(place) {
        Ok(metadata) => metadata.ino() != u64::from(inode),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_may_have_another_name() {
        let target: Target = "xdp/eth0".parse().unwrap();
        assert_eq!(called_now(&target, 1).as_deref(), Some("lo"));
        assert_eq!(called_now(&"tcx/egress/lo".parse().unwrap(), 1), None);
        assert_eq!(called_now(&target, 1_000_000), None);
        assert_eq!(called_now(&"raw_tp/task_rename".parse().unwrap(), 1), None);
        for (was, is) in [
            ("action:egress/eth0", "action:egress/lo"),
            ("lwt_xmit:192.0.2.0/24/eth0", "lwt_xmit:192.0.2.0/24/lo"),
            ("lwt_in:2001:db8::/64/eth0/fe80::1", "lwt_in:2001:db8::/64/lo/fe80::1"),
        ] {
            assert_eq!(called_now(&was.parse().unwrap(), 1).as_deref(), Some("lo"), "{was}");
            assert_eq!(called_now(&is.parse().unwrap(), 1), None, "{is}");
        }
    }

    #[test]
    fn an_interface_is_known_by_its_number() {
        let another = |target: &str, index| names_another(&target.parse().unwrap(), index);
        assert!(!another("xdp/lo", 1) && !another("tcx/egress/lo", 1));
        assert!(another("xdp/lo", 1_000_000) && another("tcx/ingress/lo", 1_000_000));
        assert!(!another("xdp/nosuch0", 1), "it may have another name, and is where it was");
        assert!(!another("netkit/peer:lo", 1_000_000), "it has no other end");
    }
}
