//! Attaching a loaded program (a package's own, or a stub) to a hook.

mod action;
mod group;
mod hold;
pub mod link;
mod multi;
mod net;
pub(crate) mod perf;
mod route;
mod site;
pub mod standing;
pub(crate) mod target;
pub mod tc;
mod there;
mod uprobe;
pub mod usdt;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

pub use action::Action;
pub use group::Group;
pub use hold::called_now;
pub use link::Link;
pub use route::Route;
use skep_spec::Target;
pub use standing::Standing;
pub use there::is_there;
pub use uprobe::{FileId, file_of};

use crate::error::{ENOTSUPP, KernelError};
use crate::program::Program;
use crate::sys;

/// How XDP meets the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, else generic.
    #[default]
    Auto,
    /// In the network stack, any interface.
    Generic,
    /// In the driver, or not at all.
    Native,
}

/// Where and how to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPlan {
    /// The hook. Interfaces are looked up in the calling thread's network namespace.
    pub target: Target,
    /// What `bpf_get_attach_cookie` gives the program; needs Linux 5.15 when not 0.
    pub cookie: u64,
    /// Only this process, for uprobes and USDT.
    pub pid: Option<u32>,
    /// For XDP.
    pub xdp: XdpMode,
    /// For tc: a clsact filter even where the kernel has tcx, and its place; without it tcx, else clsact with the defaults.
    pub clsact: Option<tc::FilterPlace>,
    /// For sk_msg, sk_skb, struct_ops and iterators over a map: the id of the map that the target names by its symbol.
    pub map: Option<u32>,
    /// For USDT: the probe that the target names.
    pub usdt: Option<usdt::Described>,
}

impl AttachPlan {
    /// Attach at `target` with no options.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            cookie: 0,
            pid: None,
            xdp: XdpMode::Auto,
            clsact: None,
            map: None,
            usdt: None,
        }
    }
}

/// Attaches `program` as `plan` says. The link goes with the value that is returned, unless it is pinned.
///
/// # Errors
/// There is no such hook here; EBUSY on XDP says who is there; a target of no known kind
/// ([`crate::Loaded::attach_by_section`] may know it).
pub fn attach(program: &Program, plan: &AttachPlan) -> Result<Link, KernelError> {
    match &plan.target {
        Target::Tracepoint { category, name } => perf::tracepoint(program, category, name, plan),
        Target::RawTracepoint(name) => raw_tracepoint(program, Some(name), plan),
        Target::TpBtf(_) | Target::Fentry(_) | Target::Fexit(_) => trampoline(program, plan),
        Target::Kprobe { function, offset, ret } => {
            perf::kprobe(program, function, *offset, *ret, plan)
        }
        Target::Uprobe { binary, function, offset, ret } => {
            uprobe::attach(program, binary, (function.as_str(), *offset), *ret, plan)
        }
        Target::Usdt { .. } => usdt::attach(program, plan),
        Target::Xdp { interface, .. } => net::xdp(program, interface, plan),
        Target::Tc { egress, interface } => tc::attach(program, interface, *egress, plan),
        Target::CgroupSkb { egress, cgroup } => net::cgroup_skb(program, cgroup, *egress),
        Target::At { place, .. } => site::attach(program, place, plan),
        Target::Other(text) => by_word(program, text, plan),
    }
}

/// Whether [`attach`] can attach at a target by itself; what else there is libbpf attaches while it has the object
/// ([`crate::Loaded::attach_by_section`]).
#[must_use]
pub fn is_known(target: &Target) -> bool {
    match target {
        Target::Other(text) => {
            let (word, place) = text.split_once('/').unwrap_or((text, ""));
            !place.is_empty() && (BOUND.contains(&plain(word)) || multi::is_known(word))
        }
        _ => true,
    }
}

/// Kinds whose programs are bound to a function or a hook of LSM when they are loaded.
const BOUND: [&str; 3] = ["fmod_ret", "fsession", "lsm"];

/// The word of a section without what says that the program may sleep.
fn plain(word: &str) -> &str {
    word.strip_suffix(".s").unwrap_or(word)
}

/// Kinds that have no type of their own among targets.
fn by_word(program: &Program, text: &str, plan: &AttachPlan) -> Result<Link, KernelError> {
    let (word, place) = text.split_once('/').unwrap_or((text, ""));
    match plain(word) {
        word if BOUND.contains(&word) => trampoline(program, plan),
        word if multi::is_known(word) => multi::attach(program, word, place, plan),
        _ => Err(KernelError::unsupported(
            "attach at",
            text,
            "libbpf attaches this kind by its section, while its object is being loaded",
        )),
    }
}

/// The error of attaching `program` at the plan's target.
fn failed(program: &Program, plan: &AttachPlan, source: io::Error) -> KernelError {
    let thing = format!("the program '{}' at {}", program.name(), plan.target);
    KernelError::new("attach", thing, source)
}

fn raw_tracepoint(
    program: &Program,
    name: Option<&str>,
    plan: &AttachPlan,
) -> Result<Link, KernelError> {
    let refuse = |e: io::Error| match e.raw_os_error() {
        Some(libc::ENOENT) => {
            failed(program, plan, e).with_hint("this kernel has no such tracepoint")
        }
        _ => failed(program, plan, e),
    };
    let name = name.map(sys::cstring).transpose().map_err(refuse)?;
    let mut opts = libbpf_sys::bpf_raw_tp_opts {
        sz: sys::size::<libbpf_sys::bpf_raw_tp_opts>(),
        tp_name: name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()),
        cookie: plan.cookie,
    };
    // SAFETY: an open program and options whose string outlives the call.
    let fd = sys::owned(unsafe {
        libbpf_sys::bpf_raw_tracepoint_open_opts(program.as_fd().as_raw_fd(), &raw mut opts)
    });
    Ok(Link::from_fd(fd.map_err(refuse)?))
}

/// tp_btf, fentry, fexit, fmod_ret, LSM: the target is in the program; the oldest call serves every kernel.
fn trampoline(program: &Program, plan: &AttachPlan) -> Result<Link, KernelError> {
    if plan.cookie == 0 {
        return raw_tracepoint(program, None, plan).map_err(|e| match e.errno() {
            Some(ENOTSUPP) => e.with_hint(
                "this kernel has no trampolines for such programs (fentry and fexit need ftrace)",
            ),
            Some(libc::EBUSY) => e.with_hint(
                "the function does not begin as traceable ones do (a part of one that the compiler split, or notrace), or another tracer changed that",
            ),
            _ => e,
        });
    }
    let mut opts = link_options();
    opts.__bindgen_anon_1.tracing.cookie = plan.cookie;
    let fd = create_link(program, 0, program.kind().expected_attach_type, &opts);
    Ok(Link::from_fd(fd.map_err(|e| failed(program, plan, e))?))
}

/// [`attach`] where the program may be on the hook still: a worker of the kernel takes it off some time after the link's last
/// pin went. Tries for half a second while the hook is taken.
///
/// # Errors
/// As [`attach`].
pub fn attach_when_free(program: &Program, plan: &AttachPlan) -> Result<Link, KernelError> {
    const PATIENCE: Duration = Duration::from_millis(500);
    const TURN: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attach(program, plan) {
            Err(e) if is_taken(&e) && Instant::now() < deadline => std::thread::sleep(TURN),
            other => return other,
        }
    }
}

fn is_taken(error: &KernelError) -> bool {
    matches!(error.errno(), Some(libc::EEXIST | libc::EBUSY))
}

fn link_options() -> libbpf_sys::bpf_link_create_opts {
    libbpf_sys::bpf_link_create_opts {
        sz: sys::size::<libbpf_sys::bpf_link_create_opts>(),
        ..Default::default()
    }
}

/// BPF_LINK_CREATE; `target` is an fd or an interface's index, by `attach_type`.
fn create_link(
    program: &Program,
    target: i32,
    attach_type: u32,
    opts: &libbpf_sys::bpf_link_create_opts,
) -> io::Result<OwnedFd> {
    // SAFETY: an open program, and options of ours whose pointers, if any, outlive the call.
    sys::owned(unsafe {
        libbpf_sys::bpf_link_create(
            program.as_fd().as_raw_fd(),
            target,
            attach_type,
            std::ptr::from_ref(opts),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::asm::Assembler;
    use crate::bpffs;
    use crate::netns;
    use crate::program::LoadKind;

    fn nothing(prog_type: u32, result: i32) -> Program {
        let mut asm = Assembler::new();
        asm.mov_imm(0, result).exit();
        let kind = LoadKind { prog_type, ..LoadKind::default() };
        Program::load("attach_test", &kind, &asm.finish().unwrap()).unwrap()
    }

    fn plan(target: &str) -> AttachPlan {
        AttachPlan::new(target.parse().unwrap())
    }

    /// Runs `test` on the loopback of a namespace of its own.
    fn on_lo(test: impl FnOnce() + Send + 'static) {
        let work = || {
            netns::enter_new().unwrap();
            netns::up("lo").unwrap();
            test();
        };
        std::thread::spawn(work).join().unwrap();
    }

    #[test]
    fn a_taken_interface_says_who_is_there() {
        on_lo(|| {
            let program = nothing(libbpf_sys::BPF_PROG_TYPE_XDP, 2);
            let first = attach(&program, &plan("xdp/lo")).unwrap();
            let error = attach(&program, &plan("xdp/lo")).unwrap_err();
            assert_eq!(error.errno(), Some(libc::EBUSY));
            assert_eq!(error.to_string(), "cannot attach the program 'attach_test' at xdp/lo");
            assert!(error.hint().is_some_and(|hint| hint.contains("'attach_test'")), "{error:?}");
            first.detach().unwrap();
            attach(&program, &plan("xdp/lo")).unwrap();
        });
    }

    #[test]
    fn a_hook_whose_pin_was_just_removed_is_waited_for() {
        let path = Path::new(bpffs::DEFAULT).join(format!("skep_left_{}", std::process::id()));
        on_lo(move || {
            let program = nothing(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, -1);
            for _ in 0..200 {
                let link = attach_when_free(&program, &plan("tcx/ingress/lo")).unwrap();
                if matches!(link.kind(), link::LinkKind::Standing(_)) {
                    return; // before 6.6 a tc filter, which cannot be pinned
                }
                link.pin(&path).unwrap();
                drop(link);
                bpffs::unpin(&path).unwrap();
            }
        });
    }

    #[test]
    fn parts_are_taken_off_wherever_their_pinning_was_cut_off() {
        let folder = Path::new(bpffs::DEFAULT).join(format!("skep_parts_{}", std::process::id()));
        on_lo(move || {
            std::fs::create_dir(&folder).unwrap();
            let path = folder.join("link");
            let programs = [(); 4].map(|()| nothing(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, -1));
            let attached = || programs.iter().map(|p| attach(p, &plan("tcx/ingress/lo")).unwrap());
            for cut in 0..=4 {
                let links: Vec<Link> = attached().collect();
                if matches!(links[0].kind(), link::LinkKind::Standing(_)) {
                    break; // before 6.6 a tc filter, which cannot be pinned
                }
                let link = Link::several(links);
                for (part, pin) in link.parts(&path).into_iter().skip(cut) {
                    part.pin(&pin).unwrap();
                }
                drop(link);
                Link::take_off(&path).unwrap();
                assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{cut}");
                attached().for_each(drop); // nobody is there any more
            }
            std::fs::remove_dir(&folder).unwrap();
        });
    }

    #[test]
    fn a_pipe_in_a_target_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let program = nothing(libbpf_sys::BPF_PROG_TYPE_FLOW_DISSECTOR, 0);
        let (sender, ended) = std::sync::mpsc::channel();
        let target = format!("flow_dissector:{}", pipe.display());
        std::thread::spawn(move || sender.send(attach(&program, &plan(&target)).map(drop)));
        let refused = ended.recv_timeout(std::time::Duration::from_secs(30)).expect("an answer");
        let error = refused.unwrap_err();
        assert!(
            error.hint().is_some_and(|hint| hint.contains("a network namespace?")),
            "{error:?}"
        );
    }

    #[test]
    fn a_filter_goes_with_its_link_unless_it_is_kept() {
        on_lo(|| {
            let program = nothing(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, -1);
            let place = tc::FilterPlace { priority: 5, handle: 3 };
            let plan = AttachPlan { clsact: Some(place), ..plan("tcx/egress/lo") };
            let filter = tc::Filter { ifindex: 1, egress: true, place };
            let link = attach(&program, &plan).unwrap();
            assert!(
                !link.pinnable()
                    && link.kind() == link::LinkKind::Standing(Standing::Filter(filter))
            );
            assert_eq!(filter.program_id().unwrap(), Some(program.id().unwrap()));
            assert_eq!(attach(&program, &plan).unwrap_err().errno(), Some(libc::EEXIST));
            drop(link);
            assert_eq!(filter.program_id().unwrap(), None);
            attach(&program, &plan).unwrap().keep();
            assert_eq!(filter.program_id().unwrap(), Some(program.id().unwrap()));
            Link::from_standing(Standing::Filter(filter)).detach().unwrap();
            assert_eq!(filter.program_id().unwrap(), None);
        });
    }

    #[test]
    fn hooks_that_are_not_there() {
        let refused = |prog_type, target: &str| {
            attach(&nothing(prog_type, 0), &plan(target)).map(|_| ()).unwrap_err()
        };
        let error = refused(libbpf_sys::BPF_PROG_TYPE_XDP, "xdp/no-such-if");
        assert_eq!(error.hint(), Some("there is no interface 'no-such-if' here: see ip link"));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_XDP, "xdp");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("name an interface")));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT, "raw_tp/no_such");
        assert_eq!(error.errno(), Some(libc::ENOENT));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_KPROBE, "uprobe//no/such:main");
        assert_eq!(error.to_string(), "cannot find the binary '/no/such'");
        let error = refused(libbpf_sys::BPF_PROG_TYPE_KPROBE, "uprobe");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("name a binary")));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_CGROUP_SKB, "cgroup_skb/egress:/no-such");
        assert_eq!(error.errno(), Some(libc::ENOENT));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_TRACEPOINT, "tp/sched/no_such");
        assert!(error.hint().is_some_and(|hint| hint.contains("no such tracepoint")));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_SOCK_OPS, "sockops");
        assert_eq!(error.hint(), Some("name a cgroup: sockops:/system.slice"));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_SK_MSG, "sk_msg");
        assert_eq!(error.hint(), Some("name a sockmap: sk_msg:sockets"));
        let error = refused(libbpf_sys::BPF_PROG_TYPE_SK_MSG, "sk_msg:/no/such");
        assert_eq!(error.errno(), Some(libc::ENOENT));
    }
}
