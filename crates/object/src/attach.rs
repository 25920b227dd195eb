//! Ways to attach, by the names of sections.

/// The kernel's name of the attach type that libbpf gives to a section (`enum bpf_attach_type` in lower case, without
/// `BPF_`); none where the kind of program has but one way, or the section says none.
pub(crate) fn attach_type(section: &str) -> Option<&'static str> {
    let section = section.strip_prefix('?').unwrap_or(section);
    let (kind, rest) = section.split_once('/').unwrap_or((section, ""));
    Some(match kind.strip_suffix(".s").unwrap_or(kind) {
        "kprobe.multi" | "kretprobe.multi" => "trace_kprobe_multi",
        "kprobe.session" => "trace_kprobe_session",
        "uprobe.multi" | "uretprobe.multi" => "trace_uprobe_multi",
        "uprobe.session" => "trace_uprobe_session",
        "tp_btf" => "trace_raw_tp",
        "fentry" => "trace_fentry",
        "fexit" => "trace_fexit",
        "fsession" => "trace_fsession",
        "fmod_ret" => "modify_return",
        "iter" => "trace_iter",
        "lsm" => "lsm_mac",
        "lsm_cgroup" => "lsm_cgroup",
        "xdp" | "xdp.frags" => match rest {
            "devmap" => "xdp_devmap",
            "cpumap" => "xdp_cpumap",
            _ => "xdp",
        },
        "tcx" => direction(rest, "tcx_ingress", "tcx_egress")?,
        "netkit" => match rest {
            "peer" => "netkit_peer",
            _ => "netkit_primary",
        },
        "sk_skb" => match rest {
            "stream_parser" => "sk_skb_stream_parser",
            "stream_verdict" => "sk_skb_stream_verdict",
            "verdict" => "sk_skb_verdict",
            _ => return None,
        },
        "sk_msg" => "sk_msg_verdict",
        "sk_lookup" => "sk_lookup",
        "sk_reuseport" if rest == "migrate" => "sk_reuseport_select_or_migrate",
        "sk_reuseport" => "sk_reuseport_select",
        "sockops" => "cgroup_sock_ops",
        "cgroup_skb" => direction(rest, "cgroup_inet_ingress", "cgroup_inet_egress")?,
        "cgroup" => return of_cgroup(rest),
        "lirc_mode2" => "lirc_mode2",
        "flow_dissector" => "flow_dissector",
        "netfilter" => "netfilter",
        "struct_ops" => "struct_ops",
        _ => return None,
    })
}

fn direction(rest: &str, ingress: &'static str, egress: &'static str) -> Option<&'static str> {
    match rest.split(['/', ':']).next()? {
        "ingress" => Some(ingress),
        "egress" => Some(egress),
        _ => None,
    }
}

fn of_cgroup(hook: &str) -> Option<&'static str> {
    Some(match hook {
        "sock" | "sock_create" => "cgroup_inet_sock_create",
        "sock_release" => "cgroup_inet_sock_release",
        "post_bind4" => "cgroup_inet4_post_bind",
        "post_bind6" => "cgroup_inet6_post_bind",
        "bind4" => "cgroup_inet4_bind",
        "bind6" => "cgroup_inet6_bind",
        "connect4" => "cgroup_inet4_connect",
        "connect6" => "cgroup_inet6_connect",
        "connect_unix" => "cgroup_unix_connect",
        "sendmsg4" => "cgroup_udp4_sendmsg",
        "sendmsg6" => "cgroup_udp6_sendmsg",
        "sendmsg_unix" => "cgroup_unix_sendmsg",
        "recvmsg4" => "cgroup_udp4_recvmsg",
        "recvmsg6" => "cgroup_udp6_recvmsg",
        "recvmsg_unix" => "cgroup_unix_recvmsg",
        "getpeername4" => "cgroup_inet4_getpeername",
        "getpeername6" => "cgroup_inet6_getpeername",
        "getpeername_unix" => "cgroup_unix_getpeername",
        "getsockname4" => "cgroup_inet4_getsockname",
        "getsockname6" => "cgroup_inet6_getsockname",
        "getsockname_unix" => "cgroup_unix_getsockname",
        "sysctl" => "cgroup_sysctl",
        "getsockopt" => "cgroup_getsockopt",
        "setsockopt" => "cgroup_setsockopt",
        "dev" => "cgroup_device",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::attach_type;

    #[test]
    fn sections_have_the_attach_types_that_libbpf_gives_them() {
        for (section, wanted) in [
            ("kprobe/vfs_read", None),
            ("?kprobe.multi/vfs_*", Some("trace_kprobe_multi")),
            ("tp/sched/sched_switch", None),
            ("fentry.s/vfs_read", Some("trace_fentry")),
            ("fmod_ret/x", Some("modify_return")),
            ("lsm.s/file_open", Some("lsm_mac")),
            ("xdp", Some("xdp")),
            ("xdp.frags/devmap", Some("xdp_devmap")),
            ("tcx/egress", Some("tcx_egress")),
            ("tc", None),
            ("cgroup_skb/ingress", Some("cgroup_inet_ingress")),
            ("cgroup/connect4", Some("cgroup_inet4_connect")),
            ("cgroup/recvmsg_unix", Some("cgroup_unix_recvmsg")),
            ("cgroup/skb", None),
            ("sk_skb", None),
        ] {
            assert_eq!(attach_type(section), wanted, "{section}");
        }
    }
}
