//! What a kernel has, as far as its types alone say: for one that does not run here.
//!
//! Types list the functions that a kernel has of its own, its tracepoints, and the enumerators that name kinds of programs and maps,
//! helpers and attach types. What modules bring, what the command line turns on, and what was inlined they do not say: that is
//! unknown.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::{Btf, CoreKind, Facts, TypeId, btf::Kind};
use skep_spec::Arch;

use crate::need::Need;
use crate::{Feature, KernelFacts, Support};

/// The names in a kernel's types.
#[derive(Debug)]
pub struct KernelTypes<'a> {
    btf: &'a Btf,
    functions: BTreeSet<&'a str>,
    typedefs: BTreeSet<&'a str>,
    enumerators: BTreeSet<&'a str>,
    /// Structs, unions, enums and typedefs, which types of an object may go by.
    named: BTreeMap<&'a str, Vec<TypeId>>,
}

/// Fewer functions than any kernel has: such types have none at all, or are a module's.
const FEW: usize = 1000;

/// Attach kinds, and functions of which a kernel that has them has one.
const MADE_BY: [(&str, &[&str]); 19] = [
    ("kprobe", &["register_kprobe"]),
    ("kretprobe", &["register_kretprobe"]),
    ("kprobe.multi", &["bpf_kprobe_multi_link_attach"]),
    ("uprobe", &["uprobe_mmap"]),
    ("uretprobe", &["uprobe_mmap"]),
    ("usdt", &["uprobe_mmap"]),
    ("uprobe.multi", &["bpf_uprobe_multi_link_attach"]),
    ("tracepoint", &["perf_event_attach_bpf_prog"]),
    ("perf_event", &["perf_event_attach_bpf_prog"]),
    ("raw_tp", &["bpf_probe_register", "bpf_get_raw_tracepoint"]),
    ("tp_btf", &["bpf_probe_register", "bpf_get_raw_tracepoint"]),
    ("fentry", &["bpf_trampoline_link_prog"]),
    ("fexit", &["bpf_trampoline_link_prog"]),
    ("fmod_ret", &["bpf_trampoline_link_prog"]),
    ("iter", &["bpf_iter_link_attach"]),
    ("xdp", &["bpf_xdp_link_attach", "dev_xdp_attach"]),
    ("tcx", &["tcx_prog_attach", "tcx_link_attach"]),
    ("netfilter", &["bpf_nf_link_attach"]),
    ("cgroup_skb", CGROUP),
];

const CGROUP: &[&str] = &["cgroup_bpf_prog_attach", "cgroup_bpf_link_attach"];

impl<'a> KernelTypes<'a> {
    /// Reads the names.
    #[must_use]
    pub fn of(btf: &'a Btf) -> Self {
        let (mut functions, mut typedefs) = (BTreeSet::new(), BTreeSet::new());
        let (mut enumerators, mut named) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new());
        for (id, ty) in btf.types() {
            let name = btf.name(ty);
            match &ty.kind {
                Kind::Function { .. } => drop(functions.insert(name)),
                Kind::Typedef(_) => {
                    typedefs.insert(name);
                    named.entry(name).or_default().push(id);
                }
                Kind::Enum(of) | Kind::Enum64(of) => {
                    enumerators.extend(of.values.iter().map(|value| btf.name(value)));
                    named.entry(name).or_default().push(id);
                }
                Kind::Struct(_) | Kind::Union(_) | Kind::Int(_) => {
                    named.entry(name).or_default().push(id);
                }
                _ => {}
            }
        }
        Self { btf, functions, typedefs, enumerators, named }
    }

    /// Whether these are a kernel's own types, functions included.
    #[must_use]
    pub fn are_whole(&self) -> bool {
        self.functions.len() >= FEW && self.enumerators.contains("BPF_PROG_TYPE_UNSPEC")
    }

    /// The facts of that kernel about what is needed.
    #[must_use]
    pub fn facts(&self, release: &str, arch: Arch, needs: &[Need]) -> KernelFacts {
        let mut facts = KernelFacts::new(release, arch, 1);
        for feature in needs.iter().flat_map(|need| &need.any_of) {
            facts.learn(feature.clone(), self.support(feature, arch));
        }
        facts
    }

    fn support(&self, feature: &Feature, arch: Arch) -> Support {
        let unknown = |why: &str| Support::Unknown(why.to_owned());
        let listed = |name: String| match self.enumerators.contains(name.as_str()) {
            true => Support::Yes,
            false => Support::No,
        };
        match feature {
            Feature::Btf => Support::Yes,
            Feature::Program(kind) => listed(format!("BPF_PROG_TYPE_{}", upper(kind))),
            Feature::Map(kind) => listed(format!("BPF_MAP_TYPE_{}", upper(kind))),
            Feature::Helper(name) => listed(format!("BPF_FUNC_{name}")),
            Feature::Kfunc(name) | Feature::Function(name) => {
                match self.functions.contains(name.as_str()) {
                    true => Support::Yes,
                    false => unknown("its types do not have it: it may be a module's, or inlined"),
                }
            }
            Feature::Tracepoint(name) => self.tracepoint(name, arch),
            Feature::Attach(kind) => self.attach(kind),
            Feature::Link(_) => unknown("its types do not say"),
        }
    }

    fn tracepoint(&self, name: &str, arch: Arch) -> Support {
        let (category, name) = name.rsplit_once('/').unwrap_or(("", name));
        let is_there = match category {
            "syscalls" => {
                let call = ["sys_enter_", "sys_exit_"].iter().find_map(|p| name.strip_prefix(p));
                let before = match arch {
                    Arch::X86_64 => "__x64_sys_",
                    Arch::Aarch64 => "__arm64_sys_",
                    Arch::Riscv64 => "__riscv_sys_",
                    Arch::S390x => "__s390x_sys_",
                };
                // The name of the call is not always that of its function: newstat, newuname.
                call.is_some_and(|call| self.functions.contains(format!("{before}{call}").as_str()))
            }
            _ => self.typedefs.contains(format!("btf_trace_{name}").as_str()),
        };
        match is_there {
            true => Support::Yes,
            false => Support::Unknown("its types do not have it: it may be a module's".to_owned()),
        }
    }

    fn attach(&self, kind: &str) -> Support {
        let kind = kind.strip_suffix(".s").unwrap_or(kind);
        if kind == "lsm" {
            return match self.functions.contains("bpf_lsm_file_open") {
                true => Support::Unknown(
                    "whether it is booted with lsm=…,bpf its types do not say".to_owned(),
                ),
                false => Support::No,
            };
        }
        let made_by = MADE_BY.iter().find(|(name, _)| *name == kind).map(|(_, by)| *by);
        let made_by = made_by.or_else(|| kind.starts_with("cgroup").then_some(CGROUP));
        match made_by.map(|by| by.iter().any(|name| self.functions.contains(name))) {
            Some(true) => Support::Yes,
            Some(false) => Support::No,
            None => Support::Unknown("its types do not say".to_owned()),
        }
    }

    /// What CO-RE would not find of the fields, types and enumerators that an object reads: for sure, and where the object asks
    /// first, or these types do not tell.
    #[must_use]
    pub fn not_found(&self, facts: &Facts) -> (BTreeSet<String>, BTreeSet<String>) {
        let relocations = || facts.core_relocations.iter();
        let asked: BTreeSet<&str> = relocations()
            .filter(|one| one.kind.is_guard())
            .map(|one| one.type_name.as_str())
            .collect();
        let (mut sure, mut open) = (BTreeSet::new(), BTreeSet::new());
        for one in relocations().filter(|one| !one.kind.is_guard()) {
            if one.kind == CoreKind::LocalTypeId || self.has(&one.type_name, &one.path) {
                continue;
            }
            match asked.contains(one.type_name.as_str()) {
                true => open.insert(one.path.clone()),
                false => sure.insert(one.path.clone()),
            };
        }
        (sure, open)
    }

    /// Whether a path in words is there.
    fn has(&self, root: &str, path: &str) -> bool {
        if let Some((_, enumerator)) = path.split_once("::") {
            let plain = enumerator.split("___").next().unwrap_or(enumerator);
            return self.enumerators.contains(plain);
        }
        let plain = |name: &str| name.split("___").next().unwrap_or_default().to_owned();
        let Some(types) = self.named.get(plain(root).as_str()) else { return false };
        let steps: Vec<String> = path.split('.').skip(1).map(plain).collect();
        types.iter().any(|ty| self.walk(*ty, &steps))
    }

    fn walk(&self, at: TypeId, steps: &[String]) -> bool {
        let Some((first, rest)) = steps.split_first() else { return true };
        let name = first.split('[').next().unwrap_or(first);
        match self.btf.kind(self.plain(at)) {
            Kind::Struct(of) | Kind::Union(of) => {
                of.members.iter().any(|member| match self.btf.name(member) {
                    "" => self.walk(member.ty, steps),
                    own => own == name && self.walk(member.ty, rest),
                })
            }
            // What lies behind a pointer, or is no struct of these types, is another relocation's.
            _ => false,
        }
    }

    /// Without what changes no layout, and of an array its element.
    fn plain(&self, mut at: TypeId) -> TypeId {
        loop {
            at = self.btf.skip_modifiers(at);
            match self.btf.kind(at) {
                Kind::Array(array) => at = array.element,
                _ => return at,
            }
        }
    }
}

fn upper(kind: &impl ToString) -> String {
    kind.to_string().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernels_types_say_what_it_has() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let types = KernelTypes::of(&btf);
        assert!(types.are_whole());
        let support = |text: &str| types.support(&text.parse().unwrap(), Arch::host().unwrap());
        for feature in [
            "btf",
            "program:xdp",
            "program:tracepoint",
            "map:ringbuf",
            "helper:ringbuf_output",
            "function:do_exit",
            "tracepoint:sched/sched_switch",
            "attach:raw_tp",
            "attach:xdp",
        ] {
            assert_eq!(support(feature), Support::Yes, "{feature}");
        }
        assert_eq!(support("helper:no_such_helper"), Support::No);
        for feature in ["function:no_such", "tracepoint:a/no_such", "attach:no_such", "link:xdp"] {
            assert!(matches!(support(feature), Support::Unknown(_)), "{feature}");
        }
        for (root, path, there) in [
            ("task_struct", "task_struct.pid", true),
            ("task_struct", "task_struct.comm[0]", true),
            ("task_struct___old", "task_struct.se.vruntime", true),
            ("task_struct", "task_struct.no_such", false),
            ("no_such", "no_such.pid", false),
            ("bpf_func_id", "bpf_func_id::BPF_FUNC_map_lookup_elem", true),
            ("bpf_func_id", "bpf_func_id::BPF_FUNC_none_such", false),
        ] {
            assert_eq!(types.has(root, path), there, "{path}");
        }
    }
}
