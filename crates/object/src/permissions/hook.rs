//! A program's hooks: where it attaches, with what its section and its code say beside that.

use std::collections::BTreeSet;

use skep_spec::Target;

use super::{Power, powers_of_hook};
use crate::{Facts, ProgramFacts};

/// Kinds at which newer kernels let a program write the registers that it is handed
/// (`__perf_event_set_bpf_prog`, kernel/events/core.c, refuses such a program everywhere else).
const WRITABLE: [&str; 3] = ["uprobe", "uretprobe", "usdt"];

/// The hooks of an object's programs. One that others only call has none, but where its section gives a power that no hook of theirs does.
#[must_use]
pub fn all_hooks(facts: &Facts) -> Vec<(&ProgramFacts, Target)> {
    let of = |program: &ProgramFacts| hooks(program).into_iter();
    let (attached, called): (Vec<_>, Vec<_>) = facts.programs.iter().partition(|p| p.attached);
    let mut all: Vec<_> =
        attached.into_iter().flat_map(|p| of(p).map(move |hook| (p, hook))).collect();
    let powers: BTreeSet<Power> = all.iter().flat_map(|(_, hook)| powers_of_hook(hook)).collect();
    let hides = |hook: &Target| powers_of_hook(hook).any(|power| !powers.contains(&power));
    let hidden = called.into_iter().flat_map(|p| of(p).map(move |hook| (p, hook)));
    all.extend(hidden.filter(|(_, hook)| hides(hook)));
    all
}

/// The hooks of a program at its target.
#[must_use]
pub fn hooks(program: &ProgramFacts) -> Vec<Target> {
    hooks_at(&program.section, &program.target, program.writes_registers)
}

/// The hooks of a program of a section at a target: that, and its section where the target has not all of the section's powers,
/// since the kernel loads a program as what its section says, wherever it attaches.
#[must_use]
pub fn hooks_at(section: &str, target: &Target, writes_registers: bool) -> Vec<Target> {
    let section = Target::of(section);
    let hook = marked(target, writes_registers);
    if section == *target {
        return vec![hook];
    }
    let section = marked(&section, writes_registers);
    let powers: BTreeSet<Power> = powers_of_hook(&hook).collect();
    let hides = powers_of_hook(&section).any(|power| !powers.contains(&power));
    if hides { vec![hook, section] } else { vec![hook] }
}

/// `uprobe.w//bin/bash:readline`, as in `raw_tp.w`, of a program that writes what a probe hands it.
fn marked(target: &Target, writes_registers: bool) -> Target {
    let kind = target.kind();
    if !writes_registers || !WRITABLE.contains(&kind) {
        return target.clone();
    }
    let text = target.to_string();
    Target::Other(match text.split_once('/') {
        Some((_, place)) => format!("{kind}.w/{place}"),
        None => format!("{kind}.w"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_hides_behind_no_target() {
        for (section, target, writes_registers, expected) in [
            ("raw_tp/a", "raw_tp/b", false, "raw_tp/b"),
            ("raw_tp.w/a", "raw_tp.w/a", false, "raw_tp.w/a"),
            ("raw_tp.w/a", "raw_tp/b", false, "raw_tp/b raw_tp.w/a"),
            ("?raw_tracepoint.w", "raw_tp/b", false, "raw_tp/b raw_tracepoint.w"),
            ("?uprobe/x", "?uprobe/x", true, "uprobe.w/x"),
            ("?cgroup_skb", "?cgroup_skb", false, "cgroup_skb"),
            ("?tp/sched", "?tp/sched", false, "tracepoint/sched"),
            ("fentry.s/a", "fentry/b", false, "fentry/b"),
            ("fmod_ret.s/a", "fentry/b", false, "fentry/b fmod_ret.s/a"),
            ("lsm/a", "${param.x}/b", false, "${param.x}/b lsm/a"),
            ("kprobe.multi/a*", "kprobe/b", false, "kprobe/b"),
            ("xdp.frags", "xdp/lo", false, "xdp/lo"),
            ("xdp.frags/devmap", "xdp/lo", false, "xdp/lo"),
            ("struct_ops.s/a", "struct_ops/b", false, "struct_ops/b"),
            ("freplace/a", "xdp/lo", false, "xdp/lo freplace/a"),
            ("tc", "tcx/egress/lo", false, "tcx/egress/lo"),
            ("classifier/drop", "tcx/egress/lo", false, "tcx/egress/lo"),
            ("classifier/drop", "socket", false, "socket"),
            ("cgroup/skb", "cgroup_skb/egress:/x", false, "cgroup_skb/egress:/x cgroup/skb"),
            ("cgroup/connect4", "cgroup/sysctl", false, "cgroup/sysctl cgroup/connect4"),
            ("uprobe", "uprobe//bin/a:b", true, "uprobe.w//bin/a:b"),
            ("uprobe.s//bin/a:b", "uprobe.s//bin/a:b", true, "uprobe.w//bin/a:b"),
            ("uprobe.multi//bin/a:*", "uprobe.multi//bin/a:*", true, "uprobe.w//bin/a:*"),
            ("uprobe.session//bin/a:b", "uprobe.session//bin/a:b", true, "uprobe.w//bin/a:b"),
            ("usdt//bin/a:b:c", "usdt//bin/a:b:c", true, "usdt.w//bin/a:b:c"),
            ("uretprobe", "uretprobe", true, "uretprobe.w"),
            ("kprobe/a", "kprobe/b", true, "kprobe/b"),
            ("kprobe/a", "uretprobe//bin/a:b", true, "uretprobe.w//bin/a:b"),
            ("uprobe", "kprobe/b", true, "kprobe/b uprobe.w"),
        ] {
            let found = hooks_at(section, &Target::of(target), writes_registers);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), expected, "{section} at {target}");
        }
    }
}
