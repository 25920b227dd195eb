//! The programs of objects: which of them a service runs, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use skep_object::suit::{attachable, by_entry, plain};
use skep_object::{Facts, ProgramFacts, Unlisted, unlisted};
use skep_spec::{Arch, Site, Target};

use super::places::{self, Places};
use super::ways::Ways;
use super::{ImportError, Object, Said, label, quoted, unique};

/// The programs that a service can attach, and the parameters that say where, where their sections do not.
pub(super) fn tables(
    objects: &[Object],
    said: &Said,
    unmapped: &mut Vec<String>,
) -> Result<(String, Places), ImportError> {
    misnamed(objects, said, unmapped);
    if each_its_own(objects, said) {
        unmapped.push(
            "its programs are not the same on each architecture: none is listed, and each runs all of its own".to_owned(),
        );
        return Ok((String::new(), Places::default()));
    }
    let mut facts = BTreeMap::new();
    for object in objects {
        facts.entry(object.name.clone()).or_insert_with(|| object.facts.clone());
    }
    let (listed, mut whys) = listed(objects, &facts, said);
    whys.extend(others(objects, &facts));
    if listed.is_empty() {
        return Err(ImportError::NoProgram { whys: or_none(whys) });
    }
    unmapped.extend(whys);
    let places = Places::of(&listed);
    let ways = if said.whole { Ways::default() } else { Ways::of(&listed) };
    let mut text = String::new();
    for one in &listed {
        let _ =
            write!(text, "\n[program.{}]\nfunction = {}\n", one.name, quoted(&one.program.name));
        if facts.len() > 1 {
            let _ = writeln!(text, "object = \"{}\"", one.object);
        }
        text += &places.place(one);
        if ways.is_optional(&one.name) {
            text += "optional = true\n";
        }
    }
    text += &ways.tables();
    unmapped.extend(places.told().into_iter().chain(ways.told()));
    Ok((text, places))
}

/// A program that is listed.
pub(super) struct Listed<'a> {
    pub(super) name: String,
    pub(super) object: &'a str,
    pub(super) program: &'a ProgramFacts,
    /// Where it attaches, as [`plain`] has it.
    pub(super) target: Target,
}

/// Those that are listed, and why others are not.
fn listed<'a>(
    objects: &[Object],
    facts: &'a BTreeMap<String, Facts>,
    said: &Said,
) -> (Vec<Listed<'a>>, Vec<String>) {
    let (mut listed, mut whys, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
    for Unlisted { object, program, .. } in unlisted(facts) {
        if let Some(why) = unlistable(objects, object, program, said) {
            whys.push(why);
            continue;
        }
        let name = unique(&label(&program.name, '_'), &taken);
        taken.insert(name.clone());
        listed.push(Listed { name, object, program, target: target(objects, object, program) });
    }
    (listed, whys)
}

fn target(objects: &[Object], object: &str, program: &ProgramFacts) -> Target {
    let arch = objects.iter().find(|one| one.name == object).and_then(|one| one.arches.first());
    plain(program.target.clone(), arch.copied().unwrap_or(Arch::X86_64))
}

/// Why a program is not listed.
fn unlistable(
    objects: &[Object],
    object: &str,
    program: &ProgramFacts,
    said: &Said,
) -> Option<String> {
    let is_given = places::is_open(program) && by_entry(program).is_none();
    let why = (!is_given).then(|| unattached(program, &target(objects, object, program)));
    why.flatten().or_else(|| unoffered(program, said)).or_else(|| partial(objects, object, program))
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
    let arch = object.arches.first().copied().unwrap_or(Arch::X86_64);
    unlisted([(&object.name, &object.facts)]).iter().all(|Unlisted { program, .. }| {
        let target = plain(program.target.clone(), arch);
        let why = unattached(program, &target).or_else(|| unoffered(program, said));
        why.is_none() && !places::is_open(program)
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
        && !places::is_open(program)
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
