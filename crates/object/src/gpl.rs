//! What the kernel gives only to programs under the GPL.

use serde::{Deserialize, Serialize};
use skep_spec::license::{self, GPL_ONLY, LicenseError};

use crate::{Facts, ProgramFacts, ProgramKind, Source, Used};

/// A program's use of something that asks for a licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GplUse {
    /// The program.
    pub program: String,
    /// What asks for it: `bpf_probe_read_kernel`, `kfunc bpf_task_acquire`, `lsm programs`.
    pub what: String,
    /// The line.
    pub source: Option<Source>,
}

/// What the programs use that asks for a compatible licence, whatever the object's licence is.
#[must_use]
pub fn uses(facts: &Facts) -> Vec<GplUse> {
    facts.programs.iter().flat_map(of_program).collect()
}

/// Holds what the code is and calls against what the object's own licence allows.
///
/// # Errors
/// It is or calls what the kernel gives only to programs under the GPL, and its licence is another or absent.
pub fn check(facts: &Facts) -> Result<(), LicenseError> {
    let helpers = facts.programs.iter().flat_map(|program| &program.helpers);
    let kfuncs = facts.programs.iter().flat_map(|program| &program.kfuncs);
    let programs = facts.programs.iter().filter_map(|program| {
        ProgramKind::of_section(&program.section).and_then(ProgramKind::gpl_only)
    });
    license::check(
        facts.license.as_deref(),
        programs,
        helpers.map(String::as_str),
        kfuncs.map(String::as_str),
    )
}

fn of_program(program: &ProgramFacts) -> Vec<GplUse> {
    let whole = ProgramKind::of_section(&program.section).and_then(ProgramKind::gpl_only);
    let of = |what: String, source: Option<&Source>| GplUse {
        program: program.name.clone(),
        what,
        source: source.cloned(),
    };
    let called = program.uses.iter().filter_map(|used| match used.what {
        Used::Helper if GPL_ONLY.contains(&used.name.as_str()) => {
            Some(of(format!("bpf_{}", used.name), used.source.as_ref()))
        }
        Used::Kfunc => Some(of(format!("kfunc {}", used.name), used.source.as_ref())),
        _ => None,
    });
    whole
        .map(|kind| of(format!("{kind} programs"), program.source.as_ref()))
        .into_iter()
        .chain(called)
        .collect()
}

impl ProgramKind {
    /// How the standard calls it, if the kernel takes none without a GPL-compatible licence.
    #[must_use]
    pub fn gpl_only(self) -> Option<&'static str> {
        match self {
            Self::Lsm => Some("lsm"),
            Self::StructOps => Some("struct_ops"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GPL_ONLY;
    use crate::helper;

    #[test]
    fn the_list_names_helpers() {
        assert!(GPL_ONLY.iter().all(|name| helper::id(name).is_some()));
    }
}
