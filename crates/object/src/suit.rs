//! Whether a program can attach where it is told to.

use skep_spec::manifest::{Manifest, Program};
use skep_spec::{Arch, Target, param};

use crate::{Facts, ProgramFacts, ProgramKind};

/// A target that is none of the program's kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the program '{program}' (SEC(\"{section}\")) can't attach at '{target}': {}",
    forms.map_or("it attaches where its section says, and nowhere else".to_owned(), |forms| format!("its kind attaches at {forms}"))
)]
pub struct Unsuited {
    /// The function.
    pub program: String,
    /// Its section.
    pub section: String,
    /// The target as it was given.
    pub target: String,
    /// How targets of its kind are written.
    pub forms: Option<&'static str>,
}

/// A program of a kind that no service can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("skepd can't attach the program '{program}' (SEC(\"{section}\")): {why}")]
pub struct Unattachable {
    /// The function.
    pub program: String,
    /// Its section.
    pub section: String,
    /// Why.
    pub why: &'static str,
}

/// Kinds that libbpf attaches by their section, to a link that can be pinned.
const BY_SECTION: [&str; 9] = [
    "kprobe.multi",
    "kretprobe.multi",
    "kprobe.session",
    "uprobe.multi",
    "uretprobe.multi",
    "uprobe.session",
    "fmod_ret",
    "fsession",
    "lsm",
];

/// Kinds that need a place behind a slash to attach to.
const NEED_PLACE: [&str; 7] =
    ["tp", "tracepoint", "raw_tp", "raw_tracepoint", "tp_btf", "fentry", "fexit"];

/// Whether a service can have a program at this target, as [`plain`] gives it.
///
/// # Errors
/// It is of a kind that attaches to what only its own loader knows, or that nothing holds but a process.
pub fn attachable(program: &ProgramFacts, target: &Target) -> Result<(), Unattachable> {
    let refused = |why| {
        let (program, section) = (program.name.clone(), program.section.clone());
        Err(Unattachable { program, section, why })
    };
    if is_called(program) {
        return Ok(());
    }
    if let Some(why) = by_entry(program) {
        return refused(why);
    }
    let Target::Other(text) = target else { return Ok(()) };
    let (kind, place) = text.split_once('/').unwrap_or((text, ""));
    let kind = kind.strip_suffix(".s").unwrap_or(kind);
    let why = match kind {
        "kprobe" | "kretprobe" | "ksyscall" | "kretsyscall" => {
            "its section names no function, and it has no target"
        }
        "uprobe" | "uretprobe" if !place.is_empty() => {
            "its section is not /path/of/binary:function[+offset], and it has no target"
        }
        "usdt" => "its section is not /path/of/binary:provider:name, and it has no target",
        _ if place.is_empty() && NEED_PLACE.contains(&kind) => {
            "its section names no place, and it has no target"
        }
        _ if !BY_SECTION.contains(&kind) => {
            "programs of its kind attach to what their own loader chooses, such as a socket or a map"
        }
        _ if place.is_empty() => "its section names no place, and it has no target",
        _ => return Ok(()),
    };
    refused(why)
}

/// Whether a program runs when it is asked to, or where an entry of a map names it, and attaches nowhere: a service has it, and
/// people run it or put it into entries.
#[must_use]
pub fn is_called(program: &ProgramFacts) -> bool {
    matches!(program.attach_type, Some("xdp_devmap" | "xdp_cpumap"))
        || ProgramKind::of_section(&program.section) == Some(ProgramKind::Syscall)
}

/// Why no loader loads a program, whatever its target.
#[must_use]
pub fn by_entry(program: &ProgramFacts) -> Option<&'static str> {
    if is_called(program) {
        return None;
    }
    // libbpf takes these sections whole, and what it does not know it does not load.
    match Target::of(&program.section) {
        Target::Xdp { interface: place, .. }
        | Target::Tc { interface: place, .. }
        | Target::CgroupSkb { cgroup: place, .. }
        | Target::At { place, .. }
            if !place.is_empty() =>
        {
            Some(
                "no loader knows a section that names an interface or a cgroup: leave it out of SEC, and write the whole as the program's target",
            )
        }
        _ => None,
    }
}

/// Whether a program can attach at all, wherever its manifest puts it.
///
/// # Errors
/// As [`by_entry`] says, or its section has no kind.
pub fn loadable(program: &ProgramFacts) -> Result<(), Unattachable> {
    let (name, section) = (&program.name, &program.section);
    let is_unknown = ProgramKind::of_section(section).is_none();
    let unknown = is_unknown.then_some("no loader knows of what kind a program of this section is");
    by_entry(program).or(unknown).map_or(Ok(()), |why| {
        Err(Unattachable { program: name.clone(), section: section.clone(), why })
    })
}

/// A target as the kernel attaches it: what libbpf's names of sections say beside the hook (sleepable, writable) is the program's, and
/// a system call is a function.
#[must_use]
pub fn plain(target: Target, arch: Arch) -> Target {
    let Target::Other(text) = &target else { return target };
    let (kind, place) = text.split_once('/').unwrap_or((text, ""));
    let of_arch = match arch {
        Arch::X86_64 => "x64",
        Arch::Aarch64 => "arm64",
        Arch::Riscv64 => "riscv",
        Arch::S390x => "s390x",
    };
    let call = format!("__{of_arch}_sys_{place}");
    let plain = match kind {
        "uprobe.s" => format!("uprobe/{place}"),
        "uretprobe.s" => format!("uretprobe/{place}"),
        "usdt.s" => format!("usdt/{place}"),
        "fentry.s" => format!("fentry/{place}"),
        "fexit.s" => format!("fexit/{place}"),
        "raw_tp.w" | "raw_tracepoint.w" => format!("raw_tp/{place}"),
        "ksyscall" if !place.is_empty() => format!("kprobe/{call}"),
        "kretsyscall" if !place.is_empty() => format!("kretprobe/{call}"),
        _ => return target,
    };
    plain.parse().unwrap_or(target)
}

/// Holds a target against the kind that a program's section gives it. Whether libbpf knows the section is for it to say.
///
/// # Errors
/// It is of another kind, or none at all.
pub fn suits(program: &ProgramFacts, target: &Target) -> Result<(), Unsuited> {
    if takes(program, target) { Ok(()) } else { Err(unsuited(program, target.to_string())) }
}

/// Every target that a manifest gives a function of this object and that does not suit it, behind the name of its table. One that
/// only its parameters make whole, such as `kprobe/f+${param.offset}`, is not held.
pub fn all_unsuited<'m>(
    manifest: &'m Manifest,
    object: &str,
    facts: &Facts,
) -> Vec<(&'m str, Unsuited)> {
    let here = |told: &Option<String>| told.as_ref().is_none_or(|told| told == object);
    let wrong = |own: &Program| {
        let (text, program) = own.target.as_ref().zip(facts.program(&own.function))?;
        match text.parse() {
            Ok(target) => suits(program, &target).err(),
            Err(_) if param::references(text).is_ok_and(|names| !names.is_empty()) => None,
            Err(_) => Some(unsuited(program, text.clone())),
        }
    };
    let own = manifest.program.iter().filter(|(_, own)| here(&own.object));
    own.filter_map(|(name, own)| Some((name.as_str(), wrong(own)?))).collect()
}

fn unsuited(program: &ProgramFacts, target: String) -> Unsuited {
    let (name, section) = (program.name.clone(), program.section.clone());
    Unsuited { program: name, section, target, forms: forms(program) }
}

/// By the kernel's rules: `bpf_prog_attach_check_attach_type` (kernel/bpf/syscall.c), and what perf events and raw tracepoints take.
fn takes(program: &ProgramFacts, target: &Target) -> bool {
    let own = program.section.strip_prefix('?').unwrap_or(&program.section);
    if let Target::Other(text) = target {
        return text == own || is_retargeted(own, text);
    }
    let Some(kind) = ProgramKind::of_section(own) else { return true };
    let way = program.attach_type;
    match target {
        Target::Tracepoint { .. } => kind == ProgramKind::Tracepoint,
        Target::RawTracepoint(_) => {
            matches!(kind, ProgramKind::RawTracepoint | ProgramKind::RawTracepointWritable)
        }
        Target::TpBtf(_) => way == Some("trace_raw_tp"),
        Target::Fentry(_) => way == Some("trace_fentry"),
        Target::Fexit(_) => way == Some("trace_fexit"),
        // libbpf loads programs for USDT so that one link takes them to several places, where the kernel can.
        Target::Usdt { .. } => is_usdt(own),
        Target::Kprobe { .. } | Target::Uprobe { .. } => {
            kind == ProgramKind::Kprobe && way.is_none() && !is_usdt(own)
        }
        Target::Xdp { .. } => way == Some("xdp"),
        Target::Tc { .. } => kind == ProgramKind::SchedCls && !is_netkit(way),
        // What a program for egress may answer means nothing at ingress.
        Target::CgroupSkb { egress, .. } => {
            kind == ProgramKind::CgroupSkb && (*egress || way != Some("cgroup_inet_egress"))
        }
        // Which one of LSM's hooks, and what an iterator goes over, is in the program; what else a cgroup has is in its way to attach.
        Target::At { section, .. } => {
            ProgramKind::of_section(section) == Some(kind)
                && crate::attach::attach_type(section) == way
                && (!matches!(target.kind(), "lsm_cgroup" | "iter") || section == own)
                && (kind != ProgramKind::Ext
                    || section.split_once('/').is_some_and(|(_, f)| !f.is_empty()))
        }
        Target::Other(_) => false,
    }
}

/// Whether a program of a section that names functions or a hook of LSM attaches to others of its kind: the section names it in
/// front of a slash.
fn is_retargeted(own: &str, target: &str) -> bool {
    let (own, target) = (own.split_once('/'), target.split_once('/'));
    let known = |kind: &str| {
        let kind = kind.strip_suffix(".s").unwrap_or(kind);
        BY_SECTION.contains(&kind)
    };
    own.zip(target)
        .is_some_and(|((own, _), (kind, place))| own == kind && known(kind) && !place.is_empty())
}

fn is_usdt(section: &str) -> bool {
    section.split(['/', '.']).next() == Some("usdt")
}

fn is_netkit(way: Option<&str>) -> bool {
    way.is_some_and(|way| way.starts_with("netkit"))
}

fn forms(program: &ProgramFacts) -> Option<&'static str> {
    Some(match (ProgramKind::of_section(&program.section)?, program.attach_type) {
        (ProgramKind::Tracepoint, _) => "tracepoint/CATEGORY/NAME",
        (ProgramKind::RawTracepoint | ProgramKind::RawTracepointWritable, _) => "raw_tp/NAME",
        (_, Some("trace_raw_tp")) => "tp_btf/NAME",
        (_, Some("trace_fentry")) => "fentry/FUNCTION",
        (_, Some("trace_fexit")) => "fexit/FUNCTION",
        (ProgramKind::Kprobe, None) if is_usdt(program.section.trim_start_matches('?')) => {
            "usdt/BINARY:PROVIDER:NAME"
        }
        (ProgramKind::Kprobe, None) => {
            "kprobe/FUNCTION, kretprobe/FUNCTION, uprobe/BINARY:FUNCTION or uretprobe/BINARY:FUNCTION"
        }
        (_, Some("xdp")) => "xdp/INTERFACE",
        (ProgramKind::SchedCls, way) if !is_netkit(way) => {
            "tcx/ingress/INTERFACE or tcx/egress/INTERFACE"
        }
        (ProgramKind::CgroupSock | ProgramKind::CgroupSockAddr, _)
        | (ProgramKind::CgroupSockopt | ProgramKind::CgroupSysctl, _)
        | (ProgramKind::CgroupDevice | ProgramKind::SockOps, _)
        | (_, Some("lsm_cgroup")) => "its section, a colon and a cgroup",
        (_, Some("sk_lookup" | "flow_dissector")) => {
            "its section, alone or with a colon and a network namespace"
        }
        (ProgramKind::SchedCls, _) => {
            "netkit/primary:INTERFACE or netkit/peer:INTERFACE, as its section has it"
        }
        (ProgramKind::Netfilter, _) => "netfilter:FAMILY/HOOK[/PRIORITY]",
        (ProgramKind::SocketFilter, _) => "socket:INTERFACE",
        (ProgramKind::StructOps, _) => "struct_ops:VARIABLE",
        (_, Some("trace_iter")) => {
            "its section, alone or with a colon and the map, the cgroup or the pid=NUMBER or tid=NUMBER that it goes over"
        }
        (ProgramKind::LwtIn | ProgramKind::LwtOut, _)
        | (ProgramKind::LwtXmit | ProgramKind::LwtSeg6local, _) => {
            "its section, a colon and a route: NETWORK/LENGTH/INTERFACE[/GATEWAY]"
        }
        (ProgramKind::SchedAct, _) => "action:ingress/INTERFACE or action:egress/INTERFACE",
        (ProgramKind::SkReuseport, _) => {
            "its section, a colon and what sockets share: tcp/ADDRESS:PORT or udp/ADDRESS:PORT"
        }
        (ProgramKind::Ext, _) => {
            "freplace/FUNCTION:PROGRAM, by the path of its pin or as id=NUMBER"
        }
        (ProgramKind::SkMsg, _) | (ProgramKind::SkSkb, Some(_)) => {
            "its section, a colon and a sockmap"
        }
        (_, Some("trace_kprobe_multi" | "trace_kprobe_session")) => {
            "its section with another pattern"
        }
        (_, Some("trace_uprobe_multi" | "trace_uprobe_session")) => {
            "its section with another BINARY:PATTERN"
        }
        (_, Some("modify_return" | "trace_fsession" | "lsm_mac")) => {
            "its section with another function"
        }
        (_, Some("cgroup_inet_egress")) => "cgroup_skb/egress:CGROUP",
        (ProgramKind::CgroupSkb, _) => "cgroup_skb/ingress:CGROUP or cgroup_skb/egress:CGROUP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(section: &str) -> ProgramFacts {
        let elf = include_bytes!("../../../spec/vectors/files/objects/touch.o");
        let mut program = Facts::parse(elf).unwrap().programs.remove(0);
        program.name = "p".to_owned();
        program.section = section.to_owned();
        program.attach_type = crate::attach::attach_type(section);
        program
    }

    #[test]
    fn a_target_is_of_the_programs_kind() {
        for (section, target, suited) in [
            ("raw_tp/task_rename", "raw_tracepoint/sched_switch", true),
            ("raw_tp.w/nbd_send_request", "raw_tp/nbd_send_request", true),
            ("raw_tp/task_rename", "tp_btf/task_rename", false),
            ("tp_btf/task_rename", "tp_btf/sched_switch", true),
            ("fentry.s/vfs_read", "fentry/vfs_write", true),
            ("fentry/vfs_read", "fexit/vfs_read", false),
            ("?kprobe/vfs_read", "kretprobe/vfs_write", true),
            ("usdt//bin/true:a:b", "usdt//bin/sh:a:c", true),
            ("usdt.s", "usdt//bin/sh:a:c", true),
            ("usdt", "uprobe//bin/true:main", false),
            ("uprobe", "usdt//bin/sh:a:c", false),
            ("uprobe", "uprobe//bin/true:main", true),
            ("uprobe.s", "uprobe//bin/true:main", true),
            ("kprobe.multi/vfs_*", "kprobe/vfs_read", false),
            ("xdp", "xdp/lo", true),
            ("xdp/devmap", "xdp/lo", false),
            ("tc", "tcx/egress/lo", true),
            ("netkit/peer", "tcx/egress/lo", false),
            ("action", "tcx/egress/lo", false),
            ("cgroup_skb/ingress", "cgroup_skb/egress:/x", true),
            ("cgroup_skb/egress", "cgroup_skb/ingress:/x", false),
            ("cgroup/connect4", "cgroup/connect4", true),
            ("?cgroup/connect4", "cgroup/connect4", true),
            ("cgroup/connect4", "cgroup/connect6", false),
            ("cgroup/connect4", "cgroup/connect4:/x", true),
            ("cgroup/sock", "cgroup/sock_create:/x", true),
            ("lsm_cgroup/socket_bind", "lsm_cgroup/socket_bind:/x", true),
            ("lsm_cgroup/socket_bind", "lsm_cgroup/socket_connect:/x", false),
            ("netkit/peer", "netkit/peer:nk0", true),
            ("netkit/peer", "netkit/primary:nk0", false),
            ("netfilter", "netfilter:ipv4/input", true),
            ("netfilter", "socket:lo", false),
            ("iter/task", "iter/task:pid=1", true),
            ("iter/task", "iter/task_file:pid=1", false),
            ("sk_msg", "sk_msg:sockets", true),
            ("lwt_in", "lwt_in:192.0.2.0/24/lo", true),
            ("lwt_in", "lwt_out:192.0.2.0/24/lo", false),
            ("sk_reuseport", "sk_reuseport:udp/127.0.0.1:53", true),
            ("sk_reuseport", "sk_reuseport/migrate:udp/127.0.0.1:53", false),
            ("freplace/verdict", "freplace/another:id=7", true),
            ("freplace/verdict", "freplace:id=7", false),
            ("action", "action:egress/lo", true),
            ("struct_ops/init", "struct_ops:ops", true),
            ("struct_ops", "sk_msg:sockets", false),
            ("sk_skb/stream_verdict", "sk_skb/verdict:sockets", false),
            ("kprobe.multi/vfs_*", "kprobe.multi/ksys_*", true),
            ("kprobe.multi/vfs_*", "kretprobe.multi/ksys_*", false),
            ("lsm/file_open", "lsm/inode_symlink", true),
            ("lsm/file_open", "lsm.s/file_open", false),
            ("raw_tp/task_rename", "garbage", false),
            ("raw_tp/task_rename", "RAW_TP/x", false),
            ("raw_tp/task_rename", "raw_tp/", false),
        ] {
            let answer = suits(&program(section), &target.parse().unwrap());
            assert_eq!(answer.is_ok(), suited, "{section} at {target}: {answer:?}");
        }
    }

    #[test]
    fn kinds_that_a_service_can_have() {
        for (section, target, attachable_there) in [
            ("uprobe.s//bin/true:main", "uprobe//bin/true:main", true),
            ("uprobe.s", "uprobe", true), // what it lacks is said elsewhere
            ("raw_tp.w/nbd_send_request", "raw_tp/nbd_send_request", true),
            ("fentry.s/vfs_read", "fentry/vfs_read", true),
            ("ksyscall/openat", "kprobe/__x64_sys_openat", true),
            ("kretsyscall/openat", "kretprobe/__x64_sys_openat", true),
            ("lsm.s/file_open", "lsm.s/file_open", true),
            ("iter/task", "iter/task", true),
            ("iter/bpf_map_elem", "iter/bpf_map_elem", true), // what it lacks is said elsewhere
            ("uprobe.multi.s//bin/true:*", "uprobe.multi.s//bin/true:*", true),
            ("iter", "iter", false),
            ("ksyscall", "ksyscall", false),
            ("kprobe", "kprobe", false),
            ("tp", "tracepoint", false),
            ("usdt//bin/true:a:b", "usdt//bin/true:a:b", true),
            ("usdt.s//bin/true:a:b", "usdt//bin/true:a:b", true),
            ("usdt", "usdt", true), // what it lacks is said elsewhere
            ("usdt//bin/true:a", "usdt//bin/true:a", false),
            ("cgroup/connect4", "cgroup/connect4", true), // what it lacks is said elsewhere
            ("sockops", "sockops", true),
            ("sockops:/x", "sockops:/x", false),
            ("sk_lookup", "sk_lookup", true),
            ("sk_msg", "sk_msg", true),
            ("sk_skb", "sk_skb", false),
            ("sk_reuseport", "sk_reuseport", true), // what it lacks is said elsewhere
            ("lwt_xmit", "lwt_xmit", true),
            ("freplace/verdict", "freplace/verdict", true),
            ("action", "action", true),
            ("lirc_mode2", "lirc_mode2", false),
            ("my_section", "my_section", false),
            ("xdp/devmap", "xdp/devmap", true),
            ("xdp.frags/cpumap", "xdp.frags/cpumap", true),
            ("syscall", "syscall", true),
            ("xdp/eth0", "xdp/eth0", false),
            ("xdp", "xdp", true),
            ("tcx/ingress/eth0", "tcx/ingress/eth0", false),
            ("tcx/ingress", "tcx/ingress", true),
            ("cgroup_skb/egress:/x", "cgroup_skb/egress:/x", false),
            ("uprobe//bin/true:", "uprobe//bin/true:", false),
        ] {
            let own = Target::of(section);
            let at = plain(own, Arch::X86_64);
            assert_eq!(at.to_string(), target);
            let answer = attachable(&program(section), &at);
            assert_eq!(answer.is_ok(), attachable_there, "{section}: {answer:?}");
        }
    }

    #[test]
    fn a_target_does_not_make_a_section_known() {
        for (section, known) in [
            ("raw_tp/task_rename", true),
            ("?kprobe.multi/a*", true),
            ("kprobex/y", false),
            ("raw_tracepoint_writable/task_rename", false),
            ("foo", false),
        ] {
            assert_eq!(loadable(&program(section)).is_ok(), known, "{section}");
        }
    }

    #[test]
    fn what_would_do_is_said() {
        let said = |section: &str, target: &str| {
            suits(&program(section), &target.parse().unwrap()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(said("raw_tp/task_rename", "garbage"), @r#"the program 'p' (SEC("raw_tp/task_rename")) can't attach at 'garbage': its kind attaches at raw_tp/NAME"#);
        insta::assert_snapshot!(said("iter/task", "iter/bpf_map"), @r#"the program 'p' (SEC("iter/task")) can't attach at 'iter/bpf_map': its kind attaches at its section, alone or with a colon and the map, the cgroup or the pid=NUMBER or tid=NUMBER that it goes over"#);
    }
}
