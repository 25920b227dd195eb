//! What flags name, held against what there is.

use std::collections::BTreeMap;

use skep_spec::Target;
use skep_spec::manifest::Param;
use skep_spec::nearest::nearest;
use skep_spec::param::ParamType;

use super::Ready;
use crate::error::{Error, Result};

/// Makes a parameter of each variable that `--set` names, for packages that declare none.
pub(super) fn variables(ready: &mut Ready, params: &mut BTreeMap<String, String>) -> Result<()> {
    let facts = ready.facts()?;
    for (name, text) in params.iter() {
        let globals = || facts.iter().flat_map(|facts| &facts.globals);
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

/// Whether `--target` names programs that there are: a mistyped one would attach where nobody asked.
pub(super) fn targets(ready: &Ready, targets: &BTreeMap<String, String>) -> Result<()> {
    let mut there: Vec<String> = ready.manifest.program.keys().cloned().collect();
    if there.is_empty() {
        let programs = ready.facts()?.into_iter().flat_map(|facts| facts.programs);
        there.extend(programs.map(|program| program.name));
    }
    if let Some(name) = targets.keys().find(|name| !there.contains(name)) {
        let error = Error::usage(format!("--target {name}: there is no program of that name"));
        return Err(error.hint(format!("there are: {}", there.join(", "))));
    }
    for (name, text) in targets {
        let target = text.parse::<Target>();
        let target = target.map_err(|e| Error::usage(format!("--target {name}: {e}")))?;
        if let Target::Other(_) = target {
            let kind = target.kind();
            return Err(Error::usage(format!(
                "--target {name}: a program cannot be put on '{text}': what attaches at {kind} does so by its section only"
            )));
        }
    }
    Ok(())
}
