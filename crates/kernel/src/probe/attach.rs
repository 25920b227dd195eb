//! Features that only an attachment shows: a program type that loads may still not attach (fentry without ftrace).

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use skep_adapt::{Feature, Support};
use skep_spec::Target;

use super::refusal;
use crate::asm::Assembler;
use crate::attach::{AttachPlan, attach, tc};
use crate::error::{ENOTSUPP, KernelError};
use crate::program::{Program, ProgramKind};
use crate::vmlinux::{self, BtfKind};
use crate::{netns, sys, tracefs};

/// The kernel's own target for tests of trampolines (net/bpf/test_run.c, Linux 5.5): nobody else calls it.
const TEST_FUNCTION: &str = "bpf_fentry_test1";
/// A tracepoint that every kernel has and that fires rarely.
const QUIET_TRACEPOINT: &str = "task_rename";

type Answers = Vec<(Feature, Support)>;

pub(super) fn answers(open: &dyn Fn(&Feature) -> bool) -> Answers {
    let mut answers = Answers::new();
    // All names in one pass; it is no matter here if there is no BTF.
    let _ = vmlinux::ids(&[
        (TEST_FUNCTION, BtfKind::Func),
        (concat!("btf_trace_", "task_rename"), BtfKind::Typedef),
    ]);
    for (name, probe) in PROBES {
        let feature = Feature::Attach((*name).to_owned());
        if open(&feature) {
            answers.push((feature, probe()));
        }
    }
    let perf = ["tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe"];
    if perf.iter().any(|name| open(&Feature::Link((*name).to_owned()))) {
        let answer = perf_link();
        answers.extend(perf.map(|name| (Feature::Link(name.to_owned()), answer.clone())));
    }
    answers.extend(on_interfaces(open));
    answers
}

type Probe = fn() -> Support;

const PROBES: &[(&str, Probe)] = &[
    ("tracepoint", || of(tracefs::tracepoint_id("task", QUIET_TRACEPOINT).map(drop))),
    ("raw_tp", || tried("raw_tp", QUIET_TRACEPOINT, libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT, 0)),
    ("tp_btf", || traced("tp_btf", QUIET_TRACEPOINT, libbpf_sys::BPF_TRACE_RAW_TP)),
    ("fentry", || traced("fentry", TEST_FUNCTION, libbpf_sys::BPF_TRACE_FENTRY)),
    ("fexit", || traced("fexit", TEST_FUNCTION, libbpf_sys::BPF_TRACE_FEXIT)),
    ("kprobe", || unit("kprobe")),
    ("kretprobe", || unit("kprobe")),
    ("uprobe", || unit("uprobe")),
    ("uretprobe", || unit("uprobe")),
    ("cgroup_skb", cgroup_link),
];

/// An answer to a try whose failure with EINVAL, ENOENT and such means that the kernel lacks the thing.
fn of(result: Result<(), KernelError>) -> Support {
    const LACKING: &[i32] = &[
        libc::EINVAL,
        libc::ENOENT,
        libc::ESRCH,
        libc::EOPNOTSUPP,
        libc::ENOSYS,
        libc::EBUSY,
        ENOTSUPP,
    ];
    result.map_or_else(|e| refusal(e.errno(), LACKING), |()| Support::Yes)
}

fn traced(kind: &str, name: &str, attach_type: u32) -> Support {
    tried(kind, name, libbpf_sys::BPF_PROG_TYPE_TRACING, attach_type)
}

/// Loads a program that does nothing, attaches it and lets it go.
fn tried(kind: &str, name: &str, prog_type: u32, expected_attach_type: u32) -> Support {
    let attach_to = Some(name.to_owned());
    let program = nothing(prog_type, expected_attach_type, attach_to, 0);
    let Ok(target) = format!("{kind}/{name}").parse() else {
        return refusal(None, &[]);
    };
    of(program.and_then(|program| attach(&program, &AttachPlan::new(target)).map(drop)))
}

fn nothing(
    prog_type: u32,
    expected_attach_type: u32,
    attach_to: Option<String>,
    result: i32,
) -> Result<Program, KernelError> {
    let mut asm = Assembler::new();
    asm.mov_imm(0, result).exit();
    let kind = ProgramKind { prog_type, expected_attach_type, attach_to, ..ProgramKind::default() };
    Program::load("skep_probe", &kind, &asm.finish().unwrap_or_default())
}

/// A dynamic perf unit: opening an event of it on a function would register a probe, which takes long to undo.
fn unit(name: &str) -> Support {
    match Path::new("/sys/bus/event_source/devices").join(name).join("type").try_exists() {
        Ok(true) => Support::Yes,
        Ok(false) => Support::No,
        Err(e) => Support::Unknown(e.to_string()),
    }
}

/// A link to an fd that is none: a kernel that knows perf links says EBADF, one that doesn't EINVAL.
fn perf_link() -> Support {
    let program = nothing(libbpf_sys::BPF_PROG_TYPE_TRACEPOINT, 0, None, 0);
    with_bad_fd(program, libbpf_sys::BPF_PERF_EVENT)
}

fn cgroup_link() -> Support {
    let kind = libbpf_sys::BPF_CGROUP_INET_EGRESS;
    with_bad_fd(nothing(libbpf_sys::BPF_PROG_TYPE_CGROUP_SKB, kind, None, 1), kind)
}

fn with_bad_fd(program: Result<Program, KernelError>, attach_type: u32) -> Support {
    nowhere(program, -1, attach_type, libc::EBADF)
}

/// A link to a target that isn't there: `knows` is what a kernel says that knows the attach type, EINVAL what
/// one says that doesn't.
fn nowhere(
    program: Result<Program, KernelError>,
    target: i32,
    attach_type: u32,
    knows: i32,
) -> Support {
    let program = match program {
        Ok(program) => program,
        Err(e) => return refusal(e.errno(), &[libc::EINVAL]),
    };
    let fd = program.as_fd().as_raw_fd();
    // SAFETY: an open program, a target that is none, no options.
    let made = sys::owned(unsafe {
        libbpf_sys::bpf_link_create(fd, target, attach_type, std::ptr::null())
    });
    match made.map_err(|e| e.raw_os_error()) {
        Ok(_) => Support::Yes,
        Err(Some(errno)) if errno == knows => Support::Yes,
        Err(errno) => refusal(errno, &[libc::EINVAL]),
    }
}

/// XDP, tcx and, where that is missing, clsact. Attaching to an interface and detaching wait for RCU, 50 ms in
/// all, so what need not be tried for that isn't.
fn on_interfaces(open: &dyn Fn(&Feature) -> bool) -> Answers {
    let mut answers = Answers::new();
    if open(&Feature::Attach("xdp".to_owned())) {
        // The link came in 5.9, before our oldest kernel, and with the type: one load tells both.
        let xdp = nothing(libbpf_sys::BPF_PROG_TYPE_XDP, libbpf_sys::BPF_XDP, None, 2).map(drop);
        let answer = of(xdp);
        answers.push((Feature::Attach("xdp".to_owned()), answer.clone()));
        answers.push((Feature::Link("xdp".to_owned()), answer));
    }
    if open(&Feature::Attach("tcx".to_owned())) {
        let program = nothing(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, 0, None, -1);
        let tcx = nowhere(program, i32::MAX, libbpf_sys::BPF_TCX_INGRESS, libc::ENODEV);
        // Trying clsact loads its module: only where it is the way.
        if tcx.is_no() && open(&Feature::Attach("tc".to_owned())) {
            answers.push((Feature::Attach("tc".to_owned()), clsact()));
        }
        answers.push((Feature::Attach("tcx".to_owned()), tcx.clone()));
        answers.push((Feature::Link("tcx".to_owned()), tcx));
    }
    answers
}

/// A filter on the loopback of a network namespace of its own.
fn clsact() -> Support {
    let work = || {
        let here = |e| KernelError::new("enter", "a network namespace", e);
        netns::enter_new().map_err(here)?;
        let program = nothing(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, 0, None, -1)?;
        let target = Target::Tc { egress: false, interface: "lo".to_owned() };
        let clsact = Some(tc::Place { priority: 1, handle: 1 });
        attach(&program, &AttachPlan { clsact, ..AttachPlan::new(target) }).map(drop)
    };
    std::thread::spawn(work).join().map_or_else(|_| refusal(None, &[]), of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clsact_works_here() {
        assert_eq!(clsact(), Support::Yes);
    }
}
