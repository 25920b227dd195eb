//! What an object that this kernel refuses is told or spared, where the refusal shows that no more than that is in the way.

use skep_adapt::silent::TRACE_VPRINTK;
use skep_adapt::{Pass, Report};
use skep_kernel::LoadError;
use skep_kernel::object::{Edit, version};
use skep_object::Facts;

/// The question for the kernel's version.
const ASKED: &str = "LINUX_KERNEL_VERSION";
/// Releases after the kernel's own whose changes may have been brought to it.
const LATER: usize = 4;

/// How an object is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// The release that it is told the kernel is of.
    pub(crate) told: Option<(u32, u32)>,
    /// Whether it prints nothing.
    pub(crate) is_quiet: bool,
    /// Whether it reads arguments of its hooks from them again.
    pub(crate) rereads: bool,
}

impl Allowance {
    /// What to try after a refusal, in this order, on a kernel of a release (`uname -r`).
    pub(crate) fn after(self, error: &LoadError, facts: &Facts, release: &str) -> Vec<Self> {
        if is_of_arguments(&error.summary) && asks(facts) && self.told.is_none() {
            let later = releases_after(release).take(LATER);
            return later.map(|told| Self { told: Some(told), ..self }).collect();
        }
        if error.summary.contains(&format!("#{TRACE_VPRINTK}")) && !self.is_quiet {
            return vec![Self { is_quiet: true, ..self }];
        }
        if is_forgotten(&error.summary) && !self.rereads {
            return vec![Self { rereads: true, ..self }];
        }
        Vec::new()
    }

    /// What is done to its instructions.
    pub(crate) fn edits(self) -> impl Iterator<Item = Edit> {
        let all = [(self.is_quiet, Edit::PrintNothing), (self.rereads, Edit::RereadArguments)];
        all.into_iter().filter_map(|(is_done, edit)| is_done.then_some(edit))
    }

    /// The number that the object is told.
    pub(crate) fn version(self) -> Option<u32> {
        self.told.map(|(major, minor)| version::code(major, minor))
    }

    /// What people are told of it.
    pub(crate) fn report(self, object: &str, report: &mut Report) {
        if let Some((major, minor)) = self.told {
            let what = format!(
                "told that the kernel is Linux {major}.{minor}: what it reads of a hook that changed in that release is what this kernel has, and not what its own version says"
            );
            report.add(Pass::Backported, object, what);
        }
        if self.is_quiet {
            let what = "prints no messages: this kernel has no bpf_trace_vprintk (Linux 5.16)";
            report.add(Pass::Prints, object, what);
        }
        if self.rereads {
            let what = "reads arguments of its hooks from them again where it kept them on its stack: this kernel forgets what lies there";
            report.add(Pass::Reread, object, what);
        }
    }
}

fn asks(facts: &Facts) -> bool {
    facts.outside.iter().any(|outside| outside.name == ASKED)
}

/// Whether the verifier refuses what a program reads of its hook's arguments: there are fewer, or it reads them in a way that its
/// other branch does not.
fn is_of_arguments(summary: &str) -> bool {
    summary.contains("invalid bpf_context access") || summary.contains("of modified ctx ptr")
}

/// Whether the verifier takes a pointer for a number, as one that it lost.
fn is_forgotten(summary: &str) -> bool {
    ["'scalar'", "'inv'"].iter().any(|word| summary.contains(&format!("invalid mem access {word}")))
}

/// The releases after that of `5.10.0-34-amd64`.
fn releases_after(release: &str) -> impl Iterator<Item = (u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    let own = numbers.next().zip(numbers.next());
    std::iter::successors(own, |(major, minor)| Some(next(*major, *minor))).skip(1)
}

/// The release after one: series end where Linux's did.
const fn next(major: u32, minor: u32) -> (u32, u32) {
    match (major, minor) {
        (4, 20) => (5, 0),
        (5 | 6, 19) => (major + 1, 0),
        _ => (major, minor + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_follow_each_other() {
        let after = |release| releases_after(release).take(2).collect::<Vec<_>>();
        assert_eq!(after("5.10.0-34-amd64"), [(5, 11), (5, 12)]);
        assert_eq!(after("5.18.1"), [(5, 19), (6, 0)]);
        assert_eq!(after("6.19-rc1"), [(7, 0), (7, 1)]);
        assert_eq!(after("4.20"), [(5, 0), (5, 1)]);
        assert_eq!(after("none"), []);
    }

    #[test]
    fn the_verifiers_words_for_arguments() {
        for words in [
            "invalid bpf_context access off=8 size=8",
            "dereference of modified ctx ptr R1 off=8 disallowed\n  at: return x;",
        ] {
            assert!(is_of_arguments(words), "{words}");
        }
        assert!(!is_of_arguments("R1 invalid mem access 'scalar'"));
    }
}
