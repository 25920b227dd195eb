//! Values with unnamed unions: each goes as a whole to where it is now, and one that changed is refused.

use std::collections::BTreeMap;

use skep_kernel::MapHandle;
use skep_kernel::maps::Update;
use skep_spec::chain;
use skep_spec::manifest::{Merge, Upgrade};
use skep_trust::{Package, Verified};

use crate::equal::{equal, text};
use crate::objects::verified;
use crate::place::{Job, Place};
use crate::tests::Outcome;

/// A version that moves the entries of `joined`; what becomes of those of `joint` is said.
fn package(job: &Job, version: u32, joint: Upgrade) -> Result<Verified<Package>, String> {
    let mut package = job.package(version)?.into_inner();
    let maps = &mut package.manifest.map;
    let mut policy = maps.get("counts").cloned().ok_or("no map")?;
    policy.fields = BTreeMap::from([("e".to_owned(), Merge::Sum)]);
    let other = maps.entry("joint".to_owned()).or_insert(policy.clone());
    other.upgrade = Some(joint);
    if joint == Upgrade::Reset {
        other.fields.clear();
    }
    maps.insert("joined".to_owned(), policy);
    Ok(verified(package))
}

/// The first member of each union, and the field behind them.
fn value(map: &MapHandle, key: u32) -> Result<(u32, u32, u64), String> {
    let bytes = map.lookup(&key.to_ne_bytes()).map_err(text)?.ok_or("no entry")?;
    let word = |at: usize| bytes[at..at + 4].try_into().map(u32::from_ne_bytes).map_err(text);
    let long = bytes[8..16].try_into().map(u64::from_ne_bytes).map_err(text)?;
    Ok((word(0)?, word(4)?, long))
}

pub fn there_and_back(place: &Place) -> Outcome {
    let job = place.here();
    let store = [1, 2].map(|version| package(&job, version, Upgrade::Reset));
    let store = store.into_iter().map(|package| package.map(Verified::into_inner));
    let (mut runtime, _) = job.recover_with(store.collect::<Result<_, _>>()?).map_err(text)?;
    runtime.install(&package(&job, 1, Upgrade::Reset)?, &job.install()).map_err(text)?;
    let whole = [111u32.to_ne_bytes(), 222u32.to_ne_bytes()].concat();
    let whole = [&whole[..], &5u64.to_ne_bytes()].concat();
    let old = place.map("joined", 1)?;
    old.update(&7u32.to_ne_bytes(), &whole, Update::New).map_err(text)?;

    let refused = runtime.plan_upgrade(&package(&job, 2, Upgrade::Migrate)?, &job.install());
    let said = chain(&refused.err().ok_or("a union that changed was planned")?);
    let why = "map 'joint': its entries can't be moved: field 'a': it shares its place with others in a union that changed";
    equal("said", said.contains(why), true).map_err(|e| format!("{e}: {said}"))?;

    let next = package(&job, 2, Upgrade::Reset)?;
    runtime.upgrade(&next, &job.install()).map_err(text)?;
    equal("there", value(&place.map("joined", 2)?, 7)?, (111, 222, 5))?;
    runtime.rollback(&Job::service()).map_err(text)?;
    equal("back", value(&place.map("joined", 1)?, 7)?, (111, 222, 5))?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("two unions and a number went there and back".to_owned())
}
