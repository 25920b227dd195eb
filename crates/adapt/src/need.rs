//! What an object needs of a kernel, read from its code, and whether a kernel has it: part 5 of the standard.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use skep_object::{Facts, Guard, ProgramFacts, ProgramKind, Used};
use skep_spec::Target;

use crate::{Feature, KernelFacts, Support};

/// Something that a kernel must have for a program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Any one of these serves; the first is the best.
    pub any_of: Vec<Feature>,
    /// The programs that need it.
    pub by: BTreeSet<String>,
    /// Whether they may do without: it is a weak symbol, or they ask before they use it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What a kernel answers to a need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The need.
    pub need: Need,
    /// Yes if the kernel has any of its features, no if it is known to lack all.
    pub support: Support,
    /// The feature that serves, where one does.
    pub with: Option<Feature>,
}

/// Whether an object runs on a kernel, as far as can be told without loading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every need is met.
    Runs,
    /// Needs that are not met, one sentence each.
    Refuses(Vec<String>),
    /// Nothing is known to lack, but these needs could not be answered.
    Unknown(Vec<String>),
}

/// What the programs of an object need that load by themselves, each at the target of its section.
#[must_use]
pub fn of_object(facts: &Facts) -> Vec<Need> {
    let weak = facts.weak();
    let mut needs: BTreeMap<(Vec<Feature>, bool), BTreeSet<String>> = BTreeMap::new();
    for program in facts.programs.iter().filter(|program| program.autoload) {
        let code = of_code(facts, &weak, program);
        let code = code.into_iter().map(|(feature, optional)| (vec![feature], optional));
        let target = of_target(&program.target).into_iter().map(|any_of| (any_of, false));
        for key in code.chain(target) {
            needs.entry(key).or_default().insert(program.name.clone());
        }
    }
    needs.into_iter().map(|((any_of, optional), by)| Need { any_of, by, optional }).collect()
}

/// What a kernel answers to each need.
#[must_use]
pub fn ask(needs: &[Need], kernel: &KernelFacts) -> Vec<Answer> {
    needs.iter().map(|need| answer(need, kernel)).collect()
}

/// All answers together.
#[must_use]
pub fn verdict(answers: &[Answer]) -> Verdict {
    let said = |wanted: fn(&Support) -> bool| -> Vec<String> {
        answers.iter().filter(|a| wanted(&a.support)).map(ToString::to_string).collect()
    };
    let (lacking, open) = (said(Support::is_no), said(|s| matches!(s, Support::Unknown(_))));
    match (lacking.is_empty(), open.is_empty()) {
        (false, _) => Verdict::Refuses(lacking),
        (true, false) => Verdict::Unknown(open),
        (true, true) => Verdict::Runs,
    }
}

fn answer(need: &Need, kernel: &KernelFacts) -> Answer {
    let mut support = Support::No;
    for feature in &need.any_of {
        match kernel.support(feature) {
            Support::Yes => {
                let (need, with) = (need.clone(), Some(feature.clone()));
                return Answer { need, support: Support::Yes, with };
            }
            Support::Unknown(why) if support.is_no() => support = Support::Unknown(why),
            _ => {}
        }
    }
    if need.optional && support.is_no() {
        support = Support::Unknown("it has not, and they may do without".to_owned());
    }
    Answer { need: need.clone(), support, with: None }
}

/// Each feature, and whether the program may do without.
fn of_code(facts: &Facts, weak: &BTreeSet<&str>, program: &ProgramFacts) -> Vec<(Feature, bool)> {
    let mut features = Vec::new();
    features.extend(
        ProgramKind::of_section(&program.section).map(|kind| (Feature::Program(kind), false)),
    );
    for used in &program.uses {
        let asked = used.guards.iter().any(Guard::may_fail);
        match used.what {
            Used::Helper => features.push((Feature::Helper(used.name.clone()), asked)),
            Used::Kfunc => {
                let optional = asked || weak.contains(used.name.as_str());
                features.push((Feature::Kfunc(used.name.clone()), optional));
            }
            Used::Ksym => {}
        }
    }
    let maps = program.maps.iter().filter_map(|name| facts.map(name));
    let kinds = maps.flat_map(|map| [Some(map.kind), map.inner.as_ref().map(|inner| inner.kind)]);
    features.extend(kinds.flatten().map(|kind| (Feature::Map(kind), false)));
    if program.relocated || !program.kfuncs.is_empty() {
        features.push((Feature::Btf, false));
    }
    features
}

fn of_target(target: &Target) -> Vec<Vec<Feature>> {
    let attach = |kind: &str| Feature::Attach(kind.to_owned());
    let mut features = vec![match target {
        Target::Tc { .. } => vec![attach("tcx"), attach("tc")],
        Target::At { section: text, .. } | Target::Other(text) => {
            vec![attach(at_several(text).unwrap_or_else(|| target.kind()))]
        }
        target => vec![attach(target.kind())],
    }];
    match target {
        Target::Tracepoint { category, name } => {
            features.push(vec![Feature::Tracepoint(format!("{category}/{name}"))]);
        }
        Target::RawTracepoint(name) => features.push(vec![Feature::Tracepoint(name.clone())]),
        Target::TpBtf(name) => {
            features.extend([vec![Feature::Tracepoint(name.clone())], vec![Feature::Btf]]);
        }
        Target::Fentry(function) | Target::Fexit(function) => {
            features.extend([vec![Feature::Function(function.clone())], vec![Feature::Btf]]);
        }
        Target::Kprobe { function, .. } => {
            features.push(vec![Feature::Function(function.clone())]);
        }
        Target::Uprobe { .. }
        | Target::Usdt { .. }
        | Target::Xdp { .. }
        | Target::Tc { .. }
        | Target::CgroupSkb { .. } => {}
        Target::At { section: text, .. } | Target::Other(text) => {
            features.extend(of_section(text).into_iter().map(|one| vec![one]));
        }
    }
    features
}

/// Ways to attach that a kernel has or lacks whatever it has for one place.
fn at_several(text: &str) -> Option<&'static str> {
    let kind = text.split_once('/').map_or(text, |(kind, _)| kind);
    match kind.strip_suffix(".s").unwrap_or(kind) {
        "kprobe.multi" | "kretprobe.multi" => Some("kprobe.multi"),
        "uprobe.multi" | "uretprobe.multi" => Some("uprobe.multi"),
        "kprobe.session" => Some("kprobe.session"),
        "uprobe.session" => Some("uprobe.session"),
        _ => None,
    }
}

/// What a target that stands as its section has it needs: `fentry.s/NAME`, `raw_tp.w/NAME`, `lsm/NAME`.
fn of_section(text: &str) -> Vec<Feature> {
    let (kind, place) = text.split_once('/').unwrap_or((text, ""));
    let named = |feature: fn(String) -> Feature| {
        (!place.is_empty()).then(|| feature(place.to_owned())).into_iter()
    };
    match kind.strip_suffix(".s").unwrap_or(kind) {
        "raw_tp.w" | "raw_tracepoint.w" => named(Feature::Tracepoint).collect(),
        "fentry" | "fexit" | "fmod_ret" | "fsession" => {
            named(Feature::Function).chain([Feature::Btf]).collect()
        }
        "lsm" | "lsm_cgroup" | "iter" | "struct_ops" => vec![Feature::Btf],
        _ => Vec::new(),
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features: Vec<String> = self.any_of.iter().map(describe).collect();
        let by: Vec<String> = self.by.iter().map(|program| format!("'{program}'")).collect();
        write!(f, "{} for {}", features.join(" or "), by.join(", "))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.support {
            Support::Yes => write!(f, "the kernel has {}", self.need),
            Support::No => write!(f, "the kernel lacks {}", self.need),
            Support::Unknown(why) => {
                write!(f, "it is not known whether the kernel has {}: {why}", self.need)
            }
        }
    }
}

fn describe(feature: &Feature) -> String {
    match feature {
        Feature::Btf => "BTF of its own".to_owned(),
        Feature::Program(kind) => format!("{kind} programs"),
        Feature::Map(kind) => format!("{kind} maps"),
        Feature::Helper(name) => format!("the helper bpf_{name}"),
        Feature::Kfunc(name) => format!("the kfunc {name}"),
        Feature::Function(name) => format!("the function {name}"),
        Feature::Tracepoint(name) => format!("the tracepoint {name}"),
        Feature::Attach(kind) => format!("attaching by {kind}"),
        Feature::Link(kind) => format!("links for {kind}"),
    }
}

#[cfg(test)]
#[path = "need_tests.rs"]
mod tests;
