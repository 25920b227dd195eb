//! What an upgrade does with each map, from the layouts of both versions and the new version's manifest.

use std::collections::{BTreeMap, BTreeSet};

use skep_spec::Manifest;

use super::MigrateError;
use super::pair::{Pair, Version, plan};
use crate::choose::Objects;
use crate::load::map_names;
use crate::params::Params;
use crate::plan::{Exactness, MapChange, MapPlan};

/// One version: its objects and its manifest.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) objects: &'a Objects,
    pub(crate) params: &'a Params,
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
                Pair { name, held, policy, old: *old, new: *map }.plan()
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
    if problems.is_empty() { Ok(plans) } else { Err(MigrateError { problems }) }
}

fn versions(side: Side<'_>) -> BTreeMap<String, Version<'_>> {
    let mut versions = BTreeMap::new();
    for (name, place) in map_names(side.objects) {
        let facts = side.objects.get(&place.object);
        if let Some((facts, map)) = facts.and_then(|f| f.map(&place.symbol).map(|map| (f, map))) {
            versions.insert(name, Version { facts, map, side });
        }
    }
    versions
}
