//! Which object of the old version belongs to which of the new one, on each architecture.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::difference::{Change, Difference, Version};
use skep_object::disasm::{self, Item, Note};
use skep_spec::Arch;

use super::Object;
use crate::error::{Error, Kind, Result};
use crate::subject::{ObjectBytes, Subject, listed};

/// An object of the old version and one of the new, by their places in their lists.
type Pair = (Option<usize>, Option<usize>);

/// What became of each object, under its name; where architectures differ, under its name and theirs.
pub(super) fn compared(old: &Subject, new: &Subject) -> Result<BTreeMap<String, Object>> {
    if old.objects.is_empty() || new.objects.is_empty() {
        return Err(Error::new(Kind::Failed, "there is no object to compare"));
    }
    let all: BTreeSet<Arch> = old.architectures.iter().chain(&new.architectures).copied().collect();
    let mut pairs: BTreeMap<Pair, Vec<Arch>> = BTreeMap::new();
    for arch in &all {
        for pair in paired(old, new, Some(*arch)) {
            pairs.entry(pair).or_default().push(*arch);
        }
    }
    if all.is_empty() {
        pairs.extend(paired(old, new, None).into_iter().map(|pair| (pair, Vec::new())));
    }
    let mut told: Vec<(&str, Object, Vec<Arch>)> = Vec::new();
    for ((before, after), on) in pairs {
        let before = before.and_then(|at| old.objects.get(at));
        let after = after.and_then(|at| new.objects.get(at));
        let Some(name) = after.or(before).map(|object| object.name.as_str()) else { continue };
        let object = became(old, before, new, after)?;
        match told.iter_mut().find(|(of, known, _)| *of == name && *known == object) {
            Some((_, _, already)) => already.extend(on),
            None => told.push((name, object, on)),
        }
    }
    let label = |(name, object, mut on): (&str, Object, Vec<Arch>)| {
        on.sort();
        let which =
            if on.len() == all.len() { String::new() } else { format!(" for {}", listed(&on)) };
        (format!("{name}{which}"), object)
    };
    Ok(told.into_iter().map(label).collect())
}

/// Objects of one name belong together; so do two that are alone, whatever they are called.
fn paired(old: &Subject, new: &Subject, arch: Option<Arch>) -> Vec<Pair> {
    let before = on(old, arch);
    let mut after = on(new, arch);
    if let ([(a, _)], [(b, _)]) = (before.as_slice(), after.as_slice()) {
        return vec![(Some(*a), Some(*b))];
    }
    let mut pairs = Vec::new();
    for (at, object) in before {
        let same = after.iter().position(|(_, other)| other.name == object.name);
        pairs.push((Some(at), same.map(|same| after.remove(same).0)));
    }
    pairs.extend(after.into_iter().map(|(at, _)| (None, Some(at))));
    pairs
}

fn on(subject: &Subject, arch: Option<Arch>) -> Vec<(usize, &ObjectBytes)> {
    subject.objects.iter().enumerate().filter(|(_, object)| object.is_for(arch)).collect()
}

fn became(
    old: &Subject,
    before: Option<&ObjectBytes>,
    new: &Subject,
    after: Option<&ObjectBytes>,
) -> Result<Object> {
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => (before, after),
        (None, _) => return Ok(Object::Added),
        (_, None) => return Ok(Object::Removed),
    };
    let was = old.running(before, "compare")?.facts;
    let is = new.running(after, "compare")?.facts;
    let mut difference = Difference::between(
        Version { facts: &was, manifest: old.manifest() },
        Version { facts: &is, manifest: new.manifest() },
    );
    let (old, new) = (code(&before.bytes), code(&after.bytes));
    for program in is.programs.iter().map(|program| &program.name) {
        if was.program(program).is_some()
            && old.get(program) != new.get(program)
            && !difference.programs.iter().any(|one| one.name == *program)
        {
            let [old, new] = ["its instructions", "as many, not the same"].map(str::to_owned);
            let (old, new) = (Some(old), Some(new));
            difference.programs.push(Change { name: program.clone(), old, new });
        }
    }
    Ok(Object::Changed(Box::new(difference)))
}

/// What programs do, instruction by instruction, each with all that it calls; places in source and in the section do not count.
fn code(object: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut functions: BTreeMap<String, (bool, Vec<String>, BTreeSet<String>)> = BTreeMap::new();
    let (mut name, mut first) = (None, 0);
    // What cannot be listed was refused before.
    _ = disasm::list(object, None, |item| match item {
        Item::Function(start) => {
            functions.insert(start.name.clone(), (start.program, Vec::new(), BTreeSet::new()));
            name = Some(start.name);
            first = usize::MAX;
        }
        Item::Loose(_) => name = None,
        Item::Line(line) => {
            first = first.min(line.at);
            let own = name.as_ref().and_then(|name| functions.get_mut(name));
            let Some((_, lines, calls)) = own else { return };
            let notes = line.notes.iter().map(|note| match note {
                Note::Jump(to) => format!("to {}", to.wrapping_sub(first)),
                Note::Function(called) => {
                    calls.insert(called.clone());
                    called.clone()
                }
                note => note.to_string(),
            });
            let notes: Vec<String> = notes.collect();
            lines.push(format!("{} {}", line.text, notes.join(" ")));
        }
    });
    let programs = functions.iter().filter(|(_, (program, ..))| *program);
    let whole = |name: &String| {
        let (mut seen, mut todo) = (BTreeSet::from([name.clone()]), vec![name.clone()]);
        while let Some(name) = todo.pop() {
            let calls = functions.get(&name).into_iter().flat_map(|(_, _, calls)| calls);
            todo.extend(calls.filter(|called| seen.insert((*called).clone())).cloned());
        }
        let all = seen.iter().filter_map(|name| functions.get(name));
        all.flat_map(|(_, lines, _)| lines.iter().cloned()).collect()
    };
    programs.map(|(name, _)| (name.clone(), whole(name))).collect()
}
