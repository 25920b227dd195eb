//! Readers that come late: what waits for them, in rings and in skepd.

use std::fs;
use std::time::Duration;

use skep_kernel::bpffs;
use skep_runtime::pins::Pins;
use skep_runtime::{Next, Runtime};

use crate::equal::{equal, text};
use crate::generator::{Generator, Kind};
use crate::lives::{are_all, close, numbers};
use crate::objects::verified;
use crate::place::{Job, Place};
use crate::tests::Outcome;

/// Between two events: less than 4096 come in a test.
const PAUSE: Duration = Duration::from_millis(1);

/// Events from `first` on, at least `count`; the number that was not made.
fn make(first: u64, count: u64) -> u64 {
    let generator = Generator::start(Kind::Rename, first, PAUSE);
    generator.wait(count);
    generator.stop()
}

/// Threads of this process that read events.
fn threads() -> Result<usize, String> {
    let tasks = fs::read_dir("/proc/self/task").map_err(text)?.flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    Ok(names.filter(|name| name.starts_with("events-")).count())
}

/// What waits, in the order of its numbers: each CPU has a perf buffer of its own.
pub fn waiting(runtime: &mut Runtime) -> Result<Vec<u64>, String> {
    let stream = runtime.waiting_events(&Job::service()).map_err(text)?;
    let mut numbers = Vec::new();
    loop {
        match stream.next(Duration::from_secs(30)) {
            Next::Event(event) => {
                let number = event.field("number").ok_or("an event without a number")?;
                numbers.push(u64::try_from(number).map_err(text)?);
            }
            Next::Timeout => return Err("no end of what waits in 30 s".to_owned()),
            Next::Closed => break,
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A buffer that two versions share is read as the one that runs says, by whoever follows and by whoever comes.
pub fn renamed_output(place: &Place) -> Outcome {
    let (job, service) = (place.here(), Job::service());
    let mut second = job.package(2)?.into_inner();
    let output = second.manifest.output.remove("numbered").ok_or("no output")?;
    second.manifest.output.insert("renamed".to_owned(), output);
    let packages = vec![job.package(1)?.into_inner(), second.clone()];
    let (mut runtime, _) = job.recover_with(packages).map_err(text)?;
    runtime.install(&job.package(1)?, &job.install()).map_err(text)?;
    let follows = runtime.events(&service).map_err(text)?;
    let mut next = 1;
    for (step, output) in
        [("install", "numbered"), ("upgrade", "renamed"), ("rollback", "numbered")]
    {
        match step {
            "upgrade" => {
                drop(runtime.upgrade(&verified(second.clone()), &job.install()).map_err(text)?)
            }
            "rollback" => drop(runtime.rollback(&service).map_err(text)?),
            _ => {}
        }
        let comes = runtime.events(&service).map_err(text)?;
        let end = make(next, 20);
        for stream in [&follows, &comes] {
            for _ in next..end {
                let Next::Event(event) = stream.next(Duration::from_secs(5)) else {
                    return Err(format!("too few events after the {step}"));
                };
                equal(&format!("output after the {step}"), event.output(), output)?;
            }
        }
        next = end;
    }
    close(runtime, &[follows], place)?;
    Ok(format!("{} events, by two names", next - 1))
}

/// Who follows is given events again after a version that puts none out.
pub fn silent_version(place: &Place) -> Outcome {
    let (job, service) = (place.here(), Job::service());
    let mut silent = job.package(2)?.into_inner();
    silent.manifest.output.get_mut("numbered").ok_or("no output")?.map = "counts".to_owned();
    let packages = vec![job.package(1)?.into_inner(), silent.clone()];
    let (mut runtime, _) = job.recover_with(packages).map_err(text)?;
    runtime.install(&job.package(1)?, &job.install()).map_err(text)?;
    let stream = runtime.events(&service).map_err(text)?;
    let end = make(1, 20);
    numbers(&mut runtime, &stream, 1..end)?;
    runtime.upgrade(&verified(silent), &job.install()).map_err(text)?;
    runtime.rollback(&service).map_err(text)?;
    let last = make(end, 20);
    numbers(&mut runtime, &stream, end..last)?;
    close(runtime, &[stream], place)?;
    Ok(format!("{} events", last - 1))
}

/// Perf buffers are read before anybody asks for events: there, back, and by the next process.
pub fn perf_without_reader(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let service = Job::service();
    equal("threads", threads()?, 1)?;
    let generator = Generator::start(Kind::Rename, 1, PAUSE);
    generator.wait(50);
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    generator.wait(50);
    runtime.rollback(&service).map_err(text)?;
    generator.wait(50);
    let end = generator.stop();
    let waited = waiting(&mut runtime)?;
    are_all(&mut runtime, &waited, 1..end)?;
    let (counts, read) = (runtime.event_counts(&service), waited.len() as u64);
    equal("read, lost, dropped", (counts.read, counts.lost, counts.dropped), (read, 0, 0))?;
    drop(runtime);
    let (mut runtime, _) = job.open().map_err(text)?;
    let last = make(end, 50);
    let waited = waiting(&mut runtime)?;
    are_all(&mut runtime, &waited, end..last)?;
    close(runtime, &[], place)?;
    equal("threads", threads()?, 0)?;
    Ok(format!("{} events", last - 1))
}

/// An upgrade that is undone leaves no reader of what it loaded, and that of the running version.
pub fn perf_undone(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    // Its variables cannot be copied, just before the switch.
    let (bss, dirs) = (place.map(".bss", 1)?, place.dirs());
    let pin = Pins::new(&dirs.bpffs, &Job::service()).map(".bss", 1);
    bpffs::unpin(&pin).map_err(text)?;
    let failed = runtime.upgrade(&job.package(2)?, &job.install()).is_err();
    bss.pin(&pin).map_err(text)?;
    equal("failed", failed, true)?;
    equal("threads", threads()?, 1)?;
    let end = make(1, 50);
    let waited = waiting(&mut runtime)?;
    are_all(&mut runtime, &waited, 1..end)?;
    close(runtime, &[], place)?;
    Ok(format!("{} events", end - 1))
}

/// Where there is no perf buffer nothing is read before somebody asks.
pub fn no_reader_no_thread(place: &Place) -> Outcome {
    let (job, runtime) = place.installed()?;
    equal("threads after the install", threads()?, 0)?;
    drop(runtime);
    let (runtime, _) = job.open().map_err(text)?;
    equal("threads after a restart", threads()?, 0)?;
    close(runtime, &[], place)?;
    Ok("no thread".to_owned())
}

/// More than the backlog holds waits in the ring of a version that is gone when its reader has come.
pub fn late_reader(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let service = Job::service();
    let generator = Generator::start(Kind::Rename, 1, Duration::from_micros(1));
    generator.wait(4500);
    let middle = generator.stop();
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    let generator = Generator::start(Kind::Rename, middle, PAUSE);
    generator.wait(50);
    let stream = runtime.events(&service).map_err(text)?;
    let mut again = job.install(); // another spelling is another configuration
    again.params.insert("pid".to_owned(), format!("{:#x}", job.pid));
    runtime.upgrade(&job.package(2)?, &again).map_err(text)?;
    generator.wait(50);
    let end = generator.stop();
    let events = numbers(&mut runtime, &stream, 1..end)?;
    equal("in order", events.is_sorted(), true)?;
    equal("dropped", stream.dropped(), 0)?;
    close(runtime, &[stream], place)?;
    Ok(format!("{} events in order", end - 1))
}

/// A runtime that ends leaves in the ring what came after its last reader.
pub fn nothing_taken_at_the_end(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let service = Job::service();
    drop(runtime.events(&service).map_err(text)?);
    let end = make(1, 50);
    drop(runtime);
    let (mut runtime, _) = job.open().map_err(text)?;
    let waited = waiting(&mut runtime)?;
    are_all(&mut runtime, &waited, 1..end)?;
    close(runtime, &[], place)?;
    Ok(format!("{} events", end - 1))
}
