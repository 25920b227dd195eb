//! The generation that a rollback returns to is lost: it alone is given up, and that is said.

use std::fs;
use std::path::PathBuf;

use skep_kernel::maps::prog_array;
use skep_kernel::{MapHandle, bpffs};
use skep_runtime::Recovery;

use crate::equal::{equal, text};
use crate::events::{PAUSE, made};
use crate::generator::{Generator, Kind};
use crate::hurt::{changes_nothing, pins_of, status};
use crate::place::{Job, Place};
use crate::tests::Outcome;
use crate::waits::killed;
use crate::warm::gone;

/// The prog arrays of all stubs.
fn slots_of(place: &Place) -> Result<Vec<MapHandle>, String> {
    let slots = place.pins().into_iter().filter(|pin| pin.ends_with("slots"));
    slots.map(|pin| MapHandle::open_pinned(&pin).map_err(text)).collect()
}

/// Takes the programs of the first generation out of the kernel, wherever they are.
pub fn lose_first(place: &Place) -> Result<(), String> {
    let folder = pins_of(place, &Job::service()).programs(1);
    let ids = place.programs(1)?;
    for slots in slots_of(place)? {
        for slot in 1..=2 {
            if prog_array::program_id(&slots, slot)
                .map_err(text)?
                .is_some_and(|id| ids.contains(&id))
            {
                prog_array::clear(&slots, slot).map_err(text)?;
            }
        }
    }
    bpffs::unpin_tree(&folder).map_err(text)?;
    gone(&ids)
}

/// The service runs on, a rollback says why there is none, and the next upgrade makes one possible again.
pub fn lost_previous(place: &Place) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    lose_first(place)?;
    let job = place.here();
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    let said = format!("{recovery:?}");
    let Recovery { adopted, lost, failed, partly, generations_lost, .. } = recovery;
    equal("adopted", adopted, vec![Job::service()]).map_err(|e| format!("{e}: {said}"))?;
    equal(
        "given up",
        (lost.len(), failed.len(), partly.len(), generations_lost.len()),
        (0, 0, 0, 1),
    )?;
    let listed = status(&runtime, &Job::service())?.previous_lost.unwrap_or_default();
    let error = runtime.rollback(&Job::service()).err().ok_or("not refused")?;
    equal("code", error.code(), "no-previous-generation")?;
    equal("why", error.to_string().contains(&listed), true).map_err(|e| format!("{e}: {error}"))?;
    equal(
        "says",
        listed.contains("generation 1 (1.0.0)") && listed.contains("is gone from the kernel"),
        true,
    )
    .map_err(|e| format!("{e}: {listed}"))?;
    drop(runtime);
    let of_first = |pin: &PathBuf| {
        let pin = pin.to_string_lossy();
        pin.contains("/progs/1/") || pin.contains("extra_old") || pin.ends_with("seen@1")
    };
    equal(
        "left of it",
        place.pins().into_iter().filter(of_first).collect(),
        Vec::<PathBuf>::new(),
    )?;
    let end = made(Kind::Rename, 1, 50);
    place.seen_once(&[&place.map("seen", 2)?], end)?;
    let (runtime, _) = job.recover(&[1, 2]).map_err(text)?;
    equal("said again", status(&runtime, &Job::service())?.previous_lost, Some(listed.clone()))?;
    drop(runtime);
    let detail = place.does("upgrade-again")?.detail.ok_or("no detail")?;
    equal("said", detail.status.previous_lost, None)?;
    equal("generation", place.does("rollback")?.detail.map(|d| d.status.generation), Some(2))?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(listed)
}

/// The same while an operation is under way: what may run counts as running, all else is given up.
pub fn lost_previous_half_way(place: &Place) -> Outcome {
    for (op, point, lost) in [
        ("upgrade", "upgrade.Switched.after", false),
        ("rollback", "rollback.Precopied.after", false),
        ("rollback", "rollback.Switching.after", true),
    ] {
        place.does("install")?;
        if op == "rollback" {
            place.does("upgrade")?;
        }
        killed(place, op, point)?;
        lose_first(place)?;
        let detail = place.does("open")?.detail.ok_or("the service is gone")?;
        equal(point, (detail.status.generation, detail.state_lost.is_some()), (2, lost))?;
        equal("state", (detail.status.failed, detail.status.half_done), (None, None))?;
        equal("said", detail.status.previous_lost.is_some(), !lost)
            .map_err(|e| format!("{point}: {e}"))?;
        let end = made(Kind::Rename, 1, 50);
        place.seen_once(&[&place.map("seen", 2)?], end)?;
        place.does("upgrade-again")?;
        place.does("remove")?;
        equal("pins", place.pins(), Vec::new())?;
    }
    Ok("a generation that may run is not given up alone".to_owned())
}

/// Somebody emptied the prog arrays: both generations are put back into their slots.
pub fn emptied_slots(place: &Place) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    for slots in slots_of(place)? {
        (1..=2).try_for_each(|slot| prog_array::clear(&slots, slot).map(drop)).map_err(text)?;
    }
    let job = place.here();
    let (runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    drop(runtime);
    equal("lost", (recovery.lost.len(), recovery.generations_lost.len()), (0, 0))?;
    equal("filled again", recovery.reattached.len(), 2)?; // the hook of the old one alone has nothing to run
    let seen = [place.map("seen", 1)?, place.map("seen", 2)?];
    let generator = Generator::start(Kind::Rename, 1, PAUSE);
    generator.wait(50);
    place.does("rollback")?;
    generator.wait(50);
    let end = generator.stop();
    place.seen_once(&[&seen[0], &seen[1]], end)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} events, there and back", end - 1))
}

/// A hook cannot be attached again: the service is read and not changed, until a start can.
pub fn partly(place: &Place) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    let target = place.target.clone().unwrap_or_default();
    let folder = PathBuf::from(target.rsplit(':').next().unwrap_or_default());
    bpffs::unpin(&pins_of(place, &Job::service()).link("on_cgroup_skb")).map_err(text)?;
    let root = folder.parent().ok_or("no cgroup")?;
    fs::write(root.join("cgroup.procs"), std::process::id().to_string()).map_err(text)?;
    fs::remove_dir(&folder).map_err(text)?;
    let said = while_partly(place, &target)?;
    fs::create_dir(&folder).map_err(text)?;
    let (mut runtime, recovery) = place.here().recover(&[1, 2]).map_err(text)?;
    equal("attached again", recovery.reattached.len(), 1)?;
    equal("adopted", recovery.adopted, vec![Job::service()])?;
    runtime.rollback(&Job::service()).map_err(text)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(said)
}

fn while_partly(place: &Place, target: &str) -> Outcome {
    use skep_runtime::status::ServiceState;
    let (job, service) = (place.here(), Job::service());
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("failed, partly", (recovery.failed.len(), recovery.partly.len()), (0, 1))?;
    let listed = status(&runtime, &service)?;
    equal("state", listed.state, ServiceState::Partial)?;
    let why = listed.failed.unwrap_or_default();
    let named = format!("hook 'on_cgroup_skb' at {target} is not attached (");
    equal("why", why.contains(&named) && why.contains("cannot find the cgroup"), true)
        .map_err(|e| format!("{e}: {why}"))?;
    changes_nothing(&mut runtime, &job, &why)?;
    let end = made(Kind::Rename, 1, 50);
    let stream = runtime.events(&service).map_err(text)?;
    crate::lives::numbers(&mut runtime, &stream, 1..end)?;
    runtime.contents(&service, "counts").map_err(text)?;
    Ok(why)
}
