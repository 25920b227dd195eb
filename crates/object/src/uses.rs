//! What functions use, where, and what must hold for it: helpers, kernel functions, kernel symbols, maps.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::calls::{Code, Function, Reference};
use crate::guard::{Guard, Guards};
use crate::opened::Opened;
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
    functions: Vec<FunctionUses>,
}

#[derive(Default)]
struct FunctionUses {
    spots: BTreeMap<(Used, String), Spot>,
    maps: BTreeSet<String>,
    calls: BTreeMap<usize, Vec<Guard>>,
    unknown: bool,
    stack: u32,
}

#[derive(Default)]
struct Spot {
    at: usize,
    guards: Vec<Guard>,
}

/// What one program uses, its subprograms included.
#[derive(Default)]
pub(crate) struct Gathered {
    pub(crate) uses: Vec<Use>,
    pub(crate) maps: BTreeSet<String>,
    pub(crate) insns: usize,
    pub(crate) functions: usize,
    pub(crate) unknown: bool,
}

/// Instructions that the search for guards may look at, for all functions together.
const GUARD_BUDGET: usize = 8_000_000;

impl<'a> Uses<'a> {
    pub(crate) fn read(opened: &'a Opened<'a>, code: &'a Code<'a>) -> Result<Self, ObjectError> {
        let mut functions = Vec::with_capacity(code.functions.len());
        let (mut found, mut budget) = (0, GUARD_BUDGET);
        for (index, function) in code.functions.iter().enumerate() {
            let mut uses = of_function(opened, code, function, &mut budget);
            for reference in code.exceptions(index) {
                uses.unknown |= *reference == Reference::Unknown;
                uses.add(0, reference.clone(), &[]);
            }
            found += uses.spots.len() + uses.calls.len() + uses.maps.len();
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
    ) -> Result<Gathered, ObjectError> {
        let mut all: BTreeMap<&(Used, String), (usize, Spot)> = BTreeMap::new();
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
            gathered.maps.extend(uses.maps.iter().cloned());
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
        let uses = all.into_iter().map(|(key, (index, spot))| self.used(key, index, spot));
        gathered.uses = uses.collect();
        Ok(gathered)
    }

    /// The functions that a program reaches, the nearest first, each with what must hold on every way to it. Calls that were
    /// followed are added to `walked`, for all programs.
    fn reached(
        &self,
        from: usize,
        walked: &mut usize,
    ) -> Result<Vec<(usize, Vec<Guard>)>, ObjectError> {
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

    fn used(&self, (what, name): &(Used, String), index: usize, spot: Spot) -> Use {
        let function = self.code.functions.get(index);
        let source = function.and_then(|function| {
            let (start, at) = (function.offset(0), function.offset(spot.at));
            self.opened.source(self.opened.line(function.section, start, at)?)
        });
        Use {
            what: *what,
            name: name.clone(),
            function: function.map(|function| function.name.clone()).unwrap_or_default(),
            source,
            guards: spot.guards,
        }
    }

    /// Bytes of stack of the deepest way from a function, as the verifier counts them; none for recursion and more
    /// frames than it takes.
    pub(crate) fn stacks(&self) -> Vec<Option<u32>> {
        let own: Vec<u32> = self.functions.iter().map(|uses| uses.stack).collect();
        stack::deepest(&own, |index| self.functions.get(index).map(|uses| uses.calls.keys()))
    }
}

fn together(inherited: &[Guard], own: &[Guard]) -> Vec<Guard> {
    let mut all = inherited.to_vec();
    all.extend(own.iter().filter(|guard| !inherited.contains(guard)).cloned());
    all.truncate(MOST_GUARDS);
    all
}

/// Leaves the guards that both have; whether that took any away.
fn keep_common(known: &mut Vec<Guard>, others: &[Guard]) -> bool {
    let before = known.len();
    known.retain(|guard| others.contains(guard));
    known.len() < before
}

/// Most guards of one use that are told.
const MOST_GUARDS: usize = 4;

fn of_function(
    opened: &Opened<'_>,
    code: &Code<'_>,
    function: &Function,
    budget: &mut usize,
) -> FunctionUses {
    let body = code.body(function);
    let mut uses = FunctionUses { stack: stack::of_function(body), ..FunctionUses::default() };
    let mut refers = Vec::new();
    for at in 0..body.len() {
        match code.reference(function, at) {
            Some(Reference::Map { name, .. }) => _ = uses.maps.insert(name),
            Some(Reference::Unknown) => uses.unknown = true,
            Some(reference) => refers.push((at, reference)),
            None => {}
        }
    }
    let places: Vec<usize> = refers.iter().map(|(at, _)| *at).collect();
    let guards = Guards::of(opened, code, function, &places, budget);
    for (at, reference) in refers {
        uses.add(at, reference, guards.at(at));
    }
    uses
}

impl FunctionUses {
    fn add(&mut self, at: usize, reference: Reference, guards: &[Guard]) {
        let key = match reference {
            Reference::Helper(id) => (Used::Helper, helper::label(id)),
            Reference::Kfunc(name) => (Used::Kfunc, name),
            Reference::Extern(name) => (Used::Ksym, name),
            Reference::Function(to) => {
                let known = self.calls.entry(to).or_insert_with(|| guards.to_vec());
                keep_common(known, guards);
                return;
            }
            Reference::Map { .. } | Reference::Unknown => return,
        };
        let spot = Spot { at, guards: guards.to_vec() };
        match self.spots.entry(key) {
            Entry::Vacant(entry) => _ = entry.insert(spot),
            Entry::Occupied(mut entry) => _ = entry.get_mut().join(spot),
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
