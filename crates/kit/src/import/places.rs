//! Programs whose sections leave open where they attach: parameters say it.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::ProgramFacts;
use skep_spec::{Site, Target};

use super::programs::Listed;
use super::{label, quoted, unique};

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Interface,
    Cgroup,
    Binary,
    Event,
    Function,
    /// A function of a binary.
    Symbol,
    /// Who has probes in a binary.
    Provider,
    /// One of them.
    Probe,
}

impl What {
    const ALL: [Self; 8] = [
        Self::Interface,
        Self::Cgroup,
        Self::Binary,
        Self::Event,
        Self::Function,
        Self::Symbol,
        Self::Provider,
        Self::Probe,
    ];

    /// The name of a parameter for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Cgroup => "cgroup",
            Self::Binary => "binary",
            Self::Event => "event",
            Self::Function => "function",
            Self::Symbol => "symbol",
            Self::Provider => "provider",
            Self::Probe => "probe",
        }
    }

    /// The parameter's type.
    const fn kind(self) -> &'static str {
        match self {
            Self::Binary => "path",
            Self::Event | Self::Symbol | Self::Provider | Self::Probe => "string",
            Self::Interface | Self::Cgroup | Self::Function => self.word(),
        }
    }

    const fn means(self) -> &'static str {
        match self {
            Self::Interface => "network interface",
            Self::Cgroup => "folder of the cgroup",
            Self::Binary => "program or library",
            Self::Event => "event, such as cpu-clock/99hz,",
            Self::Function => "kernel function",
            Self::Symbol => "function of the program or library",
            Self::Provider => "provider of the USDT probes",
            Self::Probe => "USDT probe",
        }
    }

    /// What else says where, for all programs together.
    const fn within(self) -> &'static [Self] {
        match self {
            Self::Symbol => &[Self::Binary],
            Self::Probe => &[Self::Binary, Self::Provider],
            _ => &[],
        }
    }

    /// Whether a program does without it, and then does not run, where there are several: an object has programs for several
    /// modes, or for what a binary may lack.
    const fn is_optional(self) -> bool {
        matches!(self, Self::Symbol | Self::Probe)
    }
}

/// The parameters that say where programs attach.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By name, with what each means.
    params: BTreeMap<String, (What, String)>,
    /// The parameter of each program's own, by the program: an interface has one XDP program, and several could be it.
    own: BTreeMap<String, String>,
}

impl Places {
    /// Those that these programs need.
    pub(super) fn of(listed: &[Listed<'_>]) -> Self {
        let (mut places, mut several) = (Self::default(), BTreeMap::<What, usize>::new());
        for one in listed {
            if let Some(what) = apart(one.program) {
                *several.entry(what).or_default() += 1;
            }
        }
        for one in listed {
            let Some((what, _)) = form(one.program) else { continue };
            for what in what.within() {
                let doc = format!("The {} to attach to", what.means());
                places.params.insert(what.word().to_owned(), (*what, doc));
            }
            let apart = apart(one.program).filter(|what| several.get(what).is_some_and(|n| *n > 1));
            if apart.is_some() {
                let name = format!("{} {}", what.word(), one.name);
                let name = unique(&label(&name, '_'), &places.taken());
                let is_optional = what.is_optional() || is_xdp(one.program);
                let unless = if is_optional { "; without it, it is not loaded" } else { "" };
                let doc = format!("The {} to attach {} to{unless}", what.means(), one.name);
                places.own.insert(one.name.clone(), name.clone());
                places.params.insert(name, (what, doc));
            } else {
                let doc = format!("The {} to attach to", what.means());
                places.params.insert(what.word().to_owned(), (what, doc));
            }
        }
        places
    }

    /// Names that no other parameter may have.
    pub(super) fn taken(&self) -> BTreeSet<String> {
        let usual = What::ALL.map(|what| what.word().to_owned());
        self.params.keys().cloned().chain(usual).collect()
    }

    /// The lines of a program's table.
    pub(super) fn place(&self, one: &Listed<'_>) -> String {
        let Some((what, form)) = form(one.program) else { return String::new() };
        let own = self.own.get(&one.name);
        let param = own.map_or(what.word(), String::as_str);
        let target = form.replace("{}", &format!("${{param.{param}}}"));
        let needs = own.filter(|_| what.is_optional() || is_xdp(one.program));
        let needs = needs.map(|param| format!("requires-param = \"{param}\"\n"));
        let needs = needs.unwrap_or_default();
        format!("target = {}\n{needs}", quoted(&target))
    }

    /// Their tables.
    pub(super) fn tables(&self) -> String {
        let table = |(name, (what, doc)): (&String, &(What, String))| {
            format!("\n[param.{name}]\ntype = \"{}\"\ndoc = {}\n", what.kind(), quoted(doc))
        };
        self.params.iter().map(table).collect()
    }

    /// What the operator has to know of them.
    pub(super) fn told(&self) -> Option<String> {
        let is_interface = |param: &String| {
            self.params.get(param).is_some_and(|(what, _)| *what == What::Interface)
        };
        let own = self.own.iter().filter(|(_, param)| is_interface(param));
        let names = own.map(|(program, _)| program.as_str()).collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| {
            format!("an interface has one XDP program, and there are {names}: each runs if its own parameter says where")
        })
    }
}

fn is_xdp(program: &ProgramFacts) -> bool {
    matches!(program.target, Target::Xdp { .. })
}

/// What a program shares with no other, where there are several: an interface has one XDP program, and what counts one event or
/// function means nothing at another.
fn apart(program: &ProgramFacts) -> Option<What> {
    let (what, _) = form(program)?;
    let is_apart = is_xdp(program)
        || matches!(what, What::Event | What::Function | What::Symbol | What::Probe);
    is_apart.then_some(what)
}

/// Whether a program's section leaves its place open.
pub(super) fn is_open(program: &ProgramFacts) -> bool {
    form(program).is_some()
}

/// What is missing of such a program's target, and the target with `{}` in its place.
fn form(program: &ProgramFacts) -> Option<(What, String)> {
    match &program.target {
        Target::Xdp { interface, frags } if interface.is_empty() => {
            let kind = if *frags { "xdp.frags" } else { "xdp" };
            Some((What::Interface, format!("{kind}/{{}}")))
        }
        Target::Tc { egress, interface } if interface.is_empty() => {
            let way = if *egress { "egress" } else { "ingress" };
            Some((What::Interface, format!("tcx/{way}/{{}}")))
        }
        Target::CgroupSkb { egress, cgroup } if cgroup.is_empty() => {
            let way = if *egress { "egress" } else { "ingress" };
            Some((What::Cgroup, format!("cgroup_skb/{way}:{{}}")))
        }
        Target::At { section, .. } => match Site::of(section)? {
            Site::Cgroup => Some((What::Cgroup, format!("{section}:{{}}"))),
            Site::Netkit | Site::Socket => Some((What::Interface, format!("{section}:{{}}"))),
            Site::PerfEvent => Some((What::Event, format!("{section}:{{}}"))),
            Site::Netns
            | Site::Netfilter
            | Site::Route
            | Site::Group
            | Site::Action
            | Site::Program => None,
            Site::SockMap | Site::Interface | Site::Iterator(_) => None,
        },
        Target::Uprobe { binary, ret, .. } if binary.is_empty() => {
            let kind = if *ret { "uretprobe" } else { "uprobe" };
            Some((What::Symbol, format!("{kind}/${{param.binary}}:{{}}")))
        }
        Target::Usdt { binary, .. } if binary.is_empty() => {
            Some((What::Probe, "usdt/${param.binary}:${param.provider}:{}".to_owned()))
        }
        Target::Other(section) => open_probe(section),
        _ => None,
    }
}

/// The same of probes: one in user space may name its function alone, and one in the kernel nothing.
fn open_probe(section: &str) -> Option<(What, String)> {
    match section.split_once('/') {
        None if ["kprobe", "kretprobe", "fentry", "fexit"].contains(&section) => {
            Some((What::Function, format!("{section}/{{}}")))
        }
        Some((kind @ ("uprobe" | "uretprobe"), function)) => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let is_function = !function.is_empty() && function.chars().all(is_name);
            is_function.then(|| (What::Binary, format!("{kind}/{{}}:{function}")))
        }
        _ => None,
    }
}
