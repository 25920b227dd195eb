//! Where programs attach that are named by their section and a place behind a colon: `cgroup/connect4:/system.slice`.

mod direction;
mod extended;
mod group;
mod route;

use std::fmt;
use std::str::FromStr;

pub use direction::Direction;
pub use extended::Extended;
pub use group::Group;
pub use route::Route;

/// What kind of place the hook of a section has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// A folder of cgroup v2.
    Cgroup,
    /// A network namespace, as a file (`/run/netns/NAME`); without one that of the node.
    Netns,
    /// An interface of the kind netkit.
    Netkit,
    /// A hook of netfilter, as [`Netfilter`] reads it.
    Netfilter,
    /// An interface whose packets a socket of the node's sees.
    Socket,
    /// A sockmap or sockhash: of the service by its symbol, or pinned, by its path.
    SockMap,
    /// What an iterator goes over, or a part of it.
    Iterator(Over),
    /// An interface of the kernel whose functions programs are: the map of the service that holds them, by its symbol.
    Interface,
    /// A counter of each CPU, as [`PerfEvent`] reads it.
    PerfEvent,
    /// A route, as [`Route`] reads it.
    Route,
    /// Sockets that share an address, as [`Group`] reads it.
    Group,
    /// A direction of an interface, as [`Direction`] reads it.
    Action,
    /// Another program, a function of which is replaced, as [`Extended`] reads it.
    Program,
}

/// What an iterator may be told to go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The elements of a map, which it must be told: of the service by its symbol, or pinned, by its path.
    Map,
    /// A cgroup and all below it; without one the root.
    Cgroup,
    /// All tasks, those of a process (`pid=1`), or one (`tid=1`).
    Tasks,
    /// All there is.
    All,
}

/// Hooks of a cgroup, behind `cgroup/`. `skb` is not among them: its direction makes it a `cgroup_skb`.
const CGROUP: [&str; 25] = [
    "bind4",
    "bind6",
    "connect4",
    "connect6",
    "connect_unix",
    "dev",
    "getpeername4",
    "getpeername6",
    "getpeername_unix",
    "getsockname4",
    "getsockname6",
    "getsockname_unix",
    "getsockopt",
    "post_bind4",
    "post_bind6",
    "recvmsg4",
    "recvmsg6",
    "recvmsg_unix",
    "sendmsg4",
    "sendmsg6",
    "sendmsg_unix",
    "setsockopt",
    "sock_create",
    "sock_release",
    "sysctl",
];

/// What programs of `sk_skb/` do.
const SK_SKB: [&str; 3] = ["stream_parser", "stream_verdict", "verdict"];

impl Site {
    /// What a section's hook has; none where programs of the section attach otherwise.
    #[must_use]
    pub fn of(section: &str) -> Option<Self> {
        let (kind, rest) = section.split_once('/').unwrap_or((section, ""));
        match kind {
            "cgroup" if rest == "sock" || CGROUP.contains(&rest) => Some(Self::Cgroup),
            "sockops" if rest.is_empty() => Some(Self::Cgroup),
            "lsm_cgroup" if !rest.is_empty() => Some(Self::Cgroup),
            "sk_lookup" | "flow_dissector" if rest.is_empty() => Some(Self::Netns),
            "netkit" if matches!(rest, "primary" | "peer") => Some(Self::Netkit),
            "netfilter" if rest.is_empty() => Some(Self::Netfilter),
            "socket" if rest.is_empty() => Some(Self::Socket),
            "sk_msg" if rest.is_empty() => Some(Self::SockMap),
            "sk_skb" if SK_SKB.contains(&rest) => Some(Self::SockMap),
            "struct_ops" => Some(Self::Interface),
            "iter" | "iter.s" if !rest.is_empty() => Some(Self::Iterator(Over::of(rest))),
            "perf_event" if rest.is_empty() => Some(Self::PerfEvent),
            "lwt_in" | "lwt_out" | "lwt_xmit" | "lwt_seg6local" if rest.is_empty() => {
                Some(Self::Route)
            }
            "sk_reuseport" if matches!(rest, "" | "migrate") => Some(Self::Group),
            "action" if rest.is_empty() => Some(Self::Action),
            "freplace" => Some(Self::Program),
            _ => None,
        }
    }

    /// What a target must name, with an example of it; none where it may be left out.
    #[must_use]
    pub const fn wants(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Cgroup => Some(("cgroup", "/system.slice")),
            Self::Netns => None,
            Self::Netkit | Self::Socket => Some(("interface", "eth0")),
            Self::Netfilter => Some(("hook of netfilter", "ipv4/input")),
            Self::SockMap => Some(("sockmap", "sockets")),
            Self::Iterator(Over::Map) => Some(("map", "counts")),
            Self::Iterator(_) => None,
            Self::Interface => Some(("variable of .struct_ops.link", "my_ops")),
            Self::PerfEvent => Some(("event", "cpu-clock/99hz")),
            Self::Route => Some(("route", "192.0.2.0/24/eth0")),
            Self::Group => Some(("address that sockets share", "udp/0.0.0.0:53")),
            Self::Action => Some(("direction of an interface", "ingress/eth0")),
            Self::Program => Some(("program", "/sys/fs/bpf/other")),
        }
    }

    /// Holds a place against how those of its kind are written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self, place: &str) -> Result<(), &'static str> {
        match self {
            Self::Netfilter => place.parse::<Netfilter>().map(drop),
            Self::PerfEvent => place.parse::<PerfEvent>().map(drop),
            Self::Route => place.parse::<Route>().map(drop),
            Self::Group => place.parse::<Group>().map(drop),
            Self::Action => place.parse::<Direction>().map(drop),
            Self::Program => place.parse::<Extended>().map(drop),
            Self::Cgroup | Self::Netns | Self::Netkit | Self::Socket => Ok(()),
            Self::SockMap | Self::Interface => Ok(()),
            Self::Iterator(Over::Map | Over::Cgroup) => Ok(()),
            Self::Iterator(Over::Tasks) => place.parse::<Tasks>().map(drop),
            Self::Iterator(Over::All) => Err("this iterator goes over all there is"),
        }
    }

    /// Whether the kernel replaces the program of its link, or the map that holds its programs.
    #[must_use]
    pub const fn is_updated(self) -> bool {
        matches!(
            self,
            Self::Cgroup | Self::Netns | Self::Netkit | Self::Interface | Self::Iterator(_)
        )
    }
}

impl Over {
    fn of(what: &str) -> Self {
        match what {
            "bpf_map_elem" | "bpf_sk_storage_map" => Self::Map,
            "cgroup" => Self::Cgroup,
            "task" | "task_file" | "task_vma" => Self::Tasks,
            _ => Self::All,
        }
    }
}

/// Which tasks an iterator goes over: `pid=1`, `tid=1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// Of this process; 0 is none.
    pub pid: u32,
    /// This one; 0 is none.
    pub tid: u32,
}

impl FromStr for Tasks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (what, number) = text.split_once('=').unwrap_or((text, ""));
        let digits = Some(number).filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number > 0);
        match (what, number) {
            ("pid", Some(pid)) => Ok(Self { pid, tid: 0 }),
            ("tid", Some(tid)) => Ok(Self { pid: 0, tid }),
            _ => Err("an iterator over tasks is told pid=NUMBER or tid=NUMBER"),
        }
    }
}

/// A hook of netfilter: `ipv4/input`, `ipv6/forward/-10`. Lower priorities run first; 0 without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netfilter {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// `NF_INET_*` (include/uapi/linux/netfilter.h).
    pub hook: u32,
    /// Where among those of the hook.
    pub priority: i32,
}

/// As nftables names them, by their numbers.
const NETFILTER: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];

impl FromStr for Netfilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('/');
        let ipv6 = match parts.next() {
            Some("ipv4") => false,
            Some("ipv6") => true,
            _ => return Err("netfilter attaches at ipv4/HOOK or ipv6/HOOK"),
        };
        let name = parts.next().unwrap_or_default();
        let hook = (0..).zip(NETFILTER).find(|(_, known)| *known == name);
        let (hook, _) =
            hook.ok_or("a hook of netfilter is prerouting, input, forward, output or postrouting")?;
        let priority = parts.next().map_or(Ok(0), str::parse);
        let priority = priority.map_err(|_| "a priority of netfilter is a number of 32 bits")?;
        match parts.next() {
            None => Ok(Self { ipv6, hook, priority }),
            Some(_) => Err("nothing comes behind the priority"),
        }
    }
}

impl fmt::Display for Netfilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "ipv6" } else { "ipv4" };
        let hook = NETFILTER.get(self.hook as usize).copied().unwrap_or("?");
        match self.priority {
            0 => write!(f, "{family}/{hook}"),
            priority => write!(f, "{family}/{hook}/{priority}"),
        }
    }
}

/// An event that is counted, and how often a program sees it: `cpu-clock/99hz` so often a second, `page-faults/1` each,
/// `cpu-cycles/1000000` one of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfEvent {
    /// `PERF_TYPE_HARDWARE` (0) or `PERF_TYPE_SOFTWARE` (1).
    pub kind: u32,
    /// `PERF_COUNT_*` of that kind (include/uapi/linux/perf_event.h).
    pub config: u64,
    /// Whether `rate` is a frequency in Hz, not a period.
    pub frequency: bool,
    /// At least 1.
    pub rate: u64,
}

/// As perf(1) names them, by their numbers; what it has no name for is left out.
const HARDWARE: [&str; 10] = [
    "cpu-cycles",
    "instructions",
    "cache-references",
    "cache-misses",
    "branches",
    "branch-misses",
    "bus-cycles",
    "stalled-cycles-frontend",
    "stalled-cycles-backend",
    "ref-cycles",
];
const SOFTWARE: [&str; 9] = [
    "cpu-clock",
    "task-clock",
    "page-faults",
    "context-switches",
    "cpu-migrations",
    "minor-faults",
    "major-faults",
    "alignment-faults",
    "emulation-faults",
];

impl FromStr for PerfEvent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (name, rate) =
            text.split_once('/').ok_or("an event is NAME/PERIOD or NAME/FREQUENCYhz")?;
        let find = |kind: u32, names: &[&str]| {
            let config = names.iter().position(|known| *known == name)?;
            Some((kind, config as u64))
        };
        let (kind, config) = find(0, &HARDWARE)
            .or_else(|| find(1, &SOFTWARE))
            .ok_or("there is no such event: see perf list hw sw")?;
        let (frequency, digits) = match rate.strip_suffix("hz") {
            Some(digits) => (true, digits),
            None => (false, rate),
        };
        let rate = digits.parse().ok().filter(|rate| *rate > 0);
        let rate =
            rate.ok_or("behind an event comes its period, or a frequency with hz, from 1")?;
        Ok(Self { kind, config, frequency, rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_with_its_period_or_frequency() {
        let read = |text: &str| {
            let PerfEvent { kind, config, frequency, rate } = text.parse().unwrap();
            (kind, config, frequency, rate)
        };
        assert_eq!(read("cpu-clock/99hz"), (1, 0, true, 99));
        assert_eq!(read("page-faults/1"), (1, 2, false, 1));
        assert_eq!(read("branch-misses/1000"), (0, 5, false, 1000));
        for text in ["", "cpu-clock", "cpu-clock/0", "cpu-clock/hz", "nothing/1", "cpu-clock/-1"] {
            assert!(text.parse::<PerfEvent>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_hook_of_netfilter_is_read_and_written() {
        for text in ["ipv4/input", "ipv6/postrouting/-10", "ipv4/prerouting/100"] {
            assert_eq!(text.parse::<Netfilter>().unwrap().to_string(), text);
        }
        for text in ["", "ipv5/input", "ipv4", "ipv4/nowhere", "ipv4/input/x", "ipv4/input/0/1"] {
            assert!(text.parse::<Netfilter>().is_err(), "{text}");
        }
    }

    #[test]
    fn tasks_are_told_by_numbers() {
        assert_eq!("pid=7".parse(), Ok(Tasks { pid: 7, tid: 0 }));
        assert_eq!("tid=7".parse(), Ok(Tasks { pid: 0, tid: 7 }));
        for text in ["", "7", "pid=", "pid=0", "pid=-1", "cpu=1"] {
            assert!(text.parse::<Tasks>().is_err(), "{text}");
        }
    }

    #[test]
    fn sections_have_sites() {
        for (section, site) in [
            ("cgroup/connect4", Some(Site::Cgroup)),
            ("cgroup/sock", Some(Site::Cgroup)),
            ("cgroup/skb", None),
            ("cgroup/nothing", None),
            ("lsm_cgroup/socket_bind", Some(Site::Cgroup)),
            ("lsm_cgroup", None),
            ("sockops", Some(Site::Cgroup)),
            ("sk_lookup", Some(Site::Netns)),
            ("netkit/peer", Some(Site::Netkit)),
            ("netkit", None),
            ("netfilter", Some(Site::Netfilter)),
            ("socket", Some(Site::Socket)),
            ("sk_msg", Some(Site::SockMap)),
            ("sk_skb/stream_verdict", Some(Site::SockMap)),
            ("sk_skb", None),
            ("struct_ops", Some(Site::Interface)),
            ("iter/bpf_map_elem", Some(Site::Iterator(Over::Map))),
            ("iter.s/task", Some(Site::Iterator(Over::Tasks))),
            ("iter/bpf_link", Some(Site::Iterator(Over::All))),
            ("iter", None),
            ("struct_ops/init", Some(Site::Interface)),
            ("lwt_xmit", Some(Site::Route)),
            ("lwt_xmit/x", None),
            ("sk_reuseport", Some(Site::Group)),
            ("sk_reuseport/migrate", Some(Site::Group)),
            ("action", Some(Site::Action)),
            ("freplace/pass", Some(Site::Program)),
            ("xdp", None),
        ] {
            assert_eq!(Site::of(section), site, "{section}");
        }
    }
}
