//! Decisions that depend on the kernel: each gives what to do, and the [`Change`] that says so.

use std::fmt::Write as _;

use skep_spec::Target;

use crate::lost::{LostError, Rewritten};
use crate::need::{self, Need, Verdict};
use crate::{Change, Feature, KernelFacts, Pass, Support};

/// How a tc program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tc {
    /// By a tcx link (Linux 6.6).
    Tcx,
    /// As a filter of a clsact qdisc, replaced in place by an upgrade.
    Clsact,
}

/// How an attachment lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// A `bpf_link`, pinned.
    Link,
    /// A file descriptor that somebody must hold.
    Held,
}

/// Which members of a group of alternatives are worth a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Indexes of members, in the order of the manifest.
    pub to_try: Vec<usize>,
    /// Members that this kernel is known to refuse, and why.
    pub ruled_out: Vec<(usize, String)>,
}

/// Chooses between tcx and clsact. Where nobody knows, tcx is tried first, and a refusal tells.
#[must_use]
pub fn tc(kernel: &KernelFacts, program: &str) -> (Tc, Option<Change>) {
    match kernel.support(&Feature::Attach("tcx".to_owned())) {
        Support::No => (Tc::Clsact, Some(Change::clsact(program))),
        Support::Yes | Support::Unknown(_) => (Tc::Tcx, None),
    }
}

/// Chooses whether an attachment is a link. Where nobody knows, a link is tried first.
#[must_use]
pub fn mechanism(
    kernel: &KernelFacts,
    program: &str,
    target: &Target,
) -> (Mechanism, Option<Change>) {
    match kernel.support(&Feature::Link(target.kind().to_owned())) {
        Support::No => (Mechanism::Held, Some(Change::held(program, target))),
        Support::Yes | Support::Unknown(_) => (Mechanism::Link, None),
    }
}

/// Rules out the members of a group that the kernel is known to refuse; the others must be tried in order.
#[must_use]
pub fn alternatives(kernel: &KernelFacts, members: &[Vec<Need>]) -> Candidates {
    let mut candidates = Candidates { to_try: vec![], ruled_out: vec![] };
    for (index, needs) in members.iter().enumerate() {
        match need::verdict(&need::ask(needs, kernel)) {
            Verdict::Refuses(why) => candidates.ruled_out.push((index, why.join("; "))),
            Verdict::Runs | Verdict::Unknown(_) => candidates.to_try.push(index),
        }
    }
    candidates
}

impl Change {
    fn new(pass: Pass, on: &str, what: String) -> Self {
        Self { pass, on: on.to_owned(), what }
    }

    /// A filter of clsact in place of a tcx link.
    #[must_use]
    pub fn clsact(program: &str) -> Self {
        let what = "attached as a filter of clsact, because this kernel has no tcx (Linux 6.6)";
        Self::new(Pass::Tcx, program, what.to_owned())
    }

    /// An attachment that cannot be pinned.
    #[must_use]
    pub fn held(program: &str, target: &Target) -> Self {
        let what = format!(
            "attached to {target} without a link, which this kernel cannot pin: `skepd --hold` keeps it"
        );
        Self::new(Pass::LegacyAttach, program, what)
    }

    /// The member of a group that runs; `refused` are those before it, with the reasons.
    #[must_use]
    pub fn alternative(group: &str, chosen: &[String], refused: &[(String, String)]) -> Self {
        let mut what = format!("runs {}", chosen.join(" and "));
        for (index, (member, why)) in refused.iter().enumerate() {
            let start = if index == 0 { ", because" } else { ";" };
            _ = write!(what, "{start} {member} does not: {why}"); // a String takes everything
        }
        Self::new(Pass::Alternatives, group, what)
    }

    /// A group of which nothing runs, and which may do without.
    #[must_use]
    pub fn no_alternative(group: &str, refused: &[(String, String)]) -> Self {
        let reasons: Vec<String> =
            refused.iter().map(|(member, why)| format!("{member}: {why}")).collect();
        let what = format!("left out, because none of its members runs: {}", reasons.join("; "));
        Self::new(Pass::Alternatives, group, what)
    }

    /// An optional program that is left out.
    #[must_use]
    pub fn optional(program: &str, why: &str) -> Self {
        Self::new(Pass::Optional, program, format!("left out, it is optional: {why}"))
    }

    /// What became of counting lost events in a program; none where there is nothing to count.
    #[must_use]
    pub fn lost_events(
        program: &str,
        outcome: &Result<Option<Rewritten>, LostError>,
    ) -> Option<Self> {
        let what = match outcome {
            Ok(None) => return None,
            Ok(Some(Rewritten { calls: 1, .. })) => {
                "failures of its ring-buffer call are counted".to_owned()
            }
            Ok(Some(new)) => {
                format!("failures of its {} ring-buffer calls are counted", new.calls)
            }
            Err(error) => format!("runs as it is, without counting lost events: {error}"),
        };
        Some(Self::new(Pass::LostEvents, program, what))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use skep_spec::Arch;

    use super::*;

    fn kernel() -> KernelFacts {
        let mut kernel = KernelFacts::new("5.10.0-35-amd64", Arch::X86_64, 2);
        kernel.learn(Feature::Attach("tcx".into()), Support::Yes);
        kernel.learn(Feature::Link("kprobe".into()), Support::Yes);
        kernel
    }

    #[test]
    fn tcx_unless_the_kernel_is_known_to_lack_it() {
        assert_eq!(tc(&kernel(), "drop"), (Tc::Tcx, None));
        let unasked = KernelFacts::new("6.1", Arch::X86_64, 2);
        assert_eq!(tc(&unasked, "drop").0, Tc::Tcx);
        let (how, change) = tc(&kernel().without(Feature::Attach("tcx".into())), "drop");
        assert_eq!(how, Tc::Clsact);
        insta::assert_snapshot!(change.unwrap(), @"drop: attached as a filter of clsact, because this kernel has no tcx (Linux 6.6) (tcx)");
    }

    #[test]
    fn a_link_unless_the_kernel_is_known_to_lack_it() {
        let target = "kprobe/vfs_read".parse().unwrap();
        assert_eq!(mechanism(&kernel(), "reads", &target), (Mechanism::Link, None));
        let old = kernel().without(Feature::Link("kprobe".into()));
        let (how, change) = mechanism(&old, "reads", &target);
        assert_eq!(how, Mechanism::Held);
        insta::assert_snapshot!(change.unwrap(), @"reads: attached to kprobe/vfs_read without a link, which this kernel cannot pin: `skepd --hold` keeps it (legacy-attach)");
    }

    #[test]
    fn members_that_cannot_run_are_not_tried() {
        let needs = |feature: Feature| {
            vec![Need {
                any_of: vec![feature],
                by: BTreeSet::from(["p".to_owned()]),
                optional: false,
            }]
        };
        let kernel = kernel().without(Feature::Function("blk_account_io_start".into()));
        let members = [
            needs(Feature::Function("blk_account_io_start".into())),
            needs(Feature::Function("unasked".into())),
            needs(Feature::Attach("tcx".into())),
        ];
        let candidates = alternatives(&kernel, &members);
        assert_eq!(candidates.to_try, [1, 2]);
        insta::assert_debug_snapshot!(candidates.ruled_out, @r#"
        [
            (
                0,
                "the kernel lacks the function blk_account_io_start for 'p'",
            ),
        ]
        "#);
    }

    #[test]
    fn the_report_says_what_and_why() {
        let refused = [
            (
                "start_fentry".to_owned(),
                "the kernel has no function blk_account_io_start".to_owned(),
            ),
            ("start_kprobe".to_owned(), "no such symbol".to_owned()),
        ];
        let report = [
            Change::alternative("start", &["start_tp".into(), "done_tp".into()], &refused),
            Change::alternative("start", &["start_fentry".into()], &[]),
            Change::no_alternative("start", &refused),
            Change::optional("drop", "interface eth7 is not there"),
            Change::lost_events("handle", &Err(LostError::Indirect { insn: 7 })).unwrap(),
        ];
        let text: Vec<String> = report.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        start: runs start_tp and done_tp, because start_fentry does not: the kernel has no function blk_account_io_start; start_kprobe does not: no such symbol (alternatives)
        start: runs start_fentry (alternatives)
        start: left out, because none of its members runs: start_fentry: the kernel has no function blk_account_io_start; start_kprobe: no such symbol (alternatives)
        drop: left out, it is optional: interface eth7 is not there (optional)
        handle: runs as it is, without counting lost events: instruction 7 jumps to an address in a register (lost-events)
        ");
        insta::assert_snapshot!(serde_json::to_string(&report[3]).unwrap(), @r#"{"pass":"optional","on":"drop","what":"left out, it is optional: interface eth7 is not there"}"#);
    }
}
