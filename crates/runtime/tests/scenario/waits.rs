//! Operations that wait since they can be neither finished nor undone: nothing is built upon them, none is forgotten, and
//! trying again costs no space.

use std::fs;

use skep_kernel::bpffs;
use skep_kernel::maps::prog_array;
use skep_runtime::journal::Journal;
use skep_runtime::state::Record;

use crate::equal::{equal, text};
use crate::hurt::{as_other, block_and_refuse, install_both, other, pins_of, status, unblock};
use crate::lives;
use crate::place::{Ended, Job, Place};
use crate::tests::Outcome;

/// A journal that is almost long enough for a checkpoint stays as long, however often an operation is tried again.
pub fn retries(place: &Place) -> Outcome {
    const TRIES: usize = 40;
    const MOST: u64 = 128 << 10;
    place.does("install")?;
    let path = place.dirs().state.join("journal");
    let size = || fs::metadata(&path).map(|metadata| metadata.len()).map_err(text);
    let (mut journal, _) = Journal::open(&path).map_err(text)?;
    while size()? < MOST - (4 << 10) {
        journal.append(&Record::Precopied { map: "of no operation".repeat(64) }).map_err(text)?;
    }
    drop(journal);
    let (job, mut runtime) = place.opened()?;
    block_and_refuse(place, 2)?;
    let mut codes = Vec::new();
    let mut longest = 0;
    for _ in 0..TRIES {
        let refused = runtime.upgrade(&job.package(2)?, &job.install()).err();
        codes.push(refused.map(|error| error.code()));
        longest = longest.max(size()?);
    }
    unblock(place)?;
    equal("first", codes[0], Some("not-undone"))?;
    equal("others", codes[1..].iter().all(|code| *code == Some("stuck")), true)?;
    equal("longer than a checkpoint allows", longest > MOST + (4 << 10), false)
        .map_err(|e| format!("{e}: {longest} bytes"))?;
    drop(runtime);
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("undone", recovery.interrupted.len(), 1)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{TRIES} tries, at most {longest} bytes"))
}

/// A start after a reboot that can be neither finished nor undone: the next one does not begin another beside it.
pub fn waiting_start(place: &Place) -> Outcome {
    place.does("install")?;
    lives::reboot(place)?;
    killed(place, "open", "activate.Switching.after")?;
    let switch = pins_of(place, &Job::service()).switch();
    bpffs::unpin(&switch).map_err(text)?;
    let stray = prog_array::create("stray", 1).map_err(text)?; // nobody can say what it holds
    stray.pin(&switch).map_err(text)?;
    let job = place.here();
    let (runtime, recovery) = job.recover(&[1]).map_err(text)?;
    equal("half done", recovery.aside.len(), 1)?;
    equal("started", recovery.started, Vec::new())?;
    let why = status(&runtime, &Job::service())?.failed.unwrap_or_default();
    equal("why", why.starts_with("its activate is half done: "), true)
        .map_err(|e| format!("{e}: {why}"))?;
    drop(runtime);
    bpffs::unpin(&switch).map_err(text)?;
    let (mut runtime, recovery) = job.recover(&[1]).map_err(text)?;
    equal("undone", recovery.interrupted.len(), 1)?;
    equal("started", recovery.started, vec![Job::service()])?;
    equal("half done", status(&runtime, &Job::service())?.half_done, None)?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(why)
}

/// An operation on a service that cannot be mended now is not forgotten for another's.
pub fn waits_for_pins(place: &Place) -> Outcome {
    let job = place.here();
    install_both(&job)?;
    killed(place, "upgrade", "upgrade.Loaded.after")?;
    let pin = pins_of(place, &Job::service()).map("seen", 1);
    bpffs::unpin(&pin).map_err(text)?;
    fs::create_dir(&pin).map_err(text)?; // in its way
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("partly, half done", (recovery.partly.len(), recovery.aside.len()), (1, 1))
        .map_err(|e| format!("{e}: {recovery:?}"))?;
    runtime.upgrade(&job.package(2)?, &as_other(&job)).map_err(text)?;
    drop(runtime);
    fs::remove_dir(&pin).map_err(text)?;
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("undone", recovery.interrupted.len(), 1)?;
    equal("adopted", recovery.adopted.len(), 2)?;
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    runtime.remove(&Job::service()).map_err(text)?;
    runtime.remove(&other()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("undone at the next start".to_owned())
}

/// Runs `op` in a child that must die at `point`.
pub fn killed(place: &Place, op: &str, point: &str) -> Result<(), String> {
    match place.child(op, Some(point))? {
        Ended::Killed => Ok(()),
        other => Err(format!("{point}: not killed: {other:?}")),
    }
}
