//! The load report: what was decided about a program on this kernel, in words for people.

use std::fmt::{self, Write as _};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skep_spec::Target;

/// What was done to make a package run here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// In the order in which it was done.
    pub changes: Vec<Change>,
}

/// One decision that makes a program other than its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What kind of decision.
    pub pass: Pass,
    /// The program, map or group that it is about.
    pub on: String,
    /// What was done and why, one sentence without a full stop.
    pub what: String,
}

/// The kinds of decisions, in the order in which they are made.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// A member of `[alternatives]` was chosen.
    Alternatives,
    /// An optional program was left out.
    Optional,
    /// tc's clsact instead of tcx.
    Tcx,
    /// An attachment without a `bpf_link`, which cannot be pinned.
    LegacyAttach,
    /// Failed ring-buffer output is counted, or is not.
    LostEvents,
    /// A map whose size its own loader would have set was given one.
    Sizes,
    /// A field that this kernel calls otherwise is read by its old name, or a function watched by its new one.
    Renamed,
    /// The object was told a later version, whose changes were brought to this kernel.
    Backported,
    /// What a program prints for people is left out.
    Prints,
    /// An argument of the hook is read from it again, and not from the stack.
    Reread,
}

impl Report {
    /// One more decision.
    pub fn add(&mut self, pass: Pass, on: impl Into<String>, what: impl Into<String>) {
        self.changes.push(Change { pass, on: on.into(), what: what.into() });
    }
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
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alternatives => "alternatives",
            Self::Optional => "optional",
            Self::Tcx => "tcx",
            Self::LegacyAttach => "legacy-attach",
            Self::LostEvents => "lost-events",
            Self::Sizes => "sizes",
            Self::Renamed => "renamed",
            Self::Backported => "backported",
            Self::Prints => "prints",
            Self::Reread => "reread",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.on, self.what, self.pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Change::clsact("drop"),
            Change::held("reads", &"kprobe/vfs_read".parse().unwrap()),
        ];
        let text: Vec<String> = report.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        start: runs start_tp and done_tp, because start_fentry does not: the kernel has no function blk_account_io_start; start_kprobe does not: no such symbol (alternatives)
        start: runs start_fentry (alternatives)
        start: left out, because none of its members runs: start_fentry: the kernel has no function blk_account_io_start; start_kprobe: no such symbol (alternatives)
        drop: left out, it is optional: interface eth7 is not there (optional)
        drop: attached as a filter of clsact, because this kernel has no tcx (Linux 6.6) (tcx)
        reads: attached to kprobe/vfs_read without a link, which this kernel cannot pin: `skepd --hold` keeps it (legacy-attach)
        ");
        insta::assert_snapshot!(serde_json::to_string(&report[3]).unwrap(), @r#"{"pass":"optional","on":"drop","what":"left out, it is optional: interface eth7 is not there"}"#);
    }
}
