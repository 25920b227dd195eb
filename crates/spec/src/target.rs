//! Attach targets, as libbpf's section names spell them: `fentry/vfs_read`, `tp/sched/sched_switch`, `xdp`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a program attaches. `Other` keeps a spelling that this version has no own type for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// `tp/CATEGORY/NAME` or `tracepoint/CATEGORY/NAME`.
    Tracepoint {
        /// Such as `sched`.
        category: String,
        /// Such as `sched_process_exec`.
        name: String,
    },
    /// `raw_tp/NAME` or `raw_tracepoint/NAME`.
    RawTracepoint(String),
    /// `tp_btf/NAME`.
    TpBtf(String),
    /// `kprobe/FUNCTION[+OFFSET]`, or `kretprobe/…` with `ret`.
    Kprobe {
        /// The kernel function.
        function: String,
        /// Bytes into the function.
        offset: u64,
        /// At return instead of entry.
        ret: bool,
    },
    /// `fentry/FUNCTION`.
    Fentry(String),
    /// `fexit/FUNCTION`.
    Fexit(String),
    /// `uprobe[/BINARY:FUNCTION[+OFFSET]]`, or `uretprobe` with `ret`. A bare `uprobe` waits for its manifest.
    Uprobe {
        /// Absolute path of the binary or library; empty until a manifest names it.
        binary: String,
        /// Symbol in the binary, or empty when `offset` is a file offset.
        function: String,
        /// Bytes into the function.
        offset: u64,
        /// At return instead of entry.
        ret: bool,
    },
    /// `xdp[.frags][/INTERFACE]`.
    Xdp {
        /// Interface; empty until a manifest or the command line names it.
        interface: String,
        /// Whether the program takes multi-buffer frames.
        frags: bool,
    },
    /// `tcx/ingress`, `tcx/egress`, or the older `tc` and `classifier`; `/INTERFACE` may follow.
    Tc {
        /// Egress instead of ingress.
        egress: bool,
        /// Interface; empty until named.
        interface: String,
    },
    /// `cgroup_skb/ingress` or `cgroup_skb/egress`; `:PATH` may follow.
    CgroupSkb {
        /// Egress instead of ingress.
        egress: bool,
        /// Path of the cgroup v2 folder; empty until named.
        cgroup: String,
    },
    /// Any other spelling, kept as it is.
    Other(String),
}

/// Why a text is not an attach target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an attach target: {why}")]
pub struct TargetError {
    /// The text.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

impl Target {
    /// The kind alone, as `permissions.hooks` names it: `fentry`, `tracepoint`, `xdp`.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Tracepoint { .. } => "tracepoint",
            Self::RawTracepoint(_) => "raw_tp",
            Self::TpBtf(_) => "tp_btf",
            Self::Kprobe { ret: false, .. } => "kprobe",
            Self::Kprobe { ret: true, .. } => "kretprobe",
            Self::Fentry(_) => "fentry",
            Self::Fexit(_) => "fexit",
            Self::Uprobe { ret: false, .. } => "uprobe",
            Self::Uprobe { ret: true, .. } => "uretprobe",
            Self::Xdp { .. } => "xdp",
            Self::Tc { .. } => "tcx",
            Self::CgroupSkb { .. } => "cgroup_skb",
            Self::Other(text) => text.split(['/', '.']).next().unwrap_or(text),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.strip_prefix('?').unwrap_or(text); // libbpf: "do not load by itself"
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let refuse = |why| Err(TargetError { text: text.to_owned(), why });
        let some = |rest: &str| rest.to_owned();
        Ok(match kind {
            "tp" | "tracepoint" => match rest.split_once('/') {
                Some((category, name)) if !name.is_empty() && !category.is_empty() => {
                    Self::Tracepoint { category: some(category), name: some(name) }
                }
                _ if rest.is_empty() => Self::Other(some(text)),
                _ => return refuse("a tracepoint is category/name"),
            },
            "raw_tp" | "raw_tracepoint" if !rest.is_empty() => Self::RawTracepoint(some(rest)),
            "tp_btf" if !rest.is_empty() => Self::TpBtf(some(rest)),
            "fentry" if !rest.is_empty() => Self::Fentry(some(rest)),
            "fexit" if !rest.is_empty() => Self::Fexit(some(rest)),
            "kprobe" | "kretprobe" if !rest.is_empty() => {
                let Some((function, offset)) = function_offset(rest) else {
                    return refuse("after + comes an offset in bytes, decimal or 0x hex");
                };
                Self::Kprobe { function, offset, ret: kind == "kretprobe" }
            }
            "uprobe" | "uretprobe" => {
                let ret = kind == "uretprobe";
                if rest.is_empty() {
                    return Ok(Self::Uprobe {
                        binary: String::new(),
                        function: String::new(),
                        offset: 0,
                        ret,
                    });
                }
                let Some((binary, place)) = rest.rsplit_once(':') else {
                    return refuse("a uprobe is /path/of/binary:function[+offset]");
                };
                let Some((function, offset)) = function_offset(place) else {
                    return refuse("after + comes an offset in bytes, decimal or 0x hex");
                };
                Self::Uprobe { binary: some(binary), function, offset, ret }
            }
            "xdp" => Self::Xdp { interface: some(rest), frags: false },
            "xdp.frags" => Self::Xdp { interface: some(rest), frags: true },
            "tcx" | "tc" | "classifier" => {
                let (direction, interface) = rest.split_once('/').unwrap_or((rest, ""));
                match direction {
                    "" | "ingress" => Self::Tc { egress: false, interface: some(interface) },
                    "egress" => Self::Tc { egress: true, interface: some(interface) },
                    _ if kind != "tcx" => Self::Other(some(text)),
                    _ => return refuse("tcx attaches at ingress or egress"),
                }
            }
            "cgroup_skb" => match rest.split_once(':').unwrap_or((rest, "")) {
                ("ingress", cgroup) => Self::CgroupSkb { egress: false, cgroup: some(cgroup) },
                ("egress", cgroup) => Self::CgroupSkb { egress: true, cgroup: some(cgroup) },
                _ => return refuse("cgroup_skb attaches at ingress or egress"),
            },
            "" => return refuse("it is empty"),
            _ if kind.starts_with('?') => return refuse("at most one '?' goes before a target"),
            _ => Self::Other(some(text)),
        })
    }
}

fn function_offset(text: &str) -> Option<(String, u64)> {
    let Some((function, offset)) = text.split_once('+') else { return Some((text.to_owned(), 0)) };
    let offset = match offset.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => offset.parse().ok()?,
    };
    Some((function.to_owned(), offset))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, kind: &str, mark: &str, rest: &str| {
            if rest.is_empty() { f.write_str(kind) } else { write!(f, "{kind}{mark}{rest}") }
        };
        let direction = |egress: bool| if egress { "egress" } else { "ingress" };
        match self {
            Self::Tracepoint { category, name } => write!(f, "tracepoint/{category}/{name}"),
            Self::RawTracepoint(name)
            | Self::TpBtf(name)
            | Self::Fentry(name)
            | Self::Fexit(name) => {
                write!(f, "{}/{name}", self.kind())
            }
            Self::Kprobe { function, offset: 0, .. } => write!(f, "{}/{function}", self.kind()),
            Self::Kprobe { function, offset, .. } => {
                write!(f, "{}/{function}+{offset:#x}", self.kind())
            }
            Self::Uprobe { binary, function, offset: 0, .. }
                if binary.is_empty() && function.is_empty() =>
            {
                f.write_str(self.kind())
            }
            Self::Uprobe { binary, function, offset: 0, .. } => {
                write!(f, "{}/{binary}:{function}", self.kind())
            }
            Self::Uprobe { binary, function, offset, .. } => {
                write!(f, "{}/{binary}:{function}+{offset:#x}", self.kind())
            }
            Self::Xdp { interface, frags: false } => with(f, "xdp", "/", interface),
            Self::Xdp { interface, frags: true } => with(f, "xdp.frags", "/", interface),
            Self::Tc { egress, interface } => {
                with(f, &format!("tcx/{}", direction(*egress)), "/", interface)
            }
            Self::CgroupSkb { egress, cgroup } => {
                with(f, &format!("cgroup_skb/{}", direction(*egress)), ":", cgroup)
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn one_question_mark_is_taken_off() {
        assert_eq!("?xdp".parse::<Target>(), "xdp".parse());
        let refused = "??xdp".parse::<Target>().unwrap_err();
        insta::assert_snapshot!(refused, @"'?xdp' is not an attach target: at most one '?' goes before a target");
    }
}
