//! The programs of objects: which of them a service runs, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use skep_object::suit::{attachable, plain};
use skep_object::{Facts, ProgramFacts, Unlisted, unlisted};
use skep_spec::{Arch, Site, Target};

use super::{ImportError, Object, Said, label, quoted, unique};

/// The programs that a service can attach, and the parameters that say where, where their sections do not.
pub(super) fn tables(
    objects: &[Object],
    said: &Said,
    unmapped: &mut Vec<String>,
) -> Result<(String, String), ImportError> {
    misnamed(objects, said, unmapped);
    if each_its_own(objects, said) {
        unmapped.push(
            "its programs are not the same on each architecture: none is listed, and each runs all of its own".to_owned(),
        );
        return Ok((String::new(), String::new()));
    }
    let mut facts = BTreeMap::new();
    for object in objects {
        facts.entry(object.name.clone()).or_insert_with(|| object.facts.clone());
    }
    let (mut text, mut places, mut taken) = (String::new(), BTreeSet::new(), BTreeSet::new());
    let mut whys = Vec::new();
    for Unlisted { object, program, .. } in unlisted(&facts) {
        if let Some(why) = unlistable(objects, object, program, said) {
            whys.push(why);
            continue;
        }
        let name = unique(&label(&program.name, '_'), &taken);
        let _ = write!(text, "\n[program.{name}]\nfunction = {}\n", quoted(&program.name));
        taken.insert(name);
        if facts.len() > 1 {
            let _ = writeln!(text, "object = \"{object}\"");
        }
        if let Some((param, target)) = placed(program) {
            places.insert(param);
            let _ = writeln!(text, "target = {}", quoted(&target));
        }
    }
    whys.extend(others(objects, &facts));
    if taken.is_empty() {
        return Err(ImportError::NoProgram { whys: or_none(whys) });
    }
    unmapped.extend(whys);
    let places = places
        .into_iter()
        .map(|(name, doc)| format!("\n[param.{name}]\ntype = \"{name}\"\ndoc = \"{doc}\"\n"));
    Ok((text, places.collect()))
}

/// Why a program is not listed.
fn unlistable(
    objects: &[Object],
    object: &str,
    program: &ProgramFacts,
    said: &Said,
) -> Option<String> {
    let arch = objects.iter().find(|one| one.name == object).and_then(|one| one.arches.first());
    let target = plain(program.target.clone(), arch.copied().unwrap_or(Arch::X86_64));
    unattached(program, &target)
        .or_else(|| unoffered(program, said))
        .or_else(|| partial(objects, object, program))
}

/// Why programs are not listed that nobody looked at: those that the first architecture lacks, and those that are asleep.
fn others(objects: &[Object], facts: &BTreeMap<String, Facts>) -> Vec<String> {
    let mut whys = Vec::new();
    for Object { name, facts: own, .. } in objects {
        let first = facts.get(name);
        let lacked = own.programs.iter().filter(|program| {
            program.autoload && first.is_some_and(|first| first.program(&program.name).is_none())
        });
        whys.extend(lacked.filter_map(|program| partial(objects, name, program)));
    }
    for facts in facts.values() {
        let asleep = facts.programs.iter().filter(|program| !program.autoload);
        whys.extend(asleep.map(|program| {
            format!(
                "{} asks not to be loaded: list it under [program] if it is to run",
                of(program)
            )
        }));
    }
    whys
}

/// Whether the programs of an object differ by architecture, and each architecture can run all of its own where its sections
/// say: a manifest that lists none lets it, and one that lists some must list what all have.
fn each_its_own(objects: &[Object], said: &Said) -> bool {
    let names = |object: &Object| -> BTreeSet<String> {
        let own = object.facts.programs.iter().filter(|program| program.autoload);
        own.map(|program| program.name.clone()).collect()
    };
    let differ = objects.iter().any(|one| {
        let mut others = objects.iter().filter(|other| other.name == one.name);
        others.any(|other| names(other) != names(one))
    });
    differ && objects.iter().all(|one| runs_whole(one, said))
}

fn runs_whole(object: &Object, said: &Said) -> bool {
    let alone = BTreeMap::from([(object.name.clone(), object.facts.clone())]);
    let arch = object.arches.first().copied().unwrap_or(Arch::X86_64);
    unlisted(&alone).iter().all(|Unlisted { program, .. }| {
        let target = plain(program.target.clone(), arch);
        let why = unattached(program, &target).or_else(|| unoffered(program, said));
        why.is_none() && placed(program).is_none()
    })
}

/// Why a program is not listed that some architecture's object lacks.
fn partial(objects: &[Object], object: &str, program: &ProgramFacts) -> Option<String> {
    let mut others = objects.iter().filter(|other| other.name == object);
    let lacks = others.find(|other| other.facts.program(&program.name).is_none())?;
    let arches = lacks.arches.iter().map(|arch| arch.as_str()).collect::<Vec<_>>().join(", ");
    Some(format!("{} is not there for {arches}: it is not listed", of(program)))
}

fn or_none(whys: Vec<String>) -> Vec<String> {
    if whys.is_empty() { vec!["they have none".to_owned()] } else { whys }
}

/// Why a program is not listed that a description leaves out.
fn unoffered(program: &ProgramFacts, said: &Said) -> Option<String> {
    let offered = said.programs.as_ref()?;
    let is_left_out = !offered.contains_key(&program.name);
    is_left_out.then(|| format!("{} is none that the image names: it is not listed", of(program)))
}

/// What a description says of programs that the objects say otherwise: the objects' word counts.
fn misnamed(objects: &[Object], said: &Said, unmapped: &mut Vec<String>) {
    for (name, r#type) in said.programs.iter().flatten() {
        let program = objects.iter().find_map(|object| object.facts.program(name));
        let (name, r#type) = (skep_object::shown(name), skep_object::shown(r#type));
        match program {
            None => unmapped
                .push(format!("the image names the program '{name}', which is not in its object")),
            Some(program) if !is_called(program, &r#type) => unmapped.push(format!(
                "the image calls '{name}' {}, and its section is {}: the section counts",
                r#type,
                skep_object::shown(&program.section)
            )),
            Some(_) => {}
        }
    }
}

/// Whether a program is of a type in bpfman's spelling, which has `tc` beside `tcx`, and one word for a probe and its return.
fn is_called(program: &ProgramFacts, r#type: &str) -> bool {
    let kind = program.target.kind();
    let entry = kind.replace("ret", "");
    match r#type {
        "tc" | "tcx" => kind == "tcx" || kind == "tc" || kind == "classifier",
        r#type => r#type == kind || r#type == entry,
    }
}

/// Why a service cannot have a program as its object has it.
fn unattached(program: &ProgramFacts, target: &Target) -> Option<String> {
    if let Target::Uprobe { binary, .. } | Target::Usdt { binary, .. } = target
        && binary.is_empty()
    {
        return Some(nowhere(program, "binary"));
    }
    if let Some((what, _)) = target.site().and_then(Site::wants)
        && !matches!(target.site(), Some(Site::Interface))
        && placed(program).is_none()
    {
        return Some(nowhere(program, what));
    }
    attachable(program, target).err().map(|error| error.to_string())
}

fn nowhere(program: &ProgramFacts, what: &str) -> String {
    format!("{} names no {what}: list it under [program] with a target", of(program))
}

fn of(program: &ProgramFacts) -> String {
    let (name, section) = (skep_object::shown(&program.name), skep_object::shown(&program.section));
    format!("the program '{name}' (SEC(\"{section}\"))")
}

/// For a program whose section leaves its place open: the parameter that says it, with what that means, and the target.
#[allow(clippy::type_complexity, reason = "used once")]
fn placed(program: &ProgramFacts) -> Option<((&'static str, &'static str), String)> {
    const INTERFACE: (&str, &str) = ("interface", "The network interface to attach to");
    const CGROUP: (&str, &str) = ("cgroup", "The folder of the cgroup to attach to");
    match &program.target {
        Target::Xdp { interface, frags } if interface.is_empty() => {
            let kind = if *frags { "xdp.frags" } else { "xdp" };
            Some((INTERFACE, format!("{kind}/${{param.interface}}")))
        }
        Target::Tc { egress, interface } if interface.is_empty() => {
            let way = if *egress { "egress" } else { "ingress" };
            Some((INTERFACE, format!("tcx/{way}/${{param.interface}}")))
        }
        Target::CgroupSkb { egress, cgroup } if cgroup.is_empty() => {
            let way = if *egress { "egress" } else { "ingress" };
            Some((CGROUP, format!("cgroup_skb/{way}:${{param.cgroup}}")))
        }
        Target::At { section, .. } => match Site::of(section)? {
            Site::Cgroup => Some((CGROUP, format!("{section}:${{param.cgroup}}"))),
            Site::Netkit | Site::Socket => {
                Some((INTERFACE, format!("{section}:${{param.interface}}")))
            }
            Site::Netns | Site::Netfilter | Site::PerfEvent => None,
            Site::SockMap | Site::Interface | Site::Iterator(_) => None,
        },
        _ => None,
    }
}
