//! What a package may touch, in words for people who do not know BPF.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Listing, ProgramListing};

/// How deep a package reaches into the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Learns that something happens.
    Watches,
    /// Reads what others work with.
    Reads,
    /// Alters what others do.
    Changes,
}

/// One thing that a package may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Touch {
    /// How deep that reaches.
    pub severity: Severity,
    /// In words.
    pub what: String,
    /// The hooks, helpers or kernel functions that show it.
    pub shown_by: Vec<String>,
}

impl Severity {
    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watches => "watches",
            Self::Reads => "reads",
            Self::Changes => "changes",
        }
    }
}

/// What the bytecode of `listing` can do, the deepest first.
#[must_use]
pub fn touches(listing: &Listing) -> Vec<Touch> {
    let mut found: BTreeMap<(Severity, &'static str), BTreeSet<String>> = BTreeMap::new();
    for program in listing.objects.iter().flat_map(|object| &object.programs) {
        let (severity, what) = hook(&program.hook);
        found.entry((severity, what)).or_default().insert(program.target.clone());
        for (severity, what, by) in calls(program) {
            found.entry((severity, what)).or_default().insert(by);
        }
    }
    let touch = |((severity, what), by): ((Severity, &str), BTreeSet<String>)| Touch {
        severity,
        what: what.to_owned(),
        shown_by: by.into_iter().collect(),
    };
    found.into_iter().rev().map(touch).collect()
}

fn calls(program: &ProgramListing) -> Vec<(Severity, &'static str, String)> {
    let mut found = Vec::new();
    for name in &program.helpers {
        if let Some((severity, what)) = helper(name) {
            found.push((severity, what, format!("bpf_{name}")));
        }
    }
    for name in &program.kfuncs {
        let what = "Calls functions of the kernel that are not part of its fixed interface";
        found.push((Severity::Changes, what, name.clone()));
    }
    if program.unknown_calls {
        let what = "Calls code that cannot be seen in the package";
        found.push((Severity::Changes, what, program.name.clone()));
    }
    found
}

/// What attaching at a kind of hook allows (the kernel's Documentation/bpf/libbpf/program_types.rst).
fn hook(kind: &str) -> (Severity, &'static str) {
    use Severity::{Changes, Watches};
    match kind {
        "tracepoint" | "tp" | "raw_tp" | "raw_tracepoint" | "tp_btf" => {
            (Watches, "Watches events that the kernel announces")
        }
        "kprobe" | "kretprobe" | "fentry" | "fexit" | "ksyscall" | "kretsyscall" => {
            (Watches, "Watches calls of kernel functions")
        }
        "uprobe" | "uretprobe" | "usdt" => (Watches, "Watches calls of functions in programs"),
        "perf_event" => (Watches, "Samples what runs on the CPUs"),
        "iter" => (Watches, "Lists objects of the kernel when it is asked"),
        "socket" => (Watches, "Sees packets of the sockets that it is attached to"),
        "xdp" => (
            Changes,
            "Sees every packet that arrives on a network interface; may change, redirect or drop it",
        ),
        "tcx" | "tc" | "classifier" | "action" | "netkit" => (
            Changes,
            "Sees every packet that passes a network interface; may change, redirect or drop it",
        ),
        "cgroup_skb" => (Changes, "Sees the packets of a group of processes; may drop them"),
        "netfilter" => (Changes, "Sees packets in the firewall; may drop them"),
        "flow_dissector" => (Changes, "Decides how packets are taken apart"),
        "cgroup" | "sockops" | "sk_msg" | "sk_skb" | "sk_lookup" | "sk_reuseport" => {
            (Changes, "Decides about sockets and connections of processes")
        }
        "lsm" | "lsm_cgroup" => (Changes, "May forbid what processes ask the kernel to do"),
        "fmod_ret" => (Changes, "May change what kernel functions return"),
        "struct_ops" => (Changes, "Takes the place of a part of the kernel"),
        "freplace" => (Changes, "Takes the place of a function in another BPF program"),
        "syscall" => (Changes, "Runs when it is told to, with the kernel's own BPF calls"),
        _ => (Changes, "Attaches where this hub does not know what that allows"),
    }
}

/// What a helper allows beyond keeping state and reporting it (bpf-helpers(7)).
fn helper(name: &str) -> Option<(Severity, &'static str)> {
    use Severity::{Changes, Reads, Watches};
    Some(match name {
        "override_return" => (Changes, "May make functions of the kernel fail"),
        "probe_write_user" => (Changes, "Writes into the memory of processes"),
        "send_signal" | "send_signal_thread" => {
            (Changes, "Sends signals to processes, may end them")
        }
        "set_retval" => (Changes, "May change what system calls return"),
        "sys_bpf" | "sys_close" | "btf_find_by_name_kind" => {
            (Changes, "Loads other BPF programs and maps")
        }
        "setsockopt"
        | "bind"
        | "sk_assign"
        | "sock_ops_cb_flags_set"
        | "store_hdr_opt"
        | "reserve_hdr_opt"
        | "sk_redirect_map"
        | "sk_redirect_hash"
        | "msg_redirect_map"
        | "msg_redirect_hash"
        | "sk_select_reuseport"
        | "tcp_send_ack" => (Changes, "Changes sockets and connections"),
        "probe_read"
        | "probe_read_str"
        | "probe_read_kernel"
        | "probe_read_kernel_str"
        | "d_path"
        | "get_stack"
        | "get_stackid"
        | "get_task_stack"
        | "snprintf_btf"
        | "seq_printf_btf" => (Reads, "Reads the kernel's memory"),
        "probe_read_user" | "probe_read_user_str" | "copy_from_user" | "copy_from_user_task" => {
            (Reads, "Reads the memory of processes")
        }
        "skb_load_bytes"
        | "skb_load_bytes_relative"
        | "xdp_load_bytes"
        | "skb_output"
        | "xdp_output"
        | "skb_pull_data"
        | "msg_pull_data"
        | "load_hdr_opt" => (Reads, "Reads what packets carry"),
        "trace_printk" | "trace_vprintk" => (Watches, "Writes into the kernel's trace log"),
        "csum_update" | "set_hash" | "set_hash_invalid" => {
            (Changes, "Changes or redirects packets")
        }
        _ if changes_packets(name) => (Changes, "Changes or redirects packets"),
        _ => return None,
    })
}

fn changes_packets(name: &str) -> bool {
    const STARTS: [&str; 12] = [
        "skb_store_bytes",
        "skb_change_",
        "skb_adjust_room",
        "skb_vlan_",
        "skb_set_",
        "l3_csum_replace",
        "l4_csum_replace",
        "clone_redirect",
        "redirect",
        "xdp_adjust_",
        "xdp_store_bytes",
        "lwt_",
    ];
    STARTS.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::example;

    #[test]
    fn the_deepest_comes_first_with_what_shows_it() {
        let mut listing = example();
        let program = &mut listing.objects[0].programs[0];
        program.helpers.push("send_signal".into());
        program.kfuncs.push("bpf_task_release".into());
        let lines: Vec<String> = touches(&listing)
            .into_iter()
            .map(|t| format!("{}: {} [{}]", t.severity.as_str(), t.what, t.shown_by.join(" ")))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        changes: Sends signals to processes, may end them [bpf_send_signal]
        changes: Calls functions of the kernel that are not part of its fixed interface [bpf_task_release]
        reads: Reads the kernel's memory [bpf_probe_read_kernel_str]
        watches: Watches events that the kernel announces [tracepoint/sched/sched_process_exec]
        ");
    }
}
