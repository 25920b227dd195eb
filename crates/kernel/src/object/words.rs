//! libbpf's words as people read them: errors by their text, and what can be done about them.

use std::io;

/// Errors by the names that libbpf writes at the end of its messages (its `errstr`).
const NAMES: [(&str, i32); 14] = [
    ("E2BIG", libc::E2BIG),
    ("EACCES", libc::EACCES),
    ("EBADF", libc::EBADF),
    ("EBUSY", libc::EBUSY),
    ("EEXIST", libc::EEXIST),
    ("EFAULT", libc::EFAULT),
    ("EINVAL", libc::EINVAL),
    ("ENODEV", libc::ENODEV),
    ("ENOENT", libc::ENOENT),
    ("ENOMEM", libc::ENOMEM),
    ("ENOSPC", libc::ENOSPC),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EPERM", libc::EPERM),
    ("ESRCH", libc::ESRCH),
];

/// A message with the name of its error spelled out: `…: -EINVAL` becomes `…: invalid argument (EINVAL)`.
pub(super) fn spelled_out(line: &str) -> String {
    let spelled = || {
        let (before, name) = line.rsplit_once(": -")?;
        if name == "ENOTSUPP" || name == "524" {
            return Some(format!("{before}: not supported by this kernel (ENOTSUPP)"));
        }
        let (name, errno) = NAMES.into_iter().find(|(known, _)| *known == name)?;
        let text = io::Error::from_raw_os_error(errno).to_string();
        let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        Some(format!("{before}: {text} ({name})"))
    };
    spelled().unwrap_or_else(|| line.to_owned())
}

/// What the loader says where libbpf refuses an object without a word.
pub(super) const STRIPPED: &str =
    "its types speak of a section or symbol, such as .maps or license, that the file does not have";

/// Why libbpf gives up, by a part of what it said, and what a person can do.
const HINTS: [(&str, &str); 7] = [
    (
        "failed to find valid kernel BTF",
        "this kernel carries no BTF (no /sys/kernel/btf/vmlinux): give skepd its types in /etc/skep/btf (skep bundle --btf, skep unbundle --btf)",
    ),
    (
        "vmlinux BTF is not found",
        "this kernel carries no BTF (no /sys/kernel/btf/vmlinux): give skepd its types in /etc/skep/btf (skep bundle --btf, skep unbundle --btf)",
    ),
    (
        "failed to find kernel BTF type ID of",
        "this kernel has nothing of that name to attach to: it may be renamed, inlined, or in a module that is not loaded; \
         bpftool btf dump file /sys/kernel/btf/vmlinux shows what there is",
    ),
    (
        "not found in kernel",
        "this kernel has no such symbol: declare it __weak, and use it only where bpf_ksym_exists() finds it",
    ),
    (
        "legacy map definitions",
        "its section 'maps' has none that could be read, or it has a section '.maps' too: define all maps in SEC(\".maps\")",
    ),
    (
        "missing BPF prog type",
        "the section's name says what a program is, such as SEC(\"tp/sched/sched_switch\"): this one is not known",
    ),
    (STRIPPED, "it was stripped or cut: take the object as the compiler wrote it"),
];

/// What a person can do about an object that was refused with `errno`, while libbpf said `said`.
pub(super) fn hint(errno: i32, said: &str, is_root: bool) -> Option<&'static str> {
    match (errno, is_root) {
        (libc::EPERM, false) => {
            return Some("run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
        }
        (libc::ENOMEM, _) => {
            return Some("the kernel is out of memory, or the cgroup's memory limit is reached");
        }
        _ => {}
    }
    let known = HINTS.into_iter().find(|(part, _)| said.contains(part)).map(|(_, hint)| hint);
    known.or((errno == libc::EPERM).then_some(
        "the kernel forbids this kind of program even to root: it is built without it, or locked down. Another hook may do, such as a tracepoint or a kprobe",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_spelled_out() {
        for (line, text) in [
            (
                "map 'm': failed to create: -EINVAL",
                "map 'm': failed to create: invalid argument (EINVAL)",
            ),
            (
                "prog 'p': failed to attach: -ENOTSUPP",
                "prog 'p': failed to attach: not supported by this kernel (ENOTSUPP)",
            ),
            ("elf: 'x' is not a proper ELF object", "elf: 'x' is not a proper ELF object"),
            ("a: -EWHAT", "a: -EWHAT"),
        ] {
            assert_eq!(spelled_out(line), text);
        }
    }

    #[test]
    fn what_libbpf_said_has_a_hint() {
        let of = |errno, said| hint(errno, said, true).unwrap_or_default();
        let nobody = "prog 'p': failed to find kernel BTF type ID of 'f': -ESRCH";
        assert!(of(libc::ESRCH, nobody).contains("renamed"));
        assert!(
            of(libc::EPERM, "prog 'p': BPF program load failed: -EPERM").contains("even to root")
        );
        assert!(hint(libc::EPERM, nobody, false).unwrap().starts_with("run as root"));
        assert_eq!(hint(libc::EINVAL, "something else", true), None);
    }
}
