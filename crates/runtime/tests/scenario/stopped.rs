//! A service is stopped and started: nothing of it sees events in between, what it counted stays, and no crash leaves half of it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;

use skep_kernel::{cgroup, netns};
use skep_runtime::status::ServiceState;
use skep_runtime::{Detail, Faults};

use crate::equal::{equal, text};
use crate::events::made;
use crate::generator::Kind;
use crate::hurt::status;
use crate::lives::{lose_hooks, reboot};
use crate::objects::Objects;
use crate::place::{Ended, Job, Place};
use crate::tally::{Seen, sum};
use crate::tests::{Outcome, Stage};
use crate::together;

/// Events in turn, by whether they are to be seen.
struct Made {
    kind: Kind,
    next: u64,
    seen: Vec<Range<u64>>,
    unseen: Vec<Range<u64>>,
}

impl Made {
    fn new(place: &Place) -> Self {
        let packets = matches!(place.set.as_str(), "tc" | "xdp" | "grown" | "net");
        let kind = match place.set.as_str() {
            _ if packets => Kind::Packet,
            "fentry" => Kind::Seek,
            _ => Kind::Rename,
        };
        Self { kind, next: 1, seen: Vec::new(), unseen: Vec::new() }
    }

    fn some(&mut self, are_seen: bool) {
        let first = self.next;
        self.next = made(self.kind, first, 30);
        let list = if are_seen { &mut self.seen } else { &mut self.unseen };
        list.push(first..self.next);
    }

    /// That each was seen once or not at all, as it was to be, but for those that the kernel kept from the hooks.
    fn are_right(&self, seen: &Seen, detail: &Detail) -> Result<u64, String> {
        let times = |ranges: &[Range<u64>]| -> Vec<u64> {
            ranges.iter().flat_map(Clone::clone).map(|number| seen.times(number)).collect()
        };
        let unseen: BTreeSet<u64> = times(&self.unseen).into_iter().collect();
        equal("while it was stopped", unseen.iter().all(|times| *times == 0), true)?;
        let seen = times(&self.seen);
        equal("seen once at most", seen.iter().all(|times| *times <= 1), true)?;
        let missed = seen.iter().filter(|times| **times == 0).count() as u64;
        let by_kernel: u64 = detail.hooks.iter().map(|hook| hook.missed).sum();
        equal("lost", missed <= by_kernel, true).map_err(|e| format!("{e}: {missed}"))?;
        Ok(seen.iter().sum())
    }
}

fn state_of(place: &Place) -> Result<ServiceState, String> {
    Ok(place.does("open")?.detail.ok_or("the service is gone")?.status.state)
}

fn links(place: &Place) -> usize {
    place.pins().iter().filter(|pin| pin.ends_with("link")).count()
}

/// Through starts of the daemon; an upgrade is refused, and a rollback goes on as if nothing had been.
pub fn stops_and_starts(place: &Place) -> Outcome {
    let mut events = Made::new(place);
    place.does("install")?;
    place.does("upgrade")?;
    let seen = Seen::new(&[&place.map("seen", 1)?, &place.map("seen", 2)?])?;
    events.some(true);
    for _ in 0..2 {
        let programs = place.programs(2)?;
        place.does("stop")?;
        equal("state", state_of(place)?, ServiceState::Stopped)?;
        equal("links", links(place), 0)?;
        events.some(false);
        place.does("stop")?; // again is no error
        let refused = place.child("upgrade-again", None)?;
        equal(
            "refused",
            matches!(&refused, Ended::Failed(why) if why.contains("is stopped")),
            true,
        )
        .map_err(|e| format!("{e}: {refused:?}"))?;
        place.does("start")?;
        equal("programs", place.programs(2)?, programs)?;
        equal("state", state_of(place)?, ServiceState::Running)?;
        events.some(true);
    }
    place.does("rollback")?;
    events.some(true);
    let detail = place.does("open")?.detail.ok_or("the service is gone")?;
    let count = events.are_right(&seen, &detail)?;
    equal("counted", sum(&place.map("kept", 1)?)?, count)?;
    place.does("stop")?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{count} events, and none while it was stopped"))
}

/// A reboot, and the loss of all its pins, leave it stopped; a start loads it again.
pub fn stopped_over_a_reboot(place: &Place) -> Outcome {
    let mut events = Made::new(place);
    for lose in [reboot, crate::hurt::lose_pins] {
        place.does("install")?;
        place.does("stop")?;
        lose(place)?;
        let (runtime, recovery) = place.here().recover(&[1, 2]).map_err(text)?;
        equal("stopped", recovery.stopped, vec![Job::service()])?;
        equal("started", (recovery.started.len(), recovery.failed.len()), (0, 0))?;
        equal("state", status(&runtime, &Job::service())?.state, ServiceState::Stopped)?;
        drop(runtime);
        equal("pins", place.pins(), Vec::new())?;
        place.does("start")?;
        let seen = Seen::new(&[&place.map("seen", 1)?])?;
        (events.seen, events.unseen) = (Vec::new(), Vec::new());
        events.some(true);
        let detail = place.does("open")?.detail.ok_or("the service is gone")?;
        equal("state", detail.status.state, ServiceState::Running)?;
        events.are_right(&seen, &detail)?;
        place.does("remove")?;
        equal("pins", place.pins(), Vec::new())?;
    }
    Ok("it waited to be started".to_owned())
}

/// What somebody took off a service while it was stopped is put back, or not needed.
pub fn stopped_without_pins(place: &Place) -> Outcome {
    let mut events = Made::new(place);
    place.does("install")?;
    place.does("stop")?;
    crate::hurt::lose_hooks(place)?; // stubs and their slots
    equal("state", state_of(place)?, ServiceState::Stopped)?;
    place.does("start")?;
    let seen = Seen::new(&[&place.map("seen", 1)?])?;
    events.some(true);
    lose_hooks(place)?;
    place.does("stop")?; // nothing is attached any more
    events.some(false);
    place.does("start")?;
    events.some(true);
    let detail = place.does("open")?.detail.ok_or("the service is gone")?;
    events.are_right(&seen, &detail)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("its stubs are made again, and links that went are no error".to_owned())
}

/// What it is attached to goes meanwhile: the start fails as a whole, and the next one finds it again.
pub fn nothing_to_start_at(objects: &Objects) -> Outcome {
    netns::enter_new().and_then(|()| netns::up("lo")).map_err(text)?;
    let folder = cgroup::root().map_err(text)?.join(format!("skep-stop-{}", std::process::id()));
    fs::create_dir(&folder).map_err(text)?;
    let target = format!("cgroup_skb/egress:{}", folder.display());
    let place = Place::without_holder(objects, "grown", Some(target))?;
    let worked = failed_start(&place, &folder);
    let _ = fs::remove_dir(&folder);
    worked
}

fn failed_start(place: &Place, folder: &std::path::Path) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    place.does("stop")?;
    fs::remove_dir(folder).map_err(text)?;
    for _ in 0..2 {
        let failed = place.child("start", None)?;
        equal(
            "failed",
            matches!(&failed, Ended::Failed(why) if why.contains("was not attached")),
            true,
        )
        .map_err(|e| format!("{e}: {failed:?}"))?;
        equal("links", links(place), 0)?;
        equal("state", state_of(place)?, ServiceState::Stopped)?;
    }
    fs::create_dir(folder).map_err(text)?;
    let detail = place.does("start")?.detail.ok_or("the service is gone")?;
    equal("state", detail.status.state, ServiceState::Running)?;
    equal("links", links(place) > 0, true)?;
    failed_restart(place, folder)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("it stays stopped until it can be attached".to_owned())
}

/// A restart that cannot be ended is tried again by each start of the daemon, unless somebody stops it.
fn failed_restart(place: &Place, folder: &std::path::Path) -> Result<(), String> {
    for stop in [false, true] {
        fs::remove_dir(folder).map_err(text)?;
        let failed = place.child("restart", None)?;
        let is_said = matches!(&failed, Ended::Failed(why) if why.contains("was not attached"));
        equal("failed", is_said, true).map_err(|e| format!("{e}: {failed:?}"))?;
        let status = place.does("open")?.detail.ok_or("the service is gone")?.status;
        equal("state", status.state, ServiceState::Failed)?;
        let why = status.failed.unwrap_or_default();
        equal("why", why.contains("was not attached"), true).map_err(|e| format!("{e}: {why}"))?;
        if stop {
            place.does("stop")?;
        }
        fs::create_dir(folder).map_err(text)?;
        let state = if stop { ServiceState::Stopped } else { ServiceState::Running };
        equal("state", state_of(place)?, state)?;
        equal("links", links(place) > 0, !stop)?;
    }
    place.does("start").map(drop)
}

/// A reboot does not take it for a stop either.
pub fn restart_over_a_reboot(place: &Place) -> Outcome {
    for point in ["restart.Begin.after", "restart.End.after", "restart.attach.before"] {
        place.does("install")?;
        match place.child("restart", Some(point))? {
            Ended::Killed => {}
            other => return Err(format!("{point}: not killed: {other:?}")),
        }
        reboot(place)?;
        equal(point, state_of(place)?, ServiceState::Running)?;
        place.does("remove")?;
        equal("pins", place.pins(), Vec::new())?;
    }
    Ok("it was started".to_owned())
}

/// Who is needed by one that runs is not stopped, nor is one started that needs one which is stopped.
pub fn needed(place: &Place) -> Outcome {
    let job = place.here();
    let (mut runtime, _) = together::open(&job).map_err(text)?;
    together::both(&mut runtime, &job, "1.0.0").map_err(text)?;
    let [flows, app] = ["flows", "app"].map(together::name);
    let error = runtime.stop(&flows, false).err().ok_or("not refused")?;
    equal("refused", error.to_string(), "flows cannot be stopped: app needs it".to_owned())?;
    equal("code", error.code(), "in-use")?;
    equal("with it", runtime.stops_with(&flows), vec![app.clone(), flows.clone()])?;
    equal("stopped", runtime.stop(&app, false).map_err(text)?, true)?;
    equal("stopped", runtime.stop(&flows, false).map_err(text)?, true)?;
    equal("stopped again", runtime.stop(&flows, false).map_err(text)?, false)?;
    let error = runtime.start(&app).err().ok_or("not refused")?;
    equal("refused", error.to_string(), "app needs flows, which is stopped".to_owned())?;
    equal("code", error.code(), "stopped")?;
    equal("with it", runtime.starts_with(&app), vec![flows.clone(), app.clone()])?;
    equal("started", runtime.start(&flows).map_err(text)?, true)?;
    equal("started", runtime.start(&app).map_err(text)?, true)?;
    equal("started again", runtime.start(&app).map_err(text)?, false)?;
    // By force, who needs it runs on.
    runtime.stop(&flows, true).map_err(text)?;
    equal("state", status(&runtime, &app)?.state, ServiceState::Running)?;
    let error = runtime.restart(&app).err().ok_or("not refused")?;
    equal("code", error.code(), "stopped")?;
    equal("state", status(&runtime, &app)?.state, ServiceState::Running)?;
    runtime.start(&flows).map_err(text)?;
    runtime.restart(&app).map_err(text)?;
    runtime.remove(&app).map_err(text)?;
    runtime.remove(&flows).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("stopped and started in their order".to_owned())
}

/// A stop that was killed when it had begun.
pub fn half_stop(place: &Place) -> Result<(), String> {
    match place.child("stop", Some("stop.Begin.after"))? {
        Ended::Killed => Ok(()),
        other => Err(format!("not killed: {other:?}")),
    }
}

/// What ends such a stop, and starts the service.
pub fn start_again(place: &Place) -> Result<(), String> {
    place.does("start").map(drop)
}

/// Kills a stop, a start, or a restart, which is both, at each of its points: it is stopped as a whole then, or runs as a whole, and
/// behind a restart it runs.
pub fn killed(objects: &Objects, op: &'static str) -> Outcome {
    let mut passed = BTreeSet::new();
    let points = || Faults::ALL.iter().filter(|point| point.split('.').next() == Some(op));
    let is_restart = op == "restart";
    // Its halves are held at all hooks by themselves.
    let sets = if is_restart { &["two", "grown"][..] } else { &["two", "tc", "grown"] };
    for set in sets {
        let stage = Stage::new(set)?;
        for point in points() {
            for pass in [(*point).to_owned(), format!("{point}:2")] {
                let place = stage.place(objects)?;
                let killed = killed_at(&place, op, &pass);
                if !killed.map_err(|why| format!("{set}, {pass}: {why}"))? {
                    break;
                }
                passed.insert(*point);
                if !is_restart {
                    break;
                }
            }
        }
    }
    let missed: Vec<_> = points().filter(|point| !passed.contains(**point)).collect();
    equal("points that were never passed", missed, Vec::new())?;
    Ok(format!("killed at {} points, and whole after each", passed.len()))
}

fn killed_at(place: &Place, op: &str, point: &str) -> Result<bool, String> {
    let mut events = Made::new(place);
    place.does("install")?;
    place.does("upgrade")?;
    let seen = Seen::new(&[&place.map("seen", 1)?, &place.map("seen", 2)?])?;
    events.some(true);
    if op == "start" {
        place.does("stop")?;
        events.some(false);
    }
    if point.contains("Checkpoint") {
        place.does("fill-journal")?;
    }
    let killed = match place.child(op, Some(point))? {
        Ended::Killed => true,
        Ended::Done(_) => false,
        Ended::Failed(why) => return Err(why),
    };
    match state_of(place)? {
        ServiceState::Stopped if op != "restart" => {
            equal("links", links(place), 0)?;
            events.some(false);
            place.does("start")?;
        }
        state => equal("state", state, ServiceState::Running)?,
    }
    events.some(true);
    place.does("rollback")?;
    events.some(true);
    let detail = place.does("open")?.detail.ok_or("the service is gone")?;
    events.are_right(&seen, &detail)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(killed)
}
