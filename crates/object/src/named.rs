//! What a manifest names of its objects: programs, maps and variables.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::manifest::{Manifest, Output, OutputKind};
use skep_spec::nearest::nearest;

use crate::btf::Kind;
use crate::{Btf, Facts};

/// A name that no object has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names the {what} '{name}', which no object has{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean '{near}'?")))]
pub struct Absent {
    /// `program`, `map`, `variable` or `struct`.
    pub what: &'static str,
    /// Where the manifest names it: keys from the outside in.
    pub key: Vec<String>,
    /// The name.
    pub name: String,
    /// The nearest that there is, once it was looked for.
    pub near: Option<String>,
}

impl Absent {
    /// A name that is not there.
    #[must_use]
    pub fn new(what: &'static str, key: &[&str], name: &str) -> Self {
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        Self { what, key, name: name.to_owned(), near: None }
    }

    /// The same with the nearest name that objects have.
    #[must_use]
    pub fn with_near(self, objects: &[&Facts]) -> Self {
        let near = nearest(&self.name, names(self.what, objects)).map(str::to_owned);
        Self { near, ..self }
    }
}

/// The names of a kind that objects have: of each `program`, `map`, `variable` or `struct`.
#[must_use]
pub fn names<'f>(what: &str, objects: &[&'f Facts]) -> BTreeSet<&'f str> {
    let objects = objects.iter().copied();
    match what {
        "program" => objects.flat_map(|one| &one.programs).map(|one| one.name.as_str()).collect(),
        "map" => objects.flat_map(|one| &one.maps).map(|map| map.name.as_str()).collect(),
        "variable" => objects.flat_map(|one| &one.globals).map(|one| one.name.as_str()).collect(),
        "struct" => objects.filter_map(|one| one.btf.as_ref()).flat_map(structs).collect(),
        _ => BTreeSet::new(),
    }
}

fn structs(btf: &Btf) -> impl Iterator<Item = &str> {
    let structs = btf.types().filter(|(_, ty)| matches!(ty.kind, Kind::Struct(_)));
    structs.map(|(_, ty)| btf.name(ty))
}

/// The programs, maps and variables that a manifest names and no object has.
pub fn absent(manifest: &Manifest, objects: &[&Facts]) -> impl Iterator<Item = Absent> {
    let all = [
        ("program", named_programs(manifest)),
        ("map", named_maps(manifest)),
        ("variable", named_variables(manifest)),
    ];
    all.into_iter().flat_map(|(what, named)| {
        let there = names(what, objects);
        let missing = named.into_iter().filter(move |(_, name)| !there.contains(name));
        missing.map(move |(key, name)| Absent::new(what, &key, name))
    })
}

/// Where a manifest names something, and the name.
type Named<'a> = Vec<(Vec<&'a str>, &'a str)>;

fn named_programs(manifest: &Manifest) -> Named<'_> {
    let programs = manifest.program.iter();
    programs
        .map(|(label, one)| (vec!["program", label, "function"], one.function.as_str()))
        .collect()
}

fn named_maps(manifest: &Manifest) -> Named<'_> {
    let tables = manifest.map.keys().map(|name| (vec!["map", name], name.as_str()));
    let outputs = manifest.output.iter();
    let shown = outputs.map(|(label, one)| (vec!["output", label, "map"], one.map.as_str()));
    tables.chain(shown).collect()
}

fn named_variables(manifest: &Manifest) -> Named<'_> {
    let mut named = Named::new();
    for (label, param) in &manifest.param {
        for (word, name) in [("rodata", &param.rodata), ("data", &param.data)] {
            named.extend(name.as_deref().map(|name| (vec!["param", label, word], name)));
        }
        let set = param.set.keys();
        named.extend(set.map(|name| (vec!["param", label, "set", name], name.as_str())));
    }
    named
}

/// A map of two objects that one output shows: nobody could tell which.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "[output.{output}] shows the map '{map}', which the objects '{}' and '{}' both define",
    objects[0], objects[1]
)]
pub struct TwoMaps {
    /// The output.
    pub output: String,
    /// The map.
    pub map: String,
    /// The objects.
    pub objects: [String; 2],
}

/// Whether each output that shows a map has one map to show, of objects for one architecture with their names. An event's
/// records may come from the rings of all.
///
/// # Errors
/// The first that has two.
pub fn are_told_apart<'a>(
    manifest: &Manifest,
    objects: impl Iterator<Item = (&'a str, &'a Facts)>,
) -> Result<(), TwoMaps> {
    not_told_apart(manifest, objects).into_iter().next().map_or(Ok(()), Err)
}

/// Every output that has two.
pub fn not_told_apart<'a>(
    manifest: &Manifest,
    objects: impl Iterator<Item = (&'a str, &'a Facts)>,
) -> Vec<TwoMaps> {
    let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for (object, map) in
        objects.flat_map(|(object, facts)| facts.maps.iter().map(move |map| (object, map)))
    {
        let Some(other) = holders.insert(&map.name, object) else { continue };
        let shown = |output: &Output| output.kind != OutputKind::Event && output.map == map.name;
        let outputs = manifest.output.iter().filter(|(_, output)| shown(output));
        found.extend(outputs.map(|(output, _)| TwoMaps {
            output: output.clone(),
            map: map.name.clone(),
            objects: [other.to_owned(), object.to_owned()],
        }));
    }
    found
}
