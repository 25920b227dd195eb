//! Maps that get smaller: an upgrade is refused where entries would not fit, a rollback never, and one that meets a full
//! map after the switch ends all the same, with a count of what stays behind.

use std::collections::BTreeMap;

use skep_kernel::MapHandle;
use skep_kernel::maps::Update;
use skep_runtime::{Runtime, RuntimeError};
use skep_spec::chain;
use skep_spec::manifest::Merge;
use skep_spec::param::Value;
use skep_trust::{Package, Verified};

use crate::equal::{equal, text};
use crate::lives::reboot;
use crate::objects::verified;
use crate::place::{Ended, Job, Place};
use crate::tally::sum;
use crate::tests::Outcome;

/// A version whose map has so many entries.
pub fn sized(job: &Job, version: u32, entries: i64) -> Result<Verified<Package>, String> {
    let mut package = job.package(version)?.into_inner();
    let counts = package.manifest.map.get_mut("counts").ok_or("no map")?;
    counts.max_entries = Some(Value::Int(entries));
    Ok(verified(package))
}

/// Puts these keys into the map, each with a count of 1.
fn fill(map: &MapHandle, keys: std::ops::Range<u32>) -> Result<(), String> {
    let mut value = vec![0; map.info().value_size as usize];
    value[..8].copy_from_slice(&1u64.to_ne_bytes());
    keys.into_iter()
        .try_for_each(|key| map.update(&key.to_ne_bytes(), &value, Update::New))
        .map_err(text)
}

fn counts(entries: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([("counts".to_owned(), entries)])
}

/// More entries than fit: refused before anything is touched, with what to write.
pub fn too_small(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    fill(&place.map("counts", 1)?, 0..65)?;
    let pins = place.pins();
    let small = sized(&job, 2, 64)?;
    let planned = runtime.plan_upgrade(&small, &job.install()).err().ok_or("planned")?;
    let refused = runtime.upgrade(&small, &job.install()).err().ok_or("not refused")?;
    let said = chain(&refused);
    equal("code", refused.code(), "state-would-be-lost")?;
    equal("plan", chain(&planned), said.clone())?;
    for part in
        ["map 'counts': it has 65 entries, and 64 fit now", "max_entries = 256", "\"reset\""]
    {
        equal(part, said.contains(part), true).map_err(|e| format!("{e}: {said}"))?;
    }
    equal("pins", place.pins(), pins)?;
    let done = runtime.upgrade(&sized(&job, 2, 65)?, &job.install()).map_err(text)?;
    let why = &done.plan.maps["counts"].why;
    equal("why", why.contains("it holds 65 entries, not 256"), true)
        .map_err(|e| format!("{e}: {why}"))?;
    equal("no room", done.detail.no_room, BTreeMap::new())?;
    equal("moved", sum(&place.map("counts", 2)?)?, 65)?;
    runtime.remove(&Job::service()).map_err(text)?;
    Ok(said)
}

/// An array that gets smaller is refused, whatever is in it.
pub fn shorter_array(place: &Place) -> Outcome {
    let job = place.here();
    let with = |version, entries| {
        let mut package = job.package(version)?.into_inner();
        let mut kept = package.manifest.map["counts"].clone();
        kept.max_entries = Some(Value::Int(entries));
        kept.fields = BTreeMap::from([(String::new(), Merge::Sum)]);
        package.manifest.map.insert("kept".to_owned(), kept);
        Ok::<_, String>(package)
    };
    let (mut runtime, _) = job.recover_with(vec![with(1, 100)?]).map_err(text)?;
    runtime.install(&verified(with(1, 100)?), &job.install()).map_err(text)?;
    let plan = |entries| {
        let planned = runtime.plan_upgrade(&verified(with(2, entries)?), &job.install());
        planned.map_err(|error| chain(&error))
    };
    plan(100)?;
    plan(101)?;
    let said = plan(4).err().ok_or("planned")?;
    equal("said", said.contains("map 'kept': it has 100 entries, and 4 fit now"), true)
        .map_err(|e| format!("{e}: {said}"))?;
    runtime.remove(&Job::service()).map_err(text)?;
    Ok(said)
}

/// A value that no instruction reaches the end of: known before the switch, when everything can still be undone.
pub fn too_wide(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let mut package = job.package(2)?.into_inner();
    let mut wide = package.manifest.map["counts"].clone();
    wide.fields = BTreeMap::from([("slots".to_owned(), Merge::Sum)]);
    package.manifest.map.insert("wide".to_owned(), wide);
    let error = runtime.upgrade(&verified(package), &job.install()).err().ok_or("not refused")?;
    equal("code", error.code(), "kernel").map_err(|e| format!("{e}: {error}"))?;
    let detail = runtime.service(&Job::service()).map_err(text)?;
    equal("generation", (detail.status.generation, detail.status.half_done), (1, None))?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(said(&error))
}

/// What fitted before the switch finds a full map after it: the upgrade ends, counts what stays behind, and a rollback has it all.
pub fn no_room(place: &Place) -> Outcome {
    let job = place.here();
    place.does("install")?;
    fill(&place.map("counts", 1)?, 0..64)?;
    match place.child("upgrade-full", Some("upgrade.Switched.after"))? {
        Ended::Killed => {}
        other => return Err(format!("not killed: {other:?}")),
    }
    fill(&place.map("counts", 2)?, 100..110)?;
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("ended", (recovery.interrupted.len(), recovery.aside.len()), (1, 0))?;
    equal("no room", left(&runtime)?, counts(10))?;
    equal("moved", sum(&place.map("counts", 2)?)?, 64)?;
    equal("left", sum(&place.map("counts", 1)?)?, 10)?;
    drop(runtime);
    runtime = job.open().map_err(text)?.0;
    equal("no room, read again", left(&runtime)?, counts(10))?;
    let detail = runtime.rollback(&Job::service()).map_err(text)?;
    equal("no room for the way back", detail.no_room, BTreeMap::new())?;
    equal("all", sum(&place.map("counts", 1)?)?, 74)?;
    runtime.remove(&Job::service()).map_err(text)?;
    Ok("64 + 10 entries met 64 places, and a rollback had all 74".to_owned())
}

/// A rollback to a map that holds less than is there.
pub fn back_to_a_smaller_map(place: &Place) -> Outcome {
    let (job, mut runtime) = place.opened()?;
    runtime.install(&sized(&job, 1, 8)?, &job.install()).map_err(text)?;
    fill(&place.map("counts", 1)?, 0..2)?;
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    fill(&place.map("counts", 2)?, 2..20)?;
    let detail = runtime.rollback(&Job::service()).map_err(|e| said(&e))?;
    equal("no room", detail.no_room, counts(12))?;
    equal("half done", detail.status.half_done, None)?;
    equal("moved", sum(&place.map("counts", 1)?)?, 8)?;
    // What was left behind does not stay with the service.
    let done = runtime.upgrade(&job.package(2)?, &job.install()).map_err(|e| said(&e))?;
    equal("no room", done.detail.no_room, BTreeMap::new())?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("8 of 20 entries came back, 12 were counted".to_owned())
}

/// The same after a reboot, to a version whose own manifest says nothing: what led away from it leads back.
pub fn back_after_a_reboot(place: &Place) -> Outcome {
    let job = place.here();
    let mut first = sized(&job, 1, 8)?.into_inner();
    if let Some(counts) = first.manifest.map.get_mut("counts") {
        (counts.upgrade, counts.fields) = (None, BTreeMap::new());
    }
    let packages = || Ok::<_, String>(vec![first.clone(), job.package(2)?.into_inner()]);
    let (mut runtime, _) = job.recover_with(packages()?).map_err(text)?;
    runtime.install(&verified(first.clone()), &job.install()).map_err(text)?;
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    drop(runtime);
    reboot(place)?;
    let (mut runtime, _) = job.recover_with(packages()?).map_err(text)?;
    fill(&place.map("counts", 2)?, 0..20)?;
    let detail = runtime.rollback(&Job::service()).map_err(|e| said(&e))?;
    equal("version", detail.status.version.to_string(), "1.0.0".to_owned())?;
    equal("no room", detail.no_room, counts(12))?;
    equal("moved", sum(&place.map("counts", detail.status.generation)?)?, 8)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("8 of 20 entries came back, 12 were counted".to_owned())
}

fn left(runtime: &Runtime) -> Result<BTreeMap<String, u64>, String> {
    Ok(runtime.service(&Job::service()).map_err(text)?.no_room)
}

fn said(error: &RuntimeError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}
