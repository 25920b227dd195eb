//! Instructions of no function that are others than they were. Of them only digests are kept.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::{Digest, Digesting};

use crate::disasm::{self, DisasmError, Item, Line, Note};

/// The sections of the new object with instructions of no function that the old one has not in that section, or not those.
/// Where they stand in it does not count.
///
/// # Errors
/// Either object cannot be read.
pub fn other_loose(old: &[u8], new: &[u8]) -> Result<BTreeSet<String>, DisasmError> {
    let (old, new) = (loose(old)?, loose(new)?);
    let others = new.into_iter().filter(|(name, digest)| old.get(name) != Some(digest));
    Ok(others.map(|(name, _)| name).collect())
}

/// What the instructions of no function are, by section.
fn loose(object: &[u8]) -> Result<BTreeMap<String, Digest>, DisasmError> {
    let mut all: BTreeMap<String, Digesting> = BTreeMap::new();
    let mut section = None;
    disasm::list(object, None, |item| match item {
        Item::Function(_) => section = None,
        Item::Loose(loose) => {
            all.entry(loose.section.clone()).or_default();
            section = Some(loose.section);
        }
        Item::Line(line) => {
            let text = section.as_ref().and_then(|section| all.get_mut(section));
            if let Some(text) = text {
                text.update(told(&line).as_bytes());
            }
        }
    })?;
    Ok(all.into_iter().map(|(section, text)| (section, text.digest())).collect())
}

/// An instruction with what it refers to, and how far it jumps.
fn told(line: &Line) -> String {
    let notes = line.notes.iter().map(|note| match note {
        Note::Jump(to) => format!(" to {}", to.wrapping_sub(line.at)),
        Note::Same(_) => " to the same".to_owned(),
        note => format!(" {note}"),
    });
    line.text.clone() + &notes.collect::<String>() + "\n"
}
