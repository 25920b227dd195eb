//! What a package may touch, in words for people who do not know BPF.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use serde::Serialize;
use skep_object::permissions::{Power, powers_of_helper, powers_of_hook, powers_of_kfunc};
use skep_spec::Target;

use crate::listing::{Listing, ProgramListing};

/// How deep a package reaches into the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Learns that something happens.
    Watches,
    /// Reads what others work with.
    Reads,
    /// Alters what others do.
    Changes,
}

/// One thing that a package may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Touch {
    /// How deep that reaches.
    pub severity: Severity,
    /// In words.
    pub what: String,
    /// The hooks, helpers or kernel functions that show it.
    pub shown_by: Vec<String>,
}

impl Severity {
    /// One word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watches => "watches",
            Self::Reads => "reads",
            Self::Changes => "changes",
        }
    }
}

/// What the bytecode of `listing` can do, the deepest first.
#[must_use]
pub fn touches(listing: &Listing) -> Vec<Touch> {
    let mut found: BTreeMap<Reach, BTreeSet<String>> = BTreeMap::new();
    for program in listing.objects.iter().flat_map(|object| &object.programs) {
        for (reach, shown_by) in reaches(program) {
            found.entry(reach).or_default().insert(shown_by);
        }
    }
    let touch = |(reach, by): (Reach, BTreeSet<String>)| {
        let (severity, what) = in_words(reach);
        Touch { severity, what: what.to_owned(), shown_by: by.into_iter().collect() }
    };
    found.into_iter().map(touch).collect()
}

/// A power that the code shows, or code that does not show its powers; the deepest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Unseen,
    Power(Power),
}

fn reaches(program: &ProgramListing) -> Vec<(Reach, String)> {
    let mut found = Vec::new();
    let hooks =
        if program.hooks.is_empty() { slice::from_ref(&program.target) } else { &program.hooks };
    for hook in hooks {
        let target = hook.parse().unwrap_or_else(|_| Target::Other(program.hook.clone()));
        found.extend(powers_of_hook(&target).map(|power| (Reach::Power(power), hook.clone())));
    }
    for name in &program.helpers {
        let powers = powers_of_helper(name);
        found.extend(powers.map(|power| (Reach::Power(power), format!("bpf_{name}"))));
    }
    for name in &program.kfuncs {
        let powers = powers_of_kfunc(name);
        found.extend(powers.map(|power| (Reach::Power(power), name.clone())));
    }
    if program.unknown_calls {
        found.push((Reach::Unseen, program.name.clone()));
    }
    found
}

/// For people who see such a list for the first time.
const fn in_words(reach: Reach) -> (Severity, &'static str) {
    use Severity::{Changes, Reads, Watches};
    let Reach::Power(power) = reach else {
        return (Changes, "Calls code that cannot be seen in the package");
    };
    match power {
        Power::Unknown => (Changes, "Calls what nobody knows, and may do anything with it"),
        Power::LoadsPrograms => (Changes, "Loads other programs, which may do anything"),
        Power::StopsMachine => (Changes, "May stop the whole machine"),
        Power::WritesUserMemory => (Changes, "Writes into the memory or registers of processes"),
        Power::OverridesReturns => {
            (Changes, "Changes what functions of the kernel return, may make them fail")
        }
        Power::ReplacesKernelCode => {
            (Changes, "Takes the place of code of the kernel or of other programs")
        }
        Power::WritesKernelMemory => (Changes, "Changes what the kernel hands it"),
        Power::DecidesAccess => (Changes, "May forbid what processes ask the kernel to do"),
        Power::SendsSignals => (Changes, "Sends signals to processes, may end them"),
        Power::ChangesFiles => {
            (Changes, "Closes files of processes, or changes attributes of files")
        }
        Power::SchedulesTasks => (Changes, "Decides which tasks run, when and on which processor"),
        Power::ControlsTraffic => (Changes, "May drop, change or redirect network traffic"),
        Power::ControlsCgroups => {
            (Changes, "May refuse or change what the processes of a group ask for")
        }
        Power::InjectsInput => (Changes, "Presses keys and moves pointers"),
        Power::ReadsUserMemory => (Reads, "Reads the memory of processes"),
        Power::ReadsKernelMemory => (Reads, "Reads any memory of the kernel"),
        Power::ReadsFiles => (Reads, "Reads names of files and digests of their contents"),
        Power::ReadsStacks => (Reads, "Reads call stacks of the kernel and of processes"),
        Power::CallsKernelFunctions => {
            (Reads, "Calls functions of the kernel that are not part of its fixed interface")
        }
        Power::ReadsTraffic => (Reads, "Sees network traffic, with what it carries"),
        Power::Observes => (Watches, "Watches what the system does"),
    }
}

#[cfg(test)]
mod tests {
    use skep_spec::Arch;

    use super::*;
    use crate::listing::{MapListing, ObjectListing};

    #[test]
    fn the_deepest_comes_first_with_what_shows_it() {
        let mut listing = example();
        let program = &mut listing.objects[0].programs[0];
        program.helpers.push("send_signal".into());
        program.kfuncs.push("bpf_task_release".into());
        let lines: Vec<String> = touches(&listing)
            .into_iter()
            .map(|t| format!("{}: {} [{}]", t.severity.as_str(), t.what, t.shown_by.join(" ")))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        changes: Sends signals to processes, may end them [bpf_send_signal]
        reads: Reads any memory of the kernel [bpf_probe_read_kernel_str]
        reads: Calls functions of the kernel that are not part of its fixed interface [bpf_task_release]
        watches: Watches what the system does [tracepoint/sched/sched_process_exec]
        ");
    }

    fn example() -> Listing {
        let program = ProgramListing {
            name: "handle_exec".into(),
            target: "tracepoint/sched/sched_process_exec".into(),
            hook: "tracepoint".into(),
            hooks: Vec::new(),
            helpers: vec!["ktime_get_ns".into(), "probe_read_kernel_str".into()],
            kfuncs: Vec::new(),
            instructions: 42,
            unknown_calls: false,
        };
        let map = MapListing {
            name: "events".into(),
            kind: "ringbuf".into(),
            key_size: 0,
            value_size: 0,
            max_entries: 262_144,
            memory: 262_144,
            memory_per_cpu: 0,
            upgrade: None,
        };
        let object = ObjectListing {
            name: "exec".into(),
            architecture: Arch::X86_64,
            digest: "sha256:00".into(),
            size: 6000,
            license: Some("GPL".into()),
            programs: vec![program],
            maps: vec![map],
            undeclared: Vec::new(),
            loose: 0,
        };
        Listing {
            version: "1.0.0".parse().unwrap(),
            license: "Apache-2.0".into(),
            summary: Some("Every program that starts".into()),
            readme: None,
            objects: vec![object],
            parameters: Vec::new(),
            outputs: Vec::new(),
            declared: None,
        }
    }
}
