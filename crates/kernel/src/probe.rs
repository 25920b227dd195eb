//! What this kernel can do, found out by trying: three answers, and only conclusive ones are kept.
//!
//! Nothing is read from versions. What is tried is undone: programs go at once, interfaces are those of a network
//! namespace of the probe's own, the traced function is the kernel's own test function, which nobody else calls.

mod attach;
mod load;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use skep_adapt::{Feature, KernelFacts, Support};
use skep_object::ProgramKind;
use skep_spec::Arch;

use crate::maps::possible_cpus;

/// Answers of this boot that will not change: yes and no.
static KNOWN: Mutex<BTreeMap<Feature, Support>> = Mutex::new(BTreeMap::new());

/// The facts of the running kernel. The first call takes some milliseconds; later ones ask again only what had no answer.
#[must_use]
pub fn facts() -> KernelFacts {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = possible_cpus().map_or(1, |cpus| cpus as u32);
    let arch = Arch::host().unwrap_or(Arch::X86_64);
    let mut facts = KernelFacts::new(release.trim(), arch, cpus);
    let mut known = KNOWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let open = |feature: &Feature| !known.contains_key(feature);
    let mut answers = load::answers(&open);
    answers.extend(attach::answers(&open));
    correct(&mut answers);
    for (feature, support) in answers {
        if !matches!(support, Support::Unknown(_)) {
            known.insert(feature.clone(), support.clone());
        }
        facts.learn(feature, support);
    }
    for (feature, support) in known.iter() {
        facts.learn(feature.clone(), support.clone());
    }
    facts
}

/// libbpf's probe of tracing programs is for functions; a kernel that refuses those may still take `tp_btf`.
fn correct(answers: &mut [(Feature, Support)]) {
    let tp_btf = Feature::Attach("tp_btf".to_owned());
    let works = answers.iter().any(|(feature, support)| *feature == tp_btf && support.is_yes());
    for (feature, support) in answers.iter_mut().filter(|_| works) {
        if *feature == Feature::Program(ProgramKind::Tracing) {
            *support = Support::Yes;
        }
    }
}

/// A failed try as an answer: "no" only for what the kernel says when it lacks something, or when it refuses
/// one who may do everything.
fn refusal(errno: Option<i32>, lacking: &[i32]) -> Support {
    match errno {
        Some(libc::EPERM) if may_all() => Support::No,
        Some(errno) if lacking.contains(&errno) => Support::No,
        Some(errno) => Support::Unknown(std::io::Error::from_raw_os_error(errno).to_string()),
        None => Support::Unknown("the try failed before the kernel was asked".to_owned()),
    }
}

/// CAP_SYS_ADMIN, which includes what BPF asks for.
fn may_all() -> bool {
    crate::process::effective_capabilities().is_ok_and(|caps| caps & 1 << 21 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_this_kernel() {
        let facts = facts();
        let is = |text: &str| facts.support(&text.parse().unwrap());
        // what every kernel of ours has
        for feature in [
            "btf",
            "map:ringbuf",
            "program:xdp",
            "program:tracing",
            "attach:raw_tp",
            "attach:tracepoint",
            "attach:tp_btf",
            "attach:uprobe",
            "attach:xdp",
            "link:xdp",
            "attach:cgroup_skb",
        ] {
            assert!(is(feature).is_yes(), "{feature}: {:?}", is(feature));
        }
        for feature in ["link:tracepoint", "attach:tcx", "attach:fentry", "helper:loop"] {
            assert!(!matches!(is(feature), Support::Unknown(_)), "{feature}: {:?}", is(feature));
        }
        assert!(is("attach:tcx").is_yes() || is("attach:tc").is_yes());
        // came together in 5.15 to 5.17, and perf links before loops
        assert!(is("link:tracepoint").is_yes() || is("helper:loop").is_no());
        let kprobes = std::path::Path::new("/sys/bus/event_source/devices/kprobe/type").exists();
        assert_eq!(is("attach:kprobe").is_yes(), kprobes);
        assert_eq!(self::facts(), facts);
        let known = KNOWN.lock().unwrap();
        assert!(known.contains_key(&"btf".parse().unwrap()), "what is known is not asked again");
    }

    #[test]
    fn only_what_means_lacking_is_a_no() {
        assert_eq!(refusal(Some(libc::EINVAL), &[libc::EINVAL]), Support::No);
        assert!(matches!(refusal(Some(libc::ENOMEM), &[libc::EINVAL]), Support::Unknown(_)));
        assert!(matches!(refusal(None, &[libc::EINVAL]), Support::Unknown(_)));
    }
}
