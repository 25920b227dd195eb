//! What functions use, where, and what must hold for it: helpers, kernel functions, kernel symbols, maps.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::calls::{Code, Function, Reference};
use crate::guard::{Guard, Guards, MOST_TOLD};
use crate::insn::Insn;
use crate::opened::Opened;
use crate::outside::CONFIG;
use crate::texts::Texts;
use crate::{ObjectError, Source, helper, limits, stack};

/// Something of the kernel that a program uses, at the first place that does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// What it is.
    pub what: Used,
    /// Its name; of a helper without `bpf_`.
    pub name: String,
    /// The function of the object that uses it.
    pub function: String,
    /// The line that does.
    pub source: Option<Source>,
    /// What must hold wherever it is used; empty if nothing that the object shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
}

/// Things of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Used {
    /// A helper.
    Helper,
    /// A kernel function.
    Kfunc,
    /// A variable of the kernel or its configuration.
    Ksym,
}

/// What each function of an object itself uses.
pub(crate) struct Uses<'a> {
    opened: &'a Opened<'a>,
    code: &'a Code<'a>,
    functions: Vec<FunctionUses<'a>>,
}

/// Names are those of the object and guards are shared: many functions may use the same.
#[derive(Default)]
struct FunctionUses<'a> {
    spots: BTreeMap<(Used, Cow<'a, str>), Spot>,
    maps: BTreeSet<&'a str>,
    calls: BTreeMap<usize, Shared>,
    unknown: bool,
    relocated: bool,
    stack: u32,
}

type Shared = Vec<Arc<Guard>>;

#[derive(Default)]
struct Spot {
    at: usize,
    guards: Shared,
}

/// What one program uses, its subprograms included.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) uses: Vec<Use>,
    pub(crate) maps: BTreeSet<String>,
    pub(crate) insns: usize,
    pub(crate) functions: usize,
    pub(crate) unknown: bool,
    pub(crate) relocated: bool,
}

/// Instructions that the search for guards may look at, for all functions together.
const GUARD_BUDGET: usize = 8_000_000;

impl<'a> Uses<'a> {
    pub(crate) fn read(
        opened: &'a Opened<'a>,
        code: &'a Code<'a>,
        texts: &mut Texts,
    ) -> Result<Self, ObjectError> {
        let mut functions = Vec::with_capacity(code.functions.len());
        let (mut found, mut budget) = (0, GUARD_BUDGET);
        for (index, function) in code.functions.iter().enumerate() {
            let (body, mut uses) = (code.body(function), FunctionUses::default());
            uses.stack = stack::of_function(body);
            uses.relocated = !code.core(function).is_empty();
            let guards = match needs_guards(code, function, body) {
                true => Some(Guards::of(opened, code, function, &mut budget, texts)?),
                false => None,
            };
            let named = (0..body.len()).filter_map(|at| Some((at, code.reference(function, at)?)));
            for (at, reference) in named {
                let guards = || guards.as_ref().map(|guards| guards.at(at)).unwrap_or_default();
                found += uses.add(at, reference, guards);
                limit("calls and references", found, limits::CALLS)?;
            }
            for reference in code.exceptions(index) {
                found += uses.add(0, *reference, Vec::new);
            }
            limit("calls and references", found, limits::CALLS)?;
            functions.push(uses);
        }
        Ok(Self { opened, code, functions })
    }

    /// What the program that starts with a function uses. What it reached is added to `reached` and `walked`, for all
    /// programs.
    pub(crate) fn gather(
        &self,
        from: usize,
        reached: &mut usize,
        walked: &mut usize,
        texts: &mut Texts,
    ) -> Result<Gathered, ObjectError> {
        let mut all: BTreeMap<&(Used, Cow<'_, str>), (usize, Spot)> = BTreeMap::new();
        let mut gathered = Gathered::default();
        for (index, inherited) in self.reached(from, walked)? {
            let (Some(uses), Some(function)) =
                (self.functions.get(index), self.code.functions.get(index))
            else {
                continue;
            };
            *reached += 1 + uses.spots.len() + uses.maps.len();
            limit("calls and references of all programs", *reached, limits::REACHED)?;
            gathered.functions += 1;
            gathered.insns += function.end - function.start;
            gathered.unknown |= uses.unknown;
            gathered.relocated |= uses.relocated;
            for map in &uses.maps {
                if !gathered.maps.contains(*map) {
                    gathered.maps.insert(texts.take(map)?);
                }
            }
            for (key, spot) in &uses.spots {
                let guards = together(&inherited, &spot.guards);
                let spot = Spot { at: spot.at, guards };
                match all.entry(key) {
                    Entry::Vacant(entry) => _ = entry.insert((index, spot)),
                    Entry::Occupied(mut entry) => {
                        let (first, known) = entry.get_mut();
                        if known.join(spot) {
                            *first = index;
                        }
                    }
                }
            }
        }
        for (key, (index, spot)) in all {
            gathered.uses.push(self.used(key, index, spot, texts)?);
        }
        Ok(gathered)
    }

    /// The functions that a program reaches, the nearest first, each with what must hold on every way to it. Calls that were
    /// followed are added to `walked`, for all programs.
    fn reached(
        &self,
        from: usize,
        walked: &mut usize,
    ) -> Result<Vec<(usize, Shared)>, ObjectError> {
        let mut order = vec![from];
        let mut found = BTreeMap::from([(from, Vec::new())]);
        let mut todo = VecDeque::from([from]);
        while let Some(index) = todo.pop_front() {
            let inherited = found.get(&index).cloned().unwrap_or_default();
            let calls = self.functions.get(index).map(|uses| &uses.calls);
            for (to, guards) in calls.into_iter().flatten() {
                *walked += 1;
                limit("calls of all programs", *walked, limits::WALKED)?;
                let guards = together(&inherited, guards);
                match found.entry(*to) {
                    Entry::Vacant(entry) => {
                        entry.insert(guards);
                        order.push(*to);
                        todo.push_back(*to);
                    }
                    Entry::Occupied(mut entry) => {
                        if keep_common(entry.get_mut(), &guards) {
                            todo.push_back(*to);
                        }
                    }
                }
            }
        }
        let with = |index| (index, found.remove(&index).unwrap_or_default());
        Ok(order.into_iter().map(with).collect())
    }

    fn used(
        &self,
        (what, name): &(Used, Cow<'_, str>),
        index: usize,
        spot: Spot,
        texts: &mut Texts,
    ) -> Result<Use, ObjectError> {
        let function = self.code.functions.get(index);
        let source = function.and_then(|function| {
            let (start, at) = (function.offset(0), function.offset(spot.at));
            self.opened.source(self.opened.line(function.section, start, at)?)
        });
        texts.count(source.as_ref().map_or(0, |source| source.file.len()))?;
        texts.count(spot.guards.iter().map(|guard| guard.name().len()).sum())?;
        Ok(Use {
            what: *what,
            name: texts.take(name)?,
            function: texts.take(function.map_or("", |function| &function.name))?,
            source,
            guards: spot.guards.iter().map(|guard| Guard::clone(guard)).collect(),
        })
    }

    /// Bytes of stack of the deepest way from a function, as the verifier counts them; none for recursion and more
    /// frames than it takes.
    pub(crate) fn stacks(&self) -> Vec<Option<u32>> {
        let own: Vec<u32> = self.functions.iter().map(|uses| uses.stack).collect();
        stack::deepest(&own, |index| self.functions.get(index).map(|uses| uses.calls.keys()))
    }
}

fn together(inherited: &[Arc<Guard>], own: &[Arc<Guard>]) -> Shared {
    let mut all = inherited.to_vec();
    all.extend(own.iter().filter(|guard| !inherited.contains(guard)).cloned());
    all.truncate(MOST_TOLD);
    all
}

/// Leaves the guards that both have; whether that took any away.
fn keep_common(known: &mut Shared, others: &[Arc<Guard>]) -> bool {
    let before = known.len();
    known.retain(|guard| others.contains(guard));
    known.len() < before
}

/// Whether an instruction refers to something whose guards are told.
fn needs_guards(code: &Code<'_>, function: &Function, body: &[Insn]) -> bool {
    let told = |reference| !matches!(reference, Reference::Map { .. } | Reference::Unknown);
    (0..body.len()).any(|at| code.reference(function, at).is_some_and(told))
}

impl<'a> FunctionUses<'a> {
    /// Takes in what an instruction refers to; how many entries came with it.
    fn add(
        &mut self,
        at: usize,
        reference: Reference<'a>,
        guards: impl FnOnce() -> Shared,
    ) -> usize {
        let mut more = 0;
        let key = match reference {
            Reference::Helper(id) => (Used::Helper, helper::label(id)),
            Reference::Kfunc(name) => (Used::Kfunc, name.into()),
            Reference::Extern { name, .. } => (Used::Ksym, name.into()),
            Reference::Config(name) => {
                more = usize::from(self.maps.insert(CONFIG));
                (Used::Ksym, name.into())
            }
            Reference::Map { name, .. } => return usize::from(self.maps.insert(name)),
            Reference::Unknown => {
                self.unknown = true;
                return 0;
            }
            Reference::Function(to) => {
                let (guards, before) = (guards(), self.calls.len());
                let known = self.calls.entry(to).or_insert_with(|| guards.clone());
                keep_common(known, &guards);
                return self.calls.len() - before;
            }
        };
        let spot = Spot { at, guards: guards() };
        match self.spots.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(spot);
                more + 1
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().join(spot);
                more
            }
        }
    }
}

impl Spot {
    /// Takes in another place of the same use; whether that is the one to show, since nothing must hold for it.
    fn join(&mut self, other: Self) -> bool {
        let better = other.guards.is_empty() && !self.guards.is_empty();
        if better {
            *self = other;
        } else {
            keep_common(&mut self.guards, &other.guards);
        }
        better
    }
}

fn limit(what: &'static str, found: usize, most: usize) -> Result<(), ObjectError> {
    if found > most { Err(ObjectError::Limit { what, found, most }) } else { Ok(()) }
}
