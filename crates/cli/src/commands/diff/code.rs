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
                // Which value leads where stands nowhere else.
                text.update(
                    start.tables.map(|told| told.to_string()).unwrap_or_default().as_bytes(),
                );
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

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCH: &[u8] = include_bytes!("../../../../../spec/vectors/files/objects/switch.o");

    /// Where the words of the section `.jumptables` lie.
    fn tables(elf: &[u8]) -> std::ops::Range<usize> {
        let number = |at: usize, bytes: usize| {
            let bytes = elf[at..at + bytes].iter().rev();
            bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
        };
        let header = |index: usize| number(0x28, 8) + index * 64;
        let names = number(header(number(0x3e, 2)) + 24, 8);
        let is_named = |at: &usize| elf[names + number(*at, 4)..].starts_with(b".jumptables\0");
        let at = (0..number(0x3c, 2)).map(header).find(is_named).unwrap();
        let start = number(at + 24, 8);
        start..start + number(at + 32, 8)
    }

    #[test]
    fn a_table_of_jumps_in_another_order_is_another_program() {
        let mut other = SWITCH.to_vec();
        let place = tables(&other);
        let words = &mut other[place];
        assert_ne!(words[..8], words[8..16], "the first two lead elsewhere");
        words[..16].rotate_left(8);
        let program = &skep_object::Facts::parse(SWITCH).unwrap().programs[0].name;
        assert_eq!(others(SWITCH, &other), BTreeSet::from([program.clone()]));
        assert_eq!(others(&other, &other), BTreeSet::new());
    }
}
