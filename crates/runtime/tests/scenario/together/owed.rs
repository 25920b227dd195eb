//! Sets that are undone, or go back, in part: what is owed goes back later, what was done since stays, and nobody is held up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use skep_runtime::{Cause, Faults, Packages, Recovery, Runtime};
use skep_spec::Digest;
use skep_trust::{Package, Verified};

use super::{all, app, both, flows, name, open, refused, request, three, top, versions, whole};
use crate::equal::{equal, text};
use crate::objects::Objects;
use crate::place::{Ended, Job, Place, Shelf};
use crate::tests::Outcome;

/// A store that loses a package once another one was asked for often enough.
struct Loses {
    shelf: Shelf,
    asked: Digest,
    times: AtomicUsize,
    package: Digest,
    lost: Arc<AtomicBool>,
}

impl Packages for Loses {
    fn package(&self, index: &Digest) -> Result<Verified<Package>, Cause> {
        if *index == self.asked && self.times.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.lost.store(true, Ordering::Relaxed);
        }
        if *index == self.package && self.lost.load(Ordering::Relaxed) {
            return Err("the disk is broken".into());
        }
        self.shelf.package(index)
    }
}

/// A runtime, what its start found, and whether its store has lost the package: it is to be mended there.
pub struct Opened(Runtime, Recovery, Arc<AtomicBool>);

/// Opens the runtime with a store that loses `package` when `asked` is asked for the `times`th time; at once for 0.
fn losing(job: &Job, package: &str, (asked, times): (&str, usize)) -> Result<Opened, String> {
    let lost = Arc::new(AtomicBool::new(times == 0));
    let [asked, package] = [asked, package].map(|of| Digest::of(of.as_bytes()));
    let (shelf, times) = (Shelf::of(all(job)?), AtomicUsize::new(times));
    let store = Loses { shelf, asked, times, package, lost: Arc::clone(&lost) };
    let (runtime, recovery) = job.recover_from(store).map_err(text)?;
    Ok(Opened(runtime, recovery, lost))
}

/// The services that are still to go back.
fn owed(runtime: &Runtime) -> Vec<String> {
    let services = runtime.services().into_iter().filter(|status| status.owed.is_some());
    services.map(|status| status.service.to_string()).collect()
}

fn are(runtime: &Runtime, wanted: [&str; 3]) -> Result<(), String> {
    equal("versions", versions(runtime), wanted.map(str::to_owned).to_vec())
}

const OLD: [&str; 3] = ["app 1.0.0", "flows 1.0.0", "top 1.0.0"];
const HALF: [&str; 3] = ["app 2.0.0", "flows 2.0.0", "top 1.0.0"];

/// Upgrades two of three, and cannot undo that when the third fails: the package of the one is gone, and the other is needed by it.
pub fn stuck(job: &Job) -> Result<Opened, String> {
    let mut opened = losing(job, "app 1.0.0", ("app 2.0.0", 1))?;
    let failed = three(&mut opened.0, job, "2.0.0", "2.1.0").err().ok_or("not refused")?;
    let said = skep_spec::chain(failed.as_ref());
    for words in [
        "top failed, and what was done before it could not be undone: app (",
        "the disk is broken), flows (flows cannot change as app needs it",
    ] {
        equal(&format!("'{words}' in '{said}'"), said.contains(words), true)?;
    }
    are(&opened.0, HALF)?;
    equal("owed", owed(&opened.0), ["app", "flows"].map(str::to_owned).to_vec())?;
    Ok(opened)
}

/// Others are installed as a whole, upgraded, and go.
fn others_go_on(runtime: &mut Runtime, job: &Job) -> Result<(), String> {
    let requests = ["one", "two"].map(|service| request(job, service));
    for version in ["1.1.0", "2.1.0"] {
        let packages = [flows(job, version)?, flows(job, version)?];
        runtime.together(&whole(runtime, &packages, &requests)).map_err(text)?;
    }
    for request in requests {
        runtime.remove(&request.service).map_err(text)?;
    }
    Ok(())
}

/// What is owed goes back at a start, or when somebody asks for it, and nothing else does.
pub fn undone_in_part(place: &Place) -> Outcome {
    let job = place.here();
    three(&mut open(&job).map_err(text)?.0, &job, "1.0.0", "1.0.0").map_err(text)?;
    let Opened(mut runtime, ..) = stuck(&job)?;
    others_go_on(&mut runtime, &job)?;
    drop(runtime);
    // A start that can do nothing, and one that can.
    let Opened(runtime, recovery, _) = losing(&job, "app 1.0.0", ("", 0))?;
    let waits: Vec<_> = recovery.aside.into_iter().map(|(service, _)| service).collect();
    equal("what waits", waits, vec![name("app"), name("flows")])?;
    are(&runtime, HALF)?;
    drop(runtime);
    let (runtime, recovery) = open(&job).map_err(text)?;
    equal("what waits", recovery.aside, Vec::new())?;
    are(&runtime, OLD)?;
    equal("owed", owed(&runtime), Vec::new())?;
    drop(runtime);
    // When somebody asks.
    let Opened(mut runtime, _, lost) = stuck(&job)?;
    refused(runtime.rollback(&name("app")), "the disk is broken")?;
    equal("owed", owed(&runtime), ["app", "flows"].map(str::to_owned).to_vec())?;
    lost.store(false, Ordering::Relaxed);
    runtime.rollback(&name("app")).map_err(text)?;
    are(&runtime, OLD)?;
    equal("owed", owed(&runtime), Vec::new())?;
    drop(runtime);
    stays(&job)?;
    let (mut runtime, _) = open(&job).map_err(text)?;
    for service in ["top", "app", "flows"] {
        runtime.remove(&name(service)).map_err(text)?;
    }
    equal("pins", place.pins(), Vec::new())?;
    Ok("what was done since stayed".to_owned())
}

/// What is changed after a set that was undone in part stays.
fn stays(job: &Job) -> Result<(), String> {
    let Opened(mut runtime, ..) = stuck(job)?;
    runtime.upgrade(&flows(job, "2.1.0")?, &request(job, "flows")).map_err(text)?;
    drop(runtime);
    let (mut runtime, _) = open(job).map_err(text)?;
    are(&runtime, ["app 2.0.0", "flows 2.1.0", "top 1.0.0"])?;
    equal("owed", owed(&runtime), vec!["app".to_owned()])?;
    // What runs is what is asked for.
    runtime.upgrade(&app(job, "2.0.0")?, &request(job, "app")).map_err(text)?;
    equal("owed", owed(&runtime), Vec::new())?;
    for service in ["top", "app", "flows"] {
        runtime.remove(&name(service)).map_err(text)?;
    }
    // Who comes relies on what is there, and on what that needs.
    three(&mut runtime, job, "1.0.0", "1.0.0").map_err(text)?;
    drop(runtime);
    let Opened(mut runtime, ..) = stuck(job)?;
    runtime.upgrade(&top(job, "2.0.0")?, &request(job, "top")).map_err(text)?;
    equal("owed", owed(&runtime), Vec::new())?;
    drop(runtime);
    let (mut runtime, recovery) = open(job).map_err(text)?;
    equal("interrupted", recovery.interrupted, Vec::new())?;
    are(&runtime, ["app 2.0.0", "flows 2.0.0", "top 2.0.0"])?;
    // A service that was removed and came again is another one.
    runtime.rollback(&name("app")).map_err(text)?;
    drop(runtime);
    let Opened(mut runtime, ..) = stuck(job)?;
    for service in ["top", "app", "flows"] {
        runtime.remove(&name(service)).map_err(text)?;
    }
    both(&mut runtime, job, "2.0.0").map_err(text)?;
    drop(runtime);
    let (runtime, _) = open(job).map_err(text)?;
    equal("versions", versions(&runtime), ["app 2.0.0", "flows 2.0.0"].map(str::to_owned).to_vec())
}

/// Takes one of two back, and cannot the other.
fn half_back(job: &Job) -> Result<Opened, String> {
    // It is asked for once for all of them before anything is begun.
    let mut opened = losing(job, "flows 1.0.0", ("app 1.0.0", 2))?;
    let words = "flows could not be rolled back, and what goes back with it was: app";
    refused(opened.0.rollback(&name("flows")), words)?;
    equal("versions", versions(&opened.0), HALF_BACK.map(str::to_owned).to_vec())?;
    equal("owed", owed(&opened.0), vec!["flows".to_owned()])?;
    Ok(opened)
}

const HALF_BACK: [&str; 2] = ["app 1.0.0", "flows 2.0.0"];

/// The same of a rollback: the rest follows, unless somebody leads forward again.
pub fn back_in_part(place: &Place) -> Outcome {
    let job = place.here();
    let old = ["app 1.0.0", "flows 1.0.0"].map(str::to_owned).to_vec();
    let new = ["app 2.0.0", "flows 2.0.0"].map(str::to_owned).to_vec();
    let (mut runtime, _) = open(&job).map_err(text)?;
    both(&mut runtime, &job, "1.0.0").map_err(text)?;
    both(&mut runtime, &job, "2.0.0").map_err(text)?;
    drop(runtime);
    let Opened(mut runtime, ..) = half_back(&job)?;
    others_go_on(&mut runtime, &job)?;
    drop(runtime);
    let Opened(mut runtime, recovery, lost) = losing(&job, "flows 1.0.0", ("", 0))?;
    equal("what waits", recovery.aside.len(), 1)?;
    lost.store(false, Ordering::Relaxed);
    runtime.rollback(&name("flows")).map_err(text)?;
    equal("versions", versions(&runtime), old.clone())?;
    both(&mut runtime, &job, "2.0.0").map_err(text)?;
    drop(runtime);
    drop(half_back(&job)?);
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("what waits", recovery.aside, Vec::new())?;
    equal("versions", versions(&runtime), old)?;
    both(&mut runtime, &job, "2.0.0").map_err(text)?;
    drop(runtime);
    let Opened(mut runtime, ..) = half_back(&job)?;
    runtime.upgrade(&app(&job, "2.0.0")?, &request(&job, "app")).map_err(text)?;
    equal("owed", owed(&runtime), Vec::new())?;
    drop(runtime);
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("what waits", recovery.aside, Vec::new())?;
    equal("versions", versions(&runtime), new)?;
    for service in ["app", "flows"] {
        runtime.remove(&name(service)).map_err(text)?;
    }
    equal("pins", place.pins(), Vec::new())?;
    Ok("the rest followed, or stayed where somebody was already".to_owned())
}

/// Killed while a set ends in part, or while what is owed goes back: a later start ends both.
pub fn test_owed_killed(objects: &Objects) -> Outcome {
    let of = |begin: &'static str| {
        let points = Faults::ALL.iter().filter(move |point| point.starts_with(begin));
        points.flat_map(|point| [(*point).to_owned(), format!("{point}:2")])
    };
    let ends = of("set.").map(|point| ("together-stuck", point));
    let returns = of("set.").chain(of("rollback.")).map(|point| ("together-open", point));
    let mut killed = 0;
    for (op, point) in ends.chain(returns) {
        let place = Place::new(objects, "raw_tp", None)?;
        let one = one_kill(&place, op, &point).map_err(|why| format!("{op}, {point}: {why}"))?;
        killed += usize::from(one);
    }
    equal("most points are passed", killed > 30, true)?;
    Ok(format!("killed at {killed} points"))
}

fn one_kill(place: &Place, op: &str, point: &str) -> Result<bool, String> {
    let job = place.here();
    three(&mut open(&job).map_err(text)?.0, &job, "1.0.0", "1.0.0").map_err(text)?;
    if op == "together-open" {
        drop(stuck(&job)?);
    }
    let killed = match place.child(op, Some(point))? {
        Ended::Killed => true,
        Ended::Done(_) => false,
        Ended::Failed(why) => return Err(why),
    };
    let (mut runtime, recovery) = open(&job).map_err(text)?;
    equal("what waits", recovery.aside, Vec::new())?;
    are(&runtime, OLD)?;
    equal("owed", owed(&runtime), Vec::new())?;
    for service in ["top", "app", "flows"] {
        runtime.remove(&name(service)).map_err(text)?;
    }
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}
