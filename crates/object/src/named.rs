//! What a manifest names of its objects: programs, maps and variables.

use std::collections::BTreeMap;

use skep_spec::manifest::{Manifest, OutputKind};
use skep_spec::nearest::nearest;

use crate::Facts;

/// A name that no object has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names the {what} '{name}', which no object has{}", near.as_ref().map_or(String::new(), |near| format!("; did you mean '{near}'?")))]
pub struct Absent {
    /// `program`, `map`, `variable` or `struct`.
    pub what: &'static str,
    /// The name.
    pub name: String,
    /// The nearest that there is.
    pub near: Option<String>,
}

impl Absent {
    /// A name with the nearest of those that are there.
    pub fn new<'a>(what: &'static str, name: &str, there: impl Iterator<Item = &'a str>) -> Self {
        Self { what, name: name.to_owned(), near: nearest(name, there).map(str::to_owned) }
    }
}

/// Whether all programs, maps and variables that a manifest names are there.
///
/// # Errors
/// The first that is not.
pub fn are_there(manifest: &Manifest, objects: &[Facts]) -> Result<(), Absent> {
    let maps = manifest.map.keys().chain(manifest.output.values().map(|output| &output.map));
    let params = manifest.param.values();
    let variables =
        params.flat_map(|param| param.rodata.iter().chain(&param.data).chain(param.set.keys()));
    all("program", manifest.program.values().map(|program| &program.function), || {
        objects.iter().flat_map(|facts| &facts.programs).map(|program| program.name.as_str())
    })?;
    all("map", maps, || objects.iter().flat_map(|facts| &facts.maps).map(|map| map.name.as_str()))?;
    all("variable", variables, || {
        objects.iter().flat_map(|facts| &facts.globals).map(|global| global.name.as_str())
    })
}

fn all<'a, 'b, There: Iterator<Item = &'a str>>(
    what: &'static str,
    mut names: impl Iterator<Item = &'b String>,
    there: impl Fn() -> There,
) -> Result<(), Absent> {
    match names.find(|name| !there().any(|one| one == *name)) {
        Some(name) => Err(Absent::new(what, name, there())),
        None => Ok(()),
    }
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
    let mut holders: BTreeMap<&str, &str> = BTreeMap::new();
    let shown = |map: &str| {
        let outputs = manifest.output.iter().filter(|(_, o)| o.kind != OutputKind::Event);
        outputs.into_iter().find(|(_, output)| output.map == map)
    };
    for (object, map) in
        objects.flat_map(|(object, facts)| facts.maps.iter().map(move |map| (object, map)))
    {
        let Some((output, _)) = shown(&map.name) else { continue };
        if let Some(other) = holders.insert(&map.name, object) {
            return Err(TwoMaps {
                output: output.clone(),
                map: map.name.clone(),
                objects: [other.to_owned(), object.to_owned()],
            });
        }
    }
    Ok(())
}
