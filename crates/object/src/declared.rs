//! Objects as their manifest declares them: attach targets, map sizes, and whether `[permissions]` cover all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use skep_spec::Target;
use skep_spec::manifest::{Manifest, Permissions, Program};
use skep_spec::param::{Value, parse_entries, substitute};

use crate::permissions::{self, Lack, Lacking, Power, Summary};
use crate::{Facts, Memory, ProgramFacts};

/// What objects do and their manifest's `[permissions]` do not allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceeded {
    /// Each of them, sorted.
    pub lacks: Vec<Lack>,
    /// Permissions that cover all of it.
    pub needed: Needed,
}

/// Permissions that cover what objects do. Its text is the table of the manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    hooks: BTreeSet<String>,
    helpers: BTreeSet<String>,
    kfuncs: BTreeSet<String>,
    /// Bytes on a machine with one CPU.
    map_memory: u64,
}

/// Holds the objects of one architecture against their manifest's `[permissions]`, with parameters as `given`.
///
/// Targets stay as the manifest writes them, since a parameter may choose the place and never the kind. Sizes of maps
/// are those of the parameters.
///
/// # Errors
/// They do more.
pub fn hold<'a>(
    manifest: &Manifest,
    objects: impl IntoIterator<Item = &'a Facts>,
    given: &BTreeMap<String, String>,
) -> Result<(), Exceeded> {
    let none = Permissions::default();
    let permissions = manifest.permissions.as_ref().unwrap_or(&none);
    let mut exceeded = Exceeded::default();
    let mut memory = Memory::default();
    for facts in objects {
        let facts = declared(manifest, facts, given);
        exceeded.lacks.extend(permissions::lacks(permissions, &facts));
        let summary = permissions::derive(&facts);
        memory = memory.and(summary.map_memory);
        exceeded.needed.add(summary);
    }
    let memory_over = permissions::memory_over(permissions, memory);
    exceeded.lacks.extend(memory_over.map(|said| Lack { said, what: Lacking::Memory }));
    exceeded.needed.map_memory = memory.on(1);
    exceeded.lacks.sort();
    exceeded.lacks.dedup();
    if exceeded.lacks.is_empty() { Ok(()) } else { Err(exceeded) }
}

/// The facts with a program for each target that the manifest gives it, and maps in the manifest's sizes.
#[must_use]
pub fn declared(manifest: &Manifest, facts: &Facts, given: &BTreeMap<String, String>) -> Facts {
    let listed =
        |name: &str| manifest.program.values().filter(|own| own.function == name).collect();
    let called = facts.with_tail_called([]);
    let at = |program: ProgramFacts| {
        let own: Vec<&Program> = listed(&program.name);
        if !own.is_empty() {
            return at_targets(&own, program);
        }
        let only_called = !manifest.program.is_empty() && called.contains(&program.name);
        vec![ProgramFacts { attached: program.attached && !only_called, ..program }]
    };
    with(manifest, facts, given, at)
}

/// What a package runs of the object that its manifest calls `object`: of the programs only those that are listed, or
/// all that load unasked where none is, each at its targets, and those that they can call out of a filled array; all maps, in the manifest's sizes.
#[must_use]
pub fn runs(
    manifest: &Manifest,
    object: &str,
    facts: &Facts,
    given: &BTreeMap<String, String>,
) -> Facts {
    let is_of = |own: &&Program| own.object.as_deref().is_none_or(|name| name == object);
    let listed = |name: &str| {
        let own = manifest.program.values().filter(|own| own.function == name);
        own.filter(is_of).collect()
    };
    let called = facts.with_tail_called([]);
    let at = |program: ProgramFacts| {
        if manifest.program.is_empty() {
            let runs = program.autoload || called.contains(&program.name);
            return if runs { vec![program] } else { Vec::new() };
        }
        let own: Vec<&Program> = listed(&program.name);
        if own.is_empty() && called.contains(&program.name) {
            return vec![ProgramFacts { autoload: true, attached: false, ..program }];
        }
        at_targets(&own, ProgramFacts { autoload: true, ..program })
    };
    with(manifest, facts, given, at)
}

fn with(
    manifest: &Manifest,
    facts: &Facts,
    given: &BTreeMap<String, String>,
    at: impl Fn(ProgramFacts) -> Vec<ProgramFacts>,
) -> Facts {
    let mut facts = facts.clone();
    facts.programs = std::mem::take(&mut facts.programs).into_iter().flat_map(at).collect();
    let own = |value: &String| Value::Text(value.clone());
    let given: BTreeMap<&str, Value> =
        given.iter().map(|(name, value)| (name.as_str(), own(value))).collect();
    let value = |name: &str| given.get(name).or_else(|| default(manifest, name));
    for map in &mut facts.maps {
        let told = manifest.map.get(&map.name).and_then(|told| told.max_entries.as_ref());
        // What parameters make no size of a map is refused where the map is made.
        let entries = told.and_then(|size| parse_entries(&substitute(&size.text(), value).ok()?));
        if let Some(entries) = entries {
            map.max_entries = entries;
        }
    }
    facts
}

/// The program once for each place where a manifest's programs of that function attach.
fn at_targets(own: &[&Program], program: ProgramFacts) -> Vec<ProgramFacts> {
    let mut targets: Vec<Target> = Vec::new();
    for own in own {
        let place = own.target.as_deref().map_or_else(|| program.target.clone(), Target::of);
        if !targets.contains(&place) {
            targets.push(place);
        }
    }
    let mut targets = targets.into_iter();
    let program = ProgramFacts { attached: true, ..program };
    let Some(target) = targets.next() else { return Vec::new() };
    // What it does counts once, however many targets a manifest gives it.
    let bare = ProgramFacts {
        helpers: BTreeSet::new(),
        kfuncs: BTreeSet::new(),
        ksyms: BTreeSet::new(),
        maps: BTreeSet::new(),
        writes: BTreeMap::new(),
        deletes: BTreeSet::new(),
        uses: Vec::new(),
        ..program.clone()
    };
    let more = targets.map(|target| ProgramFacts { target, ..bare.clone() });
    std::iter::once(ProgramFacts { target, ..program }).chain(more).collect()
}

/// What an object may do, with its hooks where the defaults of parameters put them. Of a target whose parameters have
/// none, and of the powers that another place would give, the target as it is written counts.
#[must_use]
pub fn summary(manifest: Option<&Manifest>, facts: &Facts) -> Summary {
    let mut summary = permissions::derive(facts);
    let Some(manifest) = manifest else { return summary };
    let hooks = std::mem::take(&mut summary.hooks);
    let mut powers: BTreeSet<Power> = summary.powers.iter().copied().collect();
    for written in hooks {
        let hook = place(manifest, &written).unwrap_or(written);
        powers.extend(permissions::powers_of_hook(&Target::of(&hook)));
        summary.hooks.insert(hook);
    }
    summary.powers = powers.into_iter().collect();
    summary
}

/// Where the defaults of parameters put a target that is written with some; none of one without, or where one has no
/// default.
#[must_use]
pub fn place(manifest: &Manifest, written: &str) -> Option<String> {
    if !written.contains("${") {
        return None;
    }
    let placed = substitute(written, |name| default(manifest, name)).ok()?;
    Some(Target::of(&placed).to_string())
}

fn default<'m>(manifest: &'m Manifest, name: &str) -> Option<&'m Value> {
    manifest.param.get(name)?.default.as_ref()
}

impl Exceeded {
    /// What is not allowed, one sentence each.
    #[must_use]
    pub fn missing(self) -> Vec<String> {
        self.lacks.into_iter().map(|lack| lack.said).collect()
    }

    /// Both, for packages of several architectures.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.lacks.extend(other.lacks);
        self.lacks.sort();
        self.lacks.dedup();
        self.needed.hooks.extend(other.needed.hooks);
        self.needed.helpers.extend(other.needed.helpers);
        self.needed.kfuncs.extend(other.needed.kfuncs);
        self.needed.map_memory = self.needed.map_memory.max(other.needed.map_memory);
        self
    }
}

impl Needed {
    fn add(&mut self, summary: Summary) {
        self.hooks.extend(summary.hooks);
        self.helpers.extend(summary.helpers);
        self.kfuncs.extend(summary.kfuncs);
    }
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: &BTreeSet<String>| {
            let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
            quoted.join(", ")
        };
        writeln!(f, "[permissions]\nhooks = [{}]", list(&self.hooks))?;
        writeln!(f, "helpers = [{}]", list(&self.helpers))?;
        if !self.kfuncs.is_empty() {
            writeln!(f, "kfuncs = [{}]", list(&self.kfuncs))?;
        }
        writeln!(f, "map-memory = \"{}KiB\"", self.map_memory.div_ceil(1024))
    }
}
