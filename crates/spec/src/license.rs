//! Licences: SPDX expressions of packages, and what a kernel makes of an object's own licence.

use std::fmt;
use std::str::FromStr;

/// An SPDX licence expression, such as `Apache-2.0` or `MIT OR GPL-2.0-only` (SPDX 2.3, annex D). Whether an identifier
/// is on SPDX's list is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(String);

/// Why a text is not a licence expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not an SPDX expression, such as Apache-2.0 or MIT OR GPL-2.0-only", .0.escape_debug())]
pub struct ExpressionError(pub String);

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        if text.matches('(').count() > GROUPS {
            return Err(ExpressionError(text.to_owned()));
        }
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split(' ').filter(|word| !word.is_empty()).collect();
        let mut rest = words.as_slice();
        match expression(&mut rest) {
            Some(()) if rest.is_empty() => Ok(Self(text.to_owned())),
            _ => Err(ExpressionError(text.to_owned())),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most pairs of parentheses, and so the deepest nesting.
const GROUPS: usize = 32;

fn expression(words: &mut &[&str]) -> Option<()> {
    loop {
        term(words)?;
        match words {
            ["AND" | "OR", rest @ ..] => *words = rest,
            _ => return Some(()),
        }
    }
}

fn term(words: &mut &[&str]) -> Option<()> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    if *first == "(" {
        expression(words)?;
        let (end, rest) = words.split_first()?;
        *words = rest;
        return (*end == ")").then_some(());
    }
    identifier(first.strip_suffix('+').unwrap_or(first))?;
    if let ["WITH", exception, rest @ ..] = *words {
        *words = rest;
        return identifier(exception);
    }
    Some(())
}

fn identifier(text: &str) -> Option<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let word = !["AND", "OR", "WITH"].contains(&text);
    (!text.is_empty() && word && text.bytes().all(fine)).then_some(())
}

/// Whether a kernel lets an object with this licence call what is for GPL-compatible programs only
/// (`license_is_gpl_compatible` of `include/linux/license.h`).
#[must_use]
pub fn is_gpl_compatible(license: &str) -> bool {
    GPL_COMPATIBLE.contains(&license)
}

/// The licences that a kernel takes for compatible with the GPL.
pub const GPL_COMPATIBLE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// Helpers, without `bpf_`, for GPL-compatible programs only: `gpl_only` of the kernel's `struct bpf_func_proto`, in any of
/// the kinds of programs (`kernel/bpf`, `kernel/trace/bpf_trace.c`, `net/core/filter.c`, `drivers/media/rc` of Linux 6.12).
pub const GPL_ONLY: [&str; 44] = [
    "check_mtu",
    "copy_from_user_task",
    "fib_lookup",
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
    "task_pt_regs",
    "tcp_check_syncookie",
    "tcp_gen_syncookie",
    "tcp_raw_check_syncookie_ipv4",
    "tcp_raw_check_syncookie_ipv6",
    "tcp_raw_gen_syncookie_ipv4",
    "tcp_raw_gen_syncookie_ipv6",
    "timer_cancel",
    "timer_init",
    "timer_set_callback",
    "timer_start",
    "trace_printk",
    "trace_vprintk",
    "xdp_output",
];

/// Kinds of hooks whose programs are for the GPL only, whatever they call (`bpf_lsm_verify_prog`, `check_struct_ops_btf_id`).
pub const GPL_ONLY_PROGRAMS: [&str; 3] = ["lsm", "lsm_cgroup", "struct_ops"];

/// What the object's licence does not allow: the kernel would refuse the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asks} is for GPL-compatible programs only, and the object's licence is {}: give it SEC(\"license\") = \"GPL\" or \"Dual BSD/GPL\"",
    license.as_deref().map_or_else(|| "absent".to_owned(), |license| format!("'{}'", license.escape_debug()))
)]
pub struct LicenseError {
    /// What asks for it: `bpf_NAME`, a kfunc, or a type of programs.
    pub asks: String,
    /// What the object's section `license` says.
    pub license: Option<String>,
}

impl LicenseError {
    /// The standard's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "license.object"
    }
}

/// Holds what an object has and calls against the licence that its section says. `programs` are types of programs.
///
/// # Errors
/// The first program, helper or kfunc that asks for a GPL-compatible licence where the object has none.
pub fn check<'a>(
    license: Option<&str>,
    programs: impl IntoIterator<Item = &'a str>,
    helpers: impl IntoIterator<Item = &'a str>,
    kfuncs: impl IntoIterator<Item = &'a str>,
) -> Result<(), LicenseError> {
    if license.is_some_and(is_gpl_compatible) {
        return Ok(());
    }
    let program = programs.into_iter().find(|kind| GPL_ONLY_PROGRAMS.contains(kind));
    let helper = || helpers.into_iter().find(|helper| GPL_ONLY.contains(helper));
    let asks = program
        .map(|kind| format!("a program of type {kind}"))
        .or_else(|| helper().map(|name| format!("bpf_{name}")))
        .or_else(|| kfuncs.into_iter().next().map(str::to_owned));
    match asks {
        Some(asks) => Err(LicenseError { asks, license: license.map(str::to_owned) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_has_them() {
        let fine = [
            "MIT",
            "Apache-2.0",
            "GPL-2.0+",
            "MIT OR Apache-2.0",
            "(MIT AND (BSD-2-Clause OR 0BSD))",
            "GPL-2.0-only WITH Linux-syscall-note",
            "LicenseRef-Ours",
        ];
        for text in fine {
            assert!(text.parse::<Expression>().is_ok(), "{text}");
        }
        let wrong =
            ["", "MIT OR", "OR", "MIT Apache-2.0", "(MIT", "MIT)", "MIT/Apache", "MIT WITH"];
        for text in wrong {
            assert!(text.parse::<Expression>().is_err(), "{text}");
        }
        let nested = |pairs| format!("{}MIT{}", "(".repeat(pairs), ")".repeat(pairs));
        assert!(nested(GROUPS).parse::<Expression>().is_ok());
        assert!(nested(GROUPS + 1).parse::<Expression>().is_err());
    }

    #[test]
    fn only_the_kernels_spellings_count() {
        assert!(is_gpl_compatible("Dual BSD/GPL") && is_gpl_compatible("GPL"));
        assert!(!["Apache-2.0", "gpl", "GPLv2"].into_iter().any(is_gpl_compatible));
    }

    #[test]
    fn gpl_only_calls_ask_for_a_gpl_compatible_object() {
        assert_eq!(check(Some("Dual BSD/GPL"), ["lsm"], ["probe_read"], ["bpf_x"]), Ok(()));
        assert_eq!(check(None, ["xdp"], ["map_lookup_elem"], []), Ok(()));
        insta::assert_snapshot!(check(Some("MIT"), [], ["map_lookup_elem", "get_stack"], []).unwrap_err(), @r#"bpf_get_stack is for GPL-compatible programs only, and the object's licence is 'MIT': give it SEC("license") = "GPL" or "Dual BSD/GPL""#);
        insta::assert_snapshot!(check(None, ["xdp", "struct_ops"], [], []).unwrap_err(), @r#"a program of type struct_ops is for GPL-compatible programs only, and the object's licence is absent: give it SEC("license") = "GPL" or "Dual BSD/GPL""#);
        assert!(check(None, [], [], ["bpf_x"]).is_err());
    }
}
