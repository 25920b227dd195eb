//! A service that gives others a map is stopped by force: they run on, and it is one map whatever the kernel lost of either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use skep_kernel::bpffs;
use skep_runtime::status::ServiceState;
use skep_runtime::{Cause, Faults, Packages, Recovery, Runtime};
use skep_spec::{Digest, ServiceName};
use skep_trust::{Package, Verified};

use super::{all, both, counted, flows, map, name, open, refused};
use crate::equal::{equal, text};
use crate::hurt::status;
use crate::lives::reboot;
use crate::objects::Objects;
use crate::place::{Ended, Job, Place, Shelf};
use crate::tests::Outcome;

/// Both run, and the one that is needed is stopped by force.
fn stopped(place: &Place, job: &Job) -> Result<u64, String> {
    let (mut runtime, _) = open(job).map_err(text)?;
    both(&mut runtime, job, "1.0.0").map_err(text)?;
    let count = counted(place, 1, 1)?;
    runtime.stop(&name("flows"), true).map_err(text)?;
    Ok(count)
}

fn lose(place: &Place, service: &str) -> Result<(), String> {
    bpffs::unpin_tree(&place.dirs().bpffs.join(service)).map_err(text)
}

fn state_of(runtime: &Runtime, service: &str) -> Result<ServiceState, String> {
    Ok(status(runtime, &name(service))?.state)
}

fn failed(recovery: &Recovery) -> Vec<ServiceName> {
    recovery.failed.iter().map(|(service, _)| service.clone()).collect()
}

fn links_of(place: &Place, service: &str) -> usize {
    let folder = place.dirs().bpffs.join(service);
    place.pins().iter().filter(|pin| pin.starts_with(&folder) && pin.ends_with("link")).count()
}

fn gone(place: &Place, mut runtime: Runtime) -> Result<(), String> {
    runtime.remove(&name("app")).map_err(text)?;
    runtime.remove(&name("flows")).map_err(text)?;
    equal("pins", place.pins(), Vec::new())
}

/// Its pins are gone, too: it goes on with the map that its users have.
pub fn without_pins(place: &Place) -> Outcome {
    let job = place.here();
    let before = stopped(place, &job)?;
    let shared = map(place, "app", "flows", 1)?.info().id;
    lose(place, "flows")?;
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("lost", recovery.lost.len(), 1)?;
    equal("failed", failed(&recovery), Vec::new())?;
    equal("adopted", recovery.adopted, vec![name("app")])?;
    equal("state", state_of(&runtime, "flows")?, ServiceState::Stopped)?;
    equal("links", links_of(place, "flows"), 0)?;
    runtime.start(&name("flows")).map_err(text)?;
    let count = counted(place, 1, 1)?;
    equal("it goes on", count > before, true)?;
    equal("the map", map(place, "flows", "flows", 1)?.info().id, shared)?;
    drop(runtime);
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("adopted", recovery.adopted.len(), 2)?;
    equal("it goes on", counted(place, 1, 1)? > count, true)?;
    // The user is stopped as well: what it has is theirs all the same.
    runtime.stop(&name("app"), false).map_err(text)?;
    runtime.stop(&name("flows"), false).map_err(text)?;
    drop(runtime);
    lose(place, "flows")?;
    let (mut runtime, _) = open(&job).map_err(text)?;
    equal("nobody runs who uses it", place.dirs().bpffs.join("flows").exists(), false)?;
    runtime.start(&name("flows")).map_err(text)?;
    runtime.start(&name("app")).map_err(text)?;
    equal("it goes on", counted(place, 1, 1)? > count, true)?;
    equal("the map", map(place, "flows", "flows", 1)?.info().id, shared)?;
    gone(place, runtime)?;
    Ok(format!("one map with {count} renames and more"))
}

/// What it has become since does not mean the same by that map: it is not loaded beside its users with another.
pub fn of_another_type(place: &Place) -> Outcome {
    let job = place.here();
    stopped(place, &job)?;
    lose(place, "flows")?;
    let mut packages = all(&job)?;
    let mut longer = flows(&job, "1.0.0")?.into_inner();
    longer.objects = flows(&job, "1.2.0")?.into_inner().objects;
    packages.iter_mut().filter(|one| one.index == longer.index).for_each(|one| {
        *one = longer.clone();
    });
    let (mut runtime, recovery) = job.recover_with(packages).map_err(text)?;
    equal("adopted", recovery.adopted, vec![name("app")])?;
    let words = "flows cannot go on with the map that app has of it: the map 'flows' cannot be shared: its values have 16 bytes there, and 8 here";
    refused(runtime.start(&name("flows")), words)?;
    equal("state", state_of(&runtime, "flows")?, ServiceState::Stopped)?;
    equal("state", state_of(&runtime, "app")?, ServiceState::Running)?;
    gone(place, runtime)?;
    Ok("it stays stopped".to_owned())
}

/// After a reboot its users run, and it is loaded for them without being attached.
pub fn rebooted(place: &Place) -> Outcome {
    let job = place.here();
    stopped(place, &job)?;
    reboot(place)?;
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("failed", failed(&recovery), Vec::new())?;
    equal("stopped", recovery.stopped, vec![name("flows")])?;
    equal("started", recovery.started, vec![name("app")])?;
    waits(place, &runtime)?;
    drop(runtime);
    let (runtime_again, recovery) = open(&job).map_err(text)?;
    runtime = runtime_again;
    equal("adopted", recovery.adopted, vec![name("app")])?;
    equal("lost", recovery.lost, Vec::new())?;
    waits(place, &runtime)?;
    runtime.start(&name("flows")).map_err(text)?;
    let count = counted(place, 1, 1)?;
    runtime.stop(&name("flows"), true).map_err(text)?;
    runtime.start(&name("flows")).map_err(text)?;
    equal("it goes on", counted(place, 1, 1)? > count, true)?;
    // With nobody who runs there is nothing to load.
    runtime.stop(&name("app"), false).map_err(text)?;
    runtime.stop(&name("flows"), false).map_err(text)?;
    drop(runtime);
    reboot(place)?;
    let (runtime, _) = open(&job).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    gone(place, runtime)?;
    Ok("its user ran with its map meanwhile".to_owned())
}

/// That one is stopped, and the other runs with its map.
fn waits(place: &Place, runtime: &Runtime) -> Result<(), String> {
    equal("state", state_of(runtime, "flows")?, ServiceState::Stopped)?;
    equal("state", state_of(runtime, "app")?, ServiceState::Running)?;
    equal("links", (links_of(place, "flows"), links_of(place, "app")), (0, 1))?;
    let shared = map(place, "flows", "flows", 1)?;
    equal("the map of both", map(place, "app", "flows", 1)?.info().id, shared.info().id)?;
    crate::events::made(crate::generator::Kind::Rename, 1, 5);
    let counts = shared.lookup(&std::process::id().to_ne_bytes()).map_err(text)?;
    equal("nobody counts", counts, None)
}

/// A store that has what is needed only later.
struct Late {
    there: Arc<AtomicBool>,
    shelf: Shelf,
}

impl Packages for Late {
    fn package(&self, index: &Digest) -> Result<Verified<Package>, Cause> {
        match self.there.load(Ordering::Relaxed) || *index != Digest::of(b"flows 1.0.0") {
            true => self.shelf.package(index),
            false => Err("it is not there yet".into()),
        }
    }
}

/// It cannot be loaded: who needs it says so, and runs as soon as it does.
pub fn not_loaded(place: &Place) -> Outcome {
    let job = place.here();
    stopped(place, &job)?;
    reboot(place)?;
    let there = Arc::new(AtomicBool::new(false));
    let store = Late { there: there.clone(), shelf: Shelf::of(all(&job)?) };
    let (mut runtime, recovery) = job.recover_from(store).map_err(text)?;
    equal("failed", failed(&recovery), vec![name("flows"), name("app")])?;
    equal("state", state_of(&runtime, "flows")?, ServiceState::Stopped)?;
    let why = status(&runtime, &name("app"))?.failed.unwrap_or_default();
    let words = "app needs flows, of which the kernel has nothing";
    equal(&format!("'{words}' in '{why}'"), why.contains(words), true)?;
    there.store(true, Ordering::Relaxed);
    runtime.start(&name("flows")).map_err(text)?;
    equal("why", status(&runtime, &name("app"))?.failed, None)?;
    equal("state", state_of(&runtime, "app")?, ServiceState::Running)?;
    counted(place, 1, 1)?;
    gone(place, runtime)?;
    Ok("its user came back with it".to_owned())
}

/// Killed anywhere while it is loaded for its users: the next start finds it stopped, and them running.
pub fn killed(objects: &Objects) -> Outcome {
    let mut killed = 0;
    for point in Faults::ALL.iter().filter(|point| point.starts_with("activate.")) {
        let place = Place::new(objects, "raw_tp", None)?;
        killed += u32::from(one_kill(&place, point).map_err(|why| format!("{point}: {why}"))?);
    }
    equal("most points are passed", killed > 15, true)?;
    Ok(format!("killed at {killed} points"))
}

fn one_kill(place: &Place, point: &str) -> Result<bool, String> {
    let job = place.here();
    stopped(place, &job)?;
    reboot(place)?;
    let killed = match place.child("together-open", Some(point))? {
        Ended::Killed => true,
        Ended::Done(_) => false,
        Ended::Failed(why) => return Err(why),
    };
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("what waits", recovery.aside, Vec::new())?;
    waits(place, &runtime)?;
    runtime.start(&name("flows")).map_err(text)?;
    counted(place, 1, 1)?;
    gone(place, runtime)?;
    Ok(killed)
}
