//! Why an object may do what it may do: the program, the call and the source line behind each power.

use std::fmt;

use serde::{Deserialize, Serialize};
use skep_spec::Target;

use super::{Power, all_hooks, powers_of_helper, powers_of_hook, powers_of_kfunc};
use crate::{Facts, Guard, ProgramFacts, Source, Use, Used, shown};

/// What gives an object a power.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The power.
    pub power: Power,
    /// The program that has it.
    pub program: String,
    /// What gives it.
    pub by: Cause,
    /// The line that does: of a call its own, of a hook the first of the program.
    pub source: Option<Source>,
    /// What must hold for that line to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
}

/// What gives a power.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Being attached there.
    Hook(String),
    /// A helper, without `bpf_`.
    Helper(String),
    /// A kernel function.
    Kfunc(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(target) => write!(f, "{}", shown(target)),
            Self::Helper(name) => write!(f, "bpf_{}", shown(name)),
            Self::Kfunc(name) => write!(f, "{}", shown(name)),
        }
    }
}

/// All reasons for all powers, by power (the gravest first), program and cause.
#[must_use]
pub fn reasons(facts: &Facts) -> Vec<Reason> {
    let hooks = all_hooks(facts).into_iter().flat_map(|(program, hook)| of_hook(program, &hook));
    let mut all: Vec<Reason> = hooks.chain(facts.programs.iter().flat_map(of_code)).collect();
    all.sort_by(|a, b| (a.power, &a.program, &a.by).cmp(&(b.power, &b.program, &b.by)));
    all
}

fn of_hook(program: &ProgramFacts, hook: &Target) -> Vec<Reason> {
    let by = Cause::Hook(hook.to_string());
    let reason = |power| Reason {
        power,
        program: program.name.clone(),
        by: by.clone(),
        source: program.source.clone(),
        guards: Vec::new(),
    };
    powers_of_hook(hook).map(reason).collect()
}

fn of_code(program: &ProgramFacts) -> impl Iterator<Item = Reason> {
    let reasons = move |used: &Use| {
        let (powers, by) = of_use(used)?;
        let reason = |power| Reason {
            power,
            program: program.name.clone(),
            by: by.clone(),
            source: used.source.clone(),
            guards: used.guards.clone(),
        };
        Some(powers.into_iter().map(reason).collect::<Vec<_>>())
    };
    program.uses.iter().filter_map(reasons).flatten()
}

fn of_use(used: &Use) -> Option<(Vec<Power>, Cause)> {
    let name = used.name.clone();
    match used.what {
        Used::Helper => Some((powers_of_helper(&name).collect(), Cause::Helper(name))),
        Used::Kfunc => Some((powers_of_kfunc(&name).collect(), Cause::Kfunc(name))),
        Used::Ksym => None,
    }
}
