//! Where the events of an attach type happen, and what counts them.

use std::fs;
use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use skep_kernel::maps::{MappedU64s, Update};
use skep_kernel::object::{self, OpenOptions};
use skep_kernel::{AttachPlan, Link, MapHandle, attach, netns};
use skep_runtime::pins::Pins;

use super::kinds::Kind;
use crate::equal::text;
use crate::objects::Objects;
use crate::own_cgroup::OwnCgroup;
use crate::place::{Job, Place};
use crate::probed::Probed;

/// Makes one event.
pub type Event = Box<dyn FnMut() + Send>;
/// Makes what makes events.
pub type Make = fn(&Stage) -> Event;

/// What a kind needs to be tested without touching anything of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Here,
    /// In a network namespace.
    Netns,
    /// The same with two sockets that share an address.
    Sharing,
    /// The same with a pair of interfaces, `sr0` and `sr1`, that takes IPv6 at once.
    Pair,
    /// The same with a pair of interfaces, `nk0` and `nk1`, if the kernel has such.
    Netkit,
    /// The same with a program on its loopback.
    Beside,
    /// In a network namespace and a cgroup.
    Cgroup,
    /// On a machine that is nobody's.
    Guest,
    /// On the loopback of a guest, whose packets are given to CPUs by their hash.
    Rps,
}

/// A kind's own surroundings; they go with it.
pub struct Stage {
    pub target: Option<String>,
    /// Of the first service.
    pub pins: Pins,
    pub probed: Probed,
    /// What shares an address, where the kind asks for it.
    pub sharing: Vec<UdpSocket>,
    _victim: Option<Victim>,
    _cgroup: Option<OwnCgroup>,
}

/// Which CPUs may be given packets of the loopback.
const RPS: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";

impl Stage {
    /// For the calling thread, whose network namespace may become another one.
    pub fn new(kind: &Kind, objects: &Objects) -> Result<Self, String> {
        let mut cgroup = None;
        match kind.place {
            Where::Here | Where::Guest => {}
            Where::Rps => fs::write(RPS, "1").map_err(text)?,
            _ => {
                netns::enter_new().and_then(|()| netns::up("lo")).map_err(text)?;
            }
        }
        if kind.place == Where::Pair {
            fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").map_err(text)?;
            netns::pair("veth", "sr0", "sr1").map_err(text)?;
        }
        if kind.place == Where::Netkit {
            // Where the kernel has none, attaching says so.
            let _ = netns::pair("netkit", "nk0", "nk1");
        }
        let victim = match kind.place {
            Where::Beside => Some(Victim::start(objects)?),
            _ => None,
        };
        if kind.place == Where::Cgroup {
            cgroup = Some(OwnCgroup::enter().map_err(text)?);
        }
        let sharing = match kind.place {
            Where::Sharing => sharing().map_err(text)?,
            _ => Vec::new(),
        };
        let shared = sharing.first().map(UdpSocket::local_addr).transpose().map_err(text)?;
        let shared = shared.map(|address| address.to_string()).unwrap_or_default();
        let me = std::env::current_exe().map_err(text)?;
        let folder = cgroup.as_ref().map(|cgroup| cgroup.folder().display().to_string());
        let target = kind.target.replace("{me}", &me.display().to_string());
        let probed = Probed::copy(objects)?;
        let target = target.replace("{pid}", &std::process::id().to_string());
        let target = target.replace("{probed}", &probed.path().display().to_string());
        let target = target.replace("{cgroup}", &folder.unwrap_or_default());
        let target = target.replace("{sharing}", &shared);
        let target = match target.contains("{other end}") {
            true => target.replace("{other end}", &own_address("sr1")?),
            false => target,
        };
        let victim_id = victim.as_ref().map(|victim| victim.id.to_string());
        let target = target.replace("{victim}", &victim_id.unwrap_or_default());
        let target = Some(target).filter(|target| !target.is_empty());
        Ok(Self {
            target,
            pins: Pins::new(Path::new(""), &Job::service()),
            probed,
            sharing,
            _victim: victim,
            _cgroup: cgroup,
        })
    }

    /// A node of its own, with the kind's packages.
    pub fn place(&self, objects: &Objects, kind: &Kind) -> Result<Place, String> {
        Place::new(objects, &kind.set(), self.target.clone())
    }

    /// Puts a socket into the service's map of sockets.
    pub fn put(&self, socket: &impl AsRawFd) {
        let map = MapHandle::open_pinned(&self.pins.map("sockets", 1)).expect("the map of sockets");
        let value = u64::try_from(socket.as_raw_fd()).expect("an fd").to_ne_bytes();
        map.update(&0_u32.to_ne_bytes(), &value, Update::Any).expect("room for a socket");
    }

    pub fn pins_of(place: &Place) -> Pins {
        Pins::new(&place.dirs().bpffs, &Job::service())
    }
}

/// The address that an interface gave itself (proc(5), if_inet6).
fn own_address(interface: &str) -> Result<String, String> {
    // The kernel says a second later that the other end is up.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let list = fs::read_to_string("/proc/thread-self/net/if_inet6").map_err(text)?;
        let line =
            list.lines().find(|line| line.split_ascii_whitespace().last() == Some(interface));
        match line.and_then(|line| u128::from_str_radix(line.get(..32)?, 16).ok()) {
            Some(address) => return Ok(Ipv6Addr::from(address).to_string()),
            None if Instant::now() > deadline => return Err(format!("{interface} has no address")),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// A program on the loopback that is no service's.
struct Victim {
    id: u32,
    _link: Link,
}

impl Victim {
    fn start(objects: &Objects) -> Result<Self, String> {
        let opened = object::open(&objects.victim()?, "victim", &OpenOptions::default());
        let loaded = opened.map_err(text)?.load().map_err(text)?;
        let program = loaded.program("victim").ok_or("no such program")?;
        let plan = AttachPlan::new("xdp/lo".parse().map_err(text)?);
        let link = attach::attach(program, &plan).map_err(text)?;
        Ok(Self { id: program.id().map_err(text)?, _link: link })
    }
}

fn sharing() -> std::io::Result<Vec<UdpSocket>> {
    let first = netns::sharing(([127, 0, 0, 1], 0).into())?;
    let second = netns::sharing(first.local_addr()?)?;
    Ok(vec![first, second])
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::metadata("/guest").and_then(|_| fs::write(RPS, "0"));
    }
}

/// The maps of a service's program.
pub struct Watch {
    now: MappedU64s,
    seen: MappedU64s,
}

/// How long an event may take to be seen.
const PATIENCE: Duration = Duration::from_millis(500);

impl Watch {
    pub fn new(place: &Place) -> Result<Self, String> {
        let map = |name: &str| place.map(name, 1)?.mmap().map_err(text);
        Ok(Self { now: map("now")?, seen: map("seen")? })
    }

    /// What makes an event and gives it a number here.
    pub fn announce(&self, number: u64) {
        self.now.store(0, number);
    }

    /// How often each version saw it.
    pub fn by_version(&self, number: u64) -> [u64; 2] {
        let word = self.seen.load(usize::try_from(number).unwrap_or_default());
        [word & 0xffff_ffff, word >> 32]
    }

    fn is_seen(&self, number: u64) -> bool {
        self.by_version(number) != [0, 0]
    }

    /// Makes event `number`, and waits a while for it to be seen; says if it was.
    pub fn one(&self, number: u64, event: &mut Event) -> bool {
        self.announce(number);
        event();
        let deadline = Instant::now() + PATIENCE;
        while !self.is_seen(number) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        self.announce(0);
        self.is_seen(number)
    }
}
