//! Programs where no manifest lists any: each runs where its section says.

use std::collections::BTreeMap;

use crate::{Facts, ProgramFacts};

/// A program that runs by its section.
#[derive(Clone, Debug)]
pub struct Unlisted<'a> {
    /// Its function; where several objects have one of that name, `object/function`.
    pub name: String,
    /// Its object.
    pub object: &'a str,
    /// What its object says of it.
    pub program: &'a ProgramFacts,
}

/// The programs of objects without a manifest, but for those that ask not to be loaded (`SEC("?…")`) and those that another
/// one calls out of an array that the object fills.
#[must_use]
pub fn unlisted<'a, I>(objects: I) -> Vec<Unlisted<'a>>
where
    I: IntoIterator<Item = (&'a String, &'a Facts), IntoIter: Clone>,
{
    let objects = objects.into_iter();
    let mut count = BTreeMap::<&str, usize>::new();
    for program in objects.clone().flat_map(|(_, facts)| own(facts)) {
        *count.entry(&program.name).or_default() += 1;
    }
    let mut programs = Vec::new();
    for (object, facts) in objects {
        for program in own(facts) {
            let name = match count.get(program.name.as_str()) {
                Some(2..) => format!("{object}/{}", program.name),
                _ => program.name.clone(),
            };
            programs.push(Unlisted { name, object, program });
        }
    }
    programs
}

fn own(facts: &Facts) -> impl Iterator<Item = &ProgramFacts> {
    facts.programs.iter().filter(|program| program.autoload && program.attached)
}
