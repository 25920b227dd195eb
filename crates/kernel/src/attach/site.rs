//! Hooks that a target names by a place behind a colon ([`Site`]).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use skep_spec::Site;
use skep_spec::site::{Netfilter, Over, PerfEvent, Tasks};

use super::net::{index_of, no_interface, to_cgroup};
use super::perf::{PerfAttr, on_event};
use super::{
    AttachPlan, Link, action, create_link, failed, group, link_options, route, trampoline,
};
use crate::cgroup;
use crate::error::KernelError;
use crate::maps::MapHandle;
use crate::program::Program;
use crate::sys;

/// The network namespace of the calling thread.
const OWN_NETNS: &str = "/proc/thread-self/ns/net";

pub(super) fn attach(
    program: &Program,
    place: &str,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let invalid = |why: String| {
        failed(program, plan, io::Error::from_raw_os_error(libc::EINVAL)).with_hint(why)
    };
    let site = plan.target.site().ok_or_else(|| invalid("no such kind of place".to_owned()))?;
    if let (true, Some((what, example))) = (place.is_empty(), site.wants()) {
        return Err(invalid(format!("name a {what}: {}:{example}", plan.target)));
    }
    let wrong = |why: &str| invalid(why.to_owned());
    match site {
        Site::Cgroup => to_cgroup(program, place, program.kind().expected_attach_type),
        Site::Netns => netns(program, place, plan),
        Site::Netkit => netkit(program, place, plan),
        Site::Netfilter => netfilter(program, &place.parse().map_err(wrong)?, plan),
        Site::Socket => socket(program, place, plan),
        Site::SockMap => sockmap(program, place, plan),
        Site::Interface => interface(program, plan),
        Site::Iterator(over) => iterator(program, over, place, plan),
        Site::PerfEvent => perf_event(program, &place.parse().map_err(wrong)?, plan),
        Site::Route => route::attach(program, &place.parse().map_err(wrong)?, plan),
        Site::Group => group::attach(program, place.parse().map_err(wrong)?, plan),
        Site::Action => action::attach(program, &place.parse().map_err(wrong)?, plan),
        Site::Program => trampoline(program, plan),
    }
}

/// The file of a network namespace.
pub(super) fn netns_file(place: &str) -> &str {
    if place.is_empty() { OWN_NETNS } else { place }
}

fn netns(program: &Program, place: &str, plan: &AttachPlan) -> Result<Link, KernelError> {
    let refuse = |e: io::Error| failed(program, plan, e);
    let file = netns_file(place);
    let open = sys::open_now(Path::new(file))
        .map_err(|e| KernelError::new("open the network namespace", file, e))?;
    let way = program.kind().expected_attach_type;
    let fd = create_link(program, open.as_raw_fd(), way, &link_options());
    let fd = fd.map_err(|e| match e.raw_os_error() {
        Some(libc::EEXIST | libc::E2BIG) => refuse(e).with_hint(
            "a network namespace has room for one flow dissector and 64 sk_lookup programs: see bpftool link",
        ),
        Some(libc::EINVAL) => refuse(e).with_hint(format!("is {file} a network namespace?")),
        _ => refuse(e),
    })?;
    Ok(Link::from_fd(fd))
}

fn netkit(program: &Program, interface: &str, plan: &AttachPlan) -> Result<Link, KernelError> {
    let index = index_of(interface).map_err(|e| no_interface(program, plan, interface, e))?;
    let way = program.kind().expected_attach_type;
    let fd = create_link(program, index, way, &link_options()).map_err(|e| {
        let refused = failed(program, plan, e);
        match refused.errno() {
            Some(libc::EINVAL | libc::EACCES | libc::ENXIO) => refused.with_hint(format!(
                "'{interface}' must be the primary of a netkit pair (Linux 6.7): see ip -d link"
            )),
            _ => refused,
        }
    })?;
    Ok(Link::from_fd(fd))
}

fn netfilter(program: &Program, hook: &Netfilter, plan: &AttachPlan) -> Result<Link, KernelError> {
    let mut opts = link_options();
    let family = if hook.ipv6 { libc::NFPROTO_IPV6 } else { libc::NFPROTO_IPV4 };
    opts.__bindgen_anon_1.netfilter =
        libbpf_sys::bpf_link_create_opts__bindgen_ty_1__bindgen_ty_5 {
            pf: family as u32,
            hooknum: hook.hook,
            priority: hook.priority,
            flags: 0,
        };
    let fd = create_link(program, 0, libbpf_sys::BPF_NETFILTER, &opts).map_err(|e| {
        let refused = failed(program, plan, e);
        match refused.errno() {
            Some(libc::EBUSY) => {
                refused.with_hint("a program of this priority is there: give another one")
            }
            Some(libc::EAFNOSUPPORT) => {
                refused.with_hint("netfilter of this family is not loaded or not there")
            }
            _ => refused,
        }
    })?;
    Ok(Link::from_fd(fd))
}

fn map_at(place: &str, plan: &AttachPlan) -> Result<MapHandle, KernelError> {
    match plan.map {
        Some(id) => MapHandle::by_id(id),
        None => MapHandle::open_pinned(Path::new(place)),
    }
}

/// Sockets take the programs of their map when they are put into it, and keep them.
fn sockmap(program: &Program, place: &str, plan: &AttachPlan) -> Result<Link, KernelError> {
    let map = map_at(place, plan)?;
    let way = program.kind().expected_attach_type;
    let fd = create_link(program, map.as_fd().as_raw_fd(), way, &link_options()).map_err(|e| {
        let refused = failed(program, plan, e);
        match refused.errno() {
            Some(libc::EINVAL) => refused.with_hint(format!(
                "'{}' must be a sockmap or sockhash, and the kernel have links of them (Linux 6.10)",
                map.name()
            )),
            Some(libc::EBUSY) => refused.with_hint(format!(
                "the map '{}' has a program of this kind: see bpftool link",
                map.name()
            )),
            _ => refused,
        }
    })?;
    Ok(Link::from_fd(fd))
}

/// Registers the functions of a map that has them already ([`crate::object::Sections::fill_interface`]).
fn interface(program: &Program, plan: &AttachPlan) -> Result<Link, KernelError> {
    let none = || {
        let why = "only its own loader can register an interface's functions the first time";
        KernelError::unsupported("attach at", plan.target.to_string(), why)
    };
    let map = MapHandle::by_id(plan.map.ok_or_else(none)?)?;
    // SAFETY: an open map; no options.
    let fd = sys::owned(unsafe {
        libbpf_sys::bpf_link_create(
            map.as_fd().as_raw_fd(),
            0,
            libbpf_sys::BPF_STRUCT_OPS,
            std::ptr::null(),
        )
    });
    Ok(Link::from_fd(fd.map_err(|e| failed(program, plan, e))?))
}

/// Goes over what it is told to each time that somebody opens its link.
fn iterator(
    program: &Program,
    over: Over,
    place: &str,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    const DESCENDANTS_FIRST_TO_LAST: u32 = 2; // BPF_CGROUP_ITER_DESCENDANTS_PRE
    let wrong = |why: &'static str| {
        failed(program, plan, io::Error::from_raw_os_error(libc::EINVAL)).with_hint(why)
    };
    let (mut info, mut map, mut folder) = (libbpf_sys::bpf_iter_link_info::default(), None, None);
    match over {
        Over::Map => {
            info.map.map_fd = map.insert(map_at(place, plan)?).as_fd().as_raw_fd() as u32;
        }
        Over::Cgroup => {
            let path = cgroup::folder(if place.is_empty() { "/" } else { place })?;
            let open = sys::open_now(&path)
                .map_err(|e| KernelError::new("open the cgroup", path.display().to_string(), e))?;
            info.cgroup.order = DESCENDANTS_FIRST_TO_LAST;
            info.cgroup.cgroup_fd = folder.insert(open).as_raw_fd() as u32;
        }
        Over::Tasks if !place.is_empty() => {
            let tasks: Tasks = place.parse().map_err(wrong)?;
            (info.task.pid, info.task.tid) = (tasks.pid, tasks.tid);
        }
        Over::Tasks | Over::All => {}
    }
    let mut opts = link_options();
    if !place.is_empty() || over == Over::Cgroup {
        opts.iter_info = &raw mut info;
        opts.iter_info_len = size_of::<libbpf_sys::bpf_iter_link_info>() as u32;
    }
    let fd = create_link(program, 0, libbpf_sys::BPF_TRACE_ITER, &opts);
    Ok(Link::from_fd(fd.map_err(|e| failed(program, plan, e))?))
}

/// A packet socket on the interface that nobody reads: its filter sees each packet, coming and going. It keeps none if the filter
/// does not, and a small buffer's otherwise.
fn socket(program: &Program, interface: &str, plan: &AttachPlan) -> Result<Link, KernelError> {
    let refuse = |e: io::Error| failed(program, plan, e);
    let index = index_of(interface).map_err(|e| no_interface(program, plan, interface, e))?;
    // Protocol 0 hears nothing until bind(2) names one: no packet comes by before the program is there.
    // SAFETY: plain integers.
    let fd = sys::errno(unsafe {
        libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)
    });
    // SAFETY: socket(2) made this fd for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd.map_err(refuse)?) };
    set_option(&socket, libc::SO_RCVBUF, 0).map_err(refuse)?; // the kernel's least
    set_option(&socket, libc::SO_ATTACH_BPF, program.as_fd().as_raw_fd()).map_err(refuse)?;
    // SAFETY: zeroes are a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index;
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: an open socket, and an address of ours of that size.
    sys::errno(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) })
        .map_err(refuse)?;
    Ok(Link::from_open(socket))
}

fn set_option(socket: &OwnedFd, option: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: an open socket, and an integer of ours of that size.
    sys::errno(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size,
        )
    })
    .map(drop)
}

/// On every CPU that is online now, or of one process.
fn perf_event(
    program: &Program,
    event: &PerfEvent,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    const FREQUENCY: u64 = 1 << 10; // the bit `freq` of perf_event_attr
    let attr = || PerfAttr {
        kind: event.kind,
        config: event.config,
        sample_period: event.rate,
        flags: if event.frequency { FREQUENCY } else { 0 },
        ..PerfAttr::default()
    };
    let no_unit = |error: KernelError| match error.errno() {
        Some(libc::ENOENT | libc::EOPNOTSUPP) => {
            error.with_hint("this machine counts no such event: see perf list")
        }
        _ => error,
    };
    if let Some(pid) = plan.pid {
        return on_event(program, plan, attr(), (pid as i32, -1)).map_err(no_unit);
    }
    let cpus = online().map_err(|e| failed(program, plan, e))?;
    let links = cpus.into_iter().map(|cpu| on_event(program, plan, attr(), (-1, cpu)));
    links.collect::<Result<Vec<_>, _>>().map(Link::several).map_err(no_unit)
}

/// The CPUs that are online: "0-3,5".
fn online() -> io::Result<Vec<i32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let wrong = || io::Error::from_raw_os_error(libc::EINVAL);
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<i32>().map_err(|_| wrong());
        cpus.extend(number(first)?..=number(last)?);
    }
    if cpus.is_empty() { Err(wrong()) } else { Ok(cpus) }
}
