//! XDP and cgroup links.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;

use super::{AttachPlan, Link, XdpMode, create_link, failed, link_options};
use crate::cgroup;
use crate::error::KernelError;
use crate::netlink::{Message, attribute};
use crate::program::Program;
use crate::sys;

/// The index of an interface of this thread's network namespace.
pub(super) fn index_of(interface: &str) -> io::Result<i32> {
    let name = sys::cstring(interface)?;
    // SAFETY: a NUL-terminated name that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index as i32),
    }
}

/// The name of the interface with an index, in this thread's network namespace.
pub(super) fn name_of(index: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: room for a name of the longest kind.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    let name = CStr::from_bytes_until_nul(&name).ok()?;
    (!found.is_null()).then(|| name.to_string_lossy().into_owned())
}

/// The index of an interface's other end, where it is one of a pair; it may be in another network namespace.
pub(super) fn other_end(index: u32) -> io::Result<Option<u32>> {
    const HEAD: usize = size_of::<libc::ifinfomsg>();
    let mut head = [0; HEAD];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut found = None;
    Message::new(libc::RTM_GETLINK, 0, &head).asked(|_, link| {
        let link = attribute(link.get(HEAD..).unwrap_or_default(), libc::IFLA_LINK);
        found = link.and_then(|link| link.first_chunk()).map(|link| u32::from_ne_bytes(*link));
    })?;
    Ok(found)
}

/// The error for an interface that isn't there or isn't named.
pub(super) fn no_interface(
    program: &Program,
    plan: &AttachPlan,
    interface: &str,
    e: io::Error,
) -> KernelError {
    failed(program, plan, e).with_hint(hint_for(interface))
}

/// What to do about an interface that isn't there or isn't named.
pub(super) fn hint_for(interface: &str) -> String {
    match interface {
        "" => "name an interface: it is part of the attach target".to_owned(),
        _ => format!("there is no interface '{interface}' here: see ip link"),
    }
}

pub(super) fn xdp(
    program: &Program,
    interface: &str,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let index = index_of(interface).map_err(|e| no_interface(program, plan, interface, e))?;
    let mut opts = link_options();
    opts.flags = match plan.xdp {
        XdpMode::Auto => 0,
        XdpMode::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
        XdpMode::Native => libbpf_sys::XDP_FLAGS_DRV_MODE,
    };
    let fd = create_link(program, index, libbpf_sys::BPF_XDP, &opts);
    let fd = fd.map_err(|e| match e.raw_os_error() {
        Some(libc::EBUSY) => failed(program, plan, e).with_hint(who_is_on(interface, index)),
        _ => failed(program, plan, e),
    })?;
    Ok(Link::from_fd(fd))
}

/// For EBUSY: the program that holds the interface.
fn who_is_on(interface: &str, index: i32) -> String {
    let mut id = 0;
    // SAFETY: an index and an integer of ours.
    let found = unsafe { libbpf_sys::bpf_xdp_query_id(index, 0, &raw mut id) };
    let name = (found == 0 && id != 0).then(|| Program::by_id(id).ok()).flatten();
    match name {
        Some(there) => format!(
            "the XDP program '{}' (id {id}) is on {interface}: detach it, or see bpftool net",
            there.name()
        ),
        None => format!("another XDP program is on {interface}: see bpftool net"),
    }
}

pub(super) fn cgroup_skb(
    program: &Program,
    cgroup: &str,
    egress: bool,
) -> Result<Link, KernelError> {
    let way = if egress {
        libbpf_sys::BPF_CGROUP_INET_EGRESS
    } else {
        libbpf_sys::BPF_CGROUP_INET_INGRESS
    };
    to_cgroup(program, cgroup, way)
}

/// A link to a cgroup, of one of its ways to attach (`BPF_CGROUP_*`, `BPF_LSM_CGROUP`).
pub(super) fn to_cgroup(program: &Program, cgroup: &str, way: u32) -> Result<Link, KernelError> {
    let folder = cgroup::folder(cgroup)?;
    let open = sys::open_now(&folder)
        .map_err(|e| KernelError::new("open the cgroup", folder.display().to_string(), e))?;
    let fd = create_link(program, open.as_raw_fd(), way, &link_options()).map_err(|e| {
        let thing = format!("the program '{}' to the cgroup {}", program.name(), folder.display());
        KernelError::new("attach", thing, e)
    })?;
    Ok(Link::from_fd(fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    #[test]
    fn the_ends_of_a_pair_know_each_other() {
        let work = || {
            netns::enter_new().unwrap();
            netns::pair("veth", "one", "two").unwrap();
            let index = |name| index_of(name).unwrap() as u32;
            assert_eq!(other_end(index("one")).unwrap(), Some(index("two")));
            assert_eq!(other_end(index("two")).unwrap(), Some(index("one")));
            assert_eq!(other_end(index("lo")).unwrap(), None);
        };
        std::thread::spawn(work).join().unwrap();
    }
}
