//! Whether what a program is to attach to is there, asked before anything is loaded.

use std::fs;
use std::io;
use std::path::Path;

use skep_spec::nearest::nearest;
use skep_spec::site::Over;
use skep_spec::{Site, Target};

use super::{AttachPlan, attach, group, multi, net, site, uprobe, usdt};
use crate::asm::Assembler;
use crate::cgroup;
use crate::error::KernelError;
use crate::program::{LoadKind, Program};
use crate::tracefs;
use crate::vmlinux::{self, BtfKind};

/// The kernel's BTF and that of its modules, a file each.
const BTF: &str = "/sys/kernel/btf";
/// All functions of the kernel and its modules.
const FUNCTIONS: &str = "/proc/kallsyms";

/// Says if this kernel or host surely lacks what `target` names: a tracepoint, a function, a file, a symbol or a byte in it, any
/// function that a pattern fits, an interface of the calling thread's network namespace, a cgroup. No program of anybody's is loaded, and nothing is attached but
/// a program of ours that does nothing, for a moment, on a raw tracepoint that the kernel's BTF does not name.
///
/// What cannot be told is taken to be there: attaching says the rest.
///
/// # Errors
/// It is not there; the hint says what to do, and names what is like it.
pub fn is_there(target: &Target) -> Result<(), KernelError> {
    match target {
        Target::Tracepoint { category, name } => tracepoint(category, name),
        Target::RawTracepoint(name) => raw_tracepoint(name),
        Target::TpBtf(name) => match in_btf(&format!("btf_trace_{name}"), BtfKind::Typedef) {
            Some(false) => Err(no_raw_tracepoint(name)),
            _ => Ok(()),
        },
        Target::Fentry(name) | Target::Fexit(name) => match in_btf(name, BtfKind::Func) {
            Some(false) => Err(no_function(name, "the kernel's BTF has no such function")),
            _ => Ok(()),
        },
        Target::Kprobe { function, .. } => match in_kallsyms(function) {
            Some(false) => Err(no_function(function, "this kernel has no such function")),
            _ => Ok(()),
        },
        Target::Uprobe { binary, function, offset, .. } => {
            uprobe::find(binary, function, *offset).map(drop)
        }
        Target::Usdt { binary, provider, name } => usdt::is_there(binary, provider, name),
        Target::Xdp { interface, .. } | Target::Tc { interface, .. } => has_interface(interface),
        Target::CgroupSkb { cgroup, .. } => cgroup::folder(cgroup).map(drop),
        Target::At { place, .. } => match target.site() {
            Some(Site::Iterator(Over::Cgroup)) if place.is_empty() => Ok(()),
            Some(Site::Cgroup | Site::Iterator(Over::Cgroup)) => cgroup::folder(place).map(drop),
            Some(Site::Netkit | Site::Socket) => has_interface(place),
            Some(Site::Netns) => {
                let file = site::netns_file(place);
                let found = fs::metadata(file).map(drop);
                found.map_err(|e| KernelError::new("find the network namespace", file, e))
            }
            Some(Site::SockMap | Site::Iterator(Over::Map)) if place.starts_with('/') => {
                let found = fs::metadata(place).map(drop);
                found.map_err(|e| KernelError::new("find the pinned map", place, e))
            }
            Some(Site::Route) => match place.parse::<skep_spec::site::Route>() {
                Ok(route) => has_interface(&route.interface),
                Err(_) => Ok(()),
            },
            Some(Site::Action) => match place.parse::<skep_spec::site::Direction>() {
                Ok(direction) => has_interface(&direction.interface),
                Err(_) => Ok(()),
            },
            Some(Site::Group) => match place.parse() {
                Ok(address) => group::is_there(address),
                Err(_) => Ok(()),
            },
            Some(Site::Program) => match place.parse() {
                Ok(program) => Program::extended(&program).map(drop),
                Err(_) => Ok(()),
            },
            Some(Site::Netfilter | Site::PerfEvent | Site::SockMap) => Ok(()),
            Some(Site::Interface | Site::Iterator(_)) | None => Ok(()),
        },
        Target::Other(section) => multi::is_there(section),
    }
}

fn has_interface(interface: &str) -> Result<(), KernelError> {
    net::index_of(interface).map(drop).map_err(|e| {
        let thing = format!("the interface '{interface}'");
        KernelError::new("find", thing, e).with_hint(net::hint_for(interface))
    })
}

fn absent(thing: String) -> KernelError {
    KernelError::new("find", thing, io::Error::from_raw_os_error(libc::ENOENT))
}

fn tracepoint(category: &str, name: &str) -> Result<(), KernelError> {
    match tracefs::tracepoint_id(category, name) {
        Err(error) if error.is_not_found() => {
            let (wanted, all) = (format!("{category}/{name}"), tracefs::tracepoints());
            let elsewhere = all.iter().find(|one| one.ends_with(&format!("/{name}")));
            let near = elsewhere.map(String::as_str);
            let near = near.or_else(|| nearest(&wanted, all.iter().map(String::as_str)));
            Err(error.with_hint(no_such_tracepoint(near)))
        }
        _ => Ok(()),
    }
}

fn no_such_tracepoint(near: Option<&str>) -> String {
    let what = "this kernel has no such tracepoint";
    match near {
        Some(near) => format!("{what}; did you mean '{near}'?"),
        None => format!("{what}: see /sys/kernel/tracing/events"),
    }
}

/// Some have no events in tracefs, and those of modules need no BTF: where neither is there, the kernel is asked.
fn raw_tracepoint(name: &str) -> Result<(), KernelError> {
    if in_btf(&format!("btf_trace_{name}"), BtfKind::Typedef) == Some(true) {
        return Ok(());
    }
    let mut asm = Assembler::new();
    asm.mov_imm(0, 0).exit();
    let kind =
        LoadKind { prog_type: libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT, ..LoadKind::default() };
    let nothing = Program::load("skep_probe", &kind, &asm.finish().unwrap_or_default());
    let plan = AttachPlan::new(Target::RawTracepoint(name.to_owned()));
    match nothing.and_then(|nothing| attach(&nothing, &plan)) {
        Err(error) if error.is_not_found() => Err(no_raw_tracepoint(name)),
        _ => Ok(()),
    }
}

fn no_raw_tracepoint(name: &str) -> KernelError {
    let all = tracefs::tracepoints();
    // Those of system calls are made of two others.
    let raw = all.iter().filter(|one| !one.starts_with("syscalls/"));
    let near = nearest(name, raw.filter_map(|one| Some(one.split_once('/')?.1)));
    absent(format!("the raw tracepoint {name}")).with_hint(no_such_tracepoint(near))
}

fn no_function(name: &str, what: &str) -> KernelError {
    let hint = format!(
        "{what}: it may be inlined, have another name in this version, or be in a module that is not loaded; see {FUNCTIONS}"
    );
    absent(format!("the kernel function {name}")).with_hint(hint)
}

/// Whether the BTF of the kernel or of a module has a name; none where there is no BTF.
fn in_btf(name: &str, kind: BtfKind) -> Option<bool> {
    let found = vmlinux::ids(&[(name, kind)]).ok()?;
    if found.first().copied().flatten().is_some() {
        return Some(true);
    }
    // A module's own strings hold its names; of what kind they are is not looked at.
    let wanted = [&[0], name.as_bytes(), &[0]].concat();
    let has = |path: &Path| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    let modules = fs::read_dir(BTF).ok()?.flatten().map(|entry| entry.path());
    Some(modules.filter(|path| !path.ends_with("vmlinux")).any(|path| has(&path)))
}

/// Whether the kernel or a module has a function; none where it does not tell its names.
fn in_kallsyms(function: &str) -> Option<bool> {
    if function.contains(':') {
        return None; // MODULE:FUNCTION
    }
    functions(|name| name == function)
}

/// Whether the kernel or a module has such a function; none where it does not tell its names.
pub(super) fn functions(is_it: impl Fn(&str) -> bool) -> Option<bool> {
    let text = fs::read_to_string(FUNCTIONS).ok().filter(|text| !text.is_empty())?;
    let mut names = text.lines().filter_map(|line| line.split_ascii_whitespace().nth(2));
    Some(names.any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(target: &str) -> Result<(), String> {
        let found = is_there(&target.parse().unwrap());
        found.map_err(|error| format!("{error}: {}", error.hint().unwrap_or_default()))
    }

    #[test]
    fn what_is_there() {
        let own = std::env::current_exe().unwrap();
        for target in [
            "tp/task/task_rename",
            "raw_tp/task_rename",
            "raw_tp/pelt_cfs_tp", // without an event
            "tp_btf/task_rename",
            "fentry/bpf_fentry_test1",
            "fexit/bpf_fentry_test1",
            "kprobe/vfs_read+0x10",
            &format!("uprobe/{}:main", own.display()),
            &format!("uprobe/{}:+{:#x}", own.display(), own.metadata().unwrap().len() - 1),
            &format!("uprobe.multi/{}:mai?", own.display()),
            &format!("uretprobe.multi.s/{}:*", own.display()),
            "uprobe.multi/libc.so.6:nope*", // libbpf finds the file
            "kprobe.multi/vfs_*",
            "xdp/lo",
            "tcx/egress/lo",
            "cgroup_skb/ingress:/",
            "cgroup/connect4:/",
            "sk_lookup",
            "flow_dissector:/proc/self/ns/net",
            "socket:lo",
            "netfilter:ipv4/input",
            "perf_event:cpu-clock/1",
            "sk_msg:sockets",
            "sk_msg",
        ] {
            assert_eq!(said(target), Ok(()), "{target}");
        }
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is_like_it() {
        let no_such = "this kernel has no such tracepoint";
        let functions = "it may be inlined, have another name in this version, or be in a module that is not loaded; see /proc/kallsyms";
        for (target, words) in [
            (
                "tp/task/task_renam",
                format!("cannot find the tracepoint task/task_renam: {no_such}; did you mean 'task/task_rename'?"),
            ),
            (
                "tp/sched/task_rename",
                format!("cannot find the tracepoint sched/task_rename: {no_such}; did you mean 'task/task_rename'?"),
            ),
            (
                "tp/sched/nothing_like_it_anywhere",
                format!("cannot find the tracepoint sched/nothing_like_it_anywhere: {no_such}: see /sys/kernel/tracing/events"),
            ),
            (
                "raw_tp/task_ranme",
                format!("cannot find the raw tracepoint task_ranme: {no_such}; did you mean 'task_rename'?"),
            ),
            (
                "tp_btf/task_ranme",
                format!("cannot find the raw tracepoint task_ranme: {no_such}; did you mean 'task_rename'?"),
            ),
            (
                "fentry/no_such_function_of_all",
                format!("cannot find the kernel function no_such_function_of_all: the kernel's BTF has no such function: {functions}"),
            ),
            (
                "kretprobe/no_such_function_of_all",
                format!("cannot find the kernel function no_such_function_of_all: this kernel has no such function: {functions}"),
            ),
            (
                "uprobe//no/such/file:main",
                "cannot find the binary '/no/such/file': name an absolute path, or a library or program in the usual folders".to_owned(),
            ),
            (
                "sk_lookup:/run/netns/no-such-of-skep",
                "cannot find the network namespace /run/netns/no-such-of-skep: ".to_owned(),
            ),
            (
                "xdp/nosuch0",
                "cannot find the interface 'nosuch0': there is no interface 'nosuch0' here: see ip link".to_owned(),
            ),
        ] {
            assert_eq!(said(target), Err(words));
        }
        let own = std::env::current_exe().unwrap();
        let symbol = said(&format!("uprobe/{}:no_such_function", own.display())).unwrap_err();
        assert!(symbol.starts_with("cannot find the function 'no_such_function' in "), "{symbol}");
        let size = own.metadata().unwrap().len();
        let beyond = said(&format!("uprobe/{}:+{size:#x}", own.display())).unwrap_err();
        assert!(
            beyond.starts_with(&format!("cannot find byte {size:#x} of {}: ", own.display())),
            "{beyond}"
        );
        let beyond = said(&format!("uprobe/{}:main+{:#x}", own.display(), u64::MAX)).unwrap_err();
        assert!(beyond.contains("of 'main' in "), "{beyond}");
        for (kind, like) in
            [("uprobe.multi", "nope*"), ("uretprobe.multi.s", "no?pe"), ("uprobe.session", "nope")]
        {
            let none = said(&format!("{kind}/{}:{like}", own.display())).unwrap_err();
            let start = format!(
                "cannot find a function like '{like}' in {}: see the functions of ",
                own.display()
            );
            assert!(none.starts_with(&start), "{none}");
        }
        let none = said("kprobe.multi/no_such_function_*").unwrap_err();
        assert!(
            none.starts_with("cannot find a kernel function like 'no_such_function_*': "),
            "{none}"
        );
        let cgroup = said("cgroup_skb/egress:/no-such-cgroup").unwrap_err();
        assert!(cgroup.starts_with("cannot find the cgroup /no-such-cgroup: "), "{cgroup}");
    }
}
