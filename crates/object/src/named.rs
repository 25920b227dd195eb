//! What a manifest names of its objects: programs, maps and variables.

use skep_spec::manifest::Manifest;
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
