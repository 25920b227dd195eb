//! What else a service lives through: a reboot, a hook lost, rings of its own, a full ring, several readers.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use skep_kernel::bpffs;
use skep_runtime::journal::{Journal, JournalError};
use skep_runtime::pins::Pins;
use skep_runtime::state::{Attachment, Record};
use skep_runtime::{EventStream, Next, Request, Runtime, RuntimeError};

use crate::equal::{equal, text};
use crate::events::{PAUSE, made};
use crate::generator::{Generator, Kind};
use crate::late::waiting;
use crate::place::{Ended, Job, Place};
use crate::tally::sum;
use crate::tests::Outcome;

/// As after a reboot: no pins, and a journal of another boot.
pub fn reboot(place: &Place) -> Result<(), String> {
    bpffs::unpin_tree(&place.dirs().bpffs).map_err(text)?;
    let (mut journal, _) = Journal::open(&place.dirs().state.join("journal")).map_err(text)?;
    journal.append(&Record::Boot { boot_id: "another".to_owned() }).map_err(text)
}

/// After a reboot the active generation is loaded again; a rollback then loads the one before as a new one.
pub fn rebooted(place: &Place) -> Outcome {
    place.does("install")?;
    place.does("upgrade")?;
    reboot(place)?;
    let detail = place.does("open")?.detail.ok_or("the service is gone")?;
    equal("generation", detail.status.generation, 2)?;
    let generator = Generator::start(Kind::Rename, 1, PAUSE);
    generator.wait(50);
    let before = place.map("seen", 2)?;
    let detail = place.does("rollback")?.detail.ok_or("no detail")?;
    equal("version", detail.status.version.to_string(), "1.0.0".to_owned())?;
    generator.wait(50);
    let end = generator.stop();
    let seen = place.map("seen", detail.status.generation)?;
    let seen = place.seen_once(&[&before, &seen], end)?;
    let counts = sum(&place.map("counts", detail.status.generation)?)?;
    equal("counts", counts, seen.numbers.len() as u64)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("generation 2 came up again, and 1.0.0 behind it".to_owned())
}

/// The newer version has a hook more, whose program nothing can replace: a rollback takes it off, after a reboot too.
pub fn back_from_a_fixed_hook(place: &Place) -> Outcome {
    let mechanisms = |place: &Place, op: &str| -> Result<String, String> {
        let detail = place.does(op)?.detail.ok_or("the service is gone")?;
        let hooks = detail.hooks.iter().map(|hook| format!("{} {}", hook.name, hook.mechanism));
        Ok(hooks.collect::<Vec<_>>().join(", "))
    };
    let known = fs::read_to_string("/proc/kallsyms").map_err(text)?;
    if !known.contains(" bpf_uprobe_multi_link_attach\n") {
        return Ok("this kernel has no uprobe.multi (6.6)".to_owned());
    }
    place.does("install")?;
    let upgraded = mechanisms(place, "upgrade")?;
    if upgraded == "on_raw_tp stub, uprobes stub" {
        place.does("remove")?;
        return Ok("this kernel has stubs for programs that sleep (7.x)".to_owned());
    }
    equal("after the upgrade", upgraded, "on_raw_tp stub, uprobes fixed".to_owned())?;
    equal("after the rollback", mechanisms(place, "rollback")?, "on_raw_tp stub".to_owned())?;
    place.does("upgrade")?;
    reboot(place)?;
    place.does("open")?;
    let detail = place.does("rollback")?.detail.ok_or("the service is gone")?;
    equal("version", detail.status.version.to_string(), "1.0.0".to_owned())?;
    equal("hooks", detail.hooks.len(), 1)?;
    equal("generations", detail.generations.len(), 1)?;
    let uprobes = Pins::new(&place.dirs().bpffs, &Job::service()).hook("uprobes");
    equal("its hook's pins", uprobes.exists(), false)?;
    place.does("upgrade")?; // it is whole
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("a hook that nothing can replace went with its version, after a reboot too".to_owned())
}

/// The kernel replaces the program of an iterator: who opens it anew reads what the version that runs says.
pub fn iterator(place: &Place) -> Outcome {
    let link = Pins::new(&place.dirs().bpffs, &Job::service()).link("on_iter");
    let reads = |when: &str, wanted: &str| -> Result<(), String> {
        equal(when, fs::read_to_string(&link).map_err(text)?, wanted.to_owned())
    };
    let next = if place.set == "iter" { "2\n" } else { "" };
    place.does("install")?;
    reads("what is installed", "1\n")?;
    place.does("upgrade")?;
    reads("after the upgrade", next)?;
    place.does("open")?;
    reads("after a start", next)?;
    place.does("rollback")?;
    reads("after the rollback", "1\n")?;
    for (point, said, version) in
        [("upgrade.update.before", "undone", "1\n"), ("upgrade.update.after", "finished", next)]
    {
        match place.child("upgrade", Some(point))? {
            Ended::Killed => {}
            other => return Err(format!("{point}: {other:?}")),
        }
        let interrupted = place.does("open")?.interrupted;
        equal(point, interrupted.unwrap_or_default(), said.to_owned())?;
        reads(point, version)?;
    }
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("each version's program was read".to_owned())
}

/// A reboot in the middle of an upgrade leaves the old generation, since the new one never ran for sure.
pub fn rebooted_half_way(place: &Place) -> Outcome {
    for (point, generation) in [("upgrade.switch.after", 1), ("upgrade.Switched.after", 2)] {
        place.does("install")?;
        place.child("upgrade", Some(point))?;
        reboot(place)?;
        let detail = place.does("open")?.detail.ok_or("the service is gone")?;
        equal(point, detail.status.generation, generation)?;
        place.does("remove")?;
        equal("pins", place.pins(), Vec::new())?;
    }
    Ok("the last switch that was written down counts".to_owned())
}

/// As if somebody took it off its hooks: a link's pin goes, or before the kernel has tcx the filter itself. What the holder
/// keeps (perf events, before links of them can be pinned) nobody else can take.
pub fn lose_hooks(place: &Place) -> Result<(), String> {
    let (_, state) = Journal::open(&place.dirs().state.join("journal")).map_err(text)?;
    let service = state.services.get(&Job::service()).ok_or("no service is written down")?;
    let pins = Pins::new(&place.dirs().bpffs, &Job::service());
    let mut lost = 0;
    for (name, hook) in &service.hooks {
        let link = pins.link(name);
        match (hook.standing(), &hook.attachment) {
            (Some(standing), _) => {
                equal(name, standing.program_id().map_err(text)?.is_some(), true)?;
                standing.remove().map_err(text)?;
            }
            (None, Attachment::Link { .. }) => {
                equal(name, link.exists(), true)?;
                bpffs::unpin(&link).map_err(text)?;
            }
            (None, _) => continue,
        }
        lost += 1;
    }
    equal("nothing to lose", lost == 0, false)
}

/// So many records that the next start writes a checkpoint.
pub fn long_journal(place: &Place) -> Result<(), String> {
    let (mut journal, state) = Journal::open(&place.dirs().state.join("journal")).map_err(text)?;
    while !journal.wants_checkpoint() {
        journal.append(&Record::Boot { boot_id: state.boot.clone() }).map_err(text)?;
    }
    Ok(())
}

/// So many records that the end of the next operation writes a checkpoint, and a start before it does not.
pub fn fill_journal(path: &Path) -> Result<(), String> {
    const COMPACT_FROM: u64 = 128 << 10;
    let (mut journal, state) = Journal::open(path).map_err(text)?;
    let record = Record::Boot { boot_id: state.boot };
    let length = || fs::metadata(path).map(|file| file.len()).map_err(text);
    let before = length()?;
    journal.append(&record).map_err(text)?;
    let each = length()? - before;
    while length()? + each <= COMPACT_FROM {
        journal.append(&record).map_err(text)?;
    }
    equal("a start writes a checkpoint", journal.wants_checkpoint(), false)
}

/// A reboot after which the start's own operation fills the journal.
pub fn reboot_with_a_full_journal(place: &Place) -> Result<(), String> {
    reboot(place)?;
    fill_journal(&place.dirs().state.join("journal"))
}

/// A link that somebody removed is attached again, and said.
pub fn lost_hook(place: &Place) -> Outcome {
    place.does("install")?;
    lose_hooks(place)?;
    place.does("open")?;
    let end = made(Kind::Rename, 1, 50);
    place.seen_once(&[&place.map("seen", 1)?], end)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok(format!("{} events after it was attached again", end - 1))
}

/// What nobody wrote down is removed at start: a folder and a pin that a crash left.
pub fn strangers(place: &Place) -> Outcome {
    place.does("install")?;
    let known = place.pins();
    let stray = place.dirs().bpffs.join("numbered/maps/stray@9");
    place.map("kept", 1)?.pin(&stray).map_err(text)?;
    fs::create_dir_all(place.dirs().bpffs.join("gone/progs/1")).map_err(text)?;
    place.does("open")?;
    equal("pins", place.pins(), known)?;
    equal("folder", place.dirs().bpffs.join("gone").exists(), false)?;
    place.does("remove")?;
    Ok("removed".to_owned())
}

/// A damaged journal is refused with what to do, and nothing is touched.
pub fn damaged(place: &Place) -> Outcome {
    place.does("install")?;
    let path = place.dirs().state.join("journal");
    let good = fs::read(&path).map_err(text)?;
    let mut bad = good.clone();
    bad[40] ^= 1;
    fs::write(&path, bad).map_err(text)?;
    match place.here().open() {
        Err(error) => match error.downcast_ref() {
            Some(RuntimeError::Journal(JournalError::Damaged { .. })) => {}
            _ => return Err(format!("another error: {error}")),
        },
        Ok(_) => return Err("not refused".to_owned()),
    }
    fs::write(&path, good).map_err(text)?;
    place.does("remove")?;
    equal("pins", place.pins(), Vec::new())?;
    Ok("refused".to_owned())
}

/// An upgrade and its rollback while events are made; gives the number after the last one.
fn there_and_back(runtime: &mut Runtime, job: &Job) -> Result<u64, String> {
    let generator = Generator::start(Kind::Rename, 1, PAUSE);
    generator.wait(100);
    runtime.upgrade(&job.package(2)?, &job.install()).map_err(text)?;
    generator.wait(100);
    runtime.rollback(&Job::service()).map_err(text)?;
    generator.wait(100);
    Ok(generator.stop())
}

/// Different rings: the old one is read to its end before the new one, there and back, for two readers.
pub fn own_rings(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let service = Job::service();
    let streams =
        [runtime.events(&service).map_err(text)?, runtime.events(&service).map_err(text)?];
    let end = there_and_back(&mut runtime, &job)?;
    for stream in &streams {
        let events = numbers(&mut runtime, stream, 1..end)?;
        equal("in order", events.is_sorted(), true)?;
    }
    close(runtime, &streams, place)?;
    Ok(format!("{} events in order, twice", end - 1))
}

/// Without a reader no event is lost either, although the newer version's ring goes with the rollback.
pub fn rings_without_reader(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let service = Job::service();
    let end = there_and_back(&mut runtime, &job)?;
    let stream = runtime.events(&service).map_err(text)?;
    numbers(&mut runtime, &stream, 1..end)?;
    close(runtime, &[stream], place)?;
    Ok(format!("{} events", end - 1))
}

/// Records that wake nobody come all the same: the reader does not wait without end.
pub fn quiet_ring(place: &Place) -> Outcome {
    const ROUNDS: u64 = 10; // the reader may just have looked when a record comes, but not each time
    let (_, mut runtime) = place.installed()?;
    let service = Job::service();
    let stream = runtime.events(&service).map_err(text)?;
    let mut next = 1;
    for _ in 0..ROUNDS {
        let end = made(Kind::Rename, next, 1);
        let events = numbers(&mut runtime, &stream, next..end)?;
        equal("in order", events.is_sorted(), true)?;
        next = end;
    }
    close(runtime, &[stream], place)?;
    Ok(format!("{} events in {ROUNDS} rounds, none of which woke the reader", next - 1))
}

/// Through a perf buffer, there and back, for two readers: each event once for each, and none lost. Each CPU has a buffer of its
/// own: there is no order.
pub fn perf_buffer(place: &Place) -> Outcome {
    let (job, mut runtime) = place.installed()?;
    let service = Job::service();
    let streams =
        [runtime.events(&service).map_err(text)?, runtime.events(&service).map_err(text)?];
    let end = there_and_back(&mut runtime, &job)?;
    let events = numbers(&mut runtime, &streams[0], 1..end)?;
    equal("events of the other", numbers(&mut runtime, &streams[1], 1..end)?, events.clone())?;
    let counts = runtime.event_counts(&service);
    let read = events.len() as u64;
    equal("read, lost, dropped", (counts.read, counts.lost, counts.dropped), (read, 0, 0))?;
    close(runtime, &streams, place)?;
    Ok(format!("{read} events of {}, twice", end - 1))
}

/// Ends a thread that looks at it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// While another thread keeps the hook busy: where programs can be preempted the kernel keeps events from it, and counts them.
pub fn busy_hook(place: &Place) -> Outcome {
    let (_, mut runtime) = place.installed()?;
    let stream = runtime.events(&Job::service()).map_err(text)?;
    let ended = AtomicBool::new(false);
    let end = thread::scope(|scope| {
        scope.spawn(|| {
            let name = OpenOptions::new().write(true).open("/proc/thread-self/comm");
            let mut name = name.expect("the name of this thread");
            while !ended.load(Ordering::Acquire) {
                name.write_all(b"busy").expect("a new name");
            }
        });
        let _ends = Ends(&ended); // whatever becomes of the events
        made(Kind::Rename, 1, 200)
    });
    let read = numbers(&mut runtime, &stream, 1..end)?.len() as u64;
    let missed = missed(&mut runtime)?;
    close(runtime, &[stream], place)?;
    Ok(format!("{read} events of {}; the kernel kept {missed} runs from the hook", end - 1))
}

/// Events that find the ring full are counted, by program.
pub fn full_ring(place: &Place) -> Outcome {
    let (_, mut runtime) = place.installed()?;
    let service = Job::service();
    let generator = Generator::start(Kind::Rename, 1, Duration::ZERO);
    generator.wait(5000);
    let end = generator.stop();
    let lost = runtime.service(&service).map_err(text)?.lost;
    let read = waiting(&mut runtime)?.len() as u64;
    equal("read and lost", read + lost.values().sum::<u64>(), end - 1)?;
    equal("by program", lost.into_keys().collect::<Vec<_>>(), vec!["on_raw_tp".to_owned()])?;
    let contents = runtime.contents(&service, "counts").map_err(text)?;
    equal("entries", contents.entries.len(), 64)?;
    let first = serde_json::to_string(&contents.entries[0]).map_err(text)?;
    equal("decoded", first.contains("\"value\":{\"events\":"), true)?;
    close(runtime, &[], place)?;
    Ok(format!("{read} read and {} lost of {}", end - 1 - read, end - 1))
}

/// What a generation lost stays in the count when it goes, by the next upgrade but one and by a rollback.
pub fn full_ring_of_the_gone(place: &Place) -> Outcome {
    let generator = Generator::start(Kind::Rename, 1, PAUSE);
    let (job, mut runtime) = place.installed()?;
    let service = Job::service();
    let mut lost = 0;
    let upgrade = |runtime: &mut Runtime, install: Request| {
        runtime.upgrade(&job.package(2)?, &install).map(drop).map_err(text)
    };
    for step in ["installed", "first", "rollback", "again", "otherwise"] {
        match step {
            "first" | "again" => upgrade(&mut runtime, job.install())?,
            "otherwise" => upgrade(&mut runtime, job.install_again())?,
            "rollback" => drop(runtime.rollback(&service).map_err(text)?),
            _ => {}
        }
        generator.wait(500);
        let now = runtime.service(&service).map_err(text)?.lost.into_values().sum::<u64>();
        equal(step, now > lost, true)?;
        lost = now;
    }
    close(runtime, &[], place)?;
    Ok(format!("{lost} lost of {}", generator.stop() - 1))
}

/// The numbers of a stream's next events, which are all of `made`, as [`are_all`] has it.
pub fn numbers(
    runtime: &mut Runtime,
    stream: &EventStream,
    made: Range<u64>,
) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    while (numbers.len() as u64) < made.end - made.start {
        match stream.next(Duration::from_secs(5)) {
            Next::Event(event) => {
                let number = event.field("number").ok_or("an event without a number")?;
                numbers.push(u64::try_from(number).map_err(text)?);
            }
            Next::Timeout => break, // what the kernel kept from the hook never comes
            Next::Closed => return Err("closed too early".to_owned()),
        }
    }
    are_all(runtime, &numbers, made)?;
    Ok(numbers)
}

/// That each number that was made is there once, but for at most as many as the kernel says it kept from the hooks.
pub fn are_all(runtime: &mut Runtime, numbers: &[u64], made: Range<u64>) -> Result<(), String> {
    let once: BTreeSet<u64> = numbers.iter().copied().collect();
    let strange: Vec<&u64> = once.iter().filter(|number| !made.contains(number)).collect();
    equal("numbers that nobody made", strange, Vec::new())?;
    equal("events and their numbers", numbers.len(), once.len())?;
    let lost: Vec<u64> = made.filter(|number| !once.contains(number)).collect();
    let missed = missed(runtime)?;
    match lost.len() as u64 <= missed {
        true => Ok(()),
        false => Err(format!("{} events lost ({lost:?}), the kernel missed {missed}", lost.len())),
    }
}

/// What the kernel says it kept from the service's hooks.
fn missed(runtime: &mut Runtime) -> Result<u64, String> {
    let detail = runtime.service(&Job::service()).map_err(text)?;
    Ok(detail.hooks.iter().map(|hook| hook.missed).sum())
}

/// Removes the service: its streams end, and nothing is left.
pub fn close(mut runtime: Runtime, streams: &[EventStream], place: &Place) -> Result<(), String> {
    equal("removed", runtime.remove(&Job::service()).map_err(text)?, true)?;
    equal("removed again", runtime.remove(&Job::service()).map_err(text)?, false)?;
    for stream in streams {
        equal("ended", matches!(stream.next(Duration::from_secs(5)), Next::Closed), true)?;
    }
    equal("pins", place.pins(), Vec::new())
}
