//! Hooks and how to fire an event on each.

use std::net::UdpSocket;

use skep_kernel::AttachPlan;
use skep_kernel::program::LoadKind;

/// Which events are ours.
#[derive(Clone, Copy)]
pub enum Filter {
    /// Those of this process.
    Process,
    /// Those of this process with that system call in the second word of the context (sys_enter).
    Syscall(i32),
    /// All: the number is in the packet, `at` bytes into it; `data` is where the context has the packet's
    /// start, and 4 bytes on its end.
    Packet { data: i16, at: i16 },
}

/// A hook under test.
#[derive(Clone, Copy)]
pub struct Hook {
    pub name: &'static str,
    pub target: &'static str,
    /// Program type and expected attach type.
    pub kind: (u32, u32),
    pub filter: Filter,
    pub events: u32,
    pub result: i32,
    pub uses_func_ip: bool,
    pub own_netns: bool,
}

// include/uapi/linux/bpf.h
const KPROBE: u32 = 2;
const TRACEPOINT: u32 = 5;
const SCHED_CLS: u32 = 3;
const XDP: u32 = 6;
const CGROUP_SKB: u32 = 8;
const RAW_TRACEPOINT: u32 = 17;
const TRACING: u32 = 26;
const TRACE_RAW_TP: u32 = 23;
const TRACE_FENTRY: u32 = 24;
const TRACE_FEXIT: u32 = 25;
const TRACE_XDP: u32 = 37;

/// A system call whose function is in the kernel's BTF (that of getppid, which has no arguments, is not everywhere).
#[cfg(target_arch = "x86_64")]
const GETPGID: &str = "__x64_sys_getpgid";
#[cfg(target_arch = "aarch64")]
const GETPGID: &str = "__arm64_sys_getpgid";

const fn hook(name: &'static str, target: &'static str, kind: (u32, u32)) -> Hook {
    let filter = Filter::Process;
    Hook {
        name,
        target,
        kind,
        filter,
        events: 300_000,
        result: 0,
        uses_func_ip: false,
        own_netns: false,
    }
}

/// Hooks that any kernel of ours has.
pub const EVERYWHERE: &[Hook] = &[
    Hook { filter: SYS_ENTER, ..hook("raw_tp", "raw_tp/sys_enter", (RAW_TRACEPOINT, 0)) },
    Hook { filter: SYS_ENTER, ..hook("tp_btf", "tp_btf/sys_enter", (TRACING, TRACE_RAW_TP)) },
    hook("tracepoint", "tracepoint/syscalls/sys_enter_getppid", (TRACEPOINT, 0)),
    hook("uprobe", "uprobe/self:flip_target", (KPROBE, 0)),
    hook("uretprobe", "uretprobe/self:flip_target", (KPROBE, 0)),
    Hook {
        filter: XDP_PACKET,
        result: 1, // XDP_DROP
        own_netns: true,
        ..hook("xdp", "xdp/lo", (XDP, 0))
    },
];

/// Hooks that need kprobes or ftrace.
pub const GUESTS: &[Hook] = &[
    hook("kprobe", "kprobe/getpgid", (KPROBE, 0)),
    hook("kretprobe", "kretprobe/getpgid", (KPROBE, 0)),
    hook("fentry", "fentry/getpgid", (TRACING, TRACE_FENTRY)),
    hook("fexit", "fexit/getpgid", (TRACING, TRACE_FEXIT)),
    Hook { uses_func_ip: true, ..hook("kprobe_ip", "kprobe/getpgid", (KPROBE, 0)) },
    Hook { uses_func_ip: true, ..hook("fentry_ip", "fentry/getpgid", (TRACING, TRACE_FENTRY)) },
];

/// Hooks whose program the kernel replaces itself; fewer events, since a replacement takes its time.
pub const UPDATES: &[Hook] = &[
    Hook { filter: XDP_PACKET, result: 1, ..on_network("xdp_update", "xdp/lo", (XDP, TRACE_XDP)) },
    Hook {
        filter: TC_PACKET,
        result: 2,
        ..on_network("tcx_update", "tcx/ingress/lo", (SCHED_CLS, 0))
    },
    Hook {
        filter: TC_PACKET,
        result: 2,
        ..on_network("tc_replace", "tcx/ingress/lo", (SCHED_CLS, 0))
    },
    Hook {
        filter: IP_PACKET,
        ..on_network("cgroup_update", "cgroup_skb/ingress", (CGROUP_SKB, 0))
    },
];

const fn on_network(name: &'static str, target: &'static str, kind: (u32, u32)) -> Hook {
    Hook { events: 100_000, own_netns: true, ..hook(name, target, kind) }
}

// Ethernet 14, IPv4 20, UDP 8, then the number. struct xdp_md has data at 0, struct __sk_buff at 76; programs on
// cgroups see the packet from its IP header on.
const XDP_PACKET: Filter = Filter::Packet { data: 0, at: 42 };
const TC_PACKET: Filter = Filter::Packet { data: 76, at: 42 };
const IP_PACKET: Filter = Filter::Packet { data: 76, at: 28 };
const SYS_ENTER: Filter = Filter::Syscall(libc::SYS_getppid as i32);

impl Hook {
    pub fn plan(&self) -> AttachPlan {
        let own = std::env::current_exe().expect("the path of this test");
        let target = self
            .target
            .replace("self:", &format!("{}:", own.display()))
            .replace("/getpgid", &format!("/{GETPGID}"));
        AttachPlan::new(target.parse().expect("a target"))
    }

    /// The kind with what its target is in the kernel's BTF.
    pub fn bound_kind(&self) -> LoadKind {
        let name = self.target.rsplit('/').next().unwrap_or_default();
        let name = if name == "getpgid" { GETPGID } else { name };
        let (prog_type, expected_attach_type) = self.kind;
        let attach_to = Some(name.to_owned());
        LoadKind { prog_type, expected_attach_type, attach_to, ..LoadKind::default() }
    }

    /// What makes one event.
    pub fn generator(&self) -> Box<dyn FnMut(u32)> {
        if self.name.starts_with('u') {
            return Box::new(|number| {
                std::hint::black_box(flip_target(number));
            });
        }
        if self.target.ends_with("/getpgid") {
            return Box::new(|_| {
                // SAFETY: getpgid takes a number.
                let _ = unsafe { libc::syscall(libc::SYS_getpgid, 0) };
            });
        }
        if !self.own_netns {
            return Box::new(|_| {
                // SAFETY: getppid takes nothing. By number: a library could keep the answer.
                let _ = unsafe { libc::syscall(libc::SYS_getppid) };
            });
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(receiver.local_addr().expect("an address")).expect("a peer");
        Box::new(move |number| {
            let _open = &receiver;
            socket.send(&u64::from(number).to_ne_bytes()).expect("a packet");
        })
    }
}

/// The function that the uprobes are on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn flip_target(number: u32) -> u32 {
    std::hint::black_box(number) + 1
}
