//! What an upgrade does with each map, from the layouts of both versions and the new version's manifest.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::Manifest;

use super::MigrateError;
use super::pair::{Pair, Version, plan};
use crate::choose::Objects;
use crate::load::MapPlace;
use crate::params::Params;
use crate::plan::{Exactness, MapChange, MapPlan};

/// Most bytes of the names of all that one upgrade moves: a plan is written down, and told.
const NAME_BYTES: usize = 1 << 20;

/// One version: its objects and its manifest, and the names of its maps.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) objects: &'a Objects,
    pub(crate) params: &'a Params,
    pub(crate) names: &'a BTreeMap<String, MapPlace>,
}

/// How many entries a map of the old version has now, where that is known.
pub(crate) type Held<'a> = &'a dyn Fn(&str) -> Option<u64>;

/// Decides for every map of both versions.
pub(crate) fn decide(
    old: Side<'_>,
    new: Side<'_>,
    held: Held<'_>,
) -> Result<BTreeMap<String, MapPlan>, MigrateError> {
    let (old_maps, new_maps) = (versions(old), versions(new));
    let names: BTreeSet<&String> = old_maps.keys().chain(new_maps.keys()).collect();
    let (mut plans, mut problems) = (BTreeMap::new(), Vec::new());
    for name in names {
        let plan = match (old_maps.get(name), new_maps.get(name)) {
            (Some(old), Some(map)) => {
                let policy = new.manifest.map.get(&map.map.name);
                Pair { name, held, policy, old: *old, new: *map }.of_whom()
            }
            (None, _) => Ok(plan(MapChange::New, "only the new version has it", Exactness::Exact)),
            (_, None) => {
                Ok(plan(MapChange::Gone, "only the old version has it", Exactness::Dropped))
            }
        };
        match plan {
            Ok(plan) => drop(plans.insert(name.clone(), plan)),
            Err(problem) => problems.push(problem),
        }
    }
    let names = plans.values().map(|plan| name_bytes(&plan.change)).sum::<usize>();
    if names > NAME_BYTES {
        problems.push(format!(
            "the fields and variables that would move have names of {names} bytes, with those of what they are in: at most \
             {NAME_BYTES} bytes are moved at once. Give their maps upgrade = \"reset\", or shorter names"
        ));
    }
    if problems.is_empty() { Ok(plans) } else { Err(MigrateError { problems: bounded(problems) }) }
}

fn name_bytes(change: &MapChange) -> usize {
    let (some, more) = match change {
        MapChange::Migrate { fields } => (&fields[..], &[][..]),
        MapChange::Variables { copied, moved } => (&copied[..], &moved[..]),
        _ => return 0,
    };
    some.iter().chain(more).map(|field| field.name.len()).sum()
}

/// As many as fit an answer.
fn bounded(mut problems: Vec<String>) -> Vec<String> {
    let mut bytes = 0;
    let fits = |problem: &&String| {
        bytes += problem.len();
        bytes <= NAME_BYTES
    };
    let told = problems.iter().take_while(fits).count().max(1);
    let more = problems.len() - told;
    problems.truncate(told);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    problems
}

fn versions(side: Side<'_>) -> BTreeMap<String, Version<'_>> {
    let mut versions = BTreeMap::new();
    for (name, place) in side.names {
        let facts = side.objects.get(&place.object);
        if let Some((facts, map)) = facts.and_then(|f| f.map(&place.symbol).map(|map| (f, map))) {
            versions.insert(name.clone(), Version { facts, map, side });
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compiled::{alone, compiled};
    use crate::load::map_names;

    const MANIFEST: &str =
        r#"{"objects":{},"package":{"license":"MIT","name":"a/b","version":"1.0.0"},"spec":"1.0"}"#;

    /// An object with variables of two functions, each called `n` in C: `a.n` and `b.n` in the object, or both `a.n`, as those of
    /// two sources are that were linked.
    fn objects(more: &str, of_one_name: bool) -> Objects {
        let source = format!(
            "#define SEC(name) __attribute__((section(name)))\n{more}\n\
             SEC(\"xdp\") int a(void *c) {{ static volatile long n = 5; n++; return 2; }}\n\
             SEC(\"xdp\") int b(void *c) {{ static volatile long n = 7; n++; return 2; }}\n"
        );
        let mut bytes = compiled(&source);
        let at: Vec<usize> =
            (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"b.n\0")).collect();
        for at in at.into_iter().filter(|_| of_one_name) {
            bytes[at] = b'a';
        }
        alone(&bytes)
    }

    #[test]
    fn variables_of_one_name_are_not_taken_for_each_other() {
        let carried = |of_one_name| {
            let (old, new) = (objects("", of_one_name), objects("long more = 1;", of_one_name));
            let (manifest, params) =
                (Manifest::parse(MANIFEST.as_bytes()).unwrap(), Params::default());
            let (of_old, of_new) = (map_names(&old, None), map_names(&new, None));
            let side =
                |objects, names| Side { manifest: &manifest, objects, params: &params, names };
            let plans = decide(side(&old, &of_old), side(&new, &of_new), &|_| None).unwrap();
            plans[".data"].why.clone()
        };
        assert_eq!(carried(false), "2 variables are carried over by name");
        let said = carried(true);
        assert!(said.starts_with("0 variables") && said.ends_with("one name: a.n"), "{said}");
    }
}
