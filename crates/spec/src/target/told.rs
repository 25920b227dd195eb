//! Targets as manifests write them. A section of an object may be called anything; what a manifest tells must name a place.

use super::{Target, TargetError};
use crate::Site;

macro_rules! name {
    () => {
        r"[^ /\u0000-\u001f\u007f-\u009f]+"
    };
}

macro_rules! path {
    () => {
        r"[^\u0000-\u001f\u007f-\u009f]+"
    };
}

macro_rules! interface {
    () => {
        r"(?!\.{1,2}$)[!-.0-9;-~]{1,15}"
    };
}

macro_rules! offset {
    () => {
        r"\+(0x0*[0-9A-Fa-f]{1,16}|0|[1-9][0-9]{0,19})"
    };
}

/// Kinds whose place is a name behind a slash.
macro_rules! named {
    () => {
        r"raw_tp(\.w)?|raw_tracepoint(\.w)?|tp_btf|(fentry|fexit|fmod_ret|fsession|lsm)(\.s)?|k(ret)?syscall|k(ret)?probe\.multi|kprobe\.session"
    };
}

/// An iterator with a place that it has none of. Numbers of ten digits that are too large are left to [`Target::told`].
macro_rules! other_iterator {
    () => {
        r"iter(\.s)?/(?!(bpf_map_elem|bpf_sk_storage_map|cgroup):|task(_file|_vma)?:[pt]id=0*[1-9][0-9]{0,9}$)[^:]+:"
    };
}

/// How a target is written, for schemas. One with references is held when they are replaced. Of places of other kinds, such as
/// addresses, this takes more than [`Target::told`].
#[rustfmt::skip]
pub const PATTERN: &str = concat!(
    r"^((?=.*\$\{)([^$\u0000-\u001f\u007f-\u009f]|\$(?!\{)|\$\{param\.[^}\u0000-\u001f\u007f-\u009f]*\})+",
    r"|(?!.*\$\{)(",
    r"(tp|tracepoint)/", name!(), "/", name!(),
    r"|(", named!(), ")/", name!(),
    r"|k(ret)?probe/[^ /+\u0000-\u001f\u007f-\u009f]+(", offset!(), ")?",
    r"|u(ret)?probe(\.s)?(/", path!(), r":([^ :+\u0000-\u001f\u007f-\u009f]+(", offset!(), r")?|(?!\+0(x0*)?$)", offset!(), "))?",
    r"|(u(ret)?probe\.multi|uprobe\.session)(\.s)?/[^:\u0000-\u001f\u007f-\u009f]+:[^ \u0000-\u001f\u007f-\u009f]+",
    r"|usdt(\.s)?(/", path!(), r"(:[^ :\u0000-\u001f\u007f-\u009f]+){2})?",
    r"|xdp(\.frags)?(/", interface!(), ")?",
    r"|(tcx|tc|classifier)(/(ingress|egress)(/", interface!(), ")?)?",
    r"|cgroup_skb/(ingress|egress)(:", path!(), ")?",
    r"|netkit/(primary|peer)(:", interface!(), ")?",
    r"|socket(:", interface!(), ")?",
    r"|netfilter(:ipv[46]/(prerouting|input|forward|output|postrouting)(/[-+]?[0-9]+)?)?",
    r"|action(:(ingress|egress)/", interface!(), ")?",
    r"|(?!\?|/|", other_iterator!(), r"|(tp|tracepoint|", named!(), r"|k(ret)?probe|u(ret)?probe(\.multi)?(\.s)?|uprobe\.session(\.s)?|usdt(\.s)?|xdp(\.frags)?|tcx|tc|classifier|cgroup_skb|netkit|socket|netfilter|action)([/:]|$))",
    r"[^ :\u0000-\u001f\u007f-\u009f]+(:", path!(), ")?",
    r"))$",
);

impl Target {
    /// A target without references, as a manifest writes it.
    ///
    /// # Errors
    /// It is not of the form that its kind has, or what it names can be called no such thing.
    pub fn told(text: &str) -> Result<Self, TargetError> {
        let target: Self = text.parse()?;
        let wrong = |why| TargetError { text: text.to_owned(), why };
        if text.starts_with('?') {
            return Err(wrong("a '?' stands before sections alone"));
        }
        held(text, &target).map_err(wrong)?;
        Ok(target)
    }

    /// The word before the first `/`, `.` or `:` of a target that a manifest writes; none where parameters choose it.
    #[must_use]
    pub fn kind_told(text: &str) -> Option<&str> {
        let kind = text.split(['/', '.', ':']).next().unwrap_or(text);
        (!kind.contains("${")).then_some(kind)
    }
}

type Held = Result<(), &'static str>;

fn held(text: &str, target: &Target) -> Held {
    let names = text.contains('/');
    match target {
        Target::Tracepoint { category, name } => {
            [category, name].into_iter().try_for_each(|n| called(n))
        }
        Target::RawTracepoint(name) | Target::TpBtf(name) => called(name),
        Target::Fentry(name) | Target::Fexit(name) => called(name),
        Target::Kprobe { function, .. } => called(function),
        Target::Uprobe { binary, function, .. } if names => {
            file(binary)?;
            ensure(!function.contains(' '), "no function has a space in its name")
        }
        Target::Usdt { binary, provider, name } if names => {
            file(binary)?;
            let spaced = provider.contains(' ') || name.contains(' ');
            ensure(!spaced, "no probe has a space in its name")
        }
        Target::Xdp { interface: place, .. } if names => interface(place),
        Target::Tc { interface: place, .. } if text.matches('/').count() > 1 => interface(place),
        Target::Tc { .. } => ensure(!text.ends_with('/'), DIRECTION),
        Target::CgroupSkb { cgroup: place, .. } if text.contains(':') => file(place),
        Target::At { section, place } => at(section, text.contains(':').then_some(place)),
        Target::Other(_) => other(text),
        _ => Ok(()),
    }
}

const DIRECTION: &str = "behind its kind comes /ingress or /egress, and an interface behind that";

/// A place of a section that has one, where the text goes on behind it.
fn at(section: &str, place: Option<&String>) -> Held {
    ensure(!section.contains(' '), "no section that programs attach by has a space in its name")?;
    let slashed = matches!(section, "socket/" | "netfilter/" | "action/");
    ensure(!slashed, "its place comes behind a colon")?;
    let Some(place) = place else { return Ok(()) };
    match Site::of(section) {
        Some(Site::Netkit | Site::Socket) => interface(place),
        Some(Site::Action) => interface(place.split_once('/').map_or("", |(_, place)| place)),
        _ => file(place),
    }
}

/// What no type of ours stands for: other kinds, and those that we know with another place than they have.
fn other(text: &str) -> Held {
    let (kind, place) = text.split_at(text.find(['/', ':']).unwrap_or(text.len()));
    let sleepable = kind.strip_suffix(".s").unwrap_or(kind);
    match sleepable {
        "raw_tp.w" | "raw_tracepoint.w" if kind == sleepable => name_behind(place),
        "kprobe.multi" | "kretprobe.multi" | "kprobe.session" if kind == sleepable => {
            name_behind(place)
        }
        "ksyscall" | "kretsyscall" if kind == sleepable => name_behind(place),
        "fentry" | "fexit" | "fmod_ret" | "fsession" | "lsm" => name_behind(place),
        "raw_tp" | "raw_tracepoint" | "tp_btf" if kind == sleepable => name_behind(place),
        "uprobe.multi" | "uretprobe.multi" | "uprobe.session" => {
            let parts = place.strip_prefix('/').and_then(|place| place.split_once(':'));
            let (path, pattern) = parts.ok_or("its kind attaches at /path/of/binary:pattern")?;
            file(path)?;
            called_anyhow(pattern)
        }
        "uprobe" | "uretprobe" | "usdt" if kind != sleepable => {
            Target::told(&format!("{sleepable}{place}")).map(drop).map_err(|error| error.why)
        }
        "tp" | "tracepoint" if kind == sleepable => Err("a tracepoint is category/name"),
        "kprobe" | "kretprobe" if kind == sleepable => {
            Err("its kind attaches at /function[+offset]")
        }
        "uprobe" | "uretprobe" => Err("a uprobe is /path/of/binary:function[+offset]"),
        "usdt" => Err("a USDT probe is /path/of/binary:provider:name"),
        "xdp" | "xdp.frags" if kind == sleepable => Err("its kind attaches at /interface"),
        "tcx" | "tc" | "classifier" if kind == sleepable => Err(DIRECTION),
        "cgroup_skb" if kind == sleepable => Err("cgroup_skb attaches at ingress or egress"),
        "netkit" if kind == sleepable => {
            Err("netkit attaches at /primary or /peer, and behind a colon an interface")
        }
        "socket" | "netfilter" | "action" if kind == sleepable => {
            Err("its place comes behind a colon")
        }
        _ => {
            let (section, place) = text
                .split_once(':')
                .map_or((text, None), |(section, place)| (section, Some(place)));
            ensure(
                !section.is_empty() && !section.contains(' '),
                "no section that programs attach by has a space in its name",
            )?;
            place.map_or(Ok(()), file)
        }
    }
}

fn name_behind(place: &str) -> Held {
    called(place.strip_prefix('/').unwrap_or_default())
}

fn called(name: &str) -> Held {
    ensure(!name.contains('/'), "what it attaches to has no '/' in its name")?;
    called_anyhow(name)
}

fn called_anyhow(name: &str) -> Held {
    ensure(!name.is_empty(), "it names nothing to attach to")?;
    ensure(!name.contains(' '), "what it attaches to has no space in its name")
}

fn file(path: &str) -> Held {
    ensure(!path.is_empty(), "it names nothing behind its mark")
}

/// What the kernel takes (`dev_valid_name`, net/core/dev.c), in ASCII.
fn interface(name: &str) -> Held {
    let fine = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
    let is_one =
        (1..=15).contains(&name.len()) && name.bytes().all(fine) && name != "." && name != "..";
    ensure(
        is_one,
        "an interface has 1 to 15 visible characters of ASCII, but '/' and ':', and is not . or ..",
    )
}

fn ensure(fine: bool, why: &'static str) -> Held {
    if fine { Ok(()) } else { Err(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    const TAKEN: [&str; 60] = [
        "tp/sched/sched_switch", "raw_tp/x", "raw_tp.w/x", "raw_tracepoint/x", "tp_btf/x",
        "fentry/a.isra.0", "fentry.s/mod:f", "fmod_ret/f", "lsm/file_open", "lsm.s/file_open",
        "kprobe/f", "kretprobe/f+0x10", "kprobe.multi/vfs_*", "kprobe.session/f",
        "ksyscall/openat", "uprobe", "uprobe//bin/a b:main", "uprobe.s//bin/a:+0x10",
        "uretprobe/libc.so.6:a@@B_2.2", "uprobe//go:github.com/x/y.(*T).M",
        "uprobe.multi//bin/a:x*", "uprobe.session.s//bin/a:x", "usdt", "usdt//bin/a:b:c",
        "usdt.s//a:b:b:c", "xdp", "xdp/eth0", "xdp.frags/eth0.1", "xdp/fifteen-letters", "tc",
        "tcx/ingress", "tcx/egress/lo", "classifier/ingress/lo", "cgroup_skb/egress",
        "cgroup_skb/egress:/a b", "cgroup/connect4:/system.slice", "sockops:/a:b",
        "netkit/peer:nk0", "netkit/primary", "socket:lo", "netfilter", "netfilter:ipv4/input/-10",
        "action:ingress/lo", "action", "sk_msg:sockets", "sk_skb/verdict:a/b", "iter/task:pid=7",
        "perf_event:cpu-clock/99hz", "struct_ops", "struct_ops:ops", "freplace/f:/sys/fs/bpf/x",
        "sk_lookup:/run/netns/a", "lwt_xmit:192.0.2.0/24/eth0", "syscall", "tcp/x",
        "syscall:x", "iter/ksym", "iter.s/cgroup:/a", "iter/task_vma:tid=4294967295", "iter/:x",
    ];

    #[test]
    fn each_kind_has_its_form() {
        for text in TAKEN {
            assert!(Target::told(text).is_ok(), "{text}: {:?}", Target::told(text));
        }
    }

    #[rustfmt::skip]
    const REFUSED: [&str; 78] = [
        "", "?xdp", "xdp/", "xdp//", "xdp/a b c", "xdp/a:b", "xdp/.", "xdp/sixteen-letters-",
        "xdp:lo", "xdp/é", "tcx/", "tcx/lo", "tc/ingress/", "tc/ingress//", "tcx/ingress/a/b",
        "tp", "tp/a", "tp/a/", "tp/a/b/c", "tp/a/b c", "raw_tp", "raw_tp/", "raw_tp/a/b",
        "tp_btf/", "fentry", "fentry/a b", "fentry:f", "lsm", "lsm.s/", "kprobe", "kprobe/",
        "kprobe/a b", "kprobe/a/b", "kprobe/f+x", "kprobe/+1", "kprobe.multi", "kprobe.multi/",
        "uprobe/", "uprobe//bin/a", "uprobe/:main", "uprobe//bin/a:+0", "uprobe//bin/a:b c",
        "uprobe.s/x", "uprobe.multi", "uprobe.multi//bin/a:", "usdt/", "usdt//bin/a:b",
        "usdt//bin/a:b:c d", "cgroup_skb", "cgroup_skb/egress:", "cgroup_skb/in",
        "cgroup/connect4:", "netkit/peer:a b", "netkit/x", "netkit", "socket:", "socket/x",
        "socket:a/b", "netfilter:ipv4/inpt", "netfilter/x", "action:ingress/", "action:lo",
        "action:ingress/a b", "sk_msg:", "some thing", "a b:c", "unknown:", "iter/task:pid=0",
        "/", "/x", "socket/", "socket/:eth0", "netfilter/", "action/", "iter/ksym:x",
        "iter.s/foo:x", "iter/task:pid=4294967296", "iter/task:pid=+7",
    ];

    #[test]
    fn what_is_no_place_is_refused() {
        for text in REFUSED {
            assert!(Target::told(text).is_err(), "{text}");
        }
    }
}
