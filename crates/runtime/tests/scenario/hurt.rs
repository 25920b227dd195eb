//! What hurts one service and must not hurt another: pins that are gone, a package that is gone, what cannot be undone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use skep_kernel::{MapHandle, bpffs};
use skep_runtime::pins::Pins;
use skep_runtime::status::{ServiceState, Status};
use skep_runtime::{Recovery, Request, Runtime};
use skep_spec::ServiceName;

use crate::equal::{equal, text};
use crate::events::{PAUSE, made};
use crate::generator::{Generator, Kind};
use crate::place::{Ended, Job, Place};
use crate::tests::Outcome;

pub fn other() -> ServiceName {
    "other".parse().expect("a name")
}

pub fn as_other(job: &Job) -> Request {
    Request { service: other(), ..job.install() }
}

/// The service of every test, and another one beside it.
pub fn install_both(job: &Job) -> Result<(), String> {
    let (mut runtime, _) = job.open().map_err(text)?;
    for install in [job.install(), as_other(job)] {
        runtime.install(&job.package(1)?, &install).map_err(text)?;
    }
    Ok(())
}

pub fn pins_of(place: &Place, service: &ServiceName) -> Pins {
    Pins::new(&place.dirs().bpffs, service)
}

/// As `rm -rf` of the service's folder of pins.
pub fn lose_pins(place: &Place) -> Result<(), String> {
    bpffs::unpin_tree(pins_of(place, &Job::service()).folder()).map_err(text)
}

/// As `rm -rf` of its hooks alone.
pub fn lose_hooks(place: &Place) -> Result<(), String> {
    bpffs::unpin_tree(&pins_of(place, &Job::service()).hooks()).map_err(text)
}

pub fn status(runtime: &Runtime, service: &ServiceName) -> Result<Status, String> {
    let mut list = runtime.services().into_iter();
    list.find(|status| status.service == *service).ok_or_else(|| format!("{service} is not listed"))
}

/// That whatever would change a service which runs partly is refused, for that reason.
pub fn changes_nothing(runtime: &mut Runtime, job: &Job, why: &str) -> Result<(), String> {
    let (install, second) = (job.install_again(), job.package(2)?);
    let refused = [
        runtime.plan_upgrade(&second, &install).err(),
        runtime.upgrade(&second, &install).err(),
        runtime.rollback(&Job::service()).err(),
    ];
    for error in refused {
        let error = error.ok_or("not refused")?;
        equal("code", error.code(), "runs-partly").map_err(|e| format!("{e}: {error}"))?;
        equal("hint", error.hint().unwrap_or_default().contains("restart skepd"), true)?;
        equal("why", error.to_string().contains(why), true).map_err(|e| format!("{e}: {error}"))?;
    }
    Ok(())
}

/// That the other service can be upgraded and goes, and that nothing is left.
fn other_serves_on(mut runtime: Runtime, job: &Job, place: &Place) -> Result<(), String> {
    equal("other", status(&runtime, &other())?.state, ServiceState::Running)?;
    let upgraded = runtime.upgrade(&job.package(2)?, &as_other(job)).map_err(text)?;
    equal("other's generation", upgraded.detail.status.generation, 2)?;
    runtime.remove(&other()).map_err(text)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("services", runtime.services().len(), 0)?;
    equal("pins", place.pins(), Vec::new())
}

/// Its pins are gone: it is loaded again with empty maps, and the other one is adopted.
pub fn lost_service(place: &Place) -> Outcome {
    let job = place.here();
    install_both(&job)?;
    lose_pins(place)?;
    let (runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    let Recovery { adopted, started, failed, lost, .. } = recovery;
    equal("adopted", adopted, vec![other()])?;
    equal("started", started, vec![Job::service()])?;
    equal("failed", failed, Vec::new())?;
    equal("lost", lost.len(), 1)?;
    let detail = runtime.service(&Job::service()).map_err(text)?;
    let why = detail.state_lost.unwrap_or_default();
    equal("why", why.contains("is gone from the kernel"), true)
        .map_err(|e| format!("{e}: {why}"))?;
    drop(runtime);
    let end = made(Kind::Rename, 1, 50);
    place.seen_once(&[&place.map("seen", 1)?], end)?;
    let (runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("lost again", recovery.lost, Vec::new())?;
    other_serves_on(runtime, &job, place)?;
    Ok(format!("loaded again: {why}"))
}

/// A pin cannot be put back, for a reason that passes: nothing that runs is given up for it.
pub fn passing_trouble(place: &Place) -> Outcome {
    let job = place.here();
    install_both(&job)?;
    let pin = pins_of(place, &Job::service()).map("seen", 1);
    bpffs::unpin(&pin).map_err(text)?;
    fs::create_dir(&pin).map_err(text)?; // in its way
    let (runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("lost", recovery.lost, Vec::new())?;
    equal("adopted", recovery.adopted, vec![other()])?;
    equal("failed, partly", (recovery.failed.len(), recovery.partly.len()), (0, 1))?;
    equal("state", status(&runtime, &Job::service())?.state, ServiceState::Partial)?;
    drop(runtime);
    let end = made(Kind::Rename, 1, 50);
    equal("cleared away", pin.exists(), false)?; // as whatever no record names
    let (runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("adopted", recovery.adopted.len(), 2)?;
    drop(runtime);
    place.seen_once(&[&place.map("seen", 1)?], end)?;
    let (runtime, _) = job.recover(&[1, 2]).map_err(text)?;
    other_serves_on(runtime, &job, place)?;
    Ok(format!("{} events meanwhile", end - 1))
}

/// Its pins and its package are gone: it is listed as failed with the reason, until it is removed.
pub fn lost_for_good(place: &Place) -> Outcome {
    let job = place.here();
    install_both(&job)?;
    lose_pins(place)?;
    for _ in 0..2 {
        let (runtime, recovery) = job.recover(&[]).map_err(text)?;
        equal("adopted", recovery.adopted, vec![other()])?;
        equal("failed", recovery.failed.len(), 1)?;
        let status = status(&runtime, &Job::service())?;
        equal("state", status.state, ServiceState::Failed)?;
        let why = status.failed.unwrap_or_default();
        for part in ["is gone from the kernel", "is not in the store any more"] {
            equal(part, why.contains(part), true).map_err(|e| format!("{e}: {why}"))?;
        }
    }
    let (mut runtime, _) = job.recover(&[]).map_err(text)?;
    let third = Request { service: "third".parse().map_err(text)?, ..job.install() };
    runtime.install(&job.package(1)?, &third).map_err(text)?;
    runtime.remove(&third.service).map_err(text)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("services", runtime.services().len(), 1)?;
    drop(runtime);
    // Where the package is there again, so is the way of every other service.
    let (runtime, _) = job.recover(&[1, 2]).map_err(text)?;
    other_serves_on(runtime, &job, place)?;
    Ok("failed, said, and removed".to_owned())
}

/// Its pins go while an upgrade is half-way: the old generation is loaded again before the switch, the new one after.
pub fn lost_half_way(place: &Place) -> Outcome {
    for (point, generation) in [("upgrade.Loaded.after", 1), ("upgrade.Switched.after", 2)] {
        place.does("install")?;
        place.child("upgrade", Some(point))?;
        lose_pins(place)?;
        let detail = place.does("open")?.detail.ok_or("the service is gone")?;
        equal(point, detail.status.generation, generation)?;
        equal("failed", detail.status.failed, None)?;
        equal("lost", detail.state_lost.is_some(), true)?;
        place.does("upgrade-again")?;
        place.does("remove")?;
        equal("pins", place.pins(), Vec::new())?;
    }
    Ok("the last switch that was written down counts".to_owned())
}

/// All its hooks are gone: they are attached again, and its maps are as they were, there and back.
pub fn lost_hooks(place: &Place) -> Outcome {
    lost_hooks_under(place, Kind::Rename)
}

/// The same where a link switches by itself.
pub fn lost_hooks_of_updates(place: &Place) -> Outcome {
    lost_hooks_under(place, Kind::Packet)
}

fn lost_hooks_under(place: &Place, kind: Kind) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    let numbers = |from: u64| {
        let generator = Generator::start(kind, from, PAUSE);
        generator.wait(50);
        generator.stop()
    };
    let first = numbers(1);
    lose_hooks(place)?;
    let job = place.here();
    let (runtime, recovery) = job.recover(&[]).map_err(text)?;
    drop(runtime);
    equal("lost", (recovery.lost.len(), recovery.failed.len()), (0, 0))
        .map_err(|e| format!("{e}: {recovery:?}"))?;
    let second = numbers(first);
    let seen: Vec<MapHandle> = (1..=2).filter_map(|n| place.map("seen", n).ok()).collect();
    place.does("rollback")?;
    let end = numbers(second);
    place.seen_once(&seen.iter().collect::<Vec<_>>(), end)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} events, {} hooks attached again", end - 1, recovery.reattached.len()))
}

/// Any one pin is gone, or names something else: it is put back, or its hook attached again, and nothing is lost but
/// what came while that hook was none.
pub fn each_pin(place: &Place) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    let pins: Vec<PathBuf> = place.pins();
    let job = place.here();
    for pin in pins.iter().filter(|pin| !pin.ends_with("link")) {
        bpffs::unpin(pin).map_err(text)?;
        let (runtime, recovery) = job.recover(&[]).map_err(text)?;
        drop(runtime);
        let said = format!("{}: {recovery:?}", pin.display());
        equal("lost", (recovery.lost.len(), recovery.failed.len()), (0, 0))
            .map_err(|e| format!("{e}: {said}"))?;
        let of_stub = pin.ends_with("slots") || pin.ends_with("stub");
        equal("attached again", recovery.reattached.len(), usize::from(of_stub))
            .map_err(|e| format!("{e}: {said}"))?;
        let put_back = if of_stub { Vec::new() } else { vec![pin.clone()] };
        equal("put back", recovery.pinned_again, put_back).map_err(|e| format!("{e}: {said}"))?;
    }
    let stray = pins.iter().find(|pin| pin.ends_with("kept@1")).ok_or("no map 'kept'")?;
    bpffs::unpin(stray).map_err(text)?;
    place.map("counts", 2)?.pin(stray).map_err(text)?;
    let (runtime, recovery) = job.recover(&[]).map_err(text)?;
    drop(runtime);
    equal("put in its place", recovery.pinned_again, vec![stray.clone()])?;
    equal("pins", place.pins(), pins.clone())?;
    let end = made(Kind::Rename, 1, 50);
    let seen: Vec<MapHandle> = (1..=2).filter_map(|n| place.map("seen", n).ok()).collect();
    place.seen_once(&seen.iter().collect::<Vec<_>>(), end)?;
    place.does("rollback")?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} pins, one by one", pins.len()))
}

/// A folder of pins that cannot be removed, since something is mounted there.
fn block(place: &Place, generation: u64) -> Result<PathBuf, String> {
    let folder = pins_of(place, &Job::service()).programs(generation);
    fs::create_dir_all(&folder).map_err(text)?;
    bpffs::mount_at(&folder).map_err(text)?;
    Ok(folder)
}

/// What is mounted there goes.
pub fn unblock(place: &Place) -> Result<(), String> {
    [1, 2, 3].iter().try_for_each(|generation| {
        let folder = pins_of(place, &Job::service()).programs(*generation);
        let outer = folder.parent().ok_or("no parent")?;
        let device = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
        match device(&folder) {
            Some(mounted) if device(outer) != Some(mounted) => {
                bpffs::unmount(&folder).map_err(text)
            }
            _ => Ok(()),
        }
    })
}

/// Besides, its programs cannot be pinned there.
pub fn block_and_refuse(place: &Place, generation: u64) -> Result<(), String> {
    block(place, generation)?;
    let program = pins_of(place, &Job::service()).program(generation, "on_raw_tp");
    MapHandle::create_u64s("stray", 1).and_then(|map| map.pin(&program)).map_err(text)
}

/// An upgrade to the third generation that fails and cannot be undone, and what kept it from that is gone.
pub fn leave_half_done(place: &Place) -> Result<(), String> {
    let (job, mut runtime) = place.opened()?; // a start after that would take it out of the way
    block_and_refuse(place, 3)?;
    let ended = runtime.upgrade(&job.package(2)?, &job.install_again());
    drop(runtime);
    unblock(place)?;
    match ended.map_err(text) {
        Err(why) if why.contains("could not be undone") => Ok(()),
        other => Err(format!("not half done: {other:?}")),
    }
}

/// An upgrade to the third generation is killed, and cannot be undone.
pub fn kill_and_block(place: &Place) -> Result<(), String> {
    block(place, 3)?;
    match place.child("upgrade-again", Some("upgrade.Loaded.after"))? {
        Ended::Killed => Ok(()),
        other => Err(format!("not killed: {other:?}")),
    }
}

/// An upgrade that cannot be undone stops its own service alone, until it can, or until the service is removed.
pub fn half_done(place: &Place) -> Outcome {
    let seen = while_half_done(place);
    unblock(place)?;
    let said = seen?;
    let job = place.here();
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("undone", recovery.interrupted.len(), 1)?;
    equal("half done", status(&runtime, &Job::service())?.half_done, None)?;
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(said)
}

fn while_half_done(place: &Place) -> Outcome {
    let job = place.here();
    install_both(&job)?;
    let (mut runtime, _) = job.open().map_err(text)?;
    block_and_refuse(place, 2)?;
    let upgrade = |runtime: &mut Runtime| {
        let error = runtime.upgrade(&job.package(2)?, &job.install()).err().ok_or("not refused")?;
        Ok::<_, String>((error.code(), error.to_string()))
    };
    let (code, said) = upgrade(&mut runtime)?;
    equal("code", code, "not-undone").map_err(|e| format!("{e}: {said}"))?;
    equal("code", upgrade(&mut runtime)?.0, "stuck")?;
    let service = status(&runtime, &Job::service())?;
    equal("state", service.state, ServiceState::Running)?;
    equal("half done", service.half_done.is_some(), true)?;
    runtime.upgrade(&job.package(2)?, &as_other(&job)).map_err(text)?;
    runtime.rollback(&other()).map_err(text)?;
    drop(runtime);
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("adopted", recovery.adopted.len(), 2)?;
    equal("half done", recovery.aside.len(), 1)?;
    runtime.remove(&other()).map_err(text)?;
    let end = made(Kind::Rename, 1, 50);
    drop(runtime);
    place.seen_once(&[&place.map("seen", 1)?], end)?;
    Ok(said)
}

/// The same for an install, of which nothing runs: it is listed as failed, and removed.
pub fn half_done_install(place: &Place) -> Outcome {
    let (job, mut runtime) = place.opened()?;
    block_and_refuse(place, 1)?;
    let install = runtime.install(&job.package(1)?, &job.install()).err();
    let listed = status(&runtime, &Job::service());
    let removed = runtime.remove(&Job::service()).err();
    let after = status(&runtime, &Job::service());
    let beside = runtime.install(&job.package(1)?, &as_other(&job));
    unblock(place)?;
    equal("install", install.map(|e| e.code()), Some("not-undone"))?;
    equal("removal", removed.map(|e| e.code()), Some("stuck"))?;
    beside.map_err(text)?;
    for (status, op) in [(listed?, "install"), (after?, "remove")] {
        equal("state", status.state, ServiceState::Failed)?;
        let why = status.failed.unwrap_or_default();
        equal(op, why.contains(&format!("its {op} is half done")), true)
            .map_err(|e| format!("{e}: {why}"))?;
    }
    equal("removed", runtime.remove(&Job::service()).map_err(text)?, true)?;
    equal("services", runtime.services().len(), 1)?;
    other_serves_on(runtime, &job, place)?;
    Ok("failed, said, and removed".to_owned())
}
