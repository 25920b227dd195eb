//! What an object's code may touch, derived from its instructions and held against what its manifest asks for.

mod reason;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use skep_spec::manifest::Permissions;
use skep_spec::permission;

pub use reason::{Cause, Reason, reasons};

use crate::{Facts, Memory};

/// What an object may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Attach targets: `tracepoint/sched/sched_process_exec`, `xdp`.
    pub hooks: BTreeSet<String>,
    /// Helpers without `bpf_`.
    pub helpers: BTreeSet<String>,
    /// Kernel functions.
    pub kfuncs: BTreeSet<String>,
    /// Bytes of all maps when they are full.
    pub map_memory: Memory,
    /// What it may do with that, the gravest first.
    pub powers: Vec<Power>,
    /// Programs with a call that leads where reading the object cannot follow.
    pub unknown_calls: BTreeSet<String>,
}

/// Something that people want to know before they run a program, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// Writes the memory of processes (`probe_write_user`, `copy_to_user…`).
    WritesUserMemory,
    /// Changes what kernel functions return (`override_return`, `fmod_ret`).
    OverridesReturns,
    /// Replaces parts of the kernel (`struct_ops`) or of other programs (`freplace`).
    ReplacesKernelCode,
    /// Decides about permissions (`lsm`).
    DecidesAccess,
    /// Sends signals to processes.
    SendsSignals,
    /// May drop, change or redirect packets, or refuse connections.
    ControlsTraffic,
    /// Runs on calls of system calls by files, sysctls, devices of cgroups.
    ControlsCgroups,
    /// Reads the memory of processes.
    ReadsUserMemory,
    /// Reads any kernel memory.
    ReadsKernelMemory,
    /// Calls kernel functions, which are not a stable interface.
    CallsKernelFunctions,
    /// Sees packets.
    ReadsTraffic,
    /// Sees what the system does: tracing programs.
    Observes,
}

/// Every power, in the order of severity.
pub const POWERS: [Power; 12] = [
    Power::WritesUserMemory,
    Power::OverridesReturns,
    Power::ReplacesKernelCode,
    Power::DecidesAccess,
    Power::SendsSignals,
    Power::ControlsTraffic,
    Power::ControlsCgroups,
    Power::ReadsUserMemory,
    Power::ReadsKernelMemory,
    Power::CallsKernelFunctions,
    Power::ReadsTraffic,
    Power::Observes,
];

/// The kinds of hooks that the standard lists, each in its one spelling.
pub const HOOKS: [&str; 38] = [
    "tracepoint",
    "raw_tp",
    "tp_btf",
    "kprobe",
    "kretprobe",
    "uprobe",
    "uretprobe",
    "usdt",
    "ksyscall",
    "kretsyscall",
    "perf_event",
    "fentry",
    "fexit",
    "fmod_ret",
    "freplace",
    "lsm",
    "lsm_cgroup",
    "iter",
    "struct_ops",
    "xdp",
    "tcx",
    "netkit",
    "action",
    "socket",
    "sockops",
    "sk_msg",
    "sk_skb",
    "sk_lookup",
    "sk_reuseport",
    "cgroup_skb",
    "cgroup",
    "flow_dissector",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "lwt_seg6local",
    "netfilter",
    "syscall",
];

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WritesUserMemory => "writes the memory of processes",
            Self::OverridesReturns => "changes what kernel functions return",
            Self::ReplacesKernelCode => "replaces code of the kernel or of other programs",
            Self::DecidesAccess => "decides about permissions",
            Self::SendsSignals => "sends signals to processes",
            Self::ControlsTraffic => "may drop, change or redirect network traffic",
            Self::ControlsCgroups => "may refuse actions of processes in a cgroup",
            Self::ReadsUserMemory => "reads the memory of processes",
            Self::ReadsKernelMemory => "reads kernel memory",
            Self::CallsKernelFunctions => "calls kernel functions",
            Self::ReadsTraffic => "sees network traffic",
            Self::Observes => "observes the system",
        })
    }
}

/// What an object may do, as its code shows.
#[must_use]
pub fn derive(facts: &Facts) -> Summary {
    let mut summary = Summary::default();
    let mut powers = BTreeSet::new();
    for program in &facts.programs {
        summary.hooks.insert(program.target.to_string());
        summary.helpers.extend(program.helpers.iter().cloned());
        summary.kfuncs.extend(program.kfuncs.iter().cloned());
        if program.unknown_calls {
            summary.unknown_calls.insert(program.name.clone());
        }
        powers.extend(powers_of_hook(program.target.kind()));
        powers.extend(program.helpers.iter().filter_map(|helper| power_of_helper(helper)));
        if !program.kfuncs.is_empty() {
            powers.insert(Power::CallsKernelFunctions);
        }
    }
    summary.map_memory = memory(facts);
    summary.powers = powers.into_iter().collect();
    summary
}

fn memory(facts: &Facts) -> Memory {
    facts.maps.iter().map(crate::MapFacts::memory).fold(Memory::default(), Memory::and)
}

/// What attaching at a kind of hook allows: `xdp`, `tracepoint`.
#[must_use]
pub fn powers_of_hook(kind: &str) -> Vec<Power> {
    use Power::{
        ControlsCgroups, ControlsTraffic, DecidesAccess, Observes, OverridesReturns, ReadsTraffic,
        ReplacesKernelCode,
    };
    match kind {
        "xdp" | "tcx" | "tc" | "classifier" | "action" | "netkit" | "cgroup_skb" | "sk_msg"
        | "sk_skb" | "sk_lookup" | "sk_reuseport" | "netfilter" | "lwt_in" | "lwt_out"
        | "lwt_xmit" | "lwt_seg6local" | "flow_dissector" | "sockops" => {
            vec![ControlsTraffic, ReadsTraffic]
        }
        "socket" => vec![ReadsTraffic],
        "cgroup" => vec![ControlsCgroups],
        "lsm" | "lsm_cgroup" => vec![DecidesAccess, Observes],
        "fmod_ret" => vec![OverridesReturns, Observes],
        "struct_ops" | "freplace" => vec![ReplacesKernelCode],
        _ => vec![Observes],
    }
}

/// What calling a helper allows, if more than keeping state and reporting it.
#[must_use]
pub fn power_of_helper(helper: &str) -> Option<Power> {
    Some(match helper {
        "probe_write_user" => Power::WritesUserMemory,
        "override_return" => Power::OverridesReturns,
        "send_signal" | "send_signal_thread" => Power::SendsSignals,
        "probe_read_kernel" | "probe_read_kernel_str" => Power::ReadsKernelMemory,
        // Before 5.5 there was one helper for both.
        "probe_read" | "probe_read_str" => Power::ReadsUserMemory,
        "probe_read_user" | "probe_read_user_str" | "copy_from_user" | "copy_from_user_task" => {
            Power::ReadsUserMemory
        }
        "redirect" | "redirect_map" | "redirect_neigh" | "redirect_peer" | "clone_redirect" => {
            Power::ControlsTraffic
        }
        _ => return None,
    })
}

/// What the object's code does and `permissions` do not allow, one sentence each; empty if all is covered.
///
/// Map memory belongs to all objects together: [`crate::declared::hold`] has it.
#[must_use]
pub fn uncovered(permissions: &Permissions, facts: &Facts) -> Vec<String> {
    let summary = derive(facts);
    let mut missing = Vec::new();
    for program in &facts.programs {
        let (hook, kind) = (program.target.to_string(), program.target.kind());
        if kind.contains('$') {
            missing
                .push(format!("program '{}' leaves its kind of hook open: {hook}", program.name));
            continue;
        }
        if !permission::covers_hook(&permissions.hooks, &program.target) {
            missing.push(format!(
                "hooks lacks '{kind}': program '{}' attaches to {hook}",
                program.name
            ));
        }
    }
    for (what, list, used) in [
        ("helpers", &permissions.helpers, &summary.helpers),
        ("kfuncs", &permissions.kfuncs, &summary.kfuncs),
    ] {
        for name in used.iter().filter(|name| !permission::covers_name(list, name)) {
            missing
                .push(format!("{what} lacks '{name}', which is called by {}", users(facts, name)));
        }
    }
    for program in &summary.unknown_calls {
        missing.push(format!("program '{program}' has a call whose target cannot be told"));
    }
    missing
}

fn users(facts: &Facts, name: &str) -> String {
    let calls = |p: &&crate::ProgramFacts| p.helpers.contains(name) || p.kfuncs.contains(name);
    let names: Vec<String> =
        facts.programs.iter().filter(calls).map(|p| format!("'{}'", p.name)).collect();
    names.join(", ")
}

/// Whether maps take more than is allowed. Per-CPU values count once, because an author cannot know the CPUs.
pub(crate) fn memory_over(permissions: &Permissions, memory: Memory) -> Option<String> {
    let allowed = permissions.map_memory.as_deref()?;
    let needed = memory.on(1);
    if skep_spec::param::parse_size(allowed).is_none() {
        return Some(format!("map-memory '{allowed}' is no size such as 16MiB"));
    }
    (!permission::covers_memory(allowed, needed))
        .then(|| format!("map-memory is {allowed}, the maps take {needed} bytes"))
}
