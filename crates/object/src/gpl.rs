//! What the kernel gives only to programs under the GPL.

use serde::{Deserialize, Serialize};

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

/// Helpers with `gpl_only` in the kernel's `bpf_func_proto`, in any of its program kinds, without `bpf_`.
const HELPERS: [&str; 37] = [
    "copy_from_user_task",
    "get_branch_snapshot",
    "get_current_task",
    "get_current_task_btf",
    "get_func_ip",
    "get_stack",
    "get_stackid",
    "override_return",
    "perf_event_output",
    "perf_event_read",
    "perf_event_read_value",
    "perf_prog_read_value",
    "probe_read",
    "probe_read_kernel",
    "probe_read_kernel_str",
    "probe_read_str",
    "probe_read_user",
    "probe_read_user_str",
    "probe_write_user",
    "rc_keydown",
    "rc_pointer_rel",
    "rc_repeat",
    "read_branch_records",
    "seq_printf",
    "seq_printf_btf",
    "seq_write",
    "skb_output",
    "snprintf",
    "snprintf_btf",
    "task_pt_regs",
    "timer_cancel",
    "timer_init",
    "timer_set_callback",
    "timer_start",
    "trace_printk",
    "trace_vprintk",
    "xdp_output",
];

/// Whether a licence text counts as compatible with the GPL (`include/linux/license.h`).
#[must_use]
pub fn is_compatible(license: &str) -> bool {
    matches!(
        license,
        "GPL"
            | "GPL v2"
            | "GPL and additional rights"
            | "Dual BSD/GPL"
            | "Dual MIT/GPL"
            | "Dual MPL/GPL"
    )
}

/// Whether the kernel gives a helper, named without `bpf_`, only to programs under the GPL.
#[must_use]
pub fn is_gpl_only(helper: &str) -> bool {
    HELPERS.binary_search(&helper).is_ok()
}

/// What the programs use that asks for a compatible licence, whatever the object's licence is.
#[must_use]
pub fn uses(facts: &Facts) -> Vec<GplUse> {
    facts.programs.iter().flat_map(of_program).collect()
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
        Used::Helper if is_gpl_only(&used.name) => {
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
    use super::{HELPERS, is_compatible, is_gpl_only};
    use crate::helper;

    #[test]
    fn the_list_is_sorted_and_names_helpers() {
        assert!(HELPERS.is_sorted());
        assert!(HELPERS.iter().all(|name| helper::id(name).is_some()));
        assert!(is_gpl_only("probe_read_kernel") && !is_gpl_only("map_lookup_elem"));
    }

    #[test]
    fn only_the_kernels_spellings_count() {
        assert!(is_compatible("Dual BSD/GPL") && is_compatible("GPL"));
        assert!(!is_compatible("Apache-2.0") && !is_compatible("gpl") && !is_compatible("GPLv2"));
    }
}
