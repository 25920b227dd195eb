//! What hangs at a trampoline of the kernel: before Linux 5.13 each program is attached there once in its life. A stub is made anew
//! then; a program of a package would have to be loaded anew, and its maps with it.

use skep_spec::Target;

use crate::state::{Hook, Mechanism};

/// The first kernel that attaches them again.
const AGAIN_SINCE: (u32, u32) = (5, 13);

/// Whether programs at such a place are attached by a trampoline.
pub(crate) fn is_at_trampoline(target: &Target) -> bool {
    matches!(target.kind(), "fentry" | "fexit" | "fmod_ret" | "fsession" | "lsm")
}

/// Whether the kernel of a release never attaches what a hook has again, and nothing can be made in its place.
pub(crate) fn is_once_only(hook: &Hook, release: &str) -> bool {
    let is_old = version(release).is_some_and(|version| version < AGAIN_SINCE);
    is_old && hook.mechanism != Mechanism::Stub && is_at_trampoline(&hook.target)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use skep_kernel::program::LoadKind;

    use super::*;
    use crate::state::Attachment;

    #[test]
    fn old_kernels_attach_what_has_no_stub_once() {
        let once = |target: &str, mechanism, release| {
            let hook = Hook {
                target: target.parse().unwrap(),
                pid: None,
                mechanism,
                attachment: Attachment::Link { id: 1 },
                kind: LoadKind::default(),
                file: None,
                func_ip: false,
            };
            is_once_only(&hook, release)
        };
        for target in ["fentry/f", "fexit/f", "fmod_ret/f", "lsm/file_open", "lsm.s/file_open"] {
            assert!(once(target, Mechanism::Fixed, "5.10.0-28-amd64"), "{target}");
            assert!(once(target, Mechanism::Fixed, "5.12"), "{target}");
            assert!(!once(target, Mechanism::Fixed, "5.13.0"), "{target}");
            assert!(!once(target, Mechanism::Stub, "5.10.0-28-amd64"), "{target}");
        }
        assert!(!once("tp_btf/sched_switch", Mechanism::Fixed, "5.10.0"));
        assert!(!once("fentry/f", Mechanism::Fixed, "6.1.0-18-cloud"));
        assert!(!once("fentry/f", Mechanism::Fixed, "no number"));
    }
}
