//! What changed between two versions of an object, for who decides about the upgrade.

mod loose;
mod map;
mod room;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skep_spec::Manifest;

pub use loose::other_loose;
pub use map::{Keeps, MapDifference};

use crate::declared::{place, summary};
use crate::limits::{TOLD_BYTES, TOLD_FIELDS};
use crate::permissions::{Power, reasons};
use crate::{Btf, Facts, Global, Guard, Memory, ProgramFacts, TypeId};

/// What changed between two versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Attach targets, where the defaults of parameters put them.
    pub hooks: Changed<String>,
    /// Helpers without `bpf_`.
    pub helpers: Changed<String>,
    /// Kernel functions.
    pub kfuncs: Changed<String>,
    /// What it may do, the gravest first.
    pub powers: Changed<Power>,
    /// Powers of both versions that a constant keeps off in the old one alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub woken: Vec<Power>,
    /// Programs with calls that cannot be followed.
    pub unknown_calls: Changed<String>,
    /// Maps that take programs of others, and that programs hand over to ([`Facts::open_maps`]).
    #[serde(default, skip_serializing_if = "Changed::is_empty")]
    pub open_maps: Changed<String>,
    /// Sections whose instructions that belong to no function differ: nobody can say what those do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loose: Vec<Change>,
    /// Bytes of all maps, before and after.
    pub memory: [Memory; 2],
    /// The licence, before and after, if it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<[Option<String>; 2]>,
    /// Programs.
    pub programs: Vec<Change>,
    /// Maps of either version, with what a warm upgrade can keep of each.
    pub maps: Vec<MapDifference>,
    /// Global variables: types and values.
    pub variables: Vec<Change>,
    /// How many more of them differ than are told.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub untold_variables: usize,
}

/// What came and what went, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed<T> {
    /// Only in the new version.
    pub added: Vec<T>,
    /// Only in the old one.
    pub removed: Vec<T>,
}

impl<T> Default for Changed<T> {
    fn default() -> Self {
        Self { added: Vec::new(), removed: Vec::new() }
    }
}

/// A thing with a name, and what it was and is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The name.
    pub name: String,
    /// What it was; none if it is new.
    pub old: Option<String>,
    /// What it is; none if it is gone.
    pub new: Option<String>,
}

impl<T: Ord + Clone> Changed<T> {
    /// Between two sets.
    #[must_use]
    pub fn between(old: &BTreeSet<T>, new: &BTreeSet<T>) -> Self {
        let added = new.difference(old).cloned().collect();
        Self { added, removed: old.difference(new).cloned().collect() }
    }
}

impl<T> Changed<T> {
    /// Whether nothing came or went.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// One version of an object, with its package's manifest where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// What the object says.
    pub facts: &'a Facts,
    /// What its package says: how maps are upgraded, and which structs outputs are.
    pub manifest: Option<&'a Manifest>,
}

impl<'a> From<&'a Facts> for Version<'a> {
    fn from(facts: &'a Facts) -> Self {
        Self { facts, manifest: None }
    }
}

impl Difference {
    /// Between two versions. What becomes of a map's contents is the new version's manifest's word.
    #[must_use]
    pub fn between<'a>(old: impl Into<Version<'a>>, new: impl Into<Version<'a>>) -> Self {
        let (before, after) = (old.into(), new.into());
        let maps = map::maps(before, after);
        let (old, new) = (before.facts, after.facts);
        let programs = changes(&programs(before), &programs(after));
        let (before, after) =
            (summary(before.manifest, before.facts), summary(after.manifest, after.facts));
        let powers = |powers: &[Power]| powers.iter().copied().collect::<BTreeSet<_>>();
        let (had, has) = (powers(&before.powers), powers(&after.powers));
        let (variables, untold_variables) = variables(old, new);
        let license =
            (old.license != new.license).then(|| [old.license.clone(), new.license.clone()]);
        Self {
            hooks: Changed::between(&before.hooks, &after.hooks),
            helpers: Changed::between(&before.helpers, &after.helpers),
            kfuncs: Changed::between(&before.kfuncs, &after.kfuncs),
            woken: asleep(old)
                .difference(&asleep(new))
                .filter(|p| has.contains(p))
                .copied()
                .collect(),
            powers: Changed::between(&had, &has),
            unknown_calls: Changed::between(&before.unknown_calls, &after.unknown_calls),
            open_maps: Changed::between(&open_maps(old), &open_maps(new)),
            loose: changes(&loose(old), &loose(new)),
            memory: [before.map_memory, after.map_memory],
            license,
            programs,
            maps,
            variables,
            untold_variables,
        }
    }

    /// Whether the new version may do more than the old one: more hooks, helpers, kfuncs or powers, powers that were off,
    /// calls that cannot be followed, program arrays that others fill, other instructions of no function, or more memory.
    #[must_use]
    pub fn is_wider(&self) -> bool {
        let [before, after] = self.memory;
        let more = !self.hooks.added.is_empty()
            || !self.helpers.added.is_empty()
            || !self.kfuncs.added.is_empty()
            || !self.powers.added.is_empty()
            || !self.woken.is_empty()
            || !self.unknown_calls.added.is_empty()
            || !self.open_maps.added.is_empty()
            || self.has_new_loose_code();
        more || after.once > before.once || after.per_cpu > before.per_cpu
    }

    /// Whether the new version has instructions of no function that the old one has not.
    #[must_use]
    pub fn has_new_loose_code(&self) -> bool {
        self.loose.iter().any(|section| section.new.is_some())
    }
}

/// What differs between two tables of descriptions by name.
#[must_use]
pub fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Change> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let (old, new) = (old.get(name).cloned(), new.get(name).cloned());
        (old != new).then(|| Change { name: name.clone(), old, new })
    };
    names.into_iter().filter_map(change).collect()
}

/// Powers that a constant keeps off, whatever gives them.
fn asleep(facts: &Facts) -> BTreeSet<Power> {
    let is_off = |guard: &Guard| matches!(guard, Guard::Constant { off: true, .. });
    let all = reasons(facts);
    let (off, on): (Vec<_>, Vec<_>) =
        all.iter().partition(|reason| reason.guards.iter().any(is_off));
    let on: BTreeSet<Power> = on.iter().map(|reason| reason.power).collect();
    off.iter().map(|reason| reason.power).filter(|power| !on.contains(power)).collect()
}

fn programs(version: Version<'_>) -> BTreeMap<String, String> {
    let described = |program: &ProgramFacts| {
        let asked = if program.autoload { "" } else { ", only if asked" };
        let written = program.target.to_string();
        let place = version.manifest.and_then(|manifest| place(manifest, &written));
        let target = place.map_or(written.clone(), |place| format!("{place} ({written})"));
        format!("{target}, {} instructions{asked}", program.insns)
    };
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for program in &version.facts.programs {
        let one = all.entry(program.name.clone()).or_default();
        let and = if one.is_empty() { "" } else { "; " };
        *one = format!("{one}{and}{}", described(program));
    }
    all
}

fn open_maps(facts: &Facts) -> BTreeSet<String> {
    facts.open_maps().into_keys().collect()
}

/// How many instructions of each section belong to no function.
fn loose(facts: &Facts) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<&str, u64>::new();
    for run in &facts.loose {
        *all.entry(&run.section).or_default() += run.instructions();
    }
    let told = |n| if n == 1 { "1 instruction".to_owned() } else { format!("{n} instructions") };
    all.into_iter().map(|(section, n)| (section.to_owned(), told(n))).collect()
}

/// Variables that differ, as many as are told, and how many more do. Types are many times as long as what names them, so that
/// those of one variable are put into words at a time.
fn variables(old: &Facts, new: &Facts) -> (Vec<Change>, usize) {
    let (before, after) = (by_name(old), by_name(new));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let (mut told, mut untold, mut bytes) = (Vec::new(), 0, TOLD_BYTES);
    for name in names {
        let old = before.get(name).map(|global| variable(old, global));
        let new = after.get(name).map(|global| variable(new, global));
        if old == new {
            continue;
        }
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let left = bytes.checked_sub(name.len() + length(&old) + length(&new));
        match left.filter(|_| told.len() < TOLD_FIELDS) {
            Some(left) => {
                bytes = left;
                told.push(Change { name: name.to_owned(), old, new });
            }
            None => untold += 1,
        }
    }
    (told, untold)
}

fn by_name(facts: &Facts) -> BTreeMap<&str, &Global> {
    facts.globals.iter().map(|global| (global.name.as_str(), global)).collect()
}

fn variable(facts: &Facts, global: &Global) -> String {
    let ty = described(facts.btf.as_ref(), global.ty);
    let value = facts.btf.as_ref().and_then(|btf| global.value(btf));
    let ty = ty.unwrap_or_else(|| format!("{} bytes", global.size));
    value.map_or_else(|| ty.clone(), |value| format!("{ty} = {value}"))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

pub(crate) fn described(btf: Option<&Btf>, ty: Option<TypeId>) -> Option<String> {
    Some(btf?.describe(ty?))
}
