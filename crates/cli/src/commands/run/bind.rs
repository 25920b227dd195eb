//! What flags name, held against what there is.

use std::collections::BTreeMap;

use skep_object::bound::{Misbound, natural};
use skep_object::suit::suits;
use skep_object::{Facts, ProgramFacts, unlisted};
use skep_spec::Target;
use skep_spec::manifest::{Manifest, Param, Program};
use skep_spec::nearest::nearest;
use skep_spec::param::{ParamType, Value};

use super::Ready;
use crate::error::{Error, Result};

/// Makes a parameter of each variable that `--set` names, for packages that declare none.
pub(super) fn variables(ready: &mut Ready, params: &mut BTreeMap<String, String>) -> Result<()> {
    let facts = ready.facts()?;
    for (name, text) in params.iter() {
        let globals = || facts.values().flat_map(|facts| &facts.globals);
        let here = |facts| Some((facts, Facts::global(facts, name)?));
        let Some((facts, global)) = facts.values().find_map(here) else {
            let error =
                Error::usage(format!("--set {name}: the object has no variable of that name"));
            let near = nearest(name, globals().map(|global| global.name.as_str()));
            return Err(near
                .into_iter()
                .fold(error, |error, near| error.hint(format!("did you mean '{near}'?"))));
        };
        let wrong = |error: Misbound| Error::usage(format!("--set {name}={text}: {error}"));
        let kind = natural(facts, global, text).map_err(wrong)?;
        let range = (kind == ParamType::Int).then(|| signed(global.size)).flatten();
        let mut param = Param { range, ..Param::of(kind, None) };
        let place =
            if global.section.starts_with(".rodata") { &mut param.rodata } else { &mut param.data };
        *place = Some(name.clone());
        ready.manifest.param.insert(name.clone(), param);
    }
    Ok(())
}

/// The numbers that a signed variable holds: one beyond would be another number in it.
fn signed(size: u64) -> Option<[Value; 2]> {
    let bits = u32::try_from(size).ok()?.checked_mul(8).filter(|bits| (8..=64).contains(bits))?;
    let beyond = 1_i128 << (bits - 1);
    Some([Value::integer(-beyond), Value::integer(beyond - 1)])
}

/// Gives a place that the command line names to the parameters of its type that have no value. One that a program waits for is
/// its choice: of several such programs one may be all that the place has room for.
pub(super) fn place(
    manifest: &Manifest,
    kind: ParamType,
    place: Option<&String>,
    params: &mut BTreeMap<String, String>,
) {
    let Some(place) = place else { return };
    let waits = |name: &str| {
        manifest.program.values().any(|program| program.requires_param.as_deref() == Some(name))
    };
    let open =
        |name: &str, param: &Param| param.r#type == kind && param.default.is_none() && !waits(name);
    for (name, _) in manifest.param.iter().filter(|(name, param)| open(name, param)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "enum color { RED, GREEN = 7 };\n\
        const volatile float fl = 1; const volatile struct { int x, y; } cfg = {1}; const volatile unsigned arr4[4] = {1};\n\
        const volatile enum color en = RED; const volatile __int128 big = 1; const volatile _Bool bo = 1;\n\
        const volatile char pref[8] = \"a\"; const volatile unsigned long ty = 1; const volatile int s = 1; int live = 1;\n\
        __attribute__((section(\"xdp\"))) int x(void *c) { return live; }\n";

    fn ready() -> Ready {
        let folder = tempfile::tempdir().unwrap();
        let (c, object) = (folder.path().join("v.c"), folder.path().join("v.o"));
        std::fs::write(&c, SOURCE).unwrap();
        let mut clang = std::process::Command::new("clang");
        clang.args(["-target", "bpf", "-g", "-O2", "-c", "-o"]).args([&object, &c]);
        assert!(clang.status().unwrap().success());
        super::super::bare::ready(&object, None).unwrap()
    }

    #[test]
    fn what_set_means_goes_by_the_variables_type() {
        for (name, text, kind) in [
            ("pref", "abc", ParamType::String),
            ("en", "GREEN", ParamType::Enum),
            ("bo", "true", ParamType::Bool),
            ("ty", "5", ParamType::Uint),
            ("s", "-1", ParamType::Int),
            ("live", "true", ParamType::Bool),
        ] {
            let (mut ready, mut params) =
                (ready(), BTreeMap::from([(name.to_owned(), text.to_owned())]));
            variables(&mut ready, &mut params).unwrap();
            let param = &ready.manifest.param[name];
            assert_eq!(param.r#type, kind, "{name}");
            assert_eq!(param.data.is_some(), name == "live");
        }
        for name in ["fl", "cfg", "arr4", "big"] {
            let mut params = BTreeMap::from([(name.to_owned(), "2".to_owned())]);
            let error = variables(&mut ready(), &mut params).unwrap_err();
            assert!(format!("{error:?}").contains("which cannot be set"), "{error:?}");
        }
        let (mut ready, mut params) = (ready(), BTreeMap::from([("s".to_owned(), "1".to_owned())]));
        variables(&mut ready, &mut params).unwrap();
        let param = &ready.manifest.param["s"];
        param.check(&Value::Int(i64::from(i32::MIN))).unwrap();
        param.check(&Value::Int(1 << 31)).unwrap_err();
    }
}
