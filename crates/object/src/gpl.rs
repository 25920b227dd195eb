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

/// Holds what the code calls against what the object's own licence allows.
///
/// # Errors
/// It calls what the kernel gives only to programs under the GPL, and its licence is another or absent.
pub fn check(facts: &Facts) -> Result<(), LicenseError> {
    let helpers = facts.programs.iter().flat_map(|program| &program.helpers);
    let kfuncs = facts.programs.iter().flat_map(|program| &program.kfuncs);
    license::check(
        facts.license.as_deref(),
        helpers.map(String::as_str),
        kfuncs.map(String::as_str),
    )
}

fn of_program(program: &ProgramFacts) -> Vec<GplUse> {
    let kind = ProgramKind::of_section(&program.section);
    let whole = match kind {
        Some(ProgramKind::Lsm) => Some("lsm programs"),
        Some(ProgramKind::StructOps) => Some("struct_ops programs"),
        _ => None,
    };
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
        .map(|what| of(what.to_owned(), program.source.as_ref()))
        .into_iter()
        .chain(called)
        .collect()
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
