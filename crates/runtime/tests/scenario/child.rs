//! The daemon's part, in a process of its own: opens the runtime and does one thing.

use std::error::Error;
use std::time::Duration;

use skep_runtime::Next;

use crate::lives::fill_journal;
use crate::objects::verified;
use crate::place::{Job, Reply};

/// Does what `job` says and gives the answer.
pub fn run(job: &str) -> Result<Reply, Box<dyn Error>> {
    let job: Job = serde_json::from_str(job)?;
    if job.op.starts_with("together") {
        return crate::together::child(&job);
    }
    let (mut runtime, mut reply) = job.open()?;
    let service = Job::service();
    match job.op.as_str() {
        "install" => drop(runtime.install(&job.package(1)?, &job.install())?),
        "upgrade" => drop(runtime.upgrade(&job.package(2)?, &job.install())?),
        "upgrade-back" => drop(runtime.upgrade(&job.package(1)?, &job.install())?),
        "upgrade-again" => drop(runtime.upgrade(&job.package(2)?, &job.install_again())?),
        "upgrade-full" => {
            drop(runtime.upgrade(&crate::room::sized(&job, 2, 64)?, &job.install())?);
        }
        "upgrade-unsaid" => {
            let mut package = job.package(2)?.into_inner();
            package.manifest.map.remove("counts");
            drop(runtime.upgrade(&verified(package), &job.install())?);
        }
        "rollback" => drop(runtime.rollback(&service)?),
        "remove" => drop(runtime.remove(&service)?),
        "stop" => drop(runtime.stop(&service, false)?),
        "start" => drop(runtime.start(&service)?),
        "restart" => runtime.restart(&service)?,
        "commit" => drop(runtime.commit(&service)?),
        "fill-journal" => {
            drop(runtime);
            fill_journal(&job.state.join("journal"))?;
            return Ok(reply);
        }
        "open" => {}
        op if op.starts_with("events ") => {
            let wanted = op.trim_start_matches("events ").parse()?;
            reply.events = events(&mut runtime, wanted)?;
        }
        other => return Err(format!("no such job: {other}").into()),
    }
    reply.detail = runtime.service(&service).ok();
    Ok(reply)
}

/// Reads `wanted` events, and what comes at once behind them.
fn events(runtime: &mut skep_runtime::Runtime, wanted: u64) -> Result<Vec<u64>, Box<dyn Error>> {
    let stream = runtime.events(&Job::service())?;
    let mut numbers = Vec::new();
    let patience = |read: usize| {
        if (read as u64) < wanted { Duration::from_secs(10) } else { Duration::from_millis(20) }
    };
    while let Next::Event(event) = stream.next(patience(numbers.len())) {
        let number = event.field("number").ok_or("an event without a number")?;
        numbers.push(u64::try_from(number)?);
    }
    if stream.dropped() > 0 {
        return Err(format!("{} events dropped", stream.dropped()).into());
    }
    Ok(numbers)
}
