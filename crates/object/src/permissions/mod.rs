//! What an object's code may touch, derived from its instructions and held against what its manifest asks for.

mod hook;
mod reason;
mod table;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use skep_spec::manifest::Permissions;
use skep_spec::{Target, permission};

pub use hook::{all_hooks, hooks, hooks_at};
pub use reason::{Cause, Reason, reasons};
pub use table::{QUIET, Row, TABLE, powers_of_helper, powers_of_hook, powers_of_kfunc};

use crate::{Facts, Memory, OutsideKind, ProgramFacts};

/// What an object may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Attach targets: `tracepoint/sched/sched_process_exec`, `xdp`; see [`hooks`].
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
    /// Calls what no table knows, so that nobody can tell what it does.
    Unknown,
    /// Makes maps, and loads programs that may do anything (`sys_bpf`).
    LoadsPrograms,
    /// Ends the whole machine (`crash_kexec`).
    StopsMachine,
    /// Writes the memory of processes (`probe_write_user`), or the registers that they go on with (`uprobe.w`).
    WritesUserMemory,
    /// Changes what kernel functions return (`override_return`, `fmod_ret`).
    OverridesReturns,
    /// Replaces parts of the kernel (`struct_ops`) or of other programs (`freplace`).
    ReplacesKernelCode,
    /// Writes what the kernel hands its hook (`raw_tp.w`).
    WritesKernelMemory,
    /// Decides about permissions (`lsm`).
    DecidesAccess,
    /// Sends signals to processes.
    SendsSignals,
    /// Closes files of the process that runs it (`sys_close`), or changes their extended attributes.
    ChangesFiles,
    /// Decides which tasks run, when and on which processor (sched_ext).
    SchedulesTasks,
    /// May drop, change or redirect packets, or refuse connections.
    ControlsTraffic,
    /// Refuses and changes what processes of cgroups ask for: system calls by files, sysctls, devices.
    ControlsCgroups,
    /// Presses keys and moves pointers.
    InjectsInput,
    /// Reads the memory of processes.
    ReadsUserMemory,
    /// Reads any kernel memory.
    ReadsKernelMemory,
    /// Reads names of files, their extended attributes and digests of their contents.
    ReadsFiles,
    /// Reads call stacks and branches, of the kernel and of processes.
    ReadsStacks,
    /// Calls kernel functions, which are not a stable interface.
    CallsKernelFunctions,
    /// Sees packets.
    ReadsTraffic,
    /// Sees what the system does: tracing programs.
    Observes,
}

/// The kinds of hooks that the standard lists, each in its one spelling.
pub const HOOKS: [&str; 39] = [
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
    "fsession",
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
            Self::Unknown => "does what nobody can tell",
            Self::LoadsPrograms => "loads other programs, which may do anything",
            Self::StopsMachine => "stops the machine",
            Self::WritesUserMemory => "writes the memory or registers of processes",
            Self::OverridesReturns => "changes what kernel functions return",
            Self::ReplacesKernelCode => "replaces code of the kernel or of other programs",
            Self::WritesKernelMemory => "writes what the kernel hands it",
            Self::DecidesAccess => "decides about permissions",
            Self::SendsSignals => "sends signals to processes",
            Self::ChangesFiles => "closes files of processes, or changes attributes of files",
            Self::SchedulesTasks => "decides which tasks run, when and where",
            Self::ControlsTraffic => "may drop, change or redirect network traffic",
            Self::ControlsCgroups => "may refuse or change actions of processes in a cgroup",
            Self::InjectsInput => "presses keys and moves pointers",
            Self::ReadsUserMemory => "reads the memory of processes",
            Self::ReadsKernelMemory => "reads kernel memory",
            Self::ReadsFiles => "reads names of files and digests of their contents",
            Self::ReadsStacks => "reads call stacks of the kernel and of processes",
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
    for (_, hook) in all_hooks(facts) {
        powers.extend(powers_of_hook(&hook));
        summary.hooks.insert(hook.to_string());
    }
    for program in &facts.programs {
        summary.helpers.extend(program.helpers.iter().cloned());
        summary.kfuncs.extend(program.kfuncs.iter().cloned());
        if program.unknown_calls {
            summary.unknown_calls.insert(program.name.clone());
        }
        powers.extend(program.helpers.iter().flat_map(|helper| powers_of_helper(helper)));
        powers.extend(program.kfuncs.iter().flat_map(|kfunc| powers_of_kfunc(kfunc)));
    }
    summary.map_memory = memory(facts);
    summary.powers = powers.into_iter().collect();
    summary
}

fn memory(facts: &Facts) -> Memory {
    facts.maps.iter().map(crate::MapFacts::memory).fold(Memory::default(), Memory::and)
}

/// Something that code does and `[permissions]` do not allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lack {
    /// A sentence of it.
    pub said: String,
    /// What is not covered.
    pub what: Lacking,
}

/// What `[permissions]` do not cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// A hook.
    Hook,
    /// A helper.
    Helper,
    /// A kernel function.
    Kfunc,
    /// The memory of maps.
    Memory,
    /// A call whose target cannot be told, which nothing covers.
    Call,
}

/// What the object's code does and `permissions` do not allow, one sentence each; empty if all is covered.
///
/// Map memory belongs to all objects together: [`crate::declared::hold`] has it.
#[must_use]
pub fn uncovered(permissions: &Permissions, facts: &Facts) -> Vec<String> {
    lacks(permissions, facts).into_iter().map(|lack| lack.said).collect()
}

/// The same, with what each is about.
pub(crate) fn lacks(permissions: &Permissions, facts: &Facts) -> Vec<Lack> {
    let summary = derive(facts);
    let hooks = all_hooks(facts);
    let lacking = hooks.iter().filter_map(|(program, hook)| lacks_hook(permissions, program, hook));
    let mut all: Vec<Lack> = lacking.map(|said| Lack { said, what: Lacking::Hook }).collect();
    for (key, what, list, used) in [
        ("helpers", Lacking::Helper, &permissions.helpers, &summary.helpers),
        ("kfuncs", Lacking::Kfunc, &permissions.kfuncs, &summary.kfuncs),
    ] {
        for name in used.iter().filter(|name| !permission::covers_name(list, name)) {
            let users = users(facts, name);
            all.push(Lack {
                said: format!("{key} lacks '{name}', which is called by {users}"),
                what,
            });
        }
    }
    let absent = absent(facts);
    all.extend(summary.unknown_calls.iter().map(|program| Lack {
        said: format!("program '{program}' has a call whose target cannot be told{absent}"),
        what: Lacking::Call,
    }));
    all
}

/// What a hook of a program asks for that is not allowed.
fn lacks_hook(permissions: &Permissions, program: &ProgramFacts, hook: &Target) -> Option<String> {
    let (name, kind) = (&program.name, hook.kind());
    if kind.contains('$') {
        return Some(format!("program '{name}' leaves its kind of hook open: {hook}"));
    }
    let covered = permission::covers_hook(&permissions.hooks, hook);
    let does = if program.attached { "attaches to" } else { "is called, and is loaded for" };
    (!covered).then(|| format!("hooks lacks '{kind}': program '{name}' {does} {hook}"))
}

/// What the object calls and neither has nor declares as the kernel's, which no loader finds.
fn absent(facts: &Facts) -> String {
    let unknown = facts.outside.iter().filter(|outside| outside.kind == OutsideKind::Unknown);
    let names: Vec<String> = unknown.map(|outside| format!("'{}'", outside.name)).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; no object has {}, and none is declared __ksym", names.join(", ")),
    }
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
