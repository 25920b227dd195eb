//! Which object of the old version belongs to which of the new one, on each architecture.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::difference::{Change, Difference, Version, other_loose};
use skep_spec::Arch;

use super::Object;
use super::code::others;
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
    let others = others(&before.bytes, &after.bytes);
    for program in is.programs.iter().map(|program| &program.name) {
        if was.program(program).is_some()
            && others.contains(program)
            && !difference.programs.iter().any(|one| one.name == *program)
        {
            difference.programs.push(as_many(program.clone()));
        }
    }
    if !was.loose.is_empty() && !is.loose.is_empty() {
        // What cannot be listed was refused before.
        let mut others = other_loose(&before.bytes, &after.bytes).unwrap_or_default();
        others.retain(|section| !difference.loose.iter().any(|one| one.name == *section));
        difference.loose.extend(others.into_iter().map(as_many));
    }
    Ok(Object::Changed(Box::new(difference)))
}

/// What has as many instructions as before, and others.
fn as_many(name: String) -> Change {
    let [old, new] = ["its instructions", "as many, not the same"].map(str::to_owned);
    Change { name, old: Some(old), new: Some(new) }
}
