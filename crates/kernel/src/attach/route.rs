//! Routes that run a program (lwtunnel): `lwt_in`, `lwt_out`, `lwt_xmit`, and of segment routing `lwt_seg6local`. A route is ours: it
//! comes with the program and goes with it.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use skep_spec::Target;

use super::net::{index_of, no_interface};
use super::standing::Standing;
use super::{AttachPlan, Link, failed};
use crate::error::KernelError;
use crate::netlink::{Message, attribute};
use crate::program::Program;

/// One route of the main table: what it takes to replace or remove it, also for another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    way: Way,
    network: IpAddr,
    length: u8,
    gateway: Option<IpAddr>,
    /// The interface.
    pub ifindex: i32,
}

/// When a route's program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
    Xmit,
    Seg6,
}

// include/uapi/linux/lwtunnel.h, seg6_local.h, rtnetlink.h.
const ENCAP_BPF: u16 = 6;
const ENCAP_SEG6_LOCAL: u16 = 7;
const SEG6_LOCAL_ACTION: u16 = 1;
const SEG6_LOCAL_BPF: u16 = 8;
const END_BPF: u32 = 15;
/// Of an attribute that holds a program: its fd (in answers of segment routing its id), and its name.
const PROG: u16 = 1;
const PROG_NAME: u16 = 2;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
/// Who made the route: RTPROT_STATIC of include/uapi/linux/rtnetlink.h.
const STATIC: u8 = 4;
/// The metric of ours over IPv6, where several routes to one network are told apart by it: better than those that the kernel (256) and
/// people (1024) make without one. Over IPv4 none, 0, is the best, of which there is one alone.
const METRIC: u32 = 91;
/// Longest name of a program that the kernel keeps (MAX_PROG_NAME, net/core/lwt_bpf.c).
const NAME: usize = 255;

pub(super) fn attach(
    program: &Program,
    place: &skep_spec::site::Route,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let index = index_of(&place.interface);
    let index = index.map_err(|e| no_interface(program, plan, &place.interface, e))?;
    let none = || failed(program, plan, io::Error::from_raw_os_error(libc::EINVAL));
    let route = Route::at(&plan.target, index).ok_or_else(none)?;
    route.put(program, libc::NLM_F_CREATE | libc::NLM_F_EXCL).map_err(|e| {
        let refused = failed(program, plan, e);
        match refused.errno() {
            Some(libc::EEXIST) => refused.with_hint(
                "there is a route to this network: see ip route; a route of a service is its own",
            ),
            Some(libc::EOPNOTSUPP | libc::EINVAL) => refused.with_hint(
                "the kernel may have no routes with programs (CONFIG_LWTUNNEL_BPF, CONFIG_IPV6_SEG6_LWTUNNEL), or take none to this network",
            ),
            Some(libc::ENETDOWN | libc::ENETUNREACH) => {
                refused.with_hint("is the interface up, and the gateway reached by it?")
            }
            _ => refused,
        }
    })?;
    Ok(Link::from_standing(Standing::Route(route)))
}

impl Route {
    /// The one that a target names, at an interface.
    #[must_use]
    pub fn at(target: &Target, ifindex: i32) -> Option<Self> {
        let Target::At { section, place } = target else { return None };
        let way = match section.as_str() {
            "lwt_in" => Way::In,
            "lwt_out" => Way::Out,
            "lwt_xmit" => Way::Xmit,
            "lwt_seg6local" => Way::Seg6,
            _ => return None,
        };
        let skep_spec::site::Route { network, length, gateway, .. } = place.parse().ok()?;
        Some(Self { way, network, length, gateway, ifindex })
    }

    /// The one that a target names, at the interface that has the name now.
    pub(super) fn named(target: &Target) -> Option<Self> {
        let Target::At { place, .. } = target else { return None };
        let place: skep_spec::site::Route = place.parse().ok()?;
        Self::at(target, index_of(&place.interface).ok()?)
    }

    pub(super) fn thing(&self) -> String {
        let Self { network, length, ifindex, .. } = self;
        format!("the route to {network}/{length} by interface {ifindex}")
    }

    /// A request about it.
    fn message(&self, kind: u16, flags: i32) -> Message {
        // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags.
        let scope = match (self.network, self.gateway) {
            (IpAddr::V4(_), None) => libc::RT_SCOPE_LINK,
            _ => libc::RT_SCOPE_UNIVERSE,
        };
        let head = [
            family(self.network),
            self.length,
            0,
            0,
            libc::RT_TABLE_MAIN,
            STATIC,
            scope,
            libc::RTN_UNICAST,
            0,
            0,
            0,
            0,
        ];
        let mut message = Message::new(kind, flags, &head);
        message.attribute(libc::RTA_DST, &bytes(self.network));
        message.number(libc::RTA_OIF, self.ifindex as u32);
        message.number(libc::RTA_PRIORITY, self.metric());
        if let Some(gateway) = self.gateway {
            message.attribute(libc::RTA_GATEWAY, &bytes(gateway));
        }
        message
    }

    const fn metric(&self) -> u32 {
        match self.network {
            IpAddr::V4(_) => 0,
            IpAddr::V6(_) => METRIC,
        }
    }

    /// Its number in what holds its program, and what says of what kind that is.
    const fn encap(&self) -> (u16, u16) {
        match self.way {
            Way::In => (ENCAP_BPF, 1),
            Way::Out => (ENCAP_BPF, 2),
            Way::Xmit => (ENCAP_BPF, 3),
            Way::Seg6 => (ENCAP_SEG6_LOCAL, SEG6_LOCAL_BPF),
        }
    }

    fn put(&self, program: &Program, flags: i32) -> io::Result<()> {
        let id = program.id().map_err(|e| io::Error::from_raw_os_error(e.errno().unwrap_or(0)))?;
        let (encap, attribute) = self.encap();
        let mut message = self.message(libc::RTM_NEWROUTE, flags);
        message.attribute(RTA_ENCAP_TYPE, &encap.to_ne_bytes());
        message.nest(RTA_ENCAP, |message| {
            if encap == ENCAP_SEG6_LOCAL {
                message.number(SEG6_LOCAL_ACTION, END_BPF);
            }
            message.nest(attribute, |message| {
                message.number(PROG, program.as_fd().as_raw_fd() as u32);
                message.text(PROG_NAME, &name_with_id(program.name(), id));
            });
        });
        message.done()
    }

    pub(super) fn replace(&self, program: &Program) -> io::Result<()> {
        self.put(program, libc::NLM_F_REPLACE)
    }

    /// Removes the route, if it is still one that runs a program of ours.
    pub(super) fn remove(&self) -> io::Result<()> {
        if self.program_id()?.is_none() {
            return Ok(());
        }
        match self.message(libc::RTM_DELROUTE, 0).done() {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENODEV)) => Ok(()),
            other => other,
        }
    }

    /// The id of the program that it runs. Of a route the kernel says but the name, to which we put the id.
    pub(super) fn program_id(&self) -> io::Result<Option<u32>> {
        const HEAD: usize = 12; // struct rtmsg
        let mut head = [0; HEAD];
        head[0] = family(self.network);
        let mut found = None;
        Message::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &head).asked(|_, route| {
            let (head, rest) = route.split_at_checked(HEAD).unwrap_or((&[], &[]));
            if self.is_it(head, rest) {
                found = found.or(self.program_in(rest));
            }
        })?;
        Ok(found)
    }

    fn is_it(&self, head: &[u8], rest: &[u8]) -> bool {
        let is_main = head.get(4) == Some(&libc::RT_TABLE_MAIN);
        let network = attribute(rest, libc::RTA_DST);
        let to = network.map_or_else(|| self.length == 0, |network| network == bytes(self.network));
        let index = (self.ifindex as u32).to_ne_bytes();
        let by = attribute(rest, libc::RTA_OIF) == Some(&index);
        let over = attribute(rest, libc::RTA_GATEWAY);
        let is_over = over == self.gateway.map(bytes).as_deref();
        let metric = self.metric();
        let has_metric = attribute(rest, libc::RTA_PRIORITY)
            .map_or(metric == 0, |told| told == metric.to_ne_bytes());
        let is_ours = head.get(5) == Some(&STATIC) && has_metric && is_over;
        is_main && head.get(1) == Some(&self.length) && to && by && is_ours
    }

    fn program_in(&self, route: &[u8]) -> Option<u32> {
        let (encap, kind) = self.encap();
        if attribute(route, RTA_ENCAP_TYPE) != Some(&encap.to_ne_bytes()) {
            return None;
        }
        let program = attribute(attribute(route, RTA_ENCAP)?, kind)?;
        id_in(&String::from_utf8_lossy(attribute(program, PROG_NAME)?))
    }
}

const ID: &str = " id ";

fn name_with_id(name: &str, id: u32) -> String {
    let id = format!("{ID}{id}");
    let name: String = name.chars().filter(char::is_ascii).take(NAME - id.len()).collect();
    name + &id
}

fn id_in(name: &str) -> Option<u32> {
    name.trim_end_matches('\0').rsplit_once(ID)?.1.parse().ok()
}

const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel says of a route: the struct and attributes that a request about it has too.
    fn said(route: &Route, change: impl Fn(&mut Message)) -> Vec<u8> {
        let mut message = route.message(libc::RTM_NEWROUTE, 0);
        change(&mut message);
        message.contents().to_vec()
    }

    #[test]
    fn a_route_is_told_from_others_to_its_network() {
        for target in ["lwt_xmit:2001:db8::/64/lo/fe80::1", "lwt_xmit:192.0.2.0/24/lo/192.0.2.1"] {
            let route = Route::named(&target.parse().unwrap()).unwrap();
            let is_it = |bytes: &[u8]| route.is_it(&bytes[..12], &bytes[12..]);
            let own = said(&route, |_| ());
            assert!(is_it(&own), "{target}");
            let mut by_another = own.clone();
            by_another[5] = 2; // RTPROT_KERNEL
            assert!(!is_it(&by_another), "{target}: another's protocol");
            for other in [
                Route { gateway: None, ..route },
                Route { gateway: route.gateway.map(|_| "fe80::2".parse().unwrap()), ..route },
                Route { ifindex: 7, ..route },
                Route { length: 25, ..route },
            ] {
                assert!(!is_it(&said(&other, |_| ())), "{target}: {other:?}");
            }
            let metric = route.metric().to_ne_bytes();
            let mut other_metric = own.clone();
            let at = own
                .windows(8)
                .position(|at| at[2..4] == libc::RTA_PRIORITY.to_ne_bytes() && at[4..] == metric);
            other_metric[at.unwrap() + 4..][..4].copy_from_slice(&1024u32.to_ne_bytes());
            assert!(!is_it(&other_metric), "{target}: another metric");
        }
    }

    #[test]
    fn a_name_carries_the_id() {
        assert_eq!(id_in(&name_with_id("skep_a_b", 7)), Some(7));
        let long = name_with_id(&"n".repeat(300), u32::MAX);
        assert_eq!((long.len(), id_in(&(long.clone() + "\0"))), (NAME, Some(u32::MAX)));
        assert_eq!(id_in("somebody's"), None);
    }
}
