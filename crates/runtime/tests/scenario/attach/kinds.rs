//! The attach types, each with the program, the place and the event of its test.

use super::make;
use super::stage::{Make, Where};

/// An attach type.
pub struct Kind {
    /// As the page names it.
    pub name: &'static str,
    /// Of its program.
    pub section: &'static str,
    /// What its program answers: as if there was none.
    pub returns: i32,
    /// More definitions for the compiler.
    pub defines: &'static [&'static str],
    /// Where a manifest attaches it, with `{me}`, `{pid}`, `{cgroup}`, `{probed}`; empty where its section says it.
    pub target: &'static str,
    /// Where its events happen.
    pub place: Where,
    /// What makes one event.
    pub make: Make,
    /// A symbol of kernels that have it; empty: all have.
    pub symbol: &'static str,
}

impl Kind {
    /// The name of its objects' files.
    pub fn set(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("attach_{}", self.name.chars().map(plain).collect::<String>())
    }

    const fn with(self, defines: &'static [&'static str]) -> Self {
        Self { defines, ..self }
    }

    const fn needs(self, symbol: &'static str) -> Self {
        Self { symbol, ..self }
    }
}

const BY_PID: &[&str] = &["BY_PID"];

/// One that sees what this process does.
const fn task(name: &'static str, section: &'static str, target: &'static str, make: Make) -> Kind {
    let (place, symbol) = (Where::Here, "");
    Kind { name, section, returns: 0, defines: BY_PID, target, place, make, symbol }
}

/// One on the loopback of a network namespace.
const fn net(name: &'static str, returns: i32, target: &'static str) -> Kind {
    let (place, make) = (Where::Netns, make::packet as Make);
    Kind { name, section: name, returns, defines: &[], target, place, make, symbol: "" }
}

/// One of a cgroup that lets everything pass.
const fn cgroup(name: &'static str, target: &'static str, make: Make) -> Kind {
    let place = Where::Cgroup;
    Kind { name, section: name, returns: 1, defines: &[], target, place, make, symbol: "" }
}

const PROBES: &str = "register_kprobe";
const FTRACE: &str = "register_ftrace_function";
const KPROBE_MULTI: &str = "fprobe_register_ips";
const UPROBE_MULTI: &str = "bpf_uprobe_multi_link_attach";
const SESSION: &str = "bpf_session_is_return";
const SOCKMAP: &str = "sock_map_link_update_prog";
/// Interfaces have packets of their own, but none of IPv4.
const IPV4: &[&str] =
    &["CONTEXT=struct __sk_buff", "COUNTS(ctx)=((ctx)->protocol == __builtin_bswap16(0x0800))"];
const NETKIT: &str = "netkit_link_attach";
const LWT: &str = "bpf_lwt_xmit_reroute";
const UNIX: &str = "bpf_sock_addr_set_sun_path";

/// Those that attach nowhere: an entry of a map names them.
pub const NAMED: &[Kind] = &[Kind {
    section: "xdp/cpumap",
    defines: &["CPUS", "BESIDE=\"xdp\""],
    ..net("xdp/cpumap", 2, "")
}
.needs("cpu_map_generic_redirect")];

/// All that are tested.
pub const KINDS: &[Kind] = &[
    task("tracepoint", "tp/task/task_rename", "", make::rename),
    task("raw_tp", "raw_tp/task_rename", "", make::rename),
    task("tp_btf", "tp_btf/task_rename", "", make::rename),
    task("kprobe", "kprobe/null_lseek", "", make::seek).needs(PROBES),
    task("kretprobe", "kretprobe/null_lseek", "", make::seek).needs(PROBES),
    task("ksyscall", "ksyscall/lseek", "", make::seek).needs(PROBES),
    task("kprobe.multi", "kprobe.multi/null_lsee?", "", make::seek).needs(KPROBE_MULTI),
    task("kretprobe.multi", "kretprobe.multi/null_lseek", "", make::seek).needs(KPROBE_MULTI),
    Kind { returns: 1, ..task("kprobe.session", "kprobe.session/null_lseek", "", make::seek) }
        .needs(SESSION),
    task("uprobe", "uprobe", "uprobe/{me}:lseek", make::seek),
    task("uretprobe", "uretprobe", "uretprobe/{me}:lseek", make::seek),
    task("uprobe.multi", "uprobe.multi//x:y", "uprobe.multi/{me}:lsee?", make::seek)
        .needs(UPROBE_MULTI),
    task("uretprobe.multi", "uretprobe.multi//x:y", "uretprobe.multi/{me}:lseek", make::seek)
        .needs(UPROBE_MULTI),
    Kind {
        returns: 1,
        ..task("uprobe.session", "uprobe.session//x:y", "uprobe.session/{me}:lseek", make::seek)
    }
    .needs("uprobe_session_cookie"),
    Kind { defines: &[], ..task("usdt", "usdt", "usdt/{probed}:skep:seven", make::probe) }
        .with(&[
            "USDT",
            "CONTEXT=struct pt_regs",
            "COUNTS(ctx)=({ long seven; bpf_usdt_arg(ctx, 0, &seven); seven == 7; })",
        ])
        .needs("bpf_get_attach_cookie_pe"),
    task("fentry", "fentry/null_lseek", "", make::seek).needs(FTRACE),
    task("fexit", "fexit/null_lseek", "", make::seek).needs(FTRACE),
    task("fmod_ret", "fmod_ret/security_inode_symlink", "", make::symlink).needs(FTRACE),
    task("lsm", "lsm/inode_symlink", "", make::symlink).needs(FTRACE),
    task("lsm.s", "lsm.s/inode_symlink", "", make::symlink).needs("bpf_ima_file_hash"),
    task("perf_event (software)", "perf_event", "perf_event:page-faults/1", make::fault)
        .with(&["BY_PID", "ONCE"])
        .needs("bpf_get_attach_cookie_pe"), // as old as links of perf events
    task("iter", "iter/task", "", make::read_link).with(&["ONCE"]),
    task("iter/task (pid)", "iter/task", "iter/task:pid={pid}", make::read_link)
        .with(&["ONCE"])
        .needs("bpf_iter_attach_task"),
    task("iter/bpf_map_elem", "iter/bpf_map_elem", "iter/bpf_map_elem:now", make::read_link)
        .with(&["ONCE"]),
    Kind {
        section: "iter/cgroup",
        returns: 0,
        ..cgroup("iter/cgroup", "iter/cgroup:{cgroup}", make::read_link)
    }
    .with(&["ONCE"])
    .needs("bpf_iter_attach_cgroup"),
    net("xdp", 2, "xdp/lo"),
    net("xdp.frags", 2, "xdp.frags/lo").needs("bpf_xdp_get_buff_len"),
    net("tcx/ingress", -1, "tcx/ingress/lo"),
    net("tcx/egress", -1, "tcx/egress/lo"),
    net("action", -1, "action:ingress/lo").needs("tcf_bpf_act"),
    net("sk_lookup", 1, ""),
    net("netfilter", 1, "netfilter:ipv4/input").needs("bpf_nf_link_attach"),
    net("socket", 0, "socket:lo")
        .with(&["CONTEXT=struct __sk_buff", "COUNTS(ctx)=((ctx)->pkt_type != 4)"]),
    Kind { defines: &[], ..task("syscall", "syscall", "", make::run) }
        .needs("bpf_prog_test_run_syscall"),
    Kind {
        name: "struct_ops (TCP)",
        section: "struct_ops/init",
        make: make::controlled,
        ..net("", 0, "")
    }
    .with(&["CONTROLS", "ONCE"])
    .needs("bpf_struct_ops_link_create"),
    Kind {
        defines: &["SCHEDULES", "ONCE"],
        place: Where::Guest,
        ..task("struct_ops (sched_ext)", "struct_ops/running", "", make::sleep)
    }
    .needs("bpf_scx_reg"),
    Kind { make: make::sent, ..net("sk_msg", 1, "sk_msg:sockets") }
        .with(&["SOCKETS"])
        .needs(SOCKMAP),
    Kind { make: make::received, ..net("sk_skb/verdict", 1, "sk_skb/verdict:sockets") }
        .with(&["SOCKETS"])
        .needs(SOCKMAP),
    Kind {
        make: make::received,
        ..net("sk_skb/stream_verdict", 1, "sk_skb/stream_verdict:sockets")
    }
    .with(&["SOCKETS"])
    .needs(SOCKMAP),
    Kind { make: make::received, ..net("sk_skb/stream_parser", 1, "sk_skb/stream_parser:sockets") }
        .with(&["SOCKETS", "BESIDE=\"sk_skb/stream_verdict\""])
        .needs(SOCKMAP),
    Kind { make: make::routed, ..net("lwt_in", 0, "lwt_in:192.0.2.0/24/lo") }.needs(LWT),
    Kind { make: make::routed, ..net("lwt_out", 0, "lwt_out:192.0.2.0/24/lo") }.needs(LWT),
    Kind { make: make::routed, ..net("lwt_xmit", 0, "lwt_xmit:192.0.2.0/24/lo") }.needs(LWT),
    Kind {
        make: make::segmented,
        place: Where::Pair,
        ..net("lwt_seg6local", 0, "lwt_seg6local:2001:db8::1/128/sr0/{other end}")
    }
    .needs("seg6_local_input_core"),
    Kind {
        make: make::shared,
        place: Where::Sharing,
        ..net("sk_reuseport", 1, "sk_reuseport:udp/{sharing}")
    },
    Kind {
        section: "sk_reuseport/migrate",
        make: make::shared,
        place: Where::Sharing,
        ..net("sk_reuseport/migrate", 1, "sk_reuseport/migrate:udp/{sharing}")
    }
    .needs("reuseport_migrate_sock"),
    Kind {
        section: "freplace/verdict",
        place: Where::Beside,
        ..net("freplace", 2, "freplace/verdict:id={victim}")
    }
    .with(&["CONTEXT=struct xdp_md"])
    .needs("bpf_trampoline_link_prog"),
    Kind {
        make: make::out_of_one_end,
        place: Where::Netkit,
        ..net("netkit/primary", -1, "netkit/primary:nk0")
    }
    .with(IPV4)
    .needs(NETKIT),
    Kind {
        make: make::out_of_the_other_end,
        place: Where::Netkit,
        ..net("netkit/peer", -1, "netkit/peer:nk0")
    }
    .with(IPV4)
    .needs(NETKIT),
    Kind { place: Where::Rps, ..net("flow_dissector", 0, "") }.with(&["ONCE"]),
    cgroup("cgroup_skb/ingress", "cgroup_skb/ingress:{cgroup}", make::packet),
    cgroup("cgroup_skb/egress", "cgroup_skb/egress:{cgroup}", make::packet),
    cgroup("cgroup/sock_create", "cgroup/sock_create:{cgroup}", make::bind4),
    cgroup("cgroup/sock_release", "cgroup/sock_release:{cgroup}", make::bind4),
    cgroup("cgroup/post_bind4", "cgroup/post_bind4:{cgroup}", make::bind4),
    cgroup("cgroup/post_bind6", "cgroup/post_bind6:{cgroup}", make::bind6),
    cgroup("cgroup/bind4", "cgroup/bind4:{cgroup}", make::bind4),
    cgroup("cgroup/bind6", "cgroup/bind6:{cgroup}", make::bind6),
    cgroup("cgroup/connect4", "cgroup/connect4:{cgroup}", make::connect4),
    cgroup("cgroup/connect6", "cgroup/connect6:{cgroup}", make::connect6),
    cgroup("cgroup/connect_unix", "cgroup/connect_unix:{cgroup}", make::connect_unix).needs(UNIX),
    cgroup("cgroup/sendmsg4", "cgroup/sendmsg4:{cgroup}", make::packet),
    cgroup("cgroup/sendmsg6", "cgroup/sendmsg6:{cgroup}", make::packet6),
    cgroup("cgroup/sendmsg_unix", "cgroup/sendmsg_unix:{cgroup}", make::datagram_unix).needs(UNIX),
    cgroup("cgroup/recvmsg4", "cgroup/recvmsg4:{cgroup}", make::packet),
    cgroup("cgroup/recvmsg6", "cgroup/recvmsg6:{cgroup}", make::packet6),
    cgroup("cgroup/recvmsg_unix", "cgroup/recvmsg_unix:{cgroup}", make::datagram_unix).needs(UNIX),
    cgroup("cgroup/getpeername4", "cgroup/getpeername4:{cgroup}", make::names4),
    cgroup("cgroup/getpeername6", "cgroup/getpeername6:{cgroup}", make::names6),
    cgroup("cgroup/getpeername_unix", "cgroup/getpeername_unix:{cgroup}", make::names_unix)
        .needs(UNIX),
    cgroup("cgroup/getsockname4", "cgroup/getsockname4:{cgroup}", make::names4),
    cgroup("cgroup/getsockname6", "cgroup/getsockname6:{cgroup}", make::names6),
    cgroup("cgroup/getsockname_unix", "cgroup/getsockname_unix:{cgroup}", make::names_unix)
        .needs(UNIX),
    cgroup("cgroup/getsockopt", "cgroup/getsockopt:{cgroup}", make::options),
    cgroup("cgroup/setsockopt", "cgroup/setsockopt:{cgroup}", make::options),
    cgroup("cgroup/sysctl", "cgroup/sysctl:{cgroup}", make::sysctl),
    cgroup("cgroup/dev", "cgroup/dev:{cgroup}", make::open_null).with(&["ONCE"]),
    cgroup("sockops", "sockops:{cgroup}", make::connect_tcp)
        .with(&["CONTEXT=struct bpf_sock_ops", "COUNTS(ctx)=((ctx)->op == 3)"]),
    Kind {
        section: "lsm_cgroup/socket_bind",
        ..cgroup("lsm_cgroup", "lsm_cgroup/socket_bind:{cgroup}", make::bind4)
    }
    .needs("bpf_trampoline_link_cgroup_shim"),
];
