//! Which programs of a package run here, and where each attaches.

mod error;

use std::collections::{BTreeMap, BTreeSet};

pub use error::ChooseError;
use skep_adapt::Change;
use skep_object::suit::{attachable, by_entry, is_called, plain, suits};
use skep_object::{Facts, ProgramFacts, Unlisted, shown, unlisted};
use skep_spec::manifest::{Alternatives, Otherwise, Program};
use skep_spec::{Arch, Manifest, Site, Target};

use crate::at_map::{interface, names_one};
use crate::params::Params;
use crate::plan::Report;

/// What the objects of a package say, by the object's name.
pub type Objects = BTreeMap<String, Facts>;

/// A program that is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its name in the manifest; without a manifest, its function.
    pub(crate) name: String,
    pub(crate) object: String,
    pub(crate) function: String,
    pub(crate) target: Target,
    /// The only process that it runs in.
    pub(crate) pid: Option<u32>,
    /// Whether it attaches nowhere, and runs when it is asked to or where an entry of a map names it.
    pub(crate) called: bool,
}

/// Programs that this kernel refused, with the reason.
pub(crate) type Refused = BTreeMap<String, String>;

/// Chooses the programs of a package, without those that this kernel refused before.
pub(crate) fn choose(
    manifest: &Manifest,
    objects: &Objects,
    params: &Params,
    refused: &Refused,
    report: &mut Report,
) -> Result<Vec<Chosen>, ChooseError> {
    let mut chosen = by_interface(select(manifest, objects, params, refused, report)?, objects);
    if chosen.is_empty() {
        return Err(nothing(manifest, refused));
    }
    for one in &mut chosen {
        if let Some(arch) = Arch::host() {
            one.target = plain(one.target.clone(), arch);
        }
        let Some(program) = facts_of(one, objects) else { continue };
        one.called = is_called(program);
        if one.called {
            continue;
        }
        check_complete(one)?;
        names_one(one, objects)?;
        let name = || one.name.clone();
        if by_entry(program).is_none() {
            suits(program, &one.target)
                .map_err(|source| ChooseError::Unsuited { program: name(), source })?;
        }
        attachable(program, &one.target)
            .map_err(|source| ChooseError::Unattachable { program: name(), source })?;
    }
    Ok(chosen)
}

/// Why there is nothing to run.
fn nothing(manifest: &Manifest, refused: &Refused) -> ChooseError {
    let lines = refused.iter().map(|(program, why)| refusal(program, why));
    let why = lines.collect::<Vec<_>>().join("\n");
    let params = manifest.program.values().filter_map(|program| program.requires_param.clone());
    let params = params.collect::<BTreeSet<String>>();
    match (why.is_empty(), params.is_empty()) {
        (false, _) => ChooseError::NothingAttached { why },
        (true, false) => {
            ChooseError::Unasked { params: params.into_iter().collect::<Vec<_>>().join(", ") }
        }
        (true, true) => ChooseError::Nothing,
    }
}

/// A line of why every program was left out.
pub(crate) fn refusal(program: &str, why: &str) -> String {
    format!("{}: {}", shown(program), why.replace('\n', "\n  "))
}

/// Chooses programs whose targets may still lack something.
pub(crate) fn select(
    manifest: &Manifest,
    objects: &Objects,
    params: &Params,
    refused: &Refused,
    report: &mut Report,
) -> Result<Vec<Chosen>, ChooseError> {
    if manifest.program.is_empty() {
        return Ok(by_section(objects));
    }
    by_manifest(manifest, objects, params, refused, report)
}

/// Functions of a kernel interface attach together, by the map that holds them: the first one stands for all of its map.
pub(crate) fn by_interface(chosen: Vec<Chosen>, objects: &Objects) -> Vec<Chosen> {
    let mut seen = BTreeSet::new();
    let together = |mut one: Chosen| {
        let facts = objects.get(&one.object);
        let map = facts.and_then(|facts| facts.interface_of(&one.function)).map(|map| &map.name);
        let Some(map) = map.filter(|_| one.target.kind() == "struct_ops") else { return Some(one) };
        if interface(&one.target).is_none_or(str::is_empty) {
            let (section, place) = ("struct_ops".to_owned(), map.clone());
            one.target = Target::At { section, place };
        }
        seen.insert((one.object.clone(), one.target.to_string())).then_some(one)
    };
    chosen.into_iter().filter_map(together).collect()
}

/// Whether a package can do without a program: it is optional, or one of several alternatives.
pub(crate) fn can_do_without(manifest: &Manifest, program: &str) -> bool {
    let in_group = |group: &Alternatives| group.r#try.iter().flatten().any(|name| name == program);
    manifest.program.get(program).is_some_and(|p| p.optional)
        || manifest.alternatives.values().any(in_group)
}

fn by_section(objects: &Objects) -> Vec<Chosen> {
    let chosen = |one: Unlisted<'_>| Chosen {
        name: one.name,
        object: one.object.to_owned(),
        function: one.program.name.clone(),
        target: one.program.target.clone(),
        pid: None,
        called: false,
    };
    unlisted(objects).into_iter().map(chosen).collect()
}

fn by_manifest(
    manifest: &Manifest,
    objects: &Objects,
    params: &Params,
    refused: &Refused,
    report: &mut Report,
) -> Result<Vec<Chosen>, ChooseError> {
    let mut skipped = Vec::new();
    for (name, group) in &manifest.alternatives {
        skipped.extend(losers(name, group, manifest, refused, report)?);
    }
    let mut chosen = Vec::new();
    for (name, program) in &manifest.program {
        let needs = program.requires_param.as_deref();
        if skipped.contains(&name.as_str()) || needs.is_some_and(|param| !params.is_given(param)) {
            continue;
        }
        if let Some(why) = refused.get(name) {
            if !program.optional {
                return Err(ChooseError::Refused { program: name.clone(), why: why.clone() });
            }
            report.changes.push(Change::optional(name, why));
            continue;
        }
        chosen.push(resolve(name, program, objects, params)?);
    }
    Ok(chosen)
}

/// The programs of a group that do not run: all but those of the first member that nobody refused.
fn losers<'a>(
    name: &str,
    group: &'a Alternatives,
    manifest: &Manifest,
    refused: &Refused,
    report: &mut Report,
) -> Result<Vec<&'a str>, ChooseError> {
    let all = group.r#try.iter().flatten().map(String::as_str);
    if let Some(program) = all.clone().find(|p| !manifest.program.contains_key(*p)) {
        let (group, program) = (name.to_owned(), program.to_owned());
        return Err(ChooseError::NoMember { group, program });
    }
    let reason = |member: &Vec<String>| {
        let found = member.iter().find_map(|p| refused.get(p).map(|why| (p, why)));
        found.map(|(program, why)| (program.clone(), why.clone()))
    };
    let winner = group.r#try.iter().find(|member| reason(member).is_none());
    let reasons: Vec<(String, String)> = group.r#try.iter().map_while(reason).collect();
    match winner {
        None if group.otherwise == Otherwise::Refuse => {
            let each = reasons.iter().map(|(program, why)| format!("{program}: {why}"));
            let why = each.collect::<Vec<_>>().join("; ");
            return Err(ChooseError::NoAlternative { group: name.to_owned(), why });
        }
        None => report.changes.push(Change::no_alternative(name, &reasons)),
        Some(winner) => report.changes.push(Change::alternative(name, winner, &reasons)),
    }
    let lost = |program: &&str| !winner.is_some_and(|w| w.iter().any(|name| name == program));
    Ok(all.filter(lost).collect())
}

fn resolve(
    name: &str,
    program: &Program,
    objects: &Objects,
    params: &Params,
) -> Result<Chosen, ChooseError> {
    let function = &program.function;
    let wanted = |object: &String| program.object.as_ref().is_none_or(|told| told == object);
    let mut found = objects
        .iter()
        .filter(|(object, _)| wanted(object))
        .filter_map(|(object, facts)| facts.program(function).map(|program| (object, program)));
    let Some((object, facts)) = found.next() else {
        let there = objects.values().flat_map(|facts| &facts.programs);
        let there: Vec<&str> = there.map(|p| p.name.as_str()).collect();
        return Err(ChooseError::NoFunction {
            program: name.to_owned(),
            function: function.clone(),
            there: there.join(", "),
        });
    };
    if found.next().is_some() {
        let (program, function) = (name.to_owned(), function.clone());
        return Err(ChooseError::Ambiguous { program, function });
    }
    let target = match &program.target {
        None => facts.target.clone(),
        Some(told) => {
            let text = params
                .substitute(told)
                .map_err(|source| ChooseError::Substitute { program: name.to_owned(), source })?;
            let parsed = Target::told(&text);
            if parsed.as_ref().map_or(true, |target| lacks(target).is_some())
                && let Some(param) = params.empty_in(told)
            {
                let (program, target) = (name.to_owned(), told.clone());
                return Err(ChooseError::Empty { program, param: param.to_owned(), target });
            }
            let bad = |source| ChooseError::Target { program: name.to_owned(), source };
            parsed.map_err(bad)?
        }
    };
    let pid = process(name, program, &target, params)?;
    let (name, object, function) = (name.to_owned(), object.clone(), function.clone());
    Ok(Chosen { name, object, function, target, pid, called: false })
}

/// The process that a program is to run in; none for all.
fn process(
    name: &str,
    program: &Program,
    target: &Target,
    params: &Params,
) -> Result<Option<u32>, ChooseError> {
    let Some(told) = &program.pid else { return Ok(None) };
    let text = params
        .substitute(told)
        .map_err(|source| ChooseError::Substitute { program: name.to_owned(), source })?;
    let pid = text.parse::<u32>().map_err(|_| ChooseError::Process {
        program: name.to_owned(),
        pid: text.clone(),
        why: "a process has a number; 0 is every one".to_owned(),
    })?;
    let chooses = target.binary().is_some() || target.site() == Some(Site::PerfEvent);
    match (pid, chooses) {
        (0, _) => Ok(None),
        (pid, true) => Ok(Some(pid)),
        (_, false) => Err(ChooseError::Process {
            program: name.to_owned(),
            pid: text,
            why: format!(
                "a program at {target} runs in every process: only uprobes, USDT and perf events can be told one"
            ),
        }),
    }
}

/// Whether a target names all that attaching needs; what it lacks, and an example.
pub(crate) fn lacks(target: &Target) -> Option<(&'static str, String)> {
    let (what, example) = match target {
        Target::Uprobe { binary, ret: false, .. } if binary.is_empty() => {
            ("binary", "uprobe//usr/bin/bash:readline")
        }
        Target::Uprobe { binary, .. } if binary.is_empty() => {
            ("binary", "uretprobe//usr/bin/bash:readline")
        }
        Target::Usdt { binary, .. } if binary.is_empty() => {
            ("binary", "usdt//usr/bin/python3:python:function__entry")
        }
        Target::Xdp { interface, .. } if interface.is_empty() => ("interface", "xdp/eth0"),
        Target::Tc { interface, egress } if interface.is_empty() => {
            ("interface", if *egress { "tcx/egress/eth0" } else { "tcx/ingress/eth0" })
        }
        Target::CgroupSkb { cgroup, egress } if cgroup.is_empty() => {
            let examples = ["cgroup_skb/ingress:/system.slice", "cgroup_skb/egress:/system.slice"];
            ("cgroup", examples[usize::from(*egress)])
        }
        Target::At { section, place } if place.is_empty() => {
            let (what, example) = target.site()?.wants()?;
            return Some((what, format!("{section}:{example}")));
        }
        _ => return None,
    };
    Some((what, example.to_owned()))
}

/// What its object says of a program.
pub(crate) fn facts_of<'a>(chosen: &Chosen, objects: &'a Objects) -> Option<&'a ProgramFacts> {
    objects.get(&chosen.object)?.program(&chosen.function)
}

fn check_complete(chosen: &Chosen) -> Result<(), ChooseError> {
    let Some((lacks, example)) = lacks(&chosen.target) else { return Ok(()) };
    let (program, target) = (chosen.name.clone(), chosen.target.to_string());
    Err(ChooseError::Incomplete { program, target, lacks, example })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_there_is_nothing_to_run() {
        let manifest = |programs: &str| {
            let text = format!(
                "spec = \"1.0\"\n[package]\nname = \"a/b\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                 [object.o]\nfile = {{ x86_64 = \"o.o\" }}\n{programs}"
            );
            skep_spec::source::parse(&text).unwrap().resolve(&BTreeMap::new())
        };
        let waiting = manifest(
            "[param.where]\ntype = \"interface\"\n[program.p]\nfunction = \"p\"\nrequires-param = \"where\"\n",
        );
        let optional = manifest("[program.p]\nfunction = \"p\"\noptional = true\n");
        let refused = Refused::from([("p".to_owned(), "no such function".to_owned())]);
        let said = |manifest: &Manifest, refused: &Refused| {
            let params = Params::resolve(manifest, &BTreeMap::new()).unwrap();
            let mut report = Report::default();
            let error = choose(manifest, &Objects::new(), &params, refused, &mut report);
            let error = error.unwrap_err();
            (error.code(), error.to_string())
        };
        let (code, text) = said(&waiting, &Refused::new());
        assert_eq!(code, "parameter");
        assert!(text.contains("--set NAME=VALUE, of where"), "{text}");
        let (code, text) = said(&optional, &refused);
        assert_eq!(code, "kernel-refused");
        assert!(text.contains("p: no such function"), "{text}");
    }
}
