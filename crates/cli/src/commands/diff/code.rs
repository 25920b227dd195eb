//! Which functions do something else than before, instruction by instruction. Of what they do only digests are kept: the text is
//! many times as long as an object.

use std::collections::{BTreeMap, BTreeSet};

use skep_object::disasm::{self, Item, Line, Note};
use skep_spec::{Digest, Digesting};

/// The functions of either object that are not the same in both, with all that they call. Places in source and in the section
/// do not count.
pub(super) fn others(old: &[u8], new: &[u8]) -> BTreeSet<String> {
    let mut names = Names::default();
    let (old, new) = (names.functions(old), names.functions(new));
    let numbers = names.numbers.values().copied();
    let mut todo: Vec<u32> = numbers.filter(|one| old.get(one) != new.get(one)).collect();
    let mut found = BTreeSet::new();
    while let Some(number) = todo.pop() {
        if found.insert(number) {
            let callers = names.callers.range((number, 0)..=(number, u32::MAX));
            todo.extend(callers.map(|(_, caller)| *caller));
        }
    }
    let named = names.numbers.into_iter().filter(|(_, number)| found.contains(number));
    named.map(|(name, _)| name).collect()
}

/// The sections whose instructions of no function are others, of those that have some in both objects.
pub(super) fn other_loose(old: &[u8], new: &[u8]) -> BTreeSet<String> {
    let (old, new) = (loose(old), loose(new));
    let both = new.into_iter().filter(|(name, digest)| old.get(name).is_some_and(|d| d != digest));
    both.map(|(name, _)| name).collect()
}

/// What the instructions of no function are, by section. Where they stand in it does not count.
fn loose(object: &[u8]) -> BTreeMap<String, Digest> {
    let mut all: BTreeMap<String, Digesting> = BTreeMap::new();
    let mut section = None;
    // What cannot be listed was refused before.
    _ = disasm::list(object, None, |item| match item {
        Item::Function(_) => section = None,
        Item::Loose(loose) => section = Some(loose.section),
        Item::Line(line) => {
            let Some(section) = &section else { return };
            let told = told_from(line.at, &line);
            match all.get_mut(section) {
                Some(text) => text.update(told.as_bytes()),
                None => all.entry(section.clone()).or_default().update(told.as_bytes()),
            }
        }
    });
    all.into_iter().map(|(section, text)| (section, text.digest())).collect()
}

/// An instruction with what it refers to, and where it jumps to from `first` on.
fn told_from(first: usize, line: &Line) -> String {
    let notes = line.notes.iter().map(|note| match note {
        Note::Jump(to) => format!(" to {}", to.wrapping_sub(first)),
        Note::Same(_) => " to the same".to_owned(),
        note => format!(" {note}"),
    });
    line.text.clone() + &notes.collect::<String>() + "\n"
}

/// The functions of two objects, each with a number that stands for its name: thousands of calls may repeat a long one.
#[derive(Default)]
struct Names {
    numbers: BTreeMap<String, u32>,
    /// A function and one that calls it.
    callers: BTreeSet<(u32, u32)>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        self.numbers.get(name).copied().unwrap_or_else(|| {
            self.numbers.insert(name.to_owned(), next);
            next
        })
    }

    /// What each function of an object does; those of one name are one.
    fn functions(&mut self, object: &[u8]) -> BTreeMap<u32, Digest> {
        let mut all: BTreeMap<u32, Digest> = BTreeMap::new();
        let (mut number, mut first, mut text) = (None, None, Digesting::default());
        // What cannot be listed was refused before.
        _ = disasm::list(object, None, |item| match item {
            Item::Function(start) => {
                end(&mut all, number, &mut text);
                let namesake = self.number(&start.name);
                if let Some(of_namesake) = all.get(&namesake) {
                    text.update(of_namesake.to_string().as_bytes());
                }
                (number, first) = (Some(namesake), None);
            }
            Item::Loose(_) => end(&mut all, number.take(), &mut text),
            Item::Line(line) => {
                let Some(number) = number else { return };
                let first = *first.get_or_insert(line.at);
                text.update(self.told(number, &line, first).as_bytes());
            }
        });
        end(&mut all, number, &mut text);
        all
    }

    /// What an instruction does, in a function that begins at `first`.
    fn told(&mut self, number: u32, line: &Line, first: usize) -> String {
        let mut told = line.text.clone();
        for note in &line.notes {
            told += &match note {
                Note::Jump(to) => format!(" to {}", to.wrapping_sub(first)),
                Note::Same(_) => " to the same".to_owned(),
                Note::Function(called) => {
                    let called = self.number(called);
                    self.callers.insert((called, number));
                    format!(" function {called}")
                }
                note => format!(" {note}"),
            };
        }
        told + "\n"
    }
}

/// What a function does is told, if there was one.
fn end(all: &mut BTreeMap<u32, Digest>, number: Option<u32>, text: &mut Digesting) {
    if let Some(number) = number {
        all.insert(number, std::mem::take(text).digest());
    }
}
