//! What this kernel can do, by trying: programs that do nothing are loaded, and attached for a moment to a network namespace and a
//! cgroup of their own, to this process, or to functions of the kernel that hardly ever run. Nothing stays.
//!
//! For a process of its own: it changes its network namespace.

use std::fs;
use std::path::PathBuf;

use libbpf_sys as bpf;
use skep_adapt::Support;
use skep_spec::Target;

use crate::asm::Assembler;
use crate::attach::{AttachPlan, attach};
use crate::cgroup;
use crate::error::KernelError;
use crate::maps::{MapHandle, MapSpec, kind};
use crate::netns;
use crate::program::{LoadKind, Program};

/// What was tried, and what the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Such as `attach:xdp` or `map:ringbuf`: the standard's features.
    pub feature: String,
    /// What it answered: a "no" is the kernel's, everything else is unknown.
    pub support: Support,
    /// The kernel's words, where it has not.
    pub why: Option<String>,
    /// Whether the attachment is a link.
    pub is_link: Option<bool>,
}

/// An attach type: how its program is loaded, and where that is attached.
struct Row {
    name: &'static str,
    prog_type: u32,
    attach_type: u32,
    /// A function or tracepoint of the kernel's BTF.
    attach_to: Option<&'static str>,
    target: &'static str,
    /// What the program returns.
    returns: i32,
}

const fn row(name: &'static str, prog_type: u32, attach_type: u32, target: &'static str) -> Row {
    Row { name, prog_type, attach_type, attach_to: None, target, returns: 0 }
}

impl Row {
    const fn of(self, function: &'static str) -> Self {
        Self { attach_to: Some(function), ..self }
    }

    const fn returns(self, returns: i32) -> Self {
        Self { returns, ..self }
    }
}

/// A function that runs when a program is test-run, and not otherwise.
const TEST: &str = "bpf_fentry_test1";
/// What is done when memory runs out.
const RARE: &str = "mark_victim";

/// In the order of `docs/reference/attach-types.md`; `CGROUP` is a cgroup of our own.
const ROWS: &[Row] = &[
    row(
        "cgroup_skb",
        bpf::BPF_PROG_TYPE_CGROUP_SKB,
        bpf::BPF_CGROUP_INET_EGRESS,
        "cgroup_skb/egress:CGROUP",
    )
    .returns(1),
    row(
        "cgroup/connect4",
        bpf::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        bpf::BPF_CGROUP_INET4_CONNECT,
        "cgroup/connect4:CGROUP",
    )
    .returns(1),
    row(
        "cgroup/dev",
        bpf::BPF_PROG_TYPE_CGROUP_DEVICE,
        bpf::BPF_CGROUP_DEVICE,
        "cgroup/dev:CGROUP",
    )
    .returns(1),
    row(
        "cgroup/getsockopt",
        bpf::BPF_PROG_TYPE_CGROUP_SOCKOPT,
        bpf::BPF_CGROUP_GETSOCKOPT,
        "cgroup/getsockopt:CGROUP",
    )
    .returns(1),
    row(
        "cgroup/sock_create",
        bpf::BPF_PROG_TYPE_CGROUP_SOCK,
        bpf::BPF_CGROUP_INET_SOCK_CREATE,
        "cgroup/sock_create:CGROUP",
    )
    .returns(1),
    row(
        "cgroup/sysctl",
        bpf::BPF_PROG_TYPE_CGROUP_SYSCTL,
        bpf::BPF_CGROUP_SYSCTL,
        "cgroup/sysctl:CGROUP",
    )
    .returns(1),
    row("fentry", bpf::BPF_PROG_TYPE_TRACING, bpf::BPF_TRACE_FENTRY, "fentry/bpf_fentry_test1")
        .of(TEST),
    row("fexit", bpf::BPF_PROG_TYPE_TRACING, bpf::BPF_TRACE_FEXIT, "fexit/bpf_fentry_test1")
        .of(TEST),
    row(
        "flow_dissector",
        bpf::BPF_PROG_TYPE_FLOW_DISSECTOR,
        bpf::BPF_FLOW_DISSECTOR,
        "flow_dissector",
    ),
    row("iter", bpf::BPF_PROG_TYPE_TRACING, bpf::BPF_TRACE_ITER, "iter/task").of("task"),
    row("kprobe", bpf::BPF_PROG_TYPE_KPROBE, 0, "kprobe/bpf_fentry_test1"),
    row(
        "kprobe.multi",
        bpf::BPF_PROG_TYPE_KPROBE,
        bpf::BPF_TRACE_KPROBE_MULTI,
        "kprobe.multi/bpf_fentry_test1",
    ),
    row("lsm", bpf::BPF_PROG_TYPE_LSM, bpf::BPF_LSM_MAC, "lsm/quotactl").of("quotactl"),
    row("netfilter", bpf::BPF_PROG_TYPE_NETFILTER, bpf::BPF_NETFILTER, "netfilter:ipv4/input")
        .returns(1),
    row("perf_event", bpf::BPF_PROG_TYPE_PERF_EVENT, 0, "perf_event:cpu-clock/1hz"),
    row("raw_tp", bpf::BPF_PROG_TYPE_RAW_TRACEPOINT, 0, "raw_tp/mark_victim"),
    row("sk_lookup", bpf::BPF_PROG_TYPE_SK_LOOKUP, bpf::BPF_SK_LOOKUP, "sk_lookup").returns(1),
    row("sockops", bpf::BPF_PROG_TYPE_SOCK_OPS, bpf::BPF_CGROUP_SOCK_OPS, "sockops:CGROUP")
        .returns(1),
    row("tcx", bpf::BPF_PROG_TYPE_SCHED_CLS, bpf::BPF_TCX_INGRESS, "tcx/ingress/lo"),
    row("tracepoint", bpf::BPF_PROG_TYPE_TRACEPOINT, 0, "tracepoint/oom/mark_victim"),
    row("tp_btf", bpf::BPF_PROG_TYPE_TRACING, bpf::BPF_TRACE_RAW_TP, "tp_btf/mark_victim").of(RARE),
    row("uprobe", bpf::BPF_PROG_TYPE_KPROBE, 0, "uprobe//proc/self/exe:main"),
    row("xdp", bpf::BPF_PROG_TYPE_XDP, bpf::BPF_XDP, "xdp/lo").returns(2),
];

/// Maps without which many programs are nothing.
const MAPS: [(&str, u32, (u32, u32, u32)); 6] = [
    ("map:hash", kind::HASH, (4, 8, 1)),
    ("map:percpu_array", bpf::BPF_MAP_TYPE_PERCPU_ARRAY, (4, 8, 1)),
    ("map:ringbuf", bpf::BPF_MAP_TYPE_RINGBUF, (0, 0, 1 << 16)),
    ("map:perf_event_array", bpf::BPF_MAP_TYPE_PERF_EVENT_ARRAY, (4, 4, 1)),
    ("map:prog_array", kind::PROG_ARRAY, (4, 4, 1)),
    ("map:lpm_trie", bpf::BPF_MAP_TYPE_LPM_TRIE, (8, 8, 1)),
];

/// Tries all of it. Errors of what surrounds a try (no cgroup, no namespace) are answers as well.
#[must_use]
pub fn all() -> Vec<Tried> {
    let lonely = netns::enter_new().and_then(|()| netns::up("lo"));
    let cgroup = OwnCgroup::new();
    let maps = MAPS.iter().map(|(name, kind, sizes)| tried(name, made(*kind, *sizes)));
    let attached = ROWS.iter().map(|row| {
        let feature = format!("attach:{}", row.name);
        let needs_netns = ["xdp", "tcx", "netfilter", "sk_lookup", "flow_dissector"];
        match &lonely {
            Err(error) if needs_netns.contains(&row.name) => {
                unknown(&feature, format!("no network namespace of its own: {error}"))
            }
            _ => at(&feature, row, cgroup.as_ref()),
        }
    });
    maps.chain(attached).collect()
}

fn at(feature: &str, row: &Row, cgroup: Option<&OwnCgroup>) -> Tried {
    let target = match (row.target.strip_suffix("CGROUP"), cgroup) {
        (Some(before), Some(cgroup)) => format!("{before}{}", cgroup.0.display()),
        (Some(_), None) => {
            return unknown(feature, "no cgroup of its own could be made".to_owned());
        }
        (None, _) => row.target.to_owned(),
    };
    let kind = LoadKind {
        prog_type: row.prog_type,
        expected_attach_type: row.attach_type,
        attach_to: row.attach_to.map(str::to_owned),
        ..LoadKind::default()
    };
    let mut asm = Assembler::new();
    asm.mov_imm(0, row.returns).exit();
    let loaded = Program::load("skep_doctor", &kind, &asm.finish().unwrap_or_default());
    let attached = loaded.and_then(|program| {
        let target = target.parse::<Target>();
        let target =
            target.map_err(|e| KernelError::unsupported("read", row.target, e.to_string()))?;
        let own = ["perf_event", "uprobe"].contains(&row.name);
        let pid = own.then(std::process::id);
        attach(&program, &AttachPlan { pid, ..AttachPlan::new(target) })
    });
    let is_link = attached.as_ref().ok().map(|link| link.id().is_some());
    Tried { is_link, ..tried(feature, attached.map(drop)) }
}

fn made(
    kind: u32,
    (key_size, value_size, max_entries): (u32, u32, u32),
) -> Result<(), KernelError> {
    let flags = if kind == bpf::BPF_MAP_TYPE_LPM_TRIE { bpf::BPF_F_NO_PREALLOC } else { 0 };
    let name = "skep_doctor".to_owned();
    MapHandle::create(&MapSpec { name, kind, key_size, value_size, max_entries, flags }).map(drop)
}

fn tried(feature: &str, done: Result<(), KernelError>) -> Tried {
    let feature = feature.to_owned();
    let Err(error) = done else {
        return Tried { feature, support: Support::Yes, why: None, is_link: None };
    };
    let words = skep_spec::chain(&error);
    let why = match error.hint() {
        Some(hint) => format!("{words}: {hint}"),
        None => words,
    };
    // What may not be done, or not now, says nothing of what the kernel has.
    let is_open = matches!(
        error.errno(),
        Some(libc::EPERM | libc::EACCES | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EBUSY)
    );
    let support = if is_open { Support::Unknown(why.clone()) } else { Support::No };
    Tried { feature, support, why: Some(why), is_link: None }
}

fn unknown(feature: &str, why: String) -> Tried {
    let (feature, support) = (feature.to_owned(), Support::Unknown(why.clone()));
    Tried { feature, support, why: Some(why), is_link: None }
}

/// A cgroup with nothing in it, which goes with this value.
struct OwnCgroup(PathBuf);

impl OwnCgroup {
    fn new() -> Option<Self> {
        let folder = cgroup::root().ok()?.join(format!("skep-doctor-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        Some(Self(folder))
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0); // an empty one goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_kernel_of_ours_has_is_found() {
        // A thread of its own: it changes its network namespace.
        let all = std::thread::spawn(all).join().unwrap();
        let of = |feature: &str| all.iter().find(|one| one.feature == feature).unwrap().clone();
        for feature in
            ["map:ringbuf", "map:hash", "attach:raw_tp", "attach:tracepoint", "attach:xdp"]
        {
            assert_eq!(of(feature).support, Support::Yes, "{:?}", of(feature));
        }
        assert!(all.iter().all(|one| (one.support == Support::Yes) == one.why.is_none()));
        assert_eq!(of("attach:xdp").is_link, Some(true));
        assert_eq!(all.len(), MAPS.len() + ROWS.len());
    }

    #[test]
    fn what_may_not_be_done_is_no_lack() {
        let of = |errno| KernelError::new("try", "it", std::io::Error::from_raw_os_error(errno));
        assert!(matches!(tried("x", Err(of(libc::EPERM))).support, Support::Unknown(_)));
        assert_eq!(tried("x", Err(of(libc::EINVAL))).support, Support::No);
        assert_eq!(tried("x", Ok(())).support, Support::Yes);
    }
}
