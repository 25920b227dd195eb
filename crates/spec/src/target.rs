//! Attach targets, as libbpf's section names spell them: `fentry/vfs_read`, `tp/sched/sched_switch`, `xdp`.

mod told;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::told::PATTERN;
use crate::site::Site;

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
    /// `usdt[/BINARY:PROVIDER:NAME]`. A bare `usdt` waits for its manifest.
    Usdt {
        /// Absolute path of the binary or library; empty until a manifest names it.
        binary: String,
        /// Whose probe it is.
        provider: String,
        /// The probe, at as many places as the binary has it.
        name: String,
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
    /// `SECTION:PLACE`, of a section that has a [`Site`]: `cgroup/connect4:/system.slice`, `sk_lookup`.
    At {
        /// The section without its `?`.
        section: String,
        /// Empty until a manifest names it, and where it may be left out.
        place: String,
    },
    /// Any other spelling, kept as it is.
    Other(String),
}

crate::text_schema!(Target, "minLength": 1);

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
    /// What kind of place it has, where it is written with a colon.
    #[must_use]
    pub fn site(&self) -> Option<Site> {
        match self {
            Self::At { section, .. } => Site::of(section),
            _ => None,
        }
    }

    /// The binary that it names: of uprobes, of those at all functions that a pattern fits, of USDT.
    #[must_use]
    pub fn binary(&self) -> Option<&str> {
        let binary = match self {
            Self::Uprobe { binary, .. } | Self::Usdt { binary, .. } => binary,
            Self::Other(text) => {
                let (word, place) = text.split_once('/')?;
                let word = word.strip_suffix(".s").unwrap_or(word);
                let of_many = matches!(word, "uprobe.multi" | "uretprobe.multi" | "uprobe.session");
                place.split_once(':').filter(|_| of_many)?.0
            }
            _ => return None,
        };
        Some(binary).filter(|binary| !binary.is_empty())
    }

    /// What a text says: a target, or where it is none, as a section or one that only parameters make whole, the text of it.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let asked = text.strip_prefix('?').unwrap_or(text);
        text.parse().unwrap_or_else(|_| Self::Other(by_its_kind(asked)))
    }

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
            Self::Usdt { .. } => "usdt",
            Self::Xdp { .. } => "xdp",
            Self::Tc { .. } => "tcx",
            Self::CgroupSkb { .. } => "cgroup_skb",
            Self::At { section, .. } => section.split(['/', '.']).next().unwrap_or(section),
            Self::Other(text) => match text.split(['/', '.', ':']).next().unwrap_or(text) {
                "raw_tracepoint" => "raw_tp",
                "tc" | "classifier" => "tcx",
                kind => kind,
            },
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.strip_prefix('?').unwrap_or(text); // libbpf: "do not load by itself"
        let (kind, rest) = text.split_once('/').unwrap_or((text, ""));
        let parsed = match kind {
            "tp" | "tracepoint" => tracepoint(rest),
            "raw_tp" | "raw_tracepoint" => Ok(named(rest, Self::RawTracepoint)),
            "tp_btf" => Ok(named(rest, Self::TpBtf)),
            "fentry" => Ok(named(rest, Self::Fentry)),
            "fexit" => Ok(named(rest, Self::Fexit)),
            "kprobe" | "kretprobe" => kprobe(rest, kind == "kretprobe"),
            "uprobe" | "uretprobe" => uprobe(rest, kind == "uretprobe"),
            "usdt" => usdt(rest),
            "xdp" | "xdp.frags" => {
                Ok(Some(Self::Xdp { interface: rest.to_owned(), frags: kind == "xdp.frags" }))
            }
            "tcx" => tc(rest).ok_or("tcx attaches at ingress or egress").map(Some),
            "tc" | "classifier" => Ok(tc(rest)),
            "cgroup_skb" => cgroup_skb(rest),
            "" => Err("it is empty"),
            _ if kind.starts_with('?') => Err("at most one '?' goes before a target"),
            _ => at(text),
        };
        let parsed = parsed.map_err(|why| TargetError { text: text.to_owned(), why })?;
        Ok(parsed.unwrap_or_else(|| Self::Other(by_its_kind(text))))
    }
}

/// A text with its kind by the name that the standard has for it.
fn by_its_kind(text: &str) -> String {
    let (kind, place) = text.split_at(text.find('/').unwrap_or(text.len()));
    let kind = match kind {
        "tp" => "tracepoint",
        "raw_tracepoint" => "raw_tp",
        other => other,
    };
    format!("{kind}{place}")
}

/// What follows the kind, read; none where this version has no own type for it.
type Parsed = Result<Option<Target>, &'static str>;

fn named(name: &str, target: fn(String) -> Target) -> Option<Target> {
    (!name.is_empty()).then(|| target(name.to_owned()))
}

fn tracepoint(rest: &str) -> Parsed {
    match rest.split_once('/') {
        Some((category, name)) if !name.is_empty() && !category.is_empty() => {
            let (category, name) = (category.to_owned(), name.to_owned());
            Ok(Some(Target::Tracepoint { category, name }))
        }
        _ if rest.is_empty() => Ok(None),
        _ => Err("a tracepoint is category/name"),
    }
}

fn kprobe(rest: &str, ret: bool) -> Parsed {
    if rest.is_empty() {
        return Ok(None);
    }
    let (function, offset) = function_offset(rest)?;
    Ok(Some(Target::Kprobe { function, offset, ret }))
}

fn uprobe(rest: &str, ret: bool) -> Parsed {
    if rest.is_empty() {
        let (binary, function) = (String::new(), String::new());
        return Ok(Some(Target::Uprobe { binary, function, offset: 0, ret }));
    }
    let wanted = "a uprobe is /path/of/binary:function[+offset]";
    let (binary, place) = rest.rsplit_once(':').ok_or(wanted)?;
    let (function, offset) = function_offset(place)?;
    if function.is_empty() && offset == 0 {
        return Err("behind its last colon comes a function, or +offset into the file");
    }
    Ok(Some(Target::Uprobe { binary: binary.to_owned(), function, offset, ret }))
}

fn usdt(rest: &str) -> Parsed {
    let parts: Vec<&str> = rest.rsplitn(3, ':').collect();
    let (binary, provider, name) = match parts[..] {
        _ if rest.is_empty() => ("", "", ""),
        [name, provider, binary] if ![name, provider, binary].contains(&"") => {
            (binary, provider, name)
        }
        _ => return Err("a USDT probe is /path/of/binary:provider:name"),
    };
    let [binary, provider, name] = [binary, provider, name].map(str::to_owned);
    Ok(Some(Target::Usdt { binary, provider, name }))
}

fn tc(rest: &str) -> Option<Target> {
    let (direction, interface) = rest.split_once('/').unwrap_or((rest, ""));
    let egress = match direction {
        "" if rest.is_empty() => false,
        "ingress" => false,
        "egress" => true,
        _ => return None,
    };
    Some(Target::Tc { egress, interface: interface.to_owned() })
}

fn cgroup_skb(rest: &str) -> Parsed {
    let (direction, cgroup) = rest.split_once(':').unwrap_or((rest, ""));
    let egress = match direction {
        "ingress" => false,
        "egress" => true,
        _ => return Err("cgroup_skb attaches at ingress or egress"),
    };
    Ok(Some(Target::CgroupSkb { egress, cgroup: cgroup.to_owned() }))
}

fn at(text: &str) -> Parsed {
    let (section, place) = text.split_once(':').unwrap_or((text, ""));
    let Some(site) = Site::of(section) else { return Ok(None) };
    if !place.is_empty() {
        site.check(place)?;
    }
    Ok(Some(Target::At { section: section.to_owned(), place: place.to_owned() }))
}

fn function_offset(text: &str) -> Result<(String, u64), &'static str> {
    let Some((function, offset)) = text.split_once('+') else { return Ok((text.to_owned(), 0)) };
    let bytes = offset_of(offset).ok_or("after + comes an offset in bytes, decimal or 0x hex")?;
    Ok((function.to_owned(), bytes))
}

/// Digits alone; loaders take those behind a 0 for octal.
fn offset_of(text: &str) -> Option<u64> {
    let hex = text.strip_prefix("0x");
    let digits = hex.unwrap_or(text);
    let fine = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_octal = hex.is_none() && digits.len() > 1 && digits.starts_with('0');
    let radix = if hex.is_some() { 16 } else { 10 };
    u64::from_str_radix(digits, radix).ok().filter(|_| fine && !is_octal)
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
            Self::Usdt { binary, .. } if binary.is_empty() => f.write_str("usdt"),
            Self::Usdt { binary, provider, name } => {
                write!(f, "usdt/{binary}:{provider}:{name}")
            }
            Self::Xdp { interface, frags: false } => with(f, "xdp", "/", interface),
            Self::Xdp { interface, frags: true } => with(f, "xdp.frags", "/", interface),
            Self::Tc { egress, interface } => {
                with(f, &format!("tcx/{}", direction(*egress)), "/", interface)
            }
            Self::CgroupSkb { egress, cgroup } => {
                with(f, &format!("cgroup_skb/{}", direction(*egress)), ":", cgroup)
            }
            Self::At { section, place } => with(f, section, ":", place),
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
    fn a_uprobe_names_its_function() {
        for text in ["uprobe//bin/true:", "uretprobe//bin/true:+0"] {
            let refused = text.parse::<Target>().unwrap_err().to_string();
            assert!(refused.contains("behind its last colon comes a function"), "{refused}");
        }
        for text in ["uprobe", "uprobe//bin/true:+0x10", "uprobe/libc.so.6:prctl@@GLIBC_2.2.5"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_usdt_probe_names_its_binary_and_itself() {
        for text in ["usdt", "usdt//bin/a:lib:begin", "usdt//proc/1/root/x:y/a:lib:end"] {
            let target = text.parse::<Target>().unwrap();
            assert_eq!((target.to_string().as_str(), target.kind()), (text, "usdt"));
        }
        for text in
            ["usdt//bin/a", "usdt//bin/a:lib", "usdt//bin/a::x", "usdt//bin/a:lib:", "usdt/:a:b"]
        {
            let refused = text.parse::<Target>().unwrap_err().to_string();
            assert!(refused.ends_with("/path/of/binary:provider:name"), "{refused}");
        }
    }

    #[test]
    fn who_names_a_binary() {
        for (text, binary) in [
            ("uprobe//bin/a:b", Some("/bin/a")),
            ("uprobe", None),
            ("uprobe.multi.s//bin/a:b*", Some("/bin/a")),
            ("uprobe.session//bin/a:b", Some("/bin/a")),
            ("usdt//bin/a:b:c", Some("/bin/a")),
            ("kprobe.multi/a:b", None),
            ("xdp/lo", None),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().binary(), binary, "{text}");
        }
    }

    #[test]
    fn a_place_stands_behind_a_colon() {
        for (text, kind) in [
            ("cgroup/connect4:/system.slice", "cgroup"),
            ("cgroup/connect4", "cgroup"),
            ("sockops:/a:b", "sockops"),
            ("lsm_cgroup/socket_bind:/x", "lsm_cgroup"),
            ("sk_lookup:/run/netns/a", "sk_lookup"),
            ("netkit/peer:nk0", "netkit"),
            ("netfilter:ipv4/input/-10", "netfilter"),
            ("sk_msg:x", "sk_msg"),
            ("iter.s/task:pid=7", "iter"),
            ("iter/bpf_map_elem:counts", "iter"),
        ] {
            let target = text.parse::<Target>().unwrap();
            assert_eq!((target.to_string().as_str(), target.kind()), (text, kind));
        }
        let refused = "netfilter:ipv4/inpt".parse::<Target>().unwrap_err();
        insta::assert_snapshot!(refused, @"'netfilter:ipv4/inpt' is not an attach target: a hook of netfilter is prerouting, input, forward, output or postrouting");
    }

    #[test]
    fn one_question_mark_is_taken_off() {
        assert_eq!("?xdp".parse::<Target>(), "xdp".parse());
        let refused = "??xdp".parse::<Target>().unwrap_err();
        insta::assert_snapshot!(refused, @"'?xdp' is not an attach target: at most one '?' goes before a target");
    }
}
