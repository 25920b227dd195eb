//! Programs that entries of maps name: they attach nowhere, a service has them, and people put them into entries by their ids.

use serde_json::json;
use skep_kernel::maps::Update;
use skep_runtime::Runtime;
use skep_runtime::maps::NewValue;

use super::kinds::{Kind, NAMED};
use super::stage::{Stage, Watch};
use crate::equal::{equal, text};
use crate::objects::Objects;
use crate::place::Job;
use crate::tests::Outcome;

const EVENTS: u64 = 20;

/// Packets that are sent to a CPU run the program of its entry, of the generation that it was put in for.
pub fn of_a_map(objects: &Objects) -> Outcome {
    let known = std::fs::read_to_string("/proc/kallsyms").map_err(text)?;
    let mut said = Vec::new();
    for kind in NAMED {
        match known.contains(kind.symbol) {
            true => said.push(named(objects, kind)?),
            false => said.push(format!("{}: this kernel has none for the loopback", kind.name)),
        }
    }
    Ok(said.join("; "))
}

fn named(objects: &Objects, kind: &Kind) -> Outcome {
    let stage = Stage::new(kind, objects)?;
    let place = stage.place(objects, kind)?;
    let (job, mut runtime) = place.installed()?;
    let watch = Watch::new(&place)?;
    let mut event = (kind.make)(&stage);
    equal("without an entry", watch.one(1, &mut event), false)?;
    let mut number = 2;
    for version in [0, 1] {
        put(&runtime)?;
        for _ in 0..EVENTS {
            watch.one(number, &mut event);
            let seen = watch.by_version(number);
            equal("seen by its version", (seen[version], seen[1 - version]), (1, 0))?;
            number += 1;
        }
        if version == 0 {
            runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
            let hooks = runtime.service(&Job::service()).map_err(text)?.hooks;
            equal("hooks", hooks.len(), 1)?;
        }
    }
    runtime.remove(&Job::service()).map_err(text)?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{}: {} packets, each by the version of its entry", kind.name, number - 2))
}

/// Names the newest generation's program in the first entry.
fn put(runtime: &Runtime) -> Result<(), String> {
    let programs = runtime.owned_programs().lines(false).map_err(text)?;
    let own = programs.iter().filter(|program| program.name == "on_event");
    let id = own.max_by_key(|program| program.generation).ok_or("no program")?.info.id;
    let map = runtime.service_map(&Job::service(), "cpus").map_err(text)?;
    let value = NewValue::Whole(json!({ "qsize": 64, "bpf_prog": { "id": id } }));
    map.update(&json!(0), &value, Update::Any).map_err(text)
}
