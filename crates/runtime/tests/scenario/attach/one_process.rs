//! A program that is told a process runs in that one alone, also after a start and an upgrade, and in another one when it is told
//! another.

use skep_runtime::Request;

use super::is_no_fault;
use super::kinds::KINDS;
use super::stage::{Stage, Watch};
use crate::equal::{equal, text};
use crate::objects::Objects;
use crate::place::Job;
use crate::probed::Running;
use crate::tests::Outcome;

pub fn alone(objects: &Objects) -> Outcome {
    let kind = KINDS.iter().find(|kind| kind.name == "usdt").ok_or("no such kind")?;
    let stage = Stage::new(kind, objects)?;
    let place = stage.place(objects, kind)?;
    let (job, mut runtime) = place.opened()?;
    let mut processes = [stage.probed.start(), stage.probed.start()];
    let pids = [processes[0].pid(), processes[1].pid()];
    let told = |which: usize| {
        let mut request: Request = job.install();
        request.params.insert("only".to_owned(), pids[which].to_string());
        request
    };
    if let Err(error) = runtime.install(&job.package(1)?, &told(0)) {
        is_no_fault(&error, kind.symbol)?;
        return Ok(format!("this kernel has no USDT for services ({error})"));
    }
    let watch = Watch::new(&place)?;
    only(&watch, &mut processes, 0, 1)?;
    drop(runtime);
    let (mut runtime, recovery) = job.recover(&[1, 2]).map_err(text)?;
    equal("adopted", recovery.adopted.len(), 1)?;
    runtime.upgrade(&job.package(2)?, &told(0)).map_err(text)?;
    only(&watch, &mut processes, 0, 10)?;
    runtime.upgrade(&job.package(1)?, &told(1)).map_err(text)?;
    only(&watch, &mut processes, 1, 20)?;
    let mut all = job.install();
    all.params.insert("only".to_owned(), "no number".to_owned());
    let refused = runtime.upgrade(&job.package(2)?, &all).map(drop).map_err(|error| error.code());
    equal("no number", refused, Err("parameter"))?;
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("it runs in the process that it is told, and in no other".to_owned())
}

/// That the probe is seen in one of two processes.
fn only(
    watch: &Watch,
    processes: &mut [Running; 2],
    which: usize,
    first: u64,
) -> Result<(), String> {
    for (number, place) in (first..).zip(*b"rmc") {
        watch.announce(number);
        processes[1 - which].pass(place);
        equal("in the other process", watch.by_version(number), [0, 0])?;
        processes[which].pass(place);
        let [old, new] = watch.by_version(number);
        equal("in its process", old + new, 1)?;
        watch.announce(0);
    }
    Ok(())
}
