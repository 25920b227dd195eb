//! Whether a package would run on a kernel of which only the types are known: the needs of its programs, what CO-RE would look for,
//! optional programs and alternatives.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::{Facts, declared};
use skep_spec::manifest::{Alternatives, Otherwise};
use skep_spec::{Arch, Manifest};

use crate::Support;
use crate::need::{self, Answer};
use crate::of_types::KernelTypes;

/// What is known of a package on a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Why it would not run; empty where nothing is known.
    pub lacks: Vec<String>,
    /// What is not known.
    pub open: Vec<String>,
    /// What would be done without, or in another way.
    pub adapted: Vec<String>,
}

/// The kernel that is asked about.
#[derive(Debug)]
pub struct Next<'a> {
    /// Its `uname -r`.
    pub release: &'a str,
    /// Its architecture.
    pub arch: Arch,
    /// Its types.
    pub types: &'a KernelTypes<'a>,
}

impl Outlook {
    /// Of a package with its parameters as they are `given`.
    #[must_use]
    pub fn of(
        manifest: &Manifest,
        objects: &BTreeMap<String, Facts>,
        given: &BTreeMap<String, String>,
        next: &Next<'_>,
    ) -> Self {
        let mut whole = Self::default();
        if manifest.program.is_empty() {
            for (name, facts) in objects {
                whole.add(next.of_object(&declared::runs(manifest, name, facts, given)));
            }
            return whole;
        }
        let programs = programs(manifest, objects, given, next);
        for (group, alternatives) in &manifest.alternatives {
            whole.add(chosen(group, alternatives, &programs));
        }
        let members = manifest.alternatives.values().flat_map(|group| group.r#try.iter().flatten());
        let members: BTreeSet<&str> = members.map(String::as_str).collect();
        let alone = programs.iter().filter(|(name, _)| !members.contains(*name));
        for (name, found) in alone {
            match manifest.program[*name].optional && !found.lacks.is_empty() {
                true => {
                    let why = found.lacks.join("; ");
                    whole.adapted.push(format!("runs without the program '{name}': {why}"));
                }
                false => whole.add(found.clone()),
            }
        }
        let modules = manifest.requirements.iter().flat_map(|wanted| &wanted.modules);
        whole.open.extend(modules.map(|module| format!("whether the module {module} is there")));
        whole
    }

    fn add(&mut self, other: Self) {
        for (mine, others) in [
            (&mut self.lacks, other.lacks),
            (&mut self.open, other.open),
            (&mut self.adapted, other.adapted),
        ] {
            let new = others.into_iter().filter(|one| !mine.contains(one)).collect::<Vec<_>>();
            mine.extend(new);
        }
    }
}

/// Each program of a manifest that is to run, by its name there.
fn programs<'a>(
    manifest: &'a Manifest,
    objects: &BTreeMap<String, Facts>,
    given: &BTreeMap<String, String>,
    next: &Next<'_>,
) -> BTreeMap<&'a str, Outlook> {
    let is_given = |name: &String| {
        let default = manifest.param.get(name).and_then(|param| param.default.as_ref());
        given.contains_key(name) || default.is_some()
    };
    let runs = manifest
        .program
        .iter()
        .filter(|(_, program)| program.requires_param.as_ref().is_none_or(is_given));
    let one = |(name, program): (&'a String, _)| {
        let only = BTreeMap::from([(name.clone(), Clone::clone(program))]);
        let only = Manifest { program: only, ..manifest.clone() };
        let mut found = Outlook::default();
        for (object, facts) in objects {
            found.add(next.of_object(&declared::runs(&only, object, facts, given)));
        }
        (name.as_str(), found)
    };
    runs.map(one).collect()
}

/// The first member of a group that works, as far as is known.
fn chosen(group: &str, alternatives: &Alternatives, programs: &BTreeMap<&str, Outlook>) -> Outlook {
    let (mut reasons, mut open) = (Vec::new(), None);
    for member in &alternatives.r#try {
        let mut found = Outlook::default();
        member
            .iter()
            .filter_map(|name| programs.get(name.as_str()))
            .for_each(|p| found.add(p.clone()));
        if !found.lacks.is_empty() {
            reasons.push(format!("{}: {}", member.join(", "), found.lacks.join("; ")));
            continue;
        }
        if found.open.is_empty() {
            // What comes before it may work or not: this one does.
            if !reasons.is_empty() {
                let without = reasons.join("; ");
                found.adapted.push(format!("{group} by {}, since {without}", member.join(", ")));
            }
            return found;
        }
        open.get_or_insert(found);
    }
    let why = reasons.join("; ");
    match (open, alternatives.otherwise) {
        (Some(open), _) => open,
        (None, Otherwise::Refuse) => Outlook {
            lacks: vec![format!("none of the alternatives '{group}' works: {why}")],
            ..Outlook::default()
        },
        (None, Otherwise::Skip) => Outlook {
            adapted: vec![format!("runs without '{group}': {why}")],
            ..Outlook::default()
        },
    }
}

impl Next<'_> {
    /// Of the programs that an object's facts list.
    fn of_object(&self, facts: &Facts) -> Outlook {
        if facts.programs.is_empty() {
            return Outlook::default();
        }
        let needs = need::of_object(facts);
        let kernel = self.types.facts(self.release, self.arch, &needs);
        let answers = need::ask(&needs, &kernel);
        let said = |wanted: fn(&Support) -> bool| {
            let answers = answers.iter().filter(move |one| wanted(&one.support));
            answers.map(Answer::to_string)
        };
        let mut found = Outlook {
            lacks: said(Support::is_no).collect(),
            open: said(|support| matches!(support, Support::Unknown(_))).collect(),
            adapted: answers.iter().filter_map(second_best).collect(),
        };
        let (sure, open) = self.types.not_found(&read_by(facts));
        found.lacks.extend(sure.into_iter().map(|path| format!("the kernel has no {path}")));
        let asks = |path| format!("it has no {path}, and the object asks before it reads there");
        found.open.extend(open.into_iter().map(asks));
        found
    }
}

/// The relocations of the programs that are listed, and of what all of them may call.
fn read_by(facts: &Facts) -> Facts {
    let sections: BTreeSet<&str> = facts.programs.iter().map(|p| p.section.as_str()).collect();
    let mut own = facts.clone();
    own.core_relocations
        .retain(|one| one.section == ".text" || sections.contains(one.section.as_str()));
    own
}

/// What serves in place of what would be best.
fn second_best(answer: &Answer) -> Option<String> {
    let with = answer.with.as_ref()?;
    let best = answer.need.any_of.first()?;
    (best != with).then(|| format!("{with} in place of {best}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use skep_object::Btf;

    use super::*;

    const SOURCE: &str = r#"
#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
struct { int (*type)[27]; int (*max_entries)[4096]; } ring SEC(".maps");
struct task_struct { int pid; int no_such_field; } CORE;
static long (*output)(void *, void *, long, long) = (void *)130;
SEC("tp_btf/sched_switch") int good(unsigned long long *context)
{
	struct task_struct *task = (void *)context[1];
	int pid = task->pid;
	return output(&ring, &pid, 4, 0);
}
SEC("tp_btf/no_such_tracepoint") int nowhere(void *context) { return 0; }
SEC("raw_tp/sched_switch") int reads(unsigned long long *context)
{
	struct task_struct *task = (void *)context[1];
	return task->no_such_field;
}
"#;

    fn object() -> Facts {
        let folder = tempfile::tempdir().unwrap();
        let (source, object) = (folder.path().join("o.c"), folder.path().join("o.o"));
        std::fs::write(&source, SOURCE).unwrap();
        let mut clang = Command::new("clang");
        clang.args(["-g", "-O2", "-target", "bpf", "-c", "-o"]).arg(&object).arg(&source);
        assert!(clang.status().unwrap().success());
        Facts::parse(&std::fs::read(&object).unwrap()).unwrap()
    }

    fn outlook(programs: &str) -> Outlook {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let types = KernelTypes::of(&btf);
        let text = format!(
            "spec = \"1.0\"\n[package]\nname = \"a/b\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
             [object.o]\nfile = {{ x86_64 = \"o.o\" }}\n{programs}"
        );
        let manifest = skep_spec::source::parse(&text).unwrap().resolve(&BTreeMap::new());
        let objects = BTreeMap::from([("o".to_owned(), object())]);
        let next = Next { release: "next", arch: Arch::host().unwrap(), types: &types };
        Outlook::of(&manifest, &objects, &BTreeMap::new(), &next)
    }

    const GOOD: &str = "[program.good]\nfunction = \"good\"\n";
    const NOWHERE: &str = "[program.nowhere]\nfunction = \"nowhere\"\n";
    const READS: &str = "[program.reads]\nfunction = \"reads\"\n";

    #[test]
    fn three_answers() {
        assert_eq!(outlook(GOOD), Outlook::default());
        let lacks = outlook(&format!("{GOOD}{READS}")).lacks;
        assert_eq!(lacks, ["the kernel has no task_struct.no_such_field"]);
        let found = outlook(&format!("{GOOD}{NOWHERE}"));
        assert!(
            found.lacks.is_empty() && found.open[0].contains("no_such_tracepoint"),
            "{found:?}"
        );
    }

    #[test]
    fn what_may_be_left_out_and_what_another_serves_for_is_no_lack() {
        let found = outlook(&format!("{GOOD}{READS}optional = true\n"));
        assert!(found.lacks.is_empty() && found.adapted[0].contains("without the program 'reads'"));
        let group = |first: &str, otherwise: &str| {
            let group = format!("[alternatives.one]\ntry = [[\"{first}\"], [\"good\"]]\n");
            outlook(&format!("{GOOD}{READS}{NOWHERE}{}{otherwise}", group))
        };
        let found = group("reads", "");
        assert!(found.adapted[0].starts_with("one by good, since reads: "), "{found:?}");
        let none = "[alternatives.one]\ntry = [[\"reads\"]]\n";
        let refused = outlook(&format!("{GOOD}{READS}{none}"));
        assert!(
            refused.lacks[0].starts_with("none of the alternatives 'one' works"),
            "{refused:?}"
        );
        let skipped = outlook(&format!("{GOOD}{READS}{none}otherwise = \"skip\"\n"));
        assert!(skipped.lacks.is_empty() && skipped.adapted.len() == 1, "{skipped:?}");
    }
}
