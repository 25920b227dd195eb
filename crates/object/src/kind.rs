//! Kinds of programs, by the names of their sections.

use crate::kernel_enum::kernel_enum;

kernel_enum! {
    /// The kinds of programs (`enum bpf_prog_type`).
    ProgramKind "prog_type_"
    1 SocketFilter "socket_filter",
    2 Kprobe "kprobe",
    3 SchedCls "sched_cls",
    4 SchedAct "sched_act",
    5 Tracepoint "tracepoint",
    6 Xdp "xdp",
    7 PerfEvent "perf_event",
    8 CgroupSkb "cgroup_skb",
    9 CgroupSock "cgroup_sock",
    10 LwtIn "lwt_in",
    11 LwtOut "lwt_out",
    12 LwtXmit "lwt_xmit",
    13 SockOps "sock_ops",
    14 SkSkb "sk_skb",
    15 CgroupDevice "cgroup_device",
    16 SkMsg "sk_msg",
    17 RawTracepoint "raw_tracepoint",
    18 CgroupSockAddr "cgroup_sock_addr",
    19 LwtSeg6local "lwt_seg6local",
    20 LircMode2 "lirc_mode2",
    21 SkReuseport "sk_reuseport",
    22 FlowDissector "flow_dissector",
    23 CgroupSysctl "cgroup_sysctl",
    24 RawTracepointWritable "raw_tracepoint_writable",
    25 CgroupSockopt "cgroup_sockopt",
    26 Tracing "tracing",
    27 StructOps "struct_ops",
    28 Ext "ext",
    29 Lsm "lsm",
    30 SkLookup "sk_lookup",
    31 Syscall "syscall",
    32 Netfilter "netfilter",
}

impl ProgramKind {
    /// The kind that libbpf gives to a section; none where it knows no such section.
    #[must_use]
    pub fn of_section(section: &str) -> Option<Self> {
        let section = section.strip_prefix('?').unwrap_or(section);
        let (first, rest) = section.split_once('/').unwrap_or((section, ""));
        let (base, suffix) = first.split_once('.').unwrap_or((first, ""));
        Some(match base {
            "kprobe" | "kretprobe" | "uprobe" | "uretprobe" | "ksyscall" | "kretsyscall"
            | "usdt" => Self::Kprobe,
            "tp" | "tracepoint" => Self::Tracepoint,
            "raw_tp" | "raw_tracepoint" if suffix == "w" => Self::RawTracepointWritable,
            "raw_tp" | "raw_tracepoint" => Self::RawTracepoint,
            "tp_btf" | "fentry" | "fexit" | "fmod_ret" | "fsession" | "iter" => Self::Tracing,
            "tc" | "tcx" | "classifier" | "netkit" => Self::SchedCls,
            "action" => Self::SchedAct,
            "lsm" | "lsm_cgroup" => Self::Lsm,
            "freplace" => Self::Ext,
            "socket" => Self::SocketFilter,
            "sockops" => Self::SockOps,
            "cgroup" => return Self::of_cgroup(rest),
            "xdp" | "perf_event" | "cgroup_skb" | "lwt_in" | "lwt_out" | "lwt_xmit"
            | "lwt_seg6local" | "sk_skb" | "sk_msg" | "sk_lookup" | "sk_reuseport"
            | "lirc_mode2" | "flow_dissector" | "struct_ops" | "syscall" | "netfilter" => {
                return Self::from_name(base);
            }
            _ => return None,
        })
    }

    fn of_cgroup(hook: &str) -> Option<Self> {
        let hook = hook.trim_end_matches(['4', '6']).trim_end_matches("_unix");
        Some(match hook {
            "skb" => Self::CgroupSkb,
            "sock" | "sock_create" | "sock_release" | "post_bind" => Self::CgroupSock,
            "bind" | "connect" | "sendmsg" | "recvmsg" | "getpeername" | "getsockname" => {
                Self::CgroupSockAddr
            }
            "sysctl" => Self::CgroupSysctl,
            "getsockopt" | "setsockopt" => Self::CgroupSockopt,
            "dev" => Self::CgroupDevice,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_the_kinds_that_libbpf_gives_them() {
        for (section, kind) in [
            ("?kprobe.multi/vfs_*", Some(ProgramKind::Kprobe)),
            ("uprobe.s//bin/bash:readline", Some(ProgramKind::Kprobe)),
            ("raw_tp.w/nbd_send_request", Some(ProgramKind::RawTracepointWritable)),
            ("fmod_ret.s/bpf_modify_return_test", Some(ProgramKind::Tracing)),
            ("xdp.frags/devmap", Some(ProgramKind::Xdp)),
            ("cgroup/connect4", Some(ProgramKind::CgroupSockAddr)),
            ("cgroup_skb/egress", Some(ProgramKind::CgroupSkb)),
            ("sk_skb/stream_verdict", Some(ProgramKind::SkSkb)),
            ("struct_ops/init", Some(ProgramKind::StructOps)),
            ("lwt_seg6local", Some(ProgramKind::LwtSeg6local)),
            ("my_section", None),
            ("prog_type_7", None),
            ("sched_cls/x", None),
            ("raw_tracepoint_writable/task_rename", None),
            ("kprobe+", None),
        ] {
            assert_eq!(ProgramKind::of_section(section), kind, "{section}");
        }
    }
}
