//! Features that a load or a creation shows: map kinds, program kinds, helpers, BTF.

use std::path::Path;

use skep_adapt::{Feature, Support};
use skep_object::{MapKind, ProgramKind, helper};

use super::refusal;

/// Helpers that kernels of ours differ in and that packages ask for, with a program type that may call them.
const HELPERS: [(&str, u32); 12] = [
    ("ringbuf_output", KPROBE),
    ("get_func_ip", KPROBE),
    ("get_attach_cookie", KPROBE),
    ("loop", KPROBE),
    ("strncmp", KPROBE),
    ("map_lookup_percpu_elem", KPROBE),
    ("ringbuf_reserve_dynptr", KPROBE),
    ("user_ringbuf_drain", KPROBE),
    ("get_current_task_btf", KPROBE),
    ("snprintf", KPROBE),
    ("for_each_map_elem", KPROBE),
    ("timer_init", libbpf_sys::BPF_PROG_TYPE_SCHED_CLS),
];
const KPROBE: u32 = libbpf_sys::BPF_PROG_TYPE_KPROBE;

pub(super) fn answers(open: &dyn Fn(&Feature) -> bool) -> Vec<(Feature, Support)> {
    let mut answers = Vec::new();
    let mut ask = |feature: Feature, probe: &dyn Fn() -> Support| {
        if open(&feature) {
            answers.push((feature, probe()));
        }
    };
    ask(Feature::Btf, &|| match Path::new("/sys/kernel/btf/vmlinux").try_exists() {
        Ok(true) => Support::Yes,
        Ok(false) => Support::No,
        Err(e) => Support::Unknown(e.to_string()),
    });
    for kind in (1..64).map(MapKind::from).take_while(|kind| !matches!(kind, MapKind::Other(_))) {
        let number = kind.number();
        ask(Feature::Map(kind), &|| {
            // SAFETY: an integer and no options.
            of_libbpf(|| unsafe { libbpf_sys::libbpf_probe_bpf_map_type(number, std::ptr::null()) })
        });
    }
    for kind in
        (1..64).map(ProgramKind::from).take_while(|kind| !matches!(kind, ProgramKind::Other(_)))
    {
        let number = kind.number();
        ask(Feature::Program(kind), &|| {
            // SAFETY: an integer and no options.
            of_libbpf(|| unsafe {
                libbpf_sys::libbpf_probe_bpf_prog_type(number, std::ptr::null())
            })
        });
    }
    for (name, program) in HELPERS {
        let Some(id) = helper::id(name) else { continue };
        ask(Feature::Helper(name.to_owned()), &|| {
            // SAFETY: integers and no options.
            of_libbpf(|| unsafe {
                libbpf_sys::libbpf_probe_bpf_helper(program, id, std::ptr::null())
            })
        });
    }
    answers
}

/// libbpf's probes answer 1, 0 or -errno.
fn of_libbpf(probe: impl FnOnce() -> i32) -> Support {
    match crate::object::quietly(probe) {
        1 => Support::Yes,
        0 if may_load() => Support::No,
        0 => Support::Unknown("no permission to ask: run as root".to_owned()),
        // "not supported by the probe", never by the kernel
        error => refusal(Some(-error), &[]),
    }
}

/// libbpf takes any failure for a no; without the capability every load fails.
fn may_load() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    const CAP_BPF: u64 = 1 << 39;
    crate::process::effective_capabilities().is_ok_and(|caps| caps & (CAP_SYS_ADMIN | CAP_BPF) != 0)
}
