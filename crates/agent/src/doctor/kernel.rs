//! What the kernel can do, by trying and by what it says of itself.

use std::fs;
use std::path::Path;

use skep_adapt::Support;
use skep_api::{Finding, FindingState};
use skep_kernel::probe::{self, Tried};
use skep_kernel::{bpffs, cgroup, process};

use super::config::Config;
use crate::kernel_types;

/// What an attach type is built with.
const BUILT_WITH: [(&str, &str); 13] = [
    ("attach:cgroup", "CONFIG_CGROUP_BPF"),
    ("attach:sockops", "CONFIG_CGROUP_BPF"),
    ("attach:fentry", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"),
    ("attach:fexit", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"),
    ("attach:kprobe.multi", "CONFIG_FPROBE"),
    ("attach:kprobe", "CONFIG_KPROBE_EVENTS"),
    ("attach:lsm", "CONFIG_BPF_LSM"),
    ("attach:netfilter", "CONFIG_NETFILTER_BPF_LINK"),
    ("attach:perf_event", "CONFIG_PERF_EVENTS"),
    ("attach:tcx", "CONFIG_NET_XGRESS"),
    ("attach:tracepoint", "CONFIG_BPF_EVENTS"),
    ("attach:raw_tp", "CONFIG_BPF_EVENTS"),
    ("attach:uprobe", "CONFIG_UPROBE_EVENTS"),
];

pub(super) fn findings(config_dir: &Path) -> Vec<Finding> {
    let release = text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let config = Config::of_this_kernel(&release);
    let good = |about: &str, what: String| Finding::new(about, FindingState::Good, what);
    let mut all = vec![good("kernel", format!("Linux {release}, {}", std::env::consts::ARCH))];
    all.push(privileges());
    all.push(match &config {
        Some(config) => good("config", format!("what it was built with: {}", config.place)),
        None => Finding::new("config", FindingState::Lacks, "it does not say what it was built with")
            .why("there is neither /proc/config.gz nor a file in /boot for it: reasons below are the kernel's words alone"),
    });
    all.push(types(config_dir));
    all.extend([mounts(), cgroups(), lockdown(), unprivileged(), jit(), memlock()]);
    let tried = probe::all();
    all.push(programs(&tried));
    all.extend(tried.iter().map(|one| feature(one, config.as_ref())));
    all
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn privileges() -> Finding {
    match process::is_root() {
        true => Finding::new("privileges", FindingState::Good, "this is root"),
        false => Finding::new("privileges", FindingState::Unknown, "this is not root")
            .why("programs are loaded by root: what the kernel takes could not be tried")
            .todo("sudo skep doctor"),
    }
}

fn types(config_dir: &Path) -> Finding {
    let own = kernel_types::own(config_dir);
    match (Path::new("/sys/kernel/btf/vmlinux").exists(), own) {
        (true, _) => {
            Finding::new("btf", FindingState::Good, "its types are in /sys/kernel/btf/vmlinux")
        }
        (false, Some(own)) => {
            Finding::new("btf", FindingState::Good, format!("its types are in {}", own.display()))
        }
        (false, None) => Finding::new("btf", FindingState::Stops, "it carries no types (BTF)")
            .why("objects are made to fit the kernel by its types: CONFIG_DEBUG_INFO_BTF was not set when it was built")
            .todo(format!(
                "bring its types: skep bundle --btf where there is a network, then skep unbundle FILE --btf {}",
                config_dir.join("btf").display()
            )),
    }
}

fn mounts() -> Finding {
    match bpffs::is_bpffs(Path::new(bpffs::DEFAULT)) {
        true => Finding::new(
            "bpffs",
            FindingState::Good,
            format!("bpffs is mounted at {}", bpffs::DEFAULT),
        ),
        false => Finding::new(
            "bpffs",
            FindingState::Lacks,
            format!("no bpffs is mounted at {}", bpffs::DEFAULT),
        )
        .why("what is attached stays by its pins there; skepd mounts one when it starts")
        .todo(format!("mount -t bpf bpf {}", bpffs::DEFAULT)),
    }
}

fn cgroups() -> Finding {
    match cgroup::root() {
        Ok(root) => Finding::new(
            "cgroup2",
            FindingState::Good,
            format!("cgroup v2 is at {}", root.display()),
        ),
        Err(error) => Finding::new("cgroup2", FindingState::Lacks, "cgroup v2 is not mounted")
            .why(error.to_string())
            .todo("mount -t cgroup2 none /sys/fs/cgroup"),
    }
}

fn lockdown() -> Finding {
    let said = text("/sys/kernel/security/lockdown").unwrap_or_default();
    let mode = said.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(m, _)| m);
    match mode {
        Some("confidentiality") => Finding::new(
            "lockdown",
            FindingState::Stops,
            "the kernel is locked down: confidentiality",
        )
        .why("programs may not read the kernel's memory then, which nearly all that trace do")
        .todo("boot with lockdown=integrity, or without"),
        Some(mode) => Finding::new("lockdown", FindingState::Good, format!("lockdown: {mode}")),
        None => Finding::new(
            "lockdown",
            FindingState::Good,
            "the kernel has no lockdown, or is not asked for one",
        ),
    }
}

fn unprivileged() -> Finding {
    match text("/proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        Some("0") => Finding::new("unprivileged", FindingState::Lacks, "every user may load programs")
            .why("skep needs no such thing, and holes in the verifier are open to all")
            .todo("sysctl kernel.unprivileged_bpf_disabled=2"),
        Some(_) => Finding::new("unprivileged", FindingState::Good, "only who is privileged may load programs"),
        None => Finding::new("unprivileged", FindingState::Lacks, "who may load programs is not said")
            .why("there is no /proc/sys/kernel/unprivileged_bpf_disabled: this kernel may have no bpf(2) (CONFIG_BPF_SYSCALL)"),
    }
}

fn jit() -> Finding {
    match text("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => Finding::new("jit", FindingState::Lacks, "programs are interpreted")
            .why("they run several times slower")
            .todo("sysctl net.core.bpf_jit_enable=1"),
        Some(_) => Finding::new("jit", FindingState::Good, "programs become machine code"),
        None => Finding::new(
            "jit",
            FindingState::Good,
            "whether programs become machine code is root's to see",
        ),
    }
}

fn memlock() -> Finding {
    let limits = text("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("unknown");
    let what = format!("locked memory: {soft} bytes at most");
    Finding::new("memlock", FindingState::Good, what)
        .why("it counts before Linux 5.11 alone, and skepd.service lifts it; later maps are charged to a cgroup")
}

/// Whether anything can be attached at all.
fn programs(tried: &[Tried]) -> Finding {
    let attach = || tried.iter().filter(|one| one.feature.starts_with("attach:"));
    let works = attach().filter(|one| one.support == Support::Yes).count();
    let why = attach().find_map(|one| one.why.clone());
    let open = attach().any(|one| matches!(one.support, Support::Unknown(_)));
    let all = attach().count();
    match (works, open) {
        (0, true) => Finding::new("programs", FindingState::Unknown, "no program could be tried"),
        (0, false) => Finding::new("programs", FindingState::Stops, "no program can be attached")
            .todo("boot a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y"),
        (works, _) => {
            let what = format!("{works} of {all} attach types that were tried work");
            return Finding::new("programs", FindingState::Good, what);
        }
    }
    .why(why.unwrap_or_default())
}

fn feature(tried: &Tried, config: Option<&Config>) -> Finding {
    let Tried { feature, support, why, is_link } = tried;
    let built =
        BUILT_WITH.iter().find(|(name, _)| feature.starts_with(name)).map(|(_, with)| *with);
    let unset = built.zip(config).filter(|(with, config)| !config.has(with)).map(|(with, _)| with);
    let finding = match support {
        Support::Yes => {
            let how = match is_link {
                Some(true) => "works, by a link",
                Some(false) => "works, without a link: by a filter or an fd",
                None => "works",
            };
            return Finding::new(feature, FindingState::Good, how);
        }
        Support::No => Finding::new(feature, FindingState::Lacks, "this kernel has it not"),
        // Of one feature; that nothing could be tried is said of all.
        Support::Unknown(_) => Finding::new(feature, FindingState::Lacks, "it could not be tried"),
    };
    let why = why.clone().unwrap_or_default();
    match unset {
        Some(with) => finding
            .why(format!("{with} is not set; {why}"))
            .todo(format!("boot a kernel with {with}=y, or give packages alternatives")),
        None => finding.why(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(feature: &str, support: Support) -> Tried {
        let why = (support != Support::Yes).then(|| "why".to_owned());
        Tried { feature: feature.to_owned(), support, why, is_link: None }
    }

    #[test]
    fn what_nobody_could_try_is_no_lack_and_one_that_works_is_enough() {
        let open = || tried("attach:a", Support::Unknown("why".to_owned()));
        let state = |tried: &[Tried]| programs(tried).state;
        assert_eq!(state(&[open(), tried("map:x", Support::Yes)]), FindingState::Unknown);
        assert_eq!(state(&[tried("attach:a", Support::No)]), FindingState::Stops);
        assert_eq!(state(&[open(), tried("attach:b", Support::Yes)]), FindingState::Good);
    }
}
