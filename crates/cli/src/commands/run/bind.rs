//! What flags name, held against what there is.

use std::collections::BTreeMap;

use skep_object::suit::suits;
use skep_object::{Facts, ProgramFacts, unlisted};
use skep_spec::Target;
use skep_spec::manifest::{Manifest, Param, Program};
use skep_spec::nearest::nearest;
use skep_spec::param::ParamType;

use super::Ready;
use crate::error::{Error, Result};

/// Makes a parameter of each variable that `--set` names, for packages that declare none.
pub(super) fn variables(ready: &mut Ready, params: &mut BTreeMap<String, String>) -> Result<()> {
    let facts = ready.facts()?;
    for (name, text) in params.iter() {
        let globals = || facts.values().flat_map(|facts| &facts.globals);
        let Some(global) = globals().find(|global| global.name == *name) else {
            let error =
                Error::usage(format!("--set {name}: the object has no variable of that name"));
            let near = nearest(name, globals().map(|global| global.name.as_str()));
            return Err(near
                .into_iter()
                .fold(error, |error, near| error.hint(format!("did you mean '{near}'?"))));
        };
        let kind = match (text.as_str(), global.size) {
            (_, 9..) => ParamType::String,
            ("true" | "false", _) => ParamType::Bool,
            _ => ParamType::Int,
        };
        let mut param = Param::of(kind, None);
        let place =
            if global.section.starts_with(".rodata") { &mut param.rodata } else { &mut param.data };
        *place = Some(name.clone());
        ready.manifest.param.insert(name.clone(), param);
    }
    Ok(())
}

/// Gives a place that the command line names to the parameters of its type that have no value.
pub(super) fn place(
    manifest: &Manifest,
    kind: ParamType,
    place: Option<&String>,
    params: &mut BTreeMap<String, String>,
) {
    let Some(place) = place else { return };
    let open = |param: &Param| param.r#type == kind && param.default.is_none();
    for (name, _) in manifest.param.iter().filter(|(_, param)| open(param)) {
        params.entry(name.clone()).or_insert_with(|| place.clone());
    }
}

/// Whether `--target` names programs that there are, and targets of their kinds: a mistyped one would attach where nobody asked.
pub(super) fn targets(ready: &Ready, told: &BTreeMap<String, String>) -> Result<()> {
    if told.is_empty() {
        return Ok(());
    }
    let facts = ready.facts()?;
    for (name, text) in told {
        let wrong = |why: String| Error::usage(format!("--target {name}={text}: {why}"));
        let target = text.parse::<Target>().map_err(|error| wrong(error.to_string()))?;
        let programs = programs(ready, &facts);
        let Some((_, program)) = programs.iter().find(|(own, _)| own == name) else {
            let error = Error::usage(format!("--target {name}: there is no program of that name"));
            let there: Vec<&str> = programs.iter().map(|(name, _)| name.as_str()).collect();
            return Err(error.hint(format!("there are: {}", there.join(", "))));
        };
        suits(program, &target).map_err(|unsuited| wrong(unsuited.to_string()))?;
    }
    Ok(())
}

/// The programs by the names that they run under.
fn programs<'a>(
    ready: &Ready,
    objects: &'a BTreeMap<String, Facts>,
) -> Vec<(String, &'a ProgramFacts)> {
    if ready.manifest.program.is_empty() {
        return unlisted(objects).into_iter().map(|one| (one.name, one.program)).collect();
    }
    let of = |own: &Program| {
        let here =
            objects.iter().filter(|(name, _)| own.object.as_ref().is_none_or(|o| o == *name));
        here.filter_map(|(_, facts)| facts.program(&own.function)).next()
    };
    let listed = ready.manifest.program.iter();
    listed.filter_map(|(name, own)| Some((name.clone(), of(own)?))).collect()
}
